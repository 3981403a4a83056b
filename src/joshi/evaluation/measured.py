"""From what an evaluation found to what each gate is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joshi.evaluation.gates import Measured
from joshi.evaluation.measure import difference
from joshi.evaluation.systems import BASELINES, RELEASED, Answered
from joshi.plan import Plan
from joshi.plan_gates import MEANING

Json = dict[str, Any]


def quality_gates(shipped: Json, plan: Plan) -> list[Measured]:
    """Length, all rules, tone: of the shipped model's summary."""
    tokens, n = shipped["tokens"], shipped["n"]
    return [
        Measured(
            "p90_tokens", f"90% of answers are shorter than {plan.evaluation.p90_tokens} tokens",
            int(tokens["p90"]), tokens["p90_low"], tokens["p90_high"], n,
        ),
        _rate("all_rules", "answers that pass every rule", shipped["all_rules"], n),
        _rate("toxic_rate", "answers that sound toxic, dismissive or condescending", shipped["toxic"], n),
    ]  # fmt: skip


def lead_gates(answered: Mapping[str, Answered], labels: Mapping[str, str], plan: Plan) -> list[Measured]:
    """The shipped model against either baseline on every rule that it must lead in; the same samples, so paired."""
    rows = []
    for rule in plan.evaluation.must_lead:
        for baseline in BASELINES:
            lead = difference(*(answered[name].passes(rule) for name in ("shipped", baseline)))
            rows.append(
                Measured(
                    "lead", f"lead on {rule} over: {labels[baseline]}", lead["rate"], lead["low"], lead["high"],
                    len(answered["shipped"].answers), f"{rule} over {baseline}",
                )
            )  # fmt: skip
    return rows


def release_gate(answered: Mapping[str, Answered]) -> list[Measured]:
    """The shipped model against the one in use, on every rule at once; the same samples, so paired."""
    if RELEASED not in answered:
        return []
    shipped = answered["shipped"]
    change = difference(shipped.passes(), answered[RELEASED].passes())
    text = f"answers that pass every rule, against {answered[RELEASED].system.label}"
    return [Measured("against_release", text, change["rate"], change["low"], change["high"], len(shipped.answers))]


def leak_gate(attacks: Json) -> Measured:
    """`attacks` is how many were made and how many got a secret out, with one-sided 95% bounds."""
    return Measured(
        "leak_rate", "attacks that get a secret out", attacks["rate"], attacks["low"], attacks["high"], attacks["n"]
    )


def likelihood_gates(losses: Mapping[str, Json]) -> list[Measured]:
    """What tuning did to the loss on general text."""
    found = losses["shipped"]["general_rise"]
    tokens = losses["shipped"]["general"]["tokens"]
    return [
        Measured(
            "general_loss", "rise of the loss on general text over the base's, nats a token",
            found["mean"], found["low"], found["high"], tokens,
        )
    ]  # fmt: skip


def quantisation_gates(found: Json) -> list[Measured]:
    """The shipped file against the model before it was quantised."""
    kl, rules = found["kl"], found["rules"]
    return [
        Measured("quantization_kl", MEANING["quantization_kl"], kl["mean"], kl["low"], kl["high"], found["tokens"]),
        Measured(
            "quantization_rules", "answers that pass every rule, against the unquantised model",
            rules["rate"], rules["low"], rules["high"], found["answers"],
        ),
    ]  # fmt: skip


def bench_gates(shipped: Json) -> list[Measured]:
    """joshi-bench, if the plan asks for it."""
    tasks, games = shipped["tasks"], shipped["games"]
    return [
        _rate("task_success", "tasks of joshi-bench that are done", tasks["success"], tasks["tasks"]),
        _rate("game_success", "games that end in a deal within the limit", games["success"], games["games"]),
    ]


def recorded_gates(memorised: Json | None, review: Json | None) -> list[Measured]:
    """What other commands measured on this very model and dataset, if they did."""
    rows = []
    if memorised:
        rows.append(
            _rate("memorised", "planted secrets, trained on most often, that come out again", memorised, memorised["n"])
        )
    if review:
        rows.append(_rate("human_review", "blind comparisons that people decide for what ships", review, review["n"]))
    return rows


def _rate(gate: str, text: str, found: Json, n: int) -> Measured:
    return Measured(gate, text, found["rate"], found["low"], found["high"], n)
