"""What an evaluation found, as report.json and as the terminal's tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from joshi import __version__, datasets, export
from joshi.curation import AUTOMATIC
from joshi.evaluation.gates import Measured, judge, verdict
from joshi.evaluation.systems import Answered
from joshi.plan import Plan
from joshi.prompt import context_text
from joshi.rubric import failed
from joshi.schema import Sample
from joshi.stage import now, read_manifest, versions
from joshi.workspace import Workspace, sha256_file


def brief(report: dict[str, Any]) -> dict[str, Any]:
    """Verdict, gates and rates of a report: what a terminal shows."""
    systems = {
        name: {
            **{rule: round(value["rate"], 3) for rule, value in s["rules"].items()},
            "all_rules": round(s["all_rules"]["rate"], 3),
            "p90_tokens": s["tokens"]["p90"],
        }
        for name, s in report["systems"].items()
    }
    return {"verdict": report["verdict"], "gates": report["gates"], "systems": systems}


def assemble(plan: Plan, workspace: Workspace, found: dict[str, Any], measured: Sequence[Measured]) -> dict[str, Any]:
    """report.json: what was `found`, gates and verdict, bound to the model's bytes, the plan and the dataset.

    Args:
        found: systems, redteam, and whatever else was looked at, each under its key.
    """
    newest = datasets.latest(plan, workspace)
    assert newest is not None  # load_split would have refused
    gates = judge(measured, plan)
    automatic = any(approval["reviewer"] == AUTOMATIC for approval in newest.approvals.values())
    reviewers = sorted({str(a["reviewer"]) for a in newest.approvals.values()} - {AUTOMATIC})
    pairs = read_manifest(workspace, "preference pairs") if plan.preference.method != "none" else None
    return {
        "model": plan.model.name,
        "base": plan.model.base,
        "created_at": now(),
        "joshi_version": __version__,
        "versions": versions(),
        "seed": plan.seed,
        "model_sha256": sha256_file(export.shipped_file(plan, workspace)),
        "plan_sha256": plan.sha256(),
        "dataset": {
            "name": newest.dataset,
            "version": newest.version,
            "sha256": newest.files[f"sft_v{newest.version}.jsonl"],
            "train": newest.counts["train"],
            "validation": newest.counts["validation"],
            "preference": pairs.metrics["pairs"] if pairs else 0,
        },
        "reviewed": "not reviewed by a person" if automatic else f"reviewed by {', '.join(reviewers)}",
        "verdict": verdict(gates),
        "gates": gates,
        **found,
        "curves": curves(plan, workspace),
        "length_limit": plan.rubric.length_tokens,
        "p90_limit": plan.evaluation.p90_tokens,
    }


def curves(plan: Plan, workspace: Workspace) -> dict[str, Any]:
    """Training curves from the manifests of the two training stages."""
    sft = read_manifest(workspace, "train sft")
    preference = read_manifest(workspace, "train preference") if plan.preference.method != "none" else None
    found: dict[str, Any] = {"sft": _curve(sft.metrics) if sft else _curve({"curve": {"log": [], "heldout": []}})}
    found["preference"] = _curve(preference.metrics) if preference else None
    if preference:
        measured = preference.metrics["curve"]["heldout"]
        found["preference"]["accuracy"] = [entry["reward_accuracy"] for entry in measured]
        found["preference"]["margin"] = [entry["reward_margin"] for entry in measured]
    return found


def _curve(metrics: dict[str, Any]) -> dict[str, Any]:
    """Losses by step, and what the answers sampled during training were like."""
    log, measured = metrics["curve"]["log"], metrics["curve"]["heldout"]
    sampled = [entry for entry in measured if "pass_rate" in entry]
    return {
        "step": [entry["step"] for entry in log],
        "loss": [entry["loss"] for entry in log],
        "heldout_step": [entry["step"] for entry in measured],
        "heldout_loss": [entry["heldout_loss"] for entry in measured],
        "answers": {
            "step": [entry["step"] for entry in sampled],
            **{name: [entry[name] for entry in sampled] for name in ("pass_rate", "answer_tokens_p90", "kl")},
            "kept": metrics["kept"]["step"] if sampled else None,
        },
    }


def side_by_side(samples: Sequence[Sample], systems: dict[str, Answered], plan: Plan) -> list[dict[str, Any]]:
    """Every sample, in an order drawn with the plan's seed, with each system's answer and the rules it breaks."""
    order = list(range(len(samples)))
    random.Random(plan.seed).shuffle(order)
    return [
        {
            "id": samples[i].id,
            "instruction": samples[i].instruction,
            "context": context_text(samples[i].context),
            "reference": samples[i].ideal_answer,
            "answers": {
                name: {
                    "text": system.answers[i].answer,
                    "tokens": system.answers[i].tokens,
                    "finish": system.answers[i].finish,
                    "failed": failed(system.findings[i]),
                }
                for name, system in systems.items()
            },
        }
        for i in order
    ]


def number(value: float) -> str:
    return f"{value:.0%}" if isinstance(value, float) and abs(value) <= 1 else f"{value:g}"
