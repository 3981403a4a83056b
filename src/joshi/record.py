"""The run's last stages over the release, and what the memory is told of releases."""

from __future__ import annotations

import getpass
import logging
import os
from pathlib import Path
from typing import Any

from joshi import datasets
from joshi.errors import JoshiError
from joshi.export import shipped_file
from joshi.memory.ledger import utc
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.release.deploy import deploy
from joshi.release.releases import Release
from joshi.release.targets import target_of
from joshi.stage import Manifest, Stage, read_manifest
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")


def _deploy_inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [shipped_file(plan, workspace), workspace.evaluation_report / "report.json"]


def _release_inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    pointer = workspace.releases / "current"
    return (
        [pointer, workspace.releases / pointer.read_text(encoding="utf-8").strip() / "release.json"]
        if pointer.exists()
        else [pointer]
    )


DEPLOY = Stage("deploy", ("model", "release", "evaluation"), _deploy_inputs)
RECORD = Stage("record", ("model", "release", "memory"), _release_inputs)


def run_deploy(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Release the evaluated model: serve it, try it, then switch alias and env file to it.

    Raises:
        GateRefused: a gate or the smoke test.
    """
    stage = DEPLOY.begin(plan, workspace)
    target = target_of(plan, workspace, os.environ)
    remember = Remember(plan, workspace)
    release = deploy(plan, workspace, target, by=getpass.getuser(), progress=progress, planned=remember.planned)
    remember.deployed(release)
    folder = workspace.releases / release.id
    outputs = [folder / "release.json", workspace.root / release.gguf, workspace.releases / "current"]
    speeds = [float(check["tokens_per_second"]) for check in release.smoke]
    metrics: dict[str, Any] = {
        "release": release.id,
        "reviewed": release.reviewed,
        "checks": len(release.smoke),
        "tokens_per_second": round(sum(speeds) / len(speeds), 1) if speeds else 0.0,
    }
    return stage.finish(outputs, metrics)


def run_record(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Record the dataset version in the memory, where plans and other learnings are."""
    from joshi.memory import open_memory  # brings the Qdrant client, which takes a second

    stage = RECORD.begin(plan, workspace)
    newest = datasets.latest(plan, workspace)
    assert newest is not None  # the stages before would have refused
    with open_memory(plan, workspace) as memory:
        identity = memory.record(
            "model_plan",
            created_at=newest.created_at,
            model_name=plan.model.name,
            plan_text=f"Dataset {newest.dataset} v{newest.version}: {newest.counts['sft']} samples, "
            f"{newest.counts['validation']} held out, price ranges {plan.curation.price_band:.0%} wide.",
            plan_metadata={
                "dataset": newest.dataset,
                "version": newest.version,
                "sha256": newest.files[f"sft_v{newest.version}.jsonl"],
                "dataset_counts": dataset_counts(plan, workspace),
            },
            tags=["dataset"],
        )
    return stage.finish([], {"record": identity})


def dataset_counts(plan: Plan, workspace: Workspace) -> dict[str, int]:
    """Samples and pairs of the newest dataset version; none yet: nothing."""
    newest = datasets.latest(plan, workspace)
    if newest is None:
        return {}
    pairs = read_manifest(workspace, "preference pairs") if plan.preference.method != "none" else None
    return {"sft": newest.counts["sft"], "preference": int(pairs.metrics["pairs"]) if pairs else 0}


class Remember:
    """Tells the memory of releases. What is switched is switched: a memory that cannot be written is a warning."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._plan, self._workspace = plan, workspace
        self._planned: str | None = None

    def planned(self, release: Release) -> None:
        self._planned = release.id
        self._plan_record(release, "planned", release.created_at)

    def deployed(self, release: Release) -> None:
        """Only of a release that was planned just now: what was in use already is remembered."""
        if release.id == self._planned:
            self._plan_record(release, "deployed", utc())

    def rolled_back(self, left: Release | None, taken: Release | None, by: str) -> None:
        moment = utc()
        if left is not None:
            self._plan_record(left, "rolled back", moment)
        if taken is not None:
            self._plan_record(taken, "deployed", moment)
        identity = taken.id if taken else "what was there before the first release"
        summary = f"rolled back to {identity} by {by}"
        self._write("rollback", moment, release=identity, left=left.id if left else None, summary=summary)

    def _plan_record(self, release: Release, status: str, moment: str) -> None:
        plan = self._plan
        self._write(
            "model_plan",
            moment,
            model_name=release.model,
            plan_text=f"{release.model} from {plan.model.base}: SFT (LoRA r={plan.sft.rank}), "
            f"{plan.preference.method}, {plan.export.quantization}; release {release.id}, "
            f"verdict {release.verdict}, {release.reviewed}; {status}.",
            plan_metadata={
                "plan_version": release.plan_sha256[:12],
                "dataset_counts": dataset_counts(plan, self._workspace),
                "deployment_status": status,
                "release": release.id,
                "model_sha256": release.model_sha256,
                "target": release.target,
            },
            tags=["release"],
        )

    def _write(self, kind: str, moment: str, **fields: Any) -> None:
        from joshi.memory import open_memory  # brings the Qdrant client, which takes a second

        try:
            with open_memory(self._plan, self._workspace) as memory:
                memory.record(kind, created_at=moment, **fields)
        except JoshiError as error:
            LOG.warning("not recorded: %s", error)
