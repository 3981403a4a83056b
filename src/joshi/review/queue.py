"""Who works on what: an item goes to one reviewer at a time, and to as many as it wants."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.review import log
from joshi.review.log import Event, Who, moment
from joshi.review.standing import Standing, standing
from joshi.review.store import BARRED, DRAFTS, EVENTS, ITEMS, LOCKS, SKIPPED

LATER = 2**30  # added to a position: more than there are items


class Taken(JoshiError):  # noqa: N818 - an answer, not a failure
    """Somebody else has the item, or decided it meanwhile."""


@dataclass(frozen=True)
class Row:
    """An item as its source has it. `sha256` is of what is decided on: when it changes, decisions no longer count."""

    item: str
    sample: str
    sha256: str
    payload: str
    decided: bool = False  # before anybody looked at it: approved by the plan
    repeats: str | None = None
    later: bool = False  # after all that are not


@dataclass(frozen=True)
class Item:
    key: str
    room: str
    item: str
    sample: str
    item_sha256: str
    payload: str
    repeats: str | None
    gone: int  # 1: no longer in its source
    status: str
    wanted: int
    version: int


_ITEM = [ITEMS.c[name] for name in Item.__dataclass_fields__]


def sync(connection: Connection, room: str, rows: Iterable[Row], plan: Plan, anew: bool = False) -> None:
    """Make the queue what the source now is: new items at the end, changed ones as they are, vanished ones gone.

    With `anew` every item's standing is made again, as the plan may ask for more people than before.
    """
    known = {row.item: row for row in connection.execute(select(ITEMS).where(ITEMS.c.room == room))}
    happened = log.of_room(connection, room)
    new, seen, position = [], set(), len(known)
    for row in rows:
        if row.item in seen:
            continue
        seen.add(row.item)
        before = known.get(row.item)
        same = before is not None and (before.item_sha256, before.payload) == (row.sha256, row.payload)
        if before is not None and same and not before.gone and not anew:
            continue
        found = standing(happened.get(row.item, []), row.item, row.sha256, plan)
        if row.decided and found.status == "open":
            found = Standing("approved")
        values = {"item_sha256": row.sha256, "payload": row.payload, "gone": 0}
        values |= {"status": found.status, "wanted": found.wanted}
        if before is None:
            key, position = secrets.token_hex(8), position + 1
            version = happened[row.item][-1].number if row.item in happened else 0
            values |= {"key": key, "room": room, "item": row.item, "sample": row.sample}
            values["position"] = position + (LATER if row.later else 0)
            new.append(values | {"repeats": row.repeats, "version": version})
        else:
            key = before.key
            connection.execute(update(ITEMS).where(ITEMS.c.key == key).values(values))
        _bar(connection, key, found)
    if new:
        connection.execute(insert(ITEMS), new)
    for item in known.keys() - seen:
        connection.execute(update(ITEMS).where(ITEMS.c.key == known[item].key).values(gone=1))


def get(connection: Connection, key: str, room: str | None = None) -> Item:
    """Raises:
    JoshiError: no item, or none of this room, has this key.
    """
    row = connection.execute(select(*_ITEM).where(ITEMS.c.key == key)).one_or_none()
    if row is None or room not in (None, row.room):
        raise JoshiError("there is no such item; go back to the room for the next one")
    return Item(**row._mapping)


def of(connection: Connection, room: str, item: str) -> Item:
    """Raises:
    JoshiError: the item was never in the room's queue, or was forgotten.
    """
    row = connection.execute(select(*_ITEM).where(ITEMS.c.room == room, ITEMS.c.item == item)).one_or_none()
    if row is None:
        raise JoshiError("this item is no longer there; nothing was changed")
    return Item(**row._mapping)


def take_next(connection: Connection, room: str, who: Who, plan: Plan, at: datetime) -> Item | None:
    """The item that this reviewer holds, or else the next free one, held from now; skipped ones come back last."""
    skipped = list(
        connection.scalars(select(SKIPPED.c.key).where(SKIPPED.c.reviewer == who.name).order_by(SKIPPED.c.at))
    )
    held = select(LOCKS.c.key).where(LOCKS.c.reviewer == who.name, LOCKS.c.until > moment(at))
    mine = list(connection.scalars(held))
    free = _free(room, who, at)
    key = connection.scalar(free.where(ITEMS.c.key.in_(mine)).limit(1)) if mine else None
    key = key or connection.scalar(free.where(ITEMS.c.key.not_in(skipped)).limit(1))
    if key is None:
        again = set(connection.scalars(free.where(ITEMS.c.key.in_(skipped))))
        key = next((one for one in skipped if one in again), None)
    if key is None:
        return None
    item = get(connection, key)
    hold(connection, item, who, plan, at)
    return item


def is_left(connection: Connection, room: str, who: Who, at: datetime) -> bool:
    """Whether anything can be given to this reviewer now."""
    return connection.execute(_free(room, who, at).limit(1)).first() is not None


def _free(room: str, who: Who, at: datetime) -> Select[Any]:
    """Keys of what may be given to this reviewer, in order. What is shown again goes to who saw it before."""
    first = ITEMS.alias()
    saw_it = exists().where(
        first.c.room == ITEMS.c.room,
        first.c.item == ITEMS.c.repeats,
        BARRED.c.key == first.c.key,
        BARRED.c.reviewer == who.name,
    )
    allowed = and_(wants(room, who), or_(ITEMS.c.repeats.is_(None), saw_it))
    return select(ITEMS.c.key).where(allowed, ITEMS.c.wanted > held_by_others(who, at)).order_by(ITEMS.c.position)


def open_items(room: str) -> ColumnElement[bool]:
    """Items that want a reviewer; written as the table's partial index has it, so that the index is used."""
    zero: ColumnElement[int] = literal_column("0")
    return and_(ITEMS.c.room == room, ITEMS.c.gone == zero, ITEMS.c.wanted > zero)


