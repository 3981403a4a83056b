"""Train again when it is time or when answers drifted: every stage up to the gates, and no further by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi import pipeline, record
from joshi.errors import JoshiError
from joshi.monitoring.drift.verdict import DayVerdict
from joshi.monitoring.watch import read_history
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.release.releases import Release, released
from joshi.workspace import Workspace, write_json

RELEASING = (record.DEPLOY.name, record.RECORD.name)


@dataclass(frozen=True)
class Due:
    """Whether a training is due, and why or why not in one sentence."""

    due: bool
    reason: str


class Attempt(BaseModel):
    """What reports/retrain/report.json says of the last training."""

    model_config = ConfigDict(extra="ignore")

    at: datetime
    reason: str
    stages: list[dict[str, Any]]
    deployed: bool
    stopped: str | None


def report_path(workspace: Workspace) -> Path:
    return workspace.root / "reports" / "retrain" / "report.json"


def due(plan: Plan, workspace: Workspace, now: datetime) -> Due:
    """Whether `retrain_days` have passed since the release or the last training, or drift was found since.

    Raises:
        JoshiError: nothing is deployed, or a report cannot be read.
    """
    return _due(plan, released(workspace), last_attempt(workspace), read_history(workspace), now)


def _due(plan: Plan, release: Release, last: Attempt | None, history: Sequence[DayVerdict], now: datetime) -> Due:
    deployed_at = datetime.fromisoformat(release.created_at)
    trained_at = max([deployed_at, *([last.at] if last else [])])
    drifted = [one for one in history if one.release == release.id and one.verdict == "drift"]
    since = [one for one in drifted if last is None or one.day > last.at.date().isoformat()]
    if since:
        return Due(True, f"drift was found on {since[-1].day}: {since[-1].reason}")
    days = plan.monitoring.retrain_days
    next_at = trained_at + timedelta(days=days)
    if now >= next_at:
        return Due(
            True, f"{(now - trained_at).days} days have passed since {trained_at:%Y-%m-%d}, the plan says {days}"
        )
    what = "the last training" if last and last.at > deployed_at else f"release {release.id}"
    return Due(False, f"no drift was found since {what}, and the {days} days end on {next_at:%Y-%m-%d}")


def retrain(
    plan: Plan, workspace: Workspace, reason: str, now: datetime, progress: Progress = SILENT
) -> tuple[Attempt, JoshiError | None]:
    """Curate, freeze the next version, train, export and evaluate, against the release in use as well as the base.

    Stages whose inputs have not changed are skipped, as in `joshi run`. The release stays as it is, unless the plan's
    `[monitoring] deploy` is true and the gates pass. What stopped the run is returned with what it did. The caller
    holds `workspace.lock()`.
    """
    going = [step for step in pipeline.steps(plan) if plan.monitoring.deploy or step.stage.name not in RELEASING]
    results, error = pipeline.run_steps(going, plan, workspace, progress)
    attempt = Attempt(
        at=now.astimezone(UTC),
        reason=reason,
        stages=[asdict(result) for result in results],
        deployed=any(one.stage == record.DEPLOY.name and one.status == "done" for one in results),
        stopped=str(error) if error else None,
    )
    write_json(report_path(workspace), attempt.model_dump(mode="json"))
    return attempt, error


def last_attempt(workspace: Workspace) -> Attempt | None:
    """The last training that `retrain` started, if any.

    Raises:
        JoshiError: its report is damaged.
    """
    path = report_path(workspace)
    try:
        return Attempt.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise JoshiError(f"{path} cannot be read; delete it, and the time counts from the release") from error
