"""Review without the room: candidates out as JSON Lines, decisions in, every event out for an audit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi.curation import load_candidates
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.review import log, queue
from joshi.review.decisions import apply, read_in, refresh, rewritable
from joshi.review.log import SAMPLES, Event, moment
from joshi.review.store import open_store
from joshi.review.wording import refuse_clear_text
from joshi.schema import Sample
from joshi.workspace import Workspace, atomic, explain, sha256_text, write_text


class ReviewLine(BaseModel):
    """A line of the exported file. Only `status` and `ideal_answer` are read back."""

    model_config = ConfigDict(extra="ignore")
    id: str
    status: Literal["pending", "approved", "rejected"]
    ideal_answer: str


def export(path: Path, workspace: Workspace, broken: bool = False, plan: Plan | None = None) -> int:
    """Write the pending candidates for a person to decide on, and `broken` ones too, to be rewritten; return how many.

    Raises:
        JoshiError: curation has not run.
    """
    if plan is not None:
        refresh(plan, workspace)
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
    taken: list[tuple[Sample, str, str]] = []
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
        if entry.status == "approved" and not after:
            raise JoshiError(f"{where}: approved with an empty ideal_answer; write one, or reject it")
        if entry.status == "approved" and after != sample.ideal_answer:
            what = f"{where}: the rewritten ideal_answer of {sample.id}"
            refuse_clear_text(after, sample.ideal_answer, "", plan, what)
        elif entry.status == "approved" and entry.id in broken:
            raise JoshiError(
                f"{where}: approved as it stands, but it breaks {', '.join(broken[entry.id].reasons)}; rewrite "
                "ideal_answer, or reject it"
            )
        taken.append((sample, entry.status, after))
    with open_store(plan, workspace) as store:
        read_in(store, plan, workspace)
        with store.writing() as connection:
            for sample, status, after in taken:
                before = log.keep_text(connection, SAMPLES, sample.id, sample.ideal_answer)
                sha256 = log.keep_text(connection, SAMPLES, sample.id, after)
                body = {"status": status, "from": "file"}
                event = Event(SAMPLES, sample.id, reviewer, "decided", moment(datetime.now(UTC)), None,
                              sha256_text(sample.ideal_answer), before, sha256, body=body)  # fmt: skip
                queue.note(connection, event, plan)
    refresh(plan, workspace)
    return counts


def _line(line: str, where: str) -> ReviewLine:
    try:
        return ReviewLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the line"
        raise JoshiError(f"{where}: {key}: {first['msg']}; mend the line and import again") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise JoshiError(f"{path} is not UTF-8; save it as UTF-8 and import again") from error
    except OSError as error:
        raise explain(error, path) from error


def export_events(path: Path, plan: Plan, workspace: Workspace) -> int:
    """Write every event as a line of JSON, oldest first, with the texts that were not forgotten; return how many.

    Which side of a blind comparison is which is told once its reviewer has finished.
    """
    n = 0
    with open_store(plan, workspace) as store, atomic(path) as out:
        read_in(store, plan, workspace)
        with store.reading() as connection:
            for line in event_lines(connection):
                out.write(line)
                n += 1
    return n


def event_lines(connection: Any) -> Any:
    from joshi.review.rooms import blind

    for event in log.everything(connection):
        yield json.dumps(blind.unsealed(connection, event), ensure_ascii=False) + "\n"
