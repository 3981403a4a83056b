"""What the evaluation knows of the two systems compared: how long their answers are, the baseline's name."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field, TypeAdapter

from joshi.errors import JoshiError
from joshi.review.blind.judgement import System
from joshi.schema import Record
from joshi.workspace import Workspace


@dataclass(frozen=True)
class Evaluated:
    """`tokens` of both answers by sample; empty, as `label` is, where the evaluation judged another file."""

    tokens: dict[str, dict[System, int]] = field(default_factory=dict)
    label: str = ""


class _System(Record, extra="ignore"):
    label: str


class _Report(Record, extra="ignore"):
    model_sha256: str
    systems: dict[str, _System] = Field(default_factory=dict)


class _Answer(Record, extra="ignore"):
    tokens: int


class _Sample(Record, extra="ignore"):
    id: str
    answers: dict[str, _Answer]


def evaluated(workspace: Workspace, model_sha256: str, baseline: str) -> Evaluated:
    """Read reports/evaluation/, if it is of this very model and knows such a system as the baseline.

    Raises:
        JoshiError: report.json or answers.json cannot be read.
    """
    report, answers = (workspace.evaluation_report / name for name in ("report.json", "answers.json"))
    try:
        found = _Report.model_validate_json(report.read_bytes())
        if found.model_sha256 != model_sha256 or baseline not in found.systems:
            return Evaluated()
        samples = TypeAdapter(list[_Sample]).validate_json(answers.read_bytes())
    except FileNotFoundError:
        return Evaluated()
    except (OSError, ValueError) as error:
        raise JoshiError(
            f"{report} or answers.json beside it cannot be read: {str(error).splitlines()[0]}; run 'joshi evaluate' "
            "again, or delete both"
        ) from error
    tokens: dict[str, dict[System, int]] = {
        one.id: {"shipped": one.answers["shipped"].tokens, "baseline": one.answers[baseline].tokens}
        for one in samples
        if {"shipped", baseline} <= one.answers.keys()
    }
    return Evaluated(tokens, found.systems[baseline].label)
