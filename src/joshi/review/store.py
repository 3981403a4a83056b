"""Where the review room keeps what people decide: tables in joshi.db, or in the PostgreSQL database of the plan.

An event is only ever appended and names texts by their sha256; the texts lie beside it, so that a person can be
forgotten while the log stays as it is. What can be made again from events and candidates (the queue) may change.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from joshi.errors import JoshiError, Unavailable
from joshi.plan import Plan
from joshi.workspace import Workspace, make_folder

BUSY_SECONDS = 5.0  # how long to wait for another program's write
SCHEMA = "1"

METADATA = MetaData()
EVENTS = Table(
    "review_events",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", String, nullable=False),  # ISO 8601 in UTC with microseconds: text order is time order
    Column("room", String, nullable=False),
    Column("item", String, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("login", Integer),  # none: a file was imported
    Column("kind", String, nullable=False),
    Column("item_sha256", String),  # what the item was when it was decided on
    Column("before_sha256", String),  # the text that the reviewer was shown
    Column("after_sha256", String),
    Column("rubric_version", Integer, nullable=False),
    Column("body", Text, nullable=False),  # JSON of what the room adds
    Index("review_events_item", "room", "item"),
    Index("review_events_reviewer", "reviewer", "room"),
    sqlite_autoincrement=True,  # a number is never used again
)
TEXTS = Table(
    "review_texts",
    METADATA,
    Column("room", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("text", Text, nullable=False),
)
ITEMS = Table(
    "review_items",
    METADATA,
    Column("key", String, primary_key=True),  # random: the only name of an item that a browser sees
    Column("room", String, nullable=False),
    Column("item", String, nullable=False),
    Column("sample", String, nullable=False, index=True),  # whose words it holds
    Column("position", Integer, nullable=False),
    Column("item_sha256", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("repeats", String),  # the item of the same room that is shown again
    Column("gone", Integer, nullable=False),  # 1: no longer in its source
    Column("status", String, nullable=False),
    Column("wanted", Integer, nullable=False),  # reviewers still wanted
    Column("version", Integer, nullable=False),  # its newest event; 0: none
    UniqueConstraint("room", "item"),
    Index("review_items_all", "room", "gone"),
)
# Items that want a reviewer, in their order: the next one is found and the others are counted here.
_OPEN = text("gone = 0 AND wanted > 0")
Index("review_items_open", ITEMS.c.room, ITEMS.c.position, sqlite_where=_OPEN, postgresql_where=_OPEN)
BARRED = Table(  # who has had a say on an item and is not asked again
    "review_barred",
    METADATA,
    Column("key", String, primary_key=True),
    Column("reviewer", String, primary_key=True, index=True),
)
LOCKS = Table(
    "review_locks",
    METADATA,
    Column("key", String, primary_key=True),
    Column("reviewer", String, primary_key=True),
    Column("until", String, nullable=False),
)
SKIPPED = Table(
    "review_skipped",
    METADATA,
    Column("key", String, primary_key=True),
    Column("reviewer", String, primary_key=True),
    Column("at", String, nullable=False),
)
DRAFTS = Table(
    "review_drafts",
    METADATA,
    Column("key", String, primary_key=True),
    Column("reviewer", String, primary_key=True),
    Column("body", Text, nullable=False),  # JSON of what stands in the form
    Column("at", String, nullable=False),
)
REVIEWERS = Table(
    "reviewers",
    METADATA,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("token_sha256", String, nullable=False, unique=True),
    Column("created_at", String, nullable=False),
    Column("removed_at", String),
)
LOGINS = Table(
    "review_logins",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("cookie_sha256", String, nullable=False, unique=True),
    Column("reviewer", String, nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("until", String, nullable=False),
    sqlite_autoincrement=True,
)
ATTEMPTS = Table(
    "review_attempts",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("address", String, nullable=False),
    Column("at", String, nullable=False, index=True),
)
BLIND = Table(
    "review_blind",
    METADATA,
    Column("session", String, primary_key=True),
    Column("at", String, nullable=False),
    Column("baseline", String, nullable=False),
    Column("model_sha256", String, nullable=False),
    Column("secret", String, nullable=False),  # which side is which is computed from it
    Column("closed_at", String),
)
FACTS = Table(
    "review_facts", METADATA, Column("name", String, primary_key=True), Column("value", String, nullable=False)
)

_SQLITE_TRIGGERS = (
    """CREATE TRIGGER review_events_no_delete BEFORE DELETE ON review_events
       BEGIN SELECT RAISE(ABORT, 'the review log is append-only'); END""",
    """CREATE TRIGGER review_events_no_update BEFORE UPDATE ON review_events
       BEGIN SELECT RAISE(ABORT, 'the review log is append-only'); END""",
    # INSERT OR REPLACE deletes without firing a delete trigger.
    """CREATE TRIGGER review_events_no_replace BEFORE INSERT ON review_events
       WHEN EXISTS (SELECT 1 FROM review_events WHERE number = NEW.number)
       BEGIN SELECT RAISE(ABORT, 'the review log is append-only'); END""",
)
_POSTGRESQL_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION review_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'the review log is append-only'; END $$""",
    """CREATE TRIGGER review_events_no_change BEFORE UPDATE OR DELETE ON review_events
       FOR EACH ROW EXECUTE FUNCTION review_events_refuse()""",
    """CREATE TRIGGER review_events_no_truncate BEFORE TRUNCATE ON review_events
       FOR EACH STATEMENT EXECUTE FUNCTION review_events_refuse()""",
)


