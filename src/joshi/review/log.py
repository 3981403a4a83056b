"""The log of the review room: who decided what and when, on which text, what was there before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, insert, select

from joshi.review.store import EVENTS, TEXTS
from joshi.rubric import VERSION
from joshi.workspace import sha256_text

SAMPLES, PREFERENCES, BLIND_ROOM = "samples", "preferences", "blind"
Kind = Literal["decided", "skipped", "undone", "reopened", "finished"]


@dataclass(frozen=True)
class Who:
    """A reviewer at work; `login` numbers the log-in, as far back as undo goes. None: a file was imported."""

    name: str
    role: Literal["annotator", "specialist", "auditor"] = "annotator"
    login: int | None = None


@dataclass(frozen=True)
class Event:
    """`body` holds what the room adds: a status, scores, rules that the text breaks. It never holds a text."""

    room: str
    item: str
    reviewer: str
    kind: Kind
    at: str
    login: int | None = None
    item_sha256: str | None = None
    before_sha256: str | None = None
    after_sha256: str | None = None
    rubric_version: int = VERSION
    body: dict[str, Any] = field(default_factory=dict)
    number: int = 0


def moment(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds, so that the order of texts is the order of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def append(connection: Connection, event: Event) -> int:
    """Add an event; its number, greater than any before."""
    values = {name: value for name, value in vars(event).items() if name != "number"}
    values["body"] = json.dumps(event.body, sort_keys=True, ensure_ascii=False)
    done = connection.execute(insert(EVENTS).values(values))
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def keep_text(connection: Connection, room: str, item: str, text: str) -> str:
    """Keep a text beside the log, once; its sha256."""
    sha256 = sha256_text(text)
    same = (TEXTS.c.room == room) & (TEXTS.c.item == item) & (TEXTS.c.sha256 == sha256)
    if connection.scalar(select(TEXTS.c.sha256).where(same)) is None:
        connection.execute(insert(TEXTS).values(room=room, item=item, sha256=sha256, text=text))
    return sha256


def text_of(connection: Connection, room: str, item: str, sha256: str | None) -> str | None:
    """A text kept beside the log; None if it was never kept, or forgotten."""
    same = (TEXTS.c.room == room) & (TEXTS.c.item == item) & (TEXTS.c.sha256 == sha256)
    found = connection.scalar(select(TEXTS.c.text).where(same))
    return None if found is None else str(found)


def of_item(connection: Connection, room: str, item: str) -> list[Event]:
    """Everything that happened to an item, oldest first."""
    query = select(EVENTS).where(EVENTS.c.room == room, EVENTS.c.item == item).order_by(EVENTS.c.number)
    return [read(row) for row in connection.execute(query)]


def of_room(connection: Connection, room: str) -> dict[str, list[Event]]:
    """Everything that happened in a room, by item."""
    found: dict[str, list[Event]] = {}
    query = select(EVENTS).where(EVENTS.c.room == room).order_by(EVENTS.c.number)
    for row in connection.execute(query):
        found.setdefault(row.item, []).append(read(row))
    return found


def of_login(connection: Connection, room: str, who: Who) -> list[Event]:
    """What a reviewer did in a room since logging in, oldest first."""
    query = select(EVENTS).where(
        EVENTS.c.room == room, EVENTS.c.reviewer == who.name, EVENTS.c.login == who.login
    )  # fmt: skip
    return [read(row) for row in connection.execute(query.order_by(EVENTS.c.number))]


def numbered(connection: Connection, number: int) -> Event | None:
    row = connection.execute(select(EVENTS).where(EVENTS.c.number == number)).one_or_none()
    return None if row is None else read(row)


def everything(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every event as a dictionary for JSON, with its texts where they are still kept, oldest first."""
    for row in connection.execute(_with_texts().order_by(EVENTS.c.number)):
        yield _told(row)


def newest(connection: Connection, reviewer: str | None, before: int | None, most: int) -> list[dict[str, Any]]:
    """The newest events as `everything` has them, newest first; of one reviewer, before a number, if given."""
    query = _with_texts().order_by(EVENTS.c.number.desc()).limit(most)
    if reviewer is not None:
        query = query.where(EVENTS.c.reviewer == reviewer)
    if before is not None:
        query = query.where(EVENTS.c.number < before)
    return [_told(row) for row in connection.execute(query)]


def _with_texts() -> Select[Any]:
    before, after = TEXTS.alias(), TEXTS.alias()
    return (
        select(EVENTS, before.c.text.label("before"), after.c.text.label("after"))
        .outerjoin(before, _joined(before, EVENTS.c.before_sha256))
        .outerjoin(after, _joined(after, EVENTS.c.after_sha256))
    )


def _told(row: Any) -> dict[str, Any]:
    found = dict(row._mapping)
    return found | {"body": json.loads(found["body"])}


def _joined(texts: Any, sha256: Any) -> Any:
    return (texts.c.room == EVENTS.c.room) & (texts.c.item == EVENTS.c.item) & (texts.c.sha256 == sha256)


def undone(events: Iterable[Event]) -> set[int]:
    """Numbers of the events that were taken back."""
    return {event.body["of"] for event in events if event.kind == "undone"}


def read(row: Any) -> Event:
    """A row of the table as an event."""
    values = dict(row._mapping)
    return Event(**(values | {"body": json.loads(values["body"])}))
