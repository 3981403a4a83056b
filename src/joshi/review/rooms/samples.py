"""The samples room: candidates are approved, edited or rejected; those that break a rule are rewritten or rejected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from joshi.curation import Rejected, load_candidates
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.review import log, queue
from joshi.review.decisions import rewritable
from joshi.review.log import SAMPLES, Event, Who, moment
from joshi.review.queue import Item, Row
from joshi.review.spans import ONE_AT_A_TIME, filled_spans
from joshi.review.standing import standing
from joshi.review.store import Store
from joshi.review.wording import refuse_clear_note, refuse_clear_text
from joshi.rubric import Rubric
from joshi.schema import Finding, Sample
from joshi.surrogates import fill, filler
from joshi.workspace import Workspace, sha256_text


@dataclass(frozen=True)
class Task:
    """What a reviewer is shown: the sample, the text to judge, who proposed it if it waits for a second person."""

    item: Item
    sample: Sample
    text: str
    breaks: tuple[str, ...]  # rules that the text breaks as it was curated
    proposed_by: str | None
    note: str

    @property
    def edited(self) -> bool:
        return self.text != self.sample.ideal_answer


def sync(store: Store, plan: Plan, workspace: Workspace, anew: bool = False) -> None:
    """Bring the queue up to what curation last found: what passes first, what must be rewritten after it."""
    with store.writing() as connection:
        queue.sync(connection, SAMPLES, _rows(workspace), plan, anew)


def _rows(workspace: Workspace) -> Iterator[Row]:
    kept = (Rejected(sample=sample, reasons=[], findings=[]) for sample in load_candidates(workspace))
    for one in (*kept, *rewritable(workspace)):
        sample, broken = one.sample, bool(one.reasons)
        approved, sha256 = sample.review.status == "approved", sha256_text(sample.ideal_answer)
        yield Row(sample.id, sample.id, sha256, one.model_dump_json(), approved, later=broken)


def task(connection: Connection, item: Item, plan: Plan) -> Task:
    """What is to be decided about an item: the curated text, or the one that a first person proposed."""
    found = Rejected.model_validate_json(item.payload)
    now = standing(log.of_item(connection, SAMPLES, item.item), item.item, item.item_sha256, plan)
    text, note, by = found.sample.ideal_answer, "", None
    if now.status == "proposed" and now.decision is not None:
        text = log.text_of(connection, SAMPLES, item.item, now.decision.after_sha256) or text
        note = log.text_of(connection, SAMPLES, item.item, now.decision.body.get("note_sha256")) or ""
        by = now.decision.reviewer
    return Task(item, found.sample, text, tuple(found.reasons), by, note)


def check(text: str, sample: Sample, rubric: Rubric) -> list[Finding]:
    """The rubric's findings on a text as it is typed: their spans are of that text, not of the filled one."""
    filled = fill(sample.model_copy(update={"ideal_answer": text}), rubric.plan.seed)
    with ONE_AT_A_TIME:
        found = rubric.check(filled.ideal_answer, filled)
    return filled_spans(text, filler(sample, rubric.plan.seed), found)


def decide(
    store: Store,
    key: str,
    who: Who,
    status: Literal["approved", "rejected"],
    text: str,
    note: str,
    seen: int,
    plan: Plan,
    at: datetime,
) -> None:
    """Take a decision on the text that the reviewer had before him, edited or not.

    Raises:
        Taken: somebody else decided the item meanwhile, or has it now.
        JoshiError: the text may not be approved, and why.
    """
    with store.reading() as connection:
        shown = task(connection, queue.get(connection, key, SAMPLES), plan)
    after = text.replace("\r\n", "\n").strip()
    if after == shown.text.replace("\r\n", "\n").strip():
        after = shown.text  # a browser's line ends are no edit
    note = note.replace("\r\n", "\n").strip()
    if status == "approved":
        _refuse(after, shown, plan)
    if note:
        refuse_clear_note(note, _known(shown.sample), plan, "your note")
    with store.writing() as connection:
        item = queue.unchanged(connection, key, seen, SAMPLES)
        queue.hold(connection, item, who, plan, at)
        before = log.keep_text(connection, SAMPLES, item.item, shown.text)
        sha256 = log.keep_text(connection, SAMPLES, item.item, after)
        body: dict[str, object] = {"status": status, "edited": after != shown.text}
        if note:
            body["note_sha256"] = log.keep_text(connection, SAMPLES, item.item, note)
        event = Event(SAMPLES, item.item, who.name, "decided", moment(at), who.login, item.item_sha256, before, sha256,
                      body=body)  # fmt: skip
        queue.record(connection, item, event, plan)


def _refuse(after: str, shown: Task, plan: Plan) -> None:
    if after != shown.text:
        refuse_clear_text(after, shown.sample.ideal_answer, "", plan, "the answer")
    elif not after:
        raise JoshiError("the answer is empty; write one, or reject it")
    elif shown.breaks and not shown.edited:
        raise JoshiError(f"this answer breaks {', '.join(shown.breaks)} as it stands; rewrite it, or reject it")


def _known(sample: Sample) -> str:
    return "\n".join([sample.ideal_answer, sample.instruction, *(turn.text for turn in sample.context.history)])


def undo(store: Store, who: Who, plan: Plan, at: datetime) -> Item | None:
    """Take back this log-in's newest decision or skip; what was typed stands in the form. None: nothing is left."""
    with store.writing() as connection:
        found = queue.undo(connection, SAMPLES, who, plan, at)
        if found is None:
            return None
        item, event = found
        if event.kind == "decided":
            text = log.text_of(connection, SAMPLES, item.item, event.after_sha256)
            note = log.text_of(connection, SAMPLES, item.item, event.body.get("note_sha256")) or ""
            if text is not None:
                queue.save_draft(connection, item, who, {"text": text, "note": note}, at)
        return item
