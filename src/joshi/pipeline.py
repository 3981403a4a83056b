"""The stages in order; what to skip, where to resume.

A stage is skipped when its inputs, its part of the plan and its outputs have the sha256 of the last run. A stage
that was interrupted has no manifest and runs again; training goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from joshi import base, curation, datasets, evaluation, export, record
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.stage import Manifest, Stage
from joshi.workspace import Workspace

Run = Callable[[Plan, Workspace, Progress], Manifest]


@dataclass(frozen=True)
class Step:
    stage: Stage
    run: Run


@dataclass(frozen=True)
class Result:
    """What happened to one stage; `seconds` of this run, 0 when skipped."""

    stage: str
    status: Literal["done", "skipped", "failed"]
    seconds: float
    outputs: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def steps(plan: Plan) -> list[Step]:
    """The plan's stages in the data's order."""
    from joshi.curation import pairs  # these need torch, which the core does without
    from joshi.training import preference, sft

    preferences = [
        Step(export.SFT_STAGE, export.run_sft),
        Step(pairs.STAGE, pairs.run),
        Step(preference.STAGE, preference.run),
    ]
    return [
        Step(base.STAGE, base.run),
        Step(curation.STAGE, curation.run),
        Step(datasets.STAGE, datasets.run),
        Step(sft.STAGE, sft.run),
        *(preferences if plan.preference.method != "none" else []),
        Step(export.stage_of(plan), export.run if plan.release.artifact == "gguf" else export.run_adapter),
        Step(evaluation.STAGE, evaluation.run),
        Step(record.DEPLOY, record.run_deploy),
        Step(record.RECORD, record.run_record),
    ]


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> tuple[list[Result], JoshiError | None]:
    """Run what is not current, in order, up to the first refusal or error, which is returned with the results."""
    return run_steps(steps(plan), plan, workspace, progress)


def run_steps(
    going: Sequence[Step], plan: Plan, workspace: Workspace, progress: Progress
) -> tuple[list[Result], JoshiError | None]:
    """As `run`, for some of the stages."""
    results: list[Result] = []
    for number, step in enumerate(going, 1):
        progress.head(f"[{number}/{len(going)}] {step.stage.name}")
        started = time.monotonic()
        try:
            manifest = step.stage.current(plan, workspace)
            status: Literal["done", "skipped"] = "done" if manifest is None else "skipped"
            manifest = manifest or step.run(plan, workspace, progress)
        except JoshiError as error:
            results.append(Result(step.stage.name, "failed", _since(started), error=str(error)))
            return results, error
        seconds = 0.0 if status == "skipped" else _since(started)
        results.append(Result(step.stage.name, status, seconds, list(manifest.outputs), manifest.metrics))
    return results, None


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)
