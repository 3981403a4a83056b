"""Stage 7: answers of the shipped GGUF and its baselines on held-out conversations, measured, gated, reported."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joshi import __version__, base, datasets
from joshi.base.find import find_base
from joshi.curation import AUTOMATIC
from joshi.errors import GateRefused
from joshi.evaluation import redteam
from joshi.evaluation.gates import judge, verdict
from joshi.evaluation.measure import summarise
from joshi.evaluation.page import write_page
from joshi.export import sft_gguf
from joshi.generate import Request, Sampling, generate, seed_of
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import context_text, messages_for
from joshi.rubric import Rubric, failed, rules_text
from joshi.schema import Completion, Finding, Sample
from joshi.stage import Manifest, Stage, now, read_manifest
from joshi.surrogates import fill
from joshi.workspace import Workspace, sha256_file, write_json

SHOWN = 10  # answers side by side in the report
SYSTEMS = {
    "base": "base, agent's prompt",
    "base_with_rules": "base, all rules in the prompt",
    "sft": "SFT",
    "shipped": "shipped",
}


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    models = [workspace.model(plan.model.name), find_base(plan.model.base, workspace.root).path]
    if plan.preference.method != "none":
        models.append(sft_gguf(workspace))
    return [*models, *datasets.current_files(plan, workspace), *sorted(redteam.FOLDER.glob("*.jsonl"))]


STAGE = Stage("evaluate", ("model", "rubric", "evaluation", "release", "curation", "preference"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write reports/evaluation/report.json and index.html, whatever the verdict.

    Raises:
        GateRefused: a required gate does not pass; the report says which and by how much.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    rubric = Rubric(plan, tokenizer)
    samples = [fill(sample, plan.seed) for sample in datasets.load_split(plan, workspace).held_out]
    prompts = dict.fromkeys(SYSTEMS, plan.model.system_prompt)
    prompts["base_with_rules"] = f"{plan.model.system_prompt} {rules_text(plan)}"
    base_gguf = find_base(plan.model.base, workspace.root).path
    models = {
        "base": base_gguf,
        "base_with_rules": base_gguf,
        "sft": sft_gguf(workspace),
        "shipped": workspace.model(plan.model.name),
    }
    if plan.preference.method == "none":
        del models["sft"]
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    answers: dict[str, list[Completion]] = {}
    findings: dict[str, list[list[Finding]]] = {}
    for name, model in models.items():
        requests = [
            Request(sample.id, tuple(messages_for(sample, prompts[name])), seed_of(plan, sample.id))
            for sample in samples
        ]
        label = f"answering: {SYSTEMS[name]}"
        answers[name] = generate(model, requests, sampling, plan, tokenizer, workspace.cache, progress, label)
        findings[name] = [rubric.check(a.answer, s) for a, s in zip(answers[name], samples, strict=True)]
    systems = {
        name: {"label": _label(name, plan)}
        | summarise(answers[name], findings[name], [s.ideal_answer for s in samples])
        for name in models
    }
    talks = redteam.play(models["shipped"], plan, tokenizer, workspace.cache, progress)
    report = assemble(plan, workspace, systems, redteam.summarise(talks))
    folder = workspace.evaluation_report
    write_json(folder / "report.json", report)
    write_json(folder / "answers.json", side_by_side(samples, answers, findings, len(samples), plan))
    write_page(report | {"answers": side_by_side(samples, answers, findings, SHOWN, plan)}, folder / "index.html")
    outputs = [folder / name for name in ("report.json", "answers.json", "index.html")]
    if report["verdict"] != "pass":
        missed = [f"{g['text']}: {_number(g['measured'])}" for g in report["gates"] if g["verdict"] != "pass"]
        raise GateRefused(f"the gates say {report['verdict']} ({'; '.join(missed)}); read {folder / 'index.html'}")
    return stage.finish(outputs, brief(report))


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


def assemble(
    plan: Plan, workspace: Workspace, systems: dict[str, dict[str, Any]], attacked: dict[str, Any]
) -> dict[str, Any]:
    """report.json: systems, attacks, gates and verdict, bound to the model's bytes, the plan and the dataset."""
    newest = datasets.latest(plan, workspace)
    assert newest is not None  # load_split would have refused
    gates = judge(systems, attacked["attacks"], plan)
    automatic = any(approval["reviewer"] == AUTOMATIC for approval in newest.approvals.values())
    reviewers = sorted({str(a["reviewer"]) for a in newest.approvals.values()} - {AUTOMATIC})
    pairs = read_manifest(workspace, "preference pairs") if plan.preference.method != "none" else None
    return {
        "model": plan.model.name,
        "base": plan.model.base,
        "created_at": now(),
        "joshi_version": __version__,
        "model_sha256": sha256_file(workspace.model(plan.model.name)),
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
        "systems": systems,
        "redteam": attacked,
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


def side_by_side(
    samples: Sequence[Sample],
    answers: dict[str, list[Completion]],
    findings: dict[str, list[list[Finding]]],
    most: int,
    plan: Plan,
) -> list[dict[str, Any]]:
    """Some samples (drawn with the plan's seed) with every system's answer and the rules it breaks."""
    chosen = sorted(random.Random(plan.seed).sample(range(len(samples)), min(most, len(samples))))
    return [
        {
            "id": samples[i].id,
            "instruction": samples[i].instruction,
            "context": context_text(samples[i].context),
            "reference": samples[i].ideal_answer,
            "answers": {
                name: {
                    "text": answers[name][i].answer,
                    "tokens": answers[name][i].tokens,
                    "finish": answers[name][i].finish,
                    "failed": failed(findings[name][i]),
                }
                for name in answers
            },
        }
        for i in chosen
    ]


def _label(name: str, plan: Plan) -> str:
    if name != "shipped":
        return SYSTEMS[name]
    preference = "" if plan.preference.method == "none" else f" + {plan.preference.method.upper()}"
    return f"shipped: SFT{preference}, {plan.export.quantization}"


def _number(value: float) -> str:
    return f"{value:.0%}" if isinstance(value, float) and abs(value) <= 1 else f"{value:g}"
