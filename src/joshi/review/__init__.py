"""Stage 3: people approve, edit or reject candidates; decisions are events that are only ever appended.

A reviewer exports the open candidates as JSON Lines, sets `status` (and edits `ideal_answer`) in any editor, and
imports the file again under a name. An approval is bound to the sha256 of the text approved. Answers that break a rule
may be rewritten: both texts together then show what is wanted and what is not (joshi.curation.pairs).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi.curation import DUPLICATE, Rejected, load_candidates, load_rejected
from joshi.curation.redaction import redact_text
from joshi.errors import JoshiError
from joshi.plan import Plan
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


def decided(workspace: Workspace) -> list[Sample]:
    """The candidates with what was decided on them, and those that broke a rule until a reviewer rewrote them.

    Raises:
        JoshiError: curation has not run.
    """
    rewritten = apply([one.sample for one in rewritable(workspace)], workspace)
    return [
        *apply(load_candidates(workspace), workspace),
        *(sample for sample in rewritten if sample.review.status == "approved"),
    ]


def rewritable(workspace: Workspace) -> list[Rejected]:
    """Candidates that break a rule and repeat no other."""
    return [one for one in load_rejected(workspace) if DUPLICATE not in one.reasons]


def _decide(sample: Sample, decision: Decision | None) -> Sample:
    if decision is None or decision.before_sha256 != sha256_text(sample.ideal_answer):
        return sample
    review = Review(
        status=decision.status,
        reviewer=decision.reviewer,
        at=decision.at,
        edited=decision.after != sample.ideal_answer,
        original=sample.ideal_answer if decision.after != sample.ideal_answer else None,
        approved_sha256=sha256_text(decision.after) if decision.status == "approved" else None,
    )
    return sample.model_copy(update={"ideal_answer": decision.after, "review": review})


def export(path: Path, workspace: Workspace, broken: bool = False) -> int:
    """Write the pending candidates for a person to decide on, and `broken` ones too, to be rewritten; return how many.

    Raises:
        JoshiError: curation has not run.
    """
    to_rewrite = rewritable(workspace) if broken else []
    breaks = {one.sample.id: [f"{f.rule}: {f.message}" for f in one.findings if not f.passed] for one in to_rewrite}
    samples = apply([*load_candidates(workspace), *(one.sample for one in to_rewrite)], workspace)
    lines = [
        json.dumps(
            {
                "id": s.id,
                "status": "pending",
                "ideal_answer": s.ideal_answer,
                **({"breaks": breaks[s.id]} if s.id in breaks else {}),
                "instruction": s.instruction,
                "context": s.context.model_dump(exclude_none=True),
            },
            ensure_ascii=False,
        )
        for s in samples
        if s.review.status == "pending"
    ]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def take(path: Path, reviewer: str, plan: Plan, workspace: Workspace) -> dict[str, int]:
    """Append the decisions of an edited export; counts of approved, rejected and still pending.

    Raises:
        JoshiError: the file has a wrong line or an unknown id, approves a text that breaks a rule as it stands, or a
            rewritten one that names somebody or something in clear; then no decision of it is taken.
    """
    broken = {one.sample.id: one for one in rewritable(workspace)}
    known = {sample.id: sample for sample in load_candidates(workspace)}
    decisions: list[Decision] = []
    counts = {"approved": 0, "rejected": 0, "pending": 0}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        entry = _line(line, where)
        sample = known.get(entry.id) or (broken[entry.id].sample if entry.id in broken else None)
        if sample is None:
            raise JoshiError(f"{where}: no candidate has the id {entry.id!r}; export again after curating")
        counts[entry.status] += 1
        if entry.status == "pending":
            continue
        after = entry.ideal_answer.strip()
        if entry.status == "approved" and after != sample.ideal_answer:
            _refuse_clear_text(after, sample, plan, where)
        elif entry.status == "approved" and entry.id in broken:
            raise JoshiError(
                f"{where}: approved as it stands, but it breaks {', '.join(broken[entry.id].reasons)}; rewrite "
                "ideal_answer, or reject it"
            )
        before = sha256_text(sample.ideal_answer)
        decisions.append(
            Decision(sample_id=entry.id, reviewer=reviewer, at=now(), status=entry.status, before_sha256=before,
                     after=after)
        )  # fmt: skip
    if decisions:
        log = events(workspace)
        so_far = log.read_text(encoding="utf-8") if log.exists() else ""
        with atomic(log) as out:
            out.write(so_far)
            out.writelines(decision.model_dump_json() + "\n" for decision in decisions)
    return counts


def _line(line: str, where: str) -> ReviewLine:
    try:
        return ReviewLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the line"
        raise JoshiError(f"{where}: {key}: {first['msg']}; mend the line and import again") from error


def _refuse_clear_text(after: str, sample: Sample, plan: Plan, where: str) -> None:
    """What a reviewer types goes into the dataset: what redaction would mask in it must not."""
    if not after:
        raise JoshiError(f"{where}: approved with an empty ideal_answer; write one, or reject it")
    _, counts = redact_text(after, plan)
    _, before = redact_text(sample.ideal_answer, plan)  # what it finds there too is no name: it was redacted
    new = sorted(kind.lower() for kind, n in counts.items() if n > before.get(kind, 0))
    if new:
        raise JoshiError(
            f"{where}: the rewritten ideal_answer of {sample.id} has a {' and a '.join(new)} in clear; write the "
            "placeholder or the range that the context has for it, such as [PERSON_1], and import again"
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise JoshiError(f"{path} is not UTF-8; save it as UTF-8 and import again") from error
    except OSError as error:
        raise explain(error, path) from error
