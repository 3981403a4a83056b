"""What production sends back, kept in joshi.db: answers that were given, and what people thought of them.

Everything is redacted before it is stored, by the same code as transcripts. A row's id is made of its content, so that
a caller who sends something twice, with its time, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError
from sqlalchemy import Column, Engine, MetaData, String, Table, Text, delete, select
from sqlalchemy.dialects.sqlite import insert

from joshi import __version__
from joshi.curation.fingerprints import fingerprints, load_key
from joshi.curation.redaction import redact_conversation
from joshi.errors import JoshiError
from joshi.memory.ledger import explained, open_engine, record_id, utc
from joshi.plan import Plan
from joshi.prompt import INSTRUCTION
from joshi.schema import Context, Conversation, ConversationState, HistoryTurn, Provenance, Record, Sample, Turn
from joshi.workspace import Workspace, make_folder

_METADATA = MetaData()
_HEARD = Table(
    "heard",
    _METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False, index=True),
    Column("at", String, nullable=False, index=True),  # ISO 8601 in UTC: text order is time order
    Column("payload", Text, nullable=False),
)
MOST_CHARACTERS = 20_000  # of one text: no message of a negotiation is longer


class Given(Record):
    """An answer that production gave; what a caller sends."""

    context: Context = Field(description="what the answer could draw on; the supplier's message is the last turn")
    answer: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    instruction: str = Field(INSTRUCTION, max_length=MOST_CHARACTERS)
    agent: str | None = Field(None, max_length=100, description="which agent asked")
    workflow_id: str | None = Field(None, max_length=200, description="the caller's own name of the conversation")
    release: str | None = Field(None, max_length=100, description="which release answered; none: the one in use")
    at: str | None = Field(None, description="ISO 8601 with a time zone; none: now")


class Opinion(Given):
    """What a person thought of an answer."""

    verdict: Literal["good", "bad"]
    better: str | None = Field(None, max_length=MOST_CHARACTERS, description="what should have been answered")
    comment: str | None = Field(None, max_length=MOST_CHARACTERS)


class Heard(Record):
    """A stored row, redacted. The sample's `ideal_answer` is what production answered."""

    id: str
    kind: Literal["answer", "feedback"]
    at: str
    release: str | None
    agent: str | None
    workflow_id: str | None
    sample: Sample
    verdict: Literal["good", "bad"] | None = None
    better: str | None = None
    comment: str | None = None


def keep(given: Given, release: str | None, plan: Plan, workspace: Workspace) -> Heard:
    """Redact and store what production sent.

    Args:
        release: the one in use, where the caller names none.

    Raises:
        JoshiError: a time without a zone, a conversation without a supplier's message, or a database that cannot be
            written.
    """
    heard = redacted(given, release, plan, workspace)
    row = {"id": heard.id, "kind": heard.kind, "at": heard.at, "payload": heard.model_dump_json()}
    with _database(workspace) as engine, engine.begin() as connection:
        connection.execute(insert(_HEARD).values(row).on_conflict_do_nothing())
    return heard


def load(workspace: Workspace, kind: Literal["answer", "feedback"]) -> list[Heard]:
    """All rows of a kind, oldest first.

    Raises:
        JoshiError: the database is locked or damaged.
    """
    query = select(_HEARD.c.id, _HEARD.c.payload).where(_HEARD.c.kind == kind).order_by(_HEARD.c.at, _HEARD.c.id)
    if not workspace.database.exists():
        return []
    with _database(workspace) as engine, engine.connect() as connection:
        rows = list(connection.execute(query))
    try:
        return [Heard.model_validate_json(row.payload) for row in rows]
    except ValidationError as error:
        raise JoshiError(
            f"{workspace.database}: a {kind} cannot be read ({error.errors()[0]['msg']}); restore it from a backup"
        ) from error


