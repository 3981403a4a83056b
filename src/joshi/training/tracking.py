"""Runs in Weights & Biases, offline by default; a failing tracker never stops a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from joshi.plan import Plan
from joshi.workspace import Workspace, make_folder


def record(
    plan: Plan,
    workspace: Workspace,
    kind: str,
    log: Sequence[dict[str, float]],
    held_out: Sequence[dict[str, float]],
    metrics: dict[str, Any],
) -> None:
    """Write one finished run: plan, curves and final figures."""
    if plan.tracking.mode == "disabled":
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb

        folder = make_folder(workspace.private / "wandb")
        run = wandb.init(
            entity=plan.tracking.entity,
            project=plan.tracking.project,
            mode=plan.tracking.mode,
            dir=str(folder.parent),
            job_type=kind,
            config=plan.model_dump(mode="json"),
            settings=wandb.Settings(console="off", init_timeout=20, x_disable_stats=True, x_disable_meta=True),
        )
        merged: dict[int, dict[str, float]] = {}
        for entry in [*log, *held_out]:
            values = {f"{kind}/{k}": v for k, v in entry.items() if isinstance(v, int | float) and k != "step"}
            merged.setdefault(int(entry["step"]), {}).update(values)
        for step, values in sorted(merged.items()):
            run.log(values, step=step)
        run.summary.update({k: v for k, v in metrics.items() if isinstance(v, int | float | str)})
        run.finish()
    except Exception as error:  # any failure of a tracker is only worth a sentence
        logging.getLogger("joshi").warning("the run was not tracked in Weights & Biases: %s", error)
