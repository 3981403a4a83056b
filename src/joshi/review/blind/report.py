"""The report of a blind review: reports/review/report.json, for the gate `human_review`, and index.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from joshi import __version__
from joshi.evaluation.gates import decide
from joshi.evaluation.measured import recorded_gates
from joshi.plan import Plan
from joshi.review.blind.agreement import agreement
from joshi.review.blind.comparisons import compare
from joshi.review.blind.evaluated import Evaluated, evaluated
from joshi.review.blind.judgement import Judgement
from joshi.review.blind.length import length_bias
from joshi.review.blind.page import write_page
from joshi.review.blind.power import RATES, WANTED, detectable, fewest_wins, pairs_needed, power
from joshi.review.blind.preference import preference, verdict
from joshi.review.blind.repeats import repeats
from joshi.review.blind.scores import mentions, scores
from joshi.stage import now
from joshi.workspace import Workspace, write_json

Json = dict[str, Any]
GATE = "human_review"
CURVE = [round(0.5 + step / 100, 2) for step in range(51)]  # true win rates that the page draws power over


def write(
    judgements: Sequence[Judgement], plan: Plan, workspace: Workspace, *, model_sha256: str, baseline: str
) -> None:
    """Write reports/review/report.json and index.html of an unsealed blind review; earlier ones are replaced.

    Args:
        model_sha256: of the GGUF that was reviewed; the gate reads a report of this very file alone.
        baseline: what it was compared with, as the evaluation names its systems.

    Raises:
        JoshiError: a reviewer judged an item twice without its being a repeat, the evaluation's report cannot be
            read, or a file cannot be written.
    """
    made = {"created_at": now(), "joshi_version": __version__}
    known = evaluated(workspace, model_sha256, baseline)
    report = assemble(judgements, plan, model_sha256=model_sha256, baseline=baseline, known=known) | made
    folder = workspace.root / "reports" / "review"
    write_page(report, folder / "index.html")
    write_json(folder / "report.json", report)  # last: who finds it finds its page


def assemble(
    judgements: Sequence[Judgement],
    plan: Plan,
    *,
    model_sha256: str,
    baseline: str,
    known: Evaluated | None = None,
) -> Json:
    """All that report.json holds but when it was made; the same judgements, in any order, give the same report.

    Args:
        known: what the evaluation knows of the two systems.

    Raises:
        JoshiError: as `write`.
    """
    compared = compare(judgements)
    known = known or Evaluated()
    gate = plan.evaluation.gates[GATE]
    found = preference(compared)
    said = verdict(found, gate.minimum)
    return {
        "model": plan.model.name,
        "model_sha256": model_sha256,
        "baseline": baseline,
        "baseline_label": known.label or baseline,
        "seed": plan.seed,
        "verdict": said,
        "minimum": gate.minimum,
        "reviewed": {
            "judgements": sum(not one.repeat for one in judgements),
            "samples": len(compared),
            "conversations": len({one.conversation for one in compared}),
            "reviewers": _reviewers(judgements),
        },
        **found,
        "scores": scores(compared, plan.seed),
        "mentions_internals": mentions(compared),
        "agreement": agreement(compared, plan.seed),
        "repeats": repeats(judgements),
        "length": length_bias(compared, known.tokens),
        "power": _power(found),
        "gate": decide(recorded_gates(None, found["win_rate"])[0], gate),
    }


def _reviewers(judgements: Sequence[Judgement]) -> list[Json]:
    """Each reviewer's own preferences, by name."""
    names = sorted({one.reviewer for one in judgements})
    return [
        {"name": name, **{kind: counts[kind] for kind in ("shipped", "tie", "baseline")}}
        for name in names
        if (counts := Counter(one.preferred for one in judgements if one.reviewer == name and not one.repeat))
    ]


def _power(found: Json) -> Json:
    """What as many decided samples can show, and as many independent ones as they are worth."""
    decided, samples = found["decided"], found["samples"]
    n, compared = decided["n"], found["win_rate"]["n"]
    worth = int(decided["clustered"]["effective_n"])
    return {
        "pairs": n,
        "fewest_wins": fewest_wins(n),
        "detectable": detectable(n),
        "worth_pairs": worth,
        "worth_detectable": detectable(worth),
        "wanted": WANTED,
        "curve": {"rate": CURVE, "power": [power(n, rate) for rate in CURVE]},
        "needed": [
            {"rate": rate, "first": first, "pairs": pairs, "samples": _with_ties(pairs, samples["tie"], compared)}
            for rate in RATES
            for first, pairs in [pairs_needed(rate)]
        ],
    }


def _with_ties(pairs: int, ties: int, compared: int) -> int | None:
    """How many samples give so many decided ones where as many are tied as here; None where all are."""
    return -(-pairs * compared // (compared - ties)) if compared > ties else None
