"""What other commands measured on this very model or training: planted secrets, people's blind choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from joshi.errors import JoshiError
from joshi.evaluation.memorised import report_path
from joshi.export import shipped_file
from joshi.plan import Plan
from joshi.stage import read_manifest
from joshi.workspace import Workspace, sha256_file


def memorised(workspace: Workspace) -> dict[str, Any] | None:
    """Of the secrets planted most often, how many came out again; None if not measured on this training."""
    report, training = _read(report_path(workspace)), read_manifest(workspace, "train sft")
    if report is None or training is None or report.get("train_sft_key") != training.key:
        return None
    most = max(report["repeats"], key=int)
    found: dict[str, Any] = report["repeats"][most]["tuned"]["greedy"]
    return found


def blind_review(plan: Plan, workspace: Workspace) -> dict[str, Any] | None:
    """How often people preferred the shipped model without knowing which it was; None if they judged another file."""
    report = _read(_review(workspace))
    if report is None or report.get("model_sha256") != sha256_file(shipped_file(plan, workspace)):
        return None
    found: dict[str, Any] = report["win_rate"]
    return found


def reports(workspace: Workspace) -> list[Path]:
    """The reports that the gates read, as far as there are any: an evaluation from before them is stale."""
    return [path for path in (report_path(workspace), _review(workspace)) if path.exists()]


def _review(workspace: Workspace) -> Path:
    return workspace.root / "reports" / "review" / "report.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JoshiError(f"{path} cannot be read: {error}; make it again, or delete it") from error
    return found if isinstance(found, dict) else None