class StoreFault(JoshiError):  # noqa: N818 - the database is at fault
    """The database is locked, full, damaged or away: nothing of the transaction was kept."""


class Store:
    """The tables behind the review room. Close it, or use it in a `with` statement.

    Raises:
        StoreFault: the database is locked by another program, the disk is full, or the file is damaged.
        Unavailable: the server of the plan's URL does not answer, or its driver is not installed.
    """

    def __init__(self, url: URL, busy_seconds: float = BUSY_SECONDS) -> None:
        self.url = url
        self.place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
        try:
            self._engine = _engine(url, busy_seconds)
        except (NoSuchModuleError, ImportError) as error:
            raise Unavailable(
                f"joshi.toml: [review] url: the driver for {url.drivername} is not installed; "
                "run pip install 'joshi[postgres]'"
            ) from error
        with self.writing() as connection:
            _create(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state and changes nothing."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writes beside; on leaving it is on disk, or, with an exception, undone."""
        with self._explained(), self._engine.connect() as connection:
            connection = connection.execution_options(joshi_writes=True)
            with connection.begin():
                if connection.dialect.name != "sqlite":
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(74102735)")  # any number, always the same
                yield connection

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error, SQLAlchemyError) as error:  # sqlite3's own while connecting
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> JoshiError:
        problem = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        if "locked" in problem or "busy" in problem:
            return StoreFault(f"{self.place} is locked by another program; nothing was saved; close it and try again")
        if "full" in problem or "No space left" in problem:
            return StoreFault(f"{self.place}: the disk is full; nothing was saved; free some space and try again")
        if self.url.get_backend_name() == "sqlite":
            return StoreFault(f"{self.place} cannot be used ({problem}); nothing was saved; restore it from a backup")
        if self.url.password:
            problem = problem.replace(str(self.url.password), "***")
        return Unavailable(
            f"{self.place} cannot be used ({problem}); nothing was saved; see that the database runs and try again"
        )


def open_store(plan: Plan, workspace: Workspace, environment: Mapping[str, str] = os.environ) -> Store:
    """The store that the plan names.

    Raises:
        JoshiError: the environment variable of the URL is not set, or it holds no URL that can be used.
    """
    if plan.review.url is None:
        make_folder(workspace.private)
        return Store(URL.create("sqlite", database=str(workspace.database)))
    named = plan.review.url
    if named.startswith("env:"):
        variable = named.removeprefix("env:")
        named = environment.get(variable, "").strip()
        if not named:
            raise JoshiError(
                f"joshi.toml: [review] url names the environment variable {variable}, which is not set; "
                "set it to the database's URL and run again"
            )
    try:
        url = make_url(named)
    except (ArgumentError, ValueError):
        raise JoshiError(
            "joshi.toml: [review] url is no SQLAlchemy URL; write it as postgresql://user@host/name"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise JoshiError(
            f"joshi.toml: [review] url is of {url.get_backend_name()}; expected postgresql://user@host/name, "
            "or leave url out for a file in the workspace"
        )
    return Store(url.set(drivername="postgresql+psycopg"))


def secret(connection: Connection, name: str) -> str:
    """A random text of that name, made when first asked for in a writing transaction."""
    found = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == name))
    if found is None:
        found = secrets.token_hex(32)
        connection.execute(insert(FACTS).values(name=name, value=found))
    return str(found)


def _engine(url: URL, busy_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    # The driver's own BEGIN would take the write lock late, after a read that another may have outdated.
    engine = create_engine(url, connect_args={"timeout": busy_seconds})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # what was shown as saved outlives a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("joshi_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create(connection: Connection) -> None:
    if not inspect(connection).has_table("review_facts"):
        METADATA.create_all(connection)
        triggers = _SQLITE_TRIGGERS if connection.dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS
        for trigger in triggers:
            connection.exec_driver_sql(trigger)
        connection.execute(insert(FACTS).values(name="schema", value=SCHEMA))
    found = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == "schema"))
    if found != SCHEMA:
        raise JoshiError(
            f"the review tables are of version {found}, this Joshi reads {SCHEMA}; use the Joshi that wrote them"
        )
