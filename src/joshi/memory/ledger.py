"""The ledger: every plan, dataset, release and finding in the order of time, never changed afterwards."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, MetaData, String, Table, Text, create_engine, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from joshi.errors import JoshiError
from joshi.workspace import make_folder

NAMESPACE = uuid.UUID("6f2f4a5e-94a3-5b0e-9c3d-0d8f3f3a6c11")  # fixed for good: ids are computed from it
BUSY_SECONDS = 5.0  # how long to wait for another program's write

_METADATA = MetaData()
_LEDGER = Table(
    "ledger",
    _METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", String, nullable=False, index=True),
    Column("mirrored_at", String),
    sqlite_with_rowid=False,  # a hidden row number would be a second key by which REPLACE could overwrite
)
# INSERT OR REPLACE deletes without firing a delete trigger, hence the third.
_TRIGGERS = (
    """CREATE TRIGGER IF NOT EXISTS ledger_no_delete BEFORE DELETE ON ledger
       BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS ledger_no_update BEFORE UPDATE OF id, kind, payload, created_at ON ledger
       BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS ledger_no_replace BEFORE INSERT ON ledger
       WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id)
       BEGIN SELECT RAISE(IGNORE); END""",
)


@dataclass(frozen=True)
class Entry:
    id: str
    kind: str
    payload: dict[str, Any]
    created_at: str  # ISO 8601, UTC
    mirrored_at: str | None = None


class Ledger:
    """An append-only table in the workspace's SQLite file. Close it, or use it in a `with` statement.

    Every method raises JoshiError if the database is locked by another program or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        self._engine = open_engine(path)
        with self._explained(), self._engine.begin() as connection:
            _METADATA.create_all(connection)
            for trigger in _TRIGGERS:
                connection.exec_driver_sql(trigger)

    def append(self, kind: str, payload: Mapping[str, Any], created_at: str | None = None) -> Entry:
        """Add an entry; the same kind, payload and time again change nothing.

        Args:
            created_at: ISO 8601 with a time zone; now if left out.
        """
        entry = _new_entry(kind, dict(payload), utc(created_at))
        row = {
            "id": entry.id,
            "kind": kind,
            "payload": _canonical(entry.payload),
            "created_at": entry.created_at,
        }
        with self._explained(), self._engine.begin() as connection:
            connection.execute(insert(_LEDGER).values(row).on_conflict_do_nothing())
        return entry

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries, or those of one kind, oldest first."""
        query = select(_LEDGER).order_by(_LEDGER.c.created_at, _LEDGER.c.id)
        if kind is not None:
            query = query.where(_LEDGER.c.kind == kind)
        with self._explained(), self._engine.connect() as connection:
            return [self._entry(row) for row in connection.execute(query)]

    def mark_mirrored(self, ids: Iterable[str]) -> None:
        now = utc()
        with self._explained(), self._engine.begin() as connection:
            for identity in ids:
                connection.execute(update(_LEDGER).where(_LEDGER.c.id == identity).values(mirrored_at=now))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, row: Any) -> Entry:
        try:
            entry = _new_entry(row.kind, json.loads(row.payload), row.created_at)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"entry {row.id} cannot be read") from error
        if entry.id != row.id:
            raise self._damaged(f"entry {row.id} was changed after it was written")
        return Entry(entry.id, entry.kind, entry.payload, entry.created_at, row.mirrored_at)

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(self.path)

    def _damaged(self, problem: str) -> JoshiError:
        return _damaged(self.path, problem)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what is wrong with the database.

    Raises:
        JoshiError: it is locked by another program, the disk is full, or it is damaged.
    """
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:  # the latter while connecting
        problem = str(getattr(error, "orig", error))
        if "locked" in problem:
            raise JoshiError(f"{path} is locked by another program; close it, then run the command again") from error
        if "disk is full" in problem:
            raise JoshiError(f"{path}: the disk is full; nothing was added; free some space and run again") from error
        raise _damaged(path, problem) from error


def _damaged(path: Path, problem: str) -> JoshiError:
    return JoshiError(
        f"{path} cannot be used ({problem}); restore it from a backup, or move it away to begin a new ledger"
    )


def utc(at: str | None = None) -> str:
    """A time, or now, as ISO 8601 in UTC with microseconds, so that text order is time order."""
    moment = datetime.fromisoformat(at) if at else datetime.now(UTC)
    if moment.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def record_id(record: Any) -> str:
    """uuid5 of a record's canonical JSON: the same record has the same id everywhere."""
    return str(uuid.uuid5(NAMESPACE, _canonical(record)))


def _new_entry(kind: str, payload: dict[str, Any], created_at: str) -> Entry:
    identity = record_id({"kind": kind, "payload": payload, "created_at": created_at})
    return Entry(identity, kind, payload, created_at)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def open_engine(path: Path) -> Engine:
    """The workspace's SQLite file: readers do not wait for a writer, and what was written outlives a power cut."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # an entry outlives a power cut

    return engine