def wants(room: str, who: Who) -> ColumnElement[bool]:
    """Items that want a reviewer who has had no say on them."""
    barred = exists().where(BARRED.c.key == ITEMS.c.key, BARRED.c.reviewer == who.name)
    return and_(open_items(room), ~barred)


def held_by_others(who: Who, at: datetime) -> Any:
    """How many others hold an item."""
    held = (LOCKS.c.key == ITEMS.c.key) & (LOCKS.c.reviewer != who.name) & (LOCKS.c.until > moment(at))
    return select(func.count()).select_from(LOCKS).where(held).correlate(ITEMS).scalar_subquery()


def hold(connection: Connection, item: Item, who: Who, plan: Plan, at: datetime) -> None:
    """Keep an item for a reviewer until the plan's minutes have passed; again, each time that he or she touches it.

    Raises:
        Taken: others hold it, as many as it wants.
    """
    connection.execute(delete(LOCKS).where(LOCKS.c.until <= moment(at)))
    query = select(LOCKS.c.reviewer).where(LOCKS.c.key == item.key, LOCKS.c.reviewer != who.name)
    others = list(connection.scalars(query))
    if others and len(others) >= max(1, item.wanted):
        raise Taken(
            f"{others[0]} is working on this item now; what you typed is still here, copy it if you need it, and take "
            "the next item"
        )
    release(connection, item, who)
    until = moment(at + timedelta(minutes=plan.review.lock_minutes))
    connection.execute(insert(LOCKS).values(key=item.key, reviewer=who.name, until=until))


def release(connection: Connection, item: Item, who: Who) -> None:
    connection.execute(delete(LOCKS).where(LOCKS.c.key == item.key, LOCKS.c.reviewer == who.name))


def unchanged(connection: Connection, key: str, seen: int, room: str | None = None) -> Item:
    """The item, if nothing happened to it since `seen`, the version that the reviewer was shown.

    Raises:
        Taken: somebody decided it meanwhile.
        JoshiError: no item of the room has this key.
    """
    item = get(connection, key, room)
    if item.version != seen or item.gone:
        newest = connection.execute(select(EVENTS).where(EVENTS.c.number == item.version)).one_or_none()
        told = "curation took it out of the queue" if item.gone or newest is None else _told(newest)
        raise Taken(f"{told}; your decision was not taken, and what you typed is still here; take the next item")
    return item


def _told(event: Any) -> str:
    verb = {"decided": "decided on", "undone": "went back on", "reopened": "reopened"}.get(event.kind, "changed")
    return f"{event.reviewer} {verb} this item at {event.at[11:16]} UTC"


