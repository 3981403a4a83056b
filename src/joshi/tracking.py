"""Runs in Weights & Biases. A run is always written here first and sent by another process, if at all, so no tracker
that is down, slow or missing stops a stage or makes it wait.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from joshi.plan import Plan
from joshi.stage import Manifest
from joshi.workspace import Workspace, make_folder

_DATASET = re.compile(r"_v(\d+)\.jsonl$")


def record(plan: Plan, workspace: Workspace, manifest: Manifest) -> None:
    """Write one finished stage as a run: plan, dataset version, curves, figures, sha256 of what went in and came out.

    With `mode = "online"` it is sent from the background; what could not be sent waits for `joshi track sync`.
    """
    if plan.tracking.mode == "disabled":
        return
    try:
        _write(plan, workspace, manifest)
        if plan.tracking.mode == "online":
            with (folder(workspace) / "sync.log").open("a", encoding="utf-8") as log:
                subprocess.Popen(
                    _sync(plan, unsent(workspace)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, env=_environment(workspace),
                )  # fmt: skip
    except Exception as error:  # any failure of a tracker is only worth a sentence
        logging.getLogger("joshi").warning("the run was not tracked in Weights & Biases: %s", error)


def folder(workspace: Workspace) -> Path:
    """Where runs are written; made if it is not there."""
    return make_folder(workspace.private / "wandb")


def unsent(workspace: Workspace) -> list[Path]:
    """Runs that were written here and have not been sent, oldest first."""
    runs = sorted(path for path in folder(workspace).glob("offline-run-*") if path.is_dir())
    return [path for path in runs if not any(path.glob("*.wandb.synced"))]


def send(plan: Plan, workspace: Workspace) -> tuple[int, int]:
    """Send what has not been sent and wait for it; how many runs, and the exit code of 'wandb sync'."""
    runs = unsent(workspace)
    if not runs:
        return 0, 0
    return len(runs), subprocess.run(_sync(plan, runs), env=_environment(workspace), check=False).returncode


def _sync(plan: Plan, runs: list[Path]) -> list[str]:
    where = ["--entity", plan.tracking.entity, "--project", plan.tracking.project]
    return [sys.executable, "-m", "wandb", "sync", *where, *map(str, runs)]


def _environment(workspace: Workspace) -> Mapping[str, str]:
    # Its own logs would go into a folder "wandb" of wherever the command was given.
    return {**os.environ, "WANDB_SILENT": "true", "WANDB_DIR": str(folder(workspace).parent.resolve())}


def _write(plan: Plan, workspace: Workspace, manifest: Manifest) -> None:
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    run = wandb.init(
        entity=plan.tracking.entity,
        project=plan.tracking.project,
        mode="offline",
        dir=str(folder(workspace).parent),
        job_type=manifest.stage,
        config={
            "plan": plan.model_dump(mode="json"),
            "plan_sha256": manifest.plan_sha256,
            "dataset_version": next((int(m[1]) for name in manifest.inputs if (m := _DATASET.search(name))), None),
            "inputs": manifest.inputs,
            "outputs": manifest.outputs,
            "versions": manifest.versions,
        },
        settings=wandb.Settings(console="off", init_timeout=20, x_disable_stats=True, x_disable_meta=True),
    )
    steps: dict[int, dict[str, float]] = {}
    for entries in manifest.metrics.get("curve", {}).values():
        for entry in entries:
            values = {
                f"{manifest.stage}/{k}": v for k, v in entry.items() if isinstance(v, int | float) and k != "step"
            }
            steps.setdefault(int(entry["step"]), {}).update(values)
    for step, values in sorted(steps.items()):
        run.log(values, step=step)
    run.summary.update({k: v for k, v in manifest.metrics.items() if k != "curve"} | {"seconds": manifest.seconds})
    run.finish()
    wandb.teardown()  # its process may still be writing; what is sent, or looked for, next must be all there
