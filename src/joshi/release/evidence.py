"""What the evaluation says about exactly these bytes, and whether that lets them be released."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi.release.releases import NOT_EVALUATED, NOT_REVIEWED
from joshi.workspace import Workspace

DATASET_KEYS = ("name", "version", "sha256")


@dataclass(frozen=True)
class Evidence:
    """`refusal` is why the gates do not let the file through; None if they do."""

    refusal: str | None
    verdict: str = NOT_EVALUATED
    reviewed: str = NOT_REVIEWED
    gates: list[dict[str, Any]] = field(default_factory=list)
    dataset: dict[str, Any] | None = None


class _Report(BaseModel):
    """The part of reports/evaluation/report.json that decides."""

    model_config = ConfigDict(extra="ignore")

    verdict: str
    model_sha256: str
    gates: list[dict[str, Any]]
    dataset: dict[str, Any] | None = None
    reviewed: str = NOT_REVIEWED


def evidence(workspace: Workspace, sha256: str) -> Evidence:
    """For the file with this sha256."""
    path = workspace.evaluation_report / "report.json"
    then = "run 'joshi evaluate', or give a reason with --override REASON"
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Evidence(f"this model was not evaluated ({path} is missing); {then}")
    except (OSError, ValidationError) as error:
        return Evidence(f"{path} cannot be read ({str(error).splitlines()[0]}); {then}")
    if report.model_sha256 != sha256:
        return Evidence(f"{path} is about another model file (sha256 {report.model_sha256[:8]}…); {then}")
    refusal = None
    if report.verdict != "pass":
        required = [gate for gate in report.gates if gate.get("required", True)]
        failed = ", ".join(str(gate.get("name")) for gate in required if gate.get("verdict") != "pass")
        refusal = f"the gates' verdict is {report.verdict!r} ({failed}); read {path}, then {then}"
    dataset = {key: report.dataset.get(key) for key in DATASET_KEYS} if report.dataset else None
    return Evidence(refusal, report.verdict, report.reviewed, report.gates, dataset)