def note(connection: Connection, event: Event, plan: Plan) -> None:
    """Append an event on an item that may be in no queue yet."""
    row = connection.execute(select(*_ITEM).where(ITEMS.c.room == event.room, ITEMS.c.item == event.item)).one_or_none()
    if row is None:
        log.append(connection, event)
    else:
        record(connection, Item(**row._mapping), event, plan)


def record(connection: Connection, item: Item, event: Event, plan: Plan) -> Standing:
    """Append an event on an item; the queue follows, the draft goes."""
    number = log.append(connection, event)
    found = standing(log.of_item(connection, item.room, item.item), item.item, item.item_sha256, plan)
    values: dict[str, Any] = {"version": number, "status": found.status, "wanted": found.wanted}
    connection.execute(update(ITEMS).where(ITEMS.c.key == item.key).values(values))
    _bar(connection, item.key, found)
    for table in (LOCKS, DRAFTS, SKIPPED):
        mine = (table.c.key == item.key) & (table.c.reviewer == event.reviewer)
        connection.execute(delete(table).where(mine))
    return found


def _bar(connection: Connection, key: str, found: Standing) -> None:
    connection.execute(delete(BARRED).where(BARRED.c.key == key))
    if found.barred and (found.wanted or found.status == "judged"):  # who judged a comparison may see it again
        connection.execute(insert(BARRED), [{"key": key, "reviewer": name} for name in sorted(found.barred)])


def skip(connection: Connection, item: Item, who: Who, at: datetime) -> None:
    """Put an item off: it comes back to this reviewer when nothing else is left. What was typed stays with it."""
    release(connection, item, who)
    connection.execute(delete(SKIPPED).where(SKIPPED.c.key == item.key, SKIPPED.c.reviewer == who.name))
    connection.execute(insert(SKIPPED).values(key=item.key, reviewer=who.name, at=moment(at)))
    log.append(connection, Event(item.room, item.item, who.name, "skipped", moment(at), who.login))


def undo(connection: Connection, room: str, who: Who, plan: Plan, at: datetime) -> tuple[Item, Event] | None:
    """Take back the newest decision or skip of this log-in that still stands, and hold its item; None: there is none.

    Raises:
        Taken: somebody else has the item now; then nothing is taken back.
    """
    standing_ones = _undoable(connection, room, who)
    if not standing_ones:
        return None
    last = standing_ones[-1]
    key = connection.scalar(select(ITEMS.c.key).where(ITEMS.c.room == room, ITEMS.c.item == last.item))
    if key is None:
        raise Taken("the item was forgotten meanwhile; nothing was taken back")
    item = get(connection, key)
    back = Event(room, last.item, who.name, "undone", moment(at), who.login, item.item_sha256, body={"of": last.number})
    if last.kind == "skipped":
        log.append(connection, back)
        connection.execute(delete(SKIPPED).where(SKIPPED.c.key == key, SKIPPED.c.reviewer == who.name))
    else:
        record(connection, item, back, plan)
    item = get(connection, key)
    hold(connection, item, who, plan, at)
    return item, last


def _undoable(connection: Connection, room: str, who: Who) -> list[Event]:
    happened = log.of_login(connection, room, who)
    gone = log.undone(happened)
    finished = max((event.number for event in happened if event.kind == "finished"), default=0)
    kinds = ("decided", "skipped")
    return [e for e in happened if e.kind in kinds and e.number not in gone and e.number > finished]


def save_draft(connection: Connection, item: Item, who: Who, body: dict[str, Any], at: datetime) -> None:
    """Keep what stands in the form, until it is decided."""
    connection.execute(delete(DRAFTS).where(DRAFTS.c.key == item.key, DRAFTS.c.reviewer == who.name))
    text = json.dumps(body, ensure_ascii=False)
    connection.execute(insert(DRAFTS).values(key=item.key, reviewer=who.name, body=text, at=moment(at)))


def draft(connection: Connection, item: Item, who: Who) -> dict[str, Any]:
    """What this reviewer had typed and not decided; empty if nothing."""
    mine = (DRAFTS.c.key == item.key) & (DRAFTS.c.reviewer == who.name)
    found = connection.scalar(select(DRAFTS.c.body).where(mine))
    return dict(json.loads(found)) if found else {}