def count(people: set[str], workspace: Workspace) -> int:
    """How many rows there are in whose conversation one of these fingerprints was masked."""
    return len(_of(people, workspace))


def forget(people: set[str], workspace: Workspace) -> int:
    """Delete those rows; how many they were."""
    rows = _of(people, workspace)
    if rows:
        with _database(workspace) as engine, engine.begin() as connection:
            connection.execute(delete(_HEARD).where(_HEARD.c.id.in_(rows)))
    return len(rows)


def _of(people: set[str], workspace: Workspace) -> list[str]:
    rows = [*load(workspace, "answer"), *load(workspace, "feedback")]
    return [one.id for one in rows if not people.isdisjoint(one.sample.provenance.people)]


def redacted(given: Given, release: str | None, plan: Plan, workspace: Workspace) -> Heard:
    """What is stored: no name and no exact price, in whichever of the texts they stand."""
    context, extra = given.context, [given.answer]
    if not context.history or context.history[-1].role != "supplier":
        raise JoshiError("context.history must end with the supplier's message that was answered; send it again")
    opinion = given if isinstance(given, Opinion) else None
    if opinion is not None:
        extra += [text for text in (opinion.better, opinion.comment) if text is not None]
    history = [Turn(speaker=turn.role, role=turn.role, text=turn.text) for turn in context.history]
    state = ConversationState(item=context.item, facts=context.facts, notes=context.notes)
    asked = [*context.outstanding_asks, context.current_offer or "", given.instruction]
    told = [Turn(speaker="buyer", role="buyer", text=text) for text in (*extra, *asked)]
    talk = Conversation(id="production", source="production", turns=[*history, *told], state=state)
    clean, redactor = redact_conversation(talk, plan)
    texts = [turn.text for turn in clean.turns]
    n, m, k = len(history), len(extra), len(context.outstanding_asks)
    answer, *others = texts[n : n + m]
    asks, (offer, instruction) = texts[n + m : n + m + k], texts[n + m + k :]
    better = others.pop(0) if opinion is not None and opinion.better is not None else None
    comment = others.pop(0) if opinion is not None and opinion.comment is not None else None
    at = _moment(given.at)
    identity = record_id(
        [texts, given.agent, given.workflow_id, given.release, opinion.verdict if opinion else None, at]
    )
    sample = Sample(
        id=identity,
        instruction=instruction,
        context=context.model_copy(
            update={
                "history": [
                    HistoryTurn(role=turn.role, text=text)
                    for turn, text in zip(context.history, texts[:n], strict=True)
                ],
                "item": clean.state.item,
                "facts": clean.state.facts,
                "notes": clean.state.notes,
                "outstanding_asks": asks,
                "current_offer": offer or None,
            }
        ),
        ideal_answer=answer,
        provenance=Provenance(
            source="production",
            conversation_id=record_id(given.workflow_id) if given.workflow_id else identity,
            turn=n,
            redactions=dict(sorted(redactor.counts.items())),
            people=fingerprints(load_key(workspace, make=True), redactor.people),
            tool_version=__version__,
        ),
    )
    return Heard(
        id=identity,
        kind="answer" if opinion is None else "feedback",
        at=at,
        release=given.release or release,
        agent=given.agent,
        workflow_id=given.workflow_id,
        sample=sample,
        verdict=opinion.verdict if opinion else None,
        better=better,
        comment=comment,
    )


def _moment(at: str | None) -> str:
    try:
        if at is not None:
            datetime.fromisoformat(at)
        return utc(at)
    except ValueError as error:
        raise JoshiError(f"at: {at!r} is no time with a zone; send one such as 2026-01-31T12:00:00Z") from error


@contextmanager
def _database(workspace: Workspace) -> Iterator[Engine]:
    make_folder(workspace.private)
    engine = open_engine(workspace.database)
    try:
        with explained(workspace.database):
            _METADATA.create_all(engine)
            yield engine
    finally:
        engine.dispose()
