"""Stage 3: people approve, edit or reject candidates; decisions are events that are only ever appended.

A reviewer exports the open candidates as JSON Lines, sets `status` (and edits `ideal_answer`) in any editor, and
imports the file again under a name. An approval is bound to the sha256 of the text approved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi.errors import JoshiError
from joshi.schema import Review, Sample, read_records
from joshi.stage import now
from joshi.workspace import Workspace, atomic, explain, sha256_text, write_text


class Decision(BaseModel):
    """One event: who decided what on which text, with the text before and after."""

    sample_id: str
    reviewer: str
    at: str
    status: Literal["approved", "rejected"]
    before_sha256: str
    after: str


class ReviewLine(BaseModel):
    """A line of the exported file. Only `status` and `ideal_answer` are read back."""

    model_config = ConfigDict(extra="ignore")
    id: str
    status: Literal["pending", "approved", "rejected"]
    ideal_answer: str


def events(workspace: Workspace) -> Path:
    return workspace.private / "reviews.jsonl"


def apply(samples: Sequence[Sample], workspace: Workspace) -> list[Sample]:
    """The samples with the newest decision on each; a text changed since its approval is pending again."""
    path = events(workspace)
    latest = {d.sample_id: d for d in read_records(path, Decision)} if path.exists() else {}
    return [_decide(sample, latest.get(sample.id)) for sample in samples]


def _decide(sample: Sample, decision: Decision | None) -> Sample:
    if decision is None or decision.before_sha256 != sha256_text(sample.ideal_answer):
        return sample
    review = Review(
        status=decision.status,
        reviewer=decision.reviewer,
        at=decision.at,
        edited=decision.after != sample.ideal_answer,
        approved_sha256=sha256_text(decision.after) if decision.status == "approved" else None,
    )
    return sample.model_copy(update={"ideal_answer": decision.after, "review": review})


def export(samples: Sequence[Sample], path: Path) -> int:
    """Write the pending samples for a person to decide on; return how many."""
    pending = [sample for sample in samples if sample.review.status == "pending"]
    lines = [
        json.dumps(
            {
                "id": s.id,
                "status": "pending",
                "ideal_answer": s.ideal_answer,
                "instruction": s.instruction,
                "context": s.context.model_dump(exclude_none=True),
            },
            ensure_ascii=False,
        )
        for s in pending
    ]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(pending)


def take(samples: Sequence[Sample], path: Path, reviewer: str, workspace: Workspace) -> dict[str, int]:
    """Append the decisions of an edited export; counts of approved, rejected and still pending.

    Raises:
        JoshiError: the file has a wrong line or an unknown id; then no decision of it is taken.
    """
    known = {sample.id: sample for sample in samples}
    decisions: list[Decision] = []
    counts = {"approved": 0, "rejected": 0, "pending": 0}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            entry = ReviewLine.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise JoshiError(f"{path}:{number}: {where}: {first['msg']}; mend the line and import again") from error
        sample = known.get(entry.id)
        if sample is None:
            raise JoshiError(f"{path}:{number}: no candidate has the id {entry.id!r}; export again after curating")
        counts[entry.status] += 1
        if entry.status != "pending":
            decisions.append(
                Decision(
                    sample_id=entry.id,
                    reviewer=reviewer,
                    at=now(),
                    status=entry.status,
                    before_sha256=sha256_text(sample.ideal_answer),
                    after=entry.ideal_answer.strip(),
                )
            )
    if decisions:
        log = events(workspace)
        before = log.read_text(encoding="utf-8") if log.exists() else ""
        with atomic(log) as out:
            out.write(before)
            out.writelines(decision.model_dump_json() + "\n" for decision in decisions)
    return counts


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise JoshiError(f"{path} is not UTF-8; save it as UTF-8 and import again") from error
    except OSError as error:
        raise explain(error, path) from error
