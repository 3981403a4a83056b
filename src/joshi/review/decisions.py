"""What stands of people's decisions, taken from the store into files that the stages read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from sqlalchemy import Connection, delete, insert, select

from joshi.curation import DUPLICATE, Rejected, load_candidates, load_rejected
from joshi.plan import Plan
from joshi.review import log
from joshi.review.log import SAMPLES, Event
from joshi.review.rooms import preferences
from joshi.review.standing import live, standing
from joshi.review.store import DRAFTS, FACTS, ITEMS, LOCKS, SKIPPED, TEXTS, Store, open_store
from joshi.schema import Review, Sample, read_records, to_jsonl
from joshi.workspace import Workspace, sha256_file, sha256_text, write_text


class Decision(BaseModel):
    """What stands on one text: who decided what, with the text before and after. `note` says why it was rewritten;
    `displaced` are other texts that other reviewers approved."""

    sample_id: str
    reviewer: str
    at: str
    status: Literal["approved", "rejected"]
    before_sha256: str
    after: str
    note: str | None = None
    displaced: list[str] = []


def events(workspace: Workspace) -> Path:
    """Where decisions lay before there was a store; it is read in once and left as it is."""
    return workspace.private / "reviews.jsonl"


def refresh(plan: Plan, workspace: Workspace) -> list[Path]:
    """Write what now stands for the stages: decisions on candidates, and people's preference pairs; their files.

    Raises:
        JoshiError: the store cannot be read.
    """
    if plan.review.url is None and not workspace.database.exists() and not events(workspace).exists():
        return []
    with open_store(plan, workspace) as store:
        read_in(store, plan, workspace)
        with store.reading() as connection:
            decisions = _standing(connection, plan)
            pairs = preferences.decided(connection, plan)
    for path, records in ((workspace.decisions, decisions), (workspace.candidate_pairs, pairs)):
        text = to_jsonl(records)
        if (text or path.exists()) and not (path.exists() and path.read_text(encoding="utf-8") == text):
            write_text(path, text)
    return [path for path in (workspace.decisions, workspace.candidate_pairs) if path.exists()]


def read_in(store: Store, plan: Plan, workspace: Workspace) -> None:
    """Take the decisions of an earlier Joshi's reviews.jsonl into the store, unless that file was taken before."""
    path = events(workspace)
    if not path.exists():
        return
    name = f"reviews.jsonl {sha256_file(path)}"
    with store.reading() as connection:
        if connection.scalar(select(FACTS.c.value).where(FACTS.c.name.startswith("reviews.jsonl"))) is not None:
            return
    with store.writing() as connection:
        connection.execute(insert(FACTS).values(name=name, value=str(path.stat().st_size)))
        for one in read_records(path, Decision):
            after = log.keep_text(connection, SAMPLES, one.sample_id, one.after)
            body = {"status": one.status, "from": "reviews.jsonl"}
            log.append(
                connection,
                Event(SAMPLES, one.sample_id, one.reviewer, "decided", one.at, None, one.before_sha256,
                      one.before_sha256, after, body=body),
            )  # fmt: skip


def _standing(connection: Connection, plan: Plan) -> list[Decision]:
    """Approved and rejected, by the text that was decided on; what waits for a second person is neither."""
    texts = {
        (row.item, row.sha256): row.text for row in connection.execute(select(TEXTS).where(TEXTS.c.room == SAMPLES))
    }
    found: list[Decision] = []
    for item, happened in sorted(log.of_room(connection, SAMPLES).items()):
        for sha256 in sorted({event.item_sha256 for event in happened if event.item_sha256}):
            now = standing(happened, item, sha256, plan)
            if now.decision is None or now.status not in ("approved", "rejected"):
                continue
            after = texts.get((item, now.decision.after_sha256 or ""))
            if after is None:  # forgotten
                continue
            who = " + ".join(now.approvers) if now.status == "approved" else now.decision.reviewer
            latest = {event.reviewer: event for event in live(happened, sha256)}.values()
            approved = {str(event.after_sha256) for event in latest if event.body.get("status") == "approved"}
            displaced = sorted(approved - {sha256, str(now.decision.after_sha256)})
            notes = [texts.get((item, event.body.get("note_sha256", ""))) for event in live(happened, sha256)]
            found.append(
                Decision(sample_id=item, reviewer=who, at=now.decision.at, status=now.status, before_sha256=sha256,
                         after=after, note=next((note for note in reversed(notes) if note), None),
                         displaced=[texts[item, other] for other in displaced if (item, other) in texts])
            )  # fmt: skip
    return found


def apply(samples: Sequence[Sample], workspace: Workspace) -> list[Sample]:
    """The samples with what `refresh` found decided; a text changed since its approval is pending again."""
    path = workspace.decisions
    made = {(d.sample_id, d.before_sha256): d for d in read_records(path, Decision)} if path.exists() else {}
    return [_decide(sample, made.get((sample.id, sha256_text(sample.ideal_answer)))) for sample in samples]


def decided(workspace: Workspace, plan: Plan | None = None) -> list[Sample]:
    """The candidates with what was decided on them, and those that broke a rule until a reviewer rewrote them.

    With a plan, what its store now holds is fetched first; without one it is as `refresh` last found it.

    Raises:
        JoshiError: curation has not run.
    """
    if plan is not None:
        refresh(plan, workspace)
    rewritten = apply([one.sample for one in rewritable(workspace)], workspace)
    return [
        *apply(load_candidates(workspace), workspace),
        *(sample for sample in rewritten if sample.review.status == "approved"),
    ]


def rewritable(workspace: Workspace) -> list[Rejected]:
    """Candidates that break a rule and repeat no other."""
    return [one for one in load_rejected(workspace) if DUPLICATE not in one.reasons]


def _decide(sample: Sample, decision: Decision | None) -> Sample:
    if decision is None:
        return sample
    edited = decision.after != sample.ideal_answer
    review = Review(
        status=decision.status,
        reviewer=decision.reviewer,
        at=decision.at,
        edited=edited,
        # What production answered and a person found bad stays the worse one, whatever became of the better one.
        original=sample.review.original or (sample.ideal_answer if edited else None),
        note=decision.note if edited and decision.note else sample.review.note,
        displaced=decision.displaced if decision.status == "approved" else [],
        approved_sha256=sha256_text(decision.after) if decision.status == "approved" else None,
    )
    return sample.model_copy(update={"ideal_answer": decision.after, "review": review})


def forget(samples: Collection[str], plan: Plan, workspace: Workspace) -> None:
    """Erase the texts that were made from these samples, in every room; the log keeps who decided when, and hashes."""
    path = events(workspace)
    if path.exists():
        write_text(path, to_jsonl(d for d in read_records(path, Decision) if d.sample_id not in samples))
    if plan.review.url is None and not workspace.database.exists():
        return
    with open_store(plan, workspace) as store, store.writing() as connection:
        for item in connection.execute(select(ITEMS.c.key, ITEMS.c.room, ITEMS.c.item, ITEMS.c.sample)).all():
            if item.sample not in samples:
                continue
            for table in (DRAFTS, LOCKS, SKIPPED, ITEMS):
                connection.execute(delete(table).where(table.c.key == item.key))
            connection.execute(delete(TEXTS).where(TEXTS.c.room == item.room, TEXTS.c.item == item.item))
        for sample in samples:  # decided on by a file, and in no queue
            connection.execute(delete(TEXTS).where(TEXTS.c.room == SAMPLES, TEXTS.c.item == sample))
    refresh(plan, workspace)
