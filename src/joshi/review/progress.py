"""How far a room is, and how long the rest will take."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Connection, and_, func, select

from joshi.review import log
from joshi.review.log import Event, Who, moment
from joshi.review.queue import open_items, wants
from joshi.review.store import BARRED, EVENTS, ITEMS, LOCKS, SKIPPED

IDLE = timedelta(minutes=10)  # a longer gap between two decisions was no work on one item
RECENT = 20  # decisions from which the time left is told


@dataclass(frozen=True)
class Count:
    """How far a room is. `left` is what this reviewer may still be given, `skipped` of it was put off.

    What will be shown again counts as left from the start: else the count would tell which items come twice.
    """

    total: int
    decided: int
    left: int
    skipped: int
    elsewhere: int  # wants a reviewer, and is with another one now
    undoable: int  # decisions and skips of this log-in that may be taken back
    seconds_left: float | None  # at the median pace of the last decisions; None before there are three


def count(connection: Connection, room: str, who: Who, at: datetime) -> Count:
    """How far the room is, for this reviewer. What is large is counted in an index, what is joined is small."""
    items = select(func.count()).select_from(ITEMS)
    total = connection.scalar(items.where(ITEMS.c.room == room, ITEMS.c.gone == 0)) or 0
    wanting = connection.scalar(items.where(open_items(room))) or 0
    barred = _joined(connection, BARRED, BARRED.c.reviewer == who.name, room, who, barred=True)
    skipped = _joined(connection, SKIPPED, SKIPPED.c.reviewer == who.name, room, who)
    others = (LOCKS.c.reviewer != who.name) & (LOCKS.c.until > moment(at))
    held = (
        select(ITEMS.c.key)
        .join(LOCKS, and_(LOCKS.c.key == ITEMS.c.key, others))
        .where(wants(room, who))
        .group_by(ITEMS.c.key, ITEMS.c.wanted)
        .having(func.count() >= ITEMS.c.wanted)
    )
    elsewhere = len(connection.execute(held).all())
    left = wanting - barred - elsewhere
    pace = _pace(connection, room, who)
    seconds_left = None if pace is None else pace * left
    return Count(total, total - wanting, left, skipped, elsewhere, _undoable(connection, room, who), seconds_left)


def _joined(connection: Connection, table, mine, room: str, who: Who, barred: bool = False) -> int:  # type: ignore[no-untyped-def]
    open_ones = open_items(room) if barred else wants(room, who)
    query = select(func.count()).select_from(table).join(ITEMS, ITEMS.c.key == table.c.key).where(mine, open_ones)
    return connection.scalar(query) or 0


def _of_login(room: str, who: Who):  # type: ignore[no-untyped-def]
    return and_(EVENTS.c.room == room, EVENTS.c.reviewer == who.name, EVENTS.c.login == who.login)


def _undoable(connection: Connection, room: str, who: Who) -> int:
    """Decisions and skips since logging in, less what was taken back; none from before the reviewer finished."""
    mine = _of_login(room, who)
    finished = select(func.coalesce(func.max(EVENTS.c.number), 0)).where(mine, EVENTS.c.kind == "finished")
    since = select(EVENTS.c.kind, func.count().label("n")).where(mine, EVENTS.c.number > finished.scalar_subquery())
    found = {row.kind: int(row.n) for row in connection.execute(since.group_by(EVENTS.c.kind))}
    return found.get("decided", 0) + found.get("skipped", 0) - found.get("undone", 0)


def _pace(connection: Connection, room: str, who: Who) -> float | None:
    """Seconds from a decision to the next, the median of the last ones of this log-in."""
    query = select(EVENTS).where(_of_login(room, who)).order_by(EVENTS.c.number.desc()).limit(3 * RECENT)
    happened: list[Event] = [log.read(row) for row in connection.execute(query)][::-1]
    gone = log.undone(happened)
    times = [datetime.fromisoformat(e.at) for e in happened if e.kind == "decided" and e.number not in gone]
    gaps = [later - before for before, later in pairwise(times)][-RECENT:]
    seconds = [gap.total_seconds() for gap in gaps if gap < IDLE]
    return statistics.median(seconds) if len(seconds) > 1 else None
