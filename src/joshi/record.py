"""The run's last stages over the release: deploy, smoke, and the record in the memory."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from joshi import datasets
from joshi.errors import GateRefused
from joshi.memory import open_memory
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.release.deploy import deploy
from joshi.release.releases import current
from joshi.release.smoke import smoke
from joshi.stage import Manifest, Stage, read_manifest
from joshi.workspace import Workspace


def _deploy_inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [workspace.model(plan.model.name), workspace.evaluation_report / "report.json"]


def _release_inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    pointer = workspace.releases / "current"
    return (
        [pointer, workspace.releases / pointer.read_text(encoding="utf-8").strip() / "release.json"]
        if pointer.exists()
        else [pointer]
    )


DEPLOY = Stage("deploy", ("model", "release"), _deploy_inputs)
SMOKE = Stage("smoke", ("model", "release", "evaluation"), _release_inputs)
RECORD = Stage("record", ("model", "release", "memory"), _release_inputs)


def run_deploy(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Release the evaluated model and switch the env file to it."""
    stage = DEPLOY.begin(plan, workspace)
    release = deploy(plan, workspace, by=getpass.getuser())
    folder = workspace.releases / release.id
    outputs = [folder / "release.json", workspace.root / release.gguf, workspace.releases / "current"]
    return stage.finish(outputs, {"release": release.id, "reviewed": release.reviewed})


def run_smoke(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Try the release as the agents call it.

    Raises:
        GateRefused: a check failed.
    """
    stage = SMOKE.begin(plan, workspace)
    with progress.bar("asking as the agents do", 1) as advance:
        checks = smoke(plan, workspace)
        advance(1)
    if failed := [check for check in checks if not check.passed]:
        raise GateRefused(
            "the smoke test failed: "
            + "; ".join(f"{check.name}: {check.detail}" for check in failed)
            + "; run 'joshi rollback' to take the release back"
        )
    metrics: dict[str, Any] = {
        "passed": len(checks),
        "tokens_per_second": round(sum(c.tokens_per_second for c in checks) / len(checks), 1),
    }
    return stage.finish([], metrics)


def run_record(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Record the dataset version and the released plan in the memory."""
    stage = RECORD.begin(plan, workspace)
    release = current(workspace)
    newest = datasets.latest(plan, workspace)
    assert release is not None and newest is not None  # the stages before would have refused
    pairs = read_manifest(workspace, "preference pairs") if plan.preference.method != "none" else None
    counts = {"sft": newest.counts["sft"], "preference": int(pairs.metrics["pairs"]) if pairs else 0}
    with open_memory(plan, workspace) as memory:
        memory.record(
            "model_plan",
            created_at=newest.created_at,
            model_name=plan.model.name,
            plan_text=f"Dataset {newest.dataset} v{newest.version}: {newest.counts['sft']} samples, "
            f"{newest.counts['validation']} held out, price ranges {plan.curation.price_band:.0%} wide.",
            plan_metadata={
                "dataset": newest.dataset,
                "version": newest.version,
                "sha256": newest.files[f"sft_v{newest.version}.jsonl"],
                "dataset_counts": counts,
            },
            tags=["dataset"],
        )
        identity = memory.record(
            "model_plan",
            created_at=release.created_at,
            model_name=plan.model.name,
            plan_text=f"{plan.model.name} from {plan.model.base}: SFT (LoRA r={plan.sft.rank}), "
            f"{plan.preference.method}, {plan.export.quantization}; release {release.id}, "
            f"verdict {release.verdict}, {release.reviewed}.",
            plan_metadata={
                "plan_version": plan.sha256()[:12],
                "dataset_counts": counts,
                "deployment_status": "deployed",
                "release": release.id,
                "model_sha256": release.model_sha256,
            },
            tags=["release"],
        )
    return stage.finish([], {"record": identity})
