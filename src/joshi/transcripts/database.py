"""Chats in a database: the rows of a query as a JSON Lines file in the workspace, which then is read like any other.

So what was read has a sha256, rows that did not change change nothing, and nothing is asked of the database later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from joshi.errors import JoshiError, Unavailable
from joshi.plan import DatabaseSection
from joshi.transcripts.documents import parse
from joshi.transcripts.unread import Refused, printable
from joshi.workspace import Workspace, atomic, clear_partial

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

ROWS_AT_ONCE = 200  # fetched from the server; a row may have megabytes
OWNER_ALONE = 0o600  # what a database guards, its copy guards too
# What readers want as objects and lists. Any other column is text, even where a message looks like JSON.
_JSON = frozenset(
    "messages conversations participants context state email_history conversation_history metadata thread_headers "
    "negotiation_context decision recipients in_reply_to references reference_ids headers raw_headers supplier_output "
    "negotiation_output qas context_prompts chat_logs scenario events".split()
)
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
_MOST_DIGITS = 40  # of a whole number written as one


def refresh(databases: Sequence[DatabaseSection], workspace: Workspace, environment: Mapping[str, str]) -> None:
    """Write each database's snapshot anew, and delete those of databases that are no longer named.

    Raises:
        Unavailable: a database, or its driver, cannot be reached.
        JoshiError: its URL or query is wrong, or the query gives no rows.
    """
    wanted = {snapshot_path(database.name, workspace) for database in databases}
    for old in (workspace.private / "transcripts").glob("*.jsonl"):
        if old not in wanted:
            old.unlink()
    for database in databases:
        path = snapshot_path(database.name, workspace)
        clear_partial(path)
        rows = 0
        with atomic(path, "wb", OWNER_ALONE) as out:
            for line in _lines(database, _url(database, workspace, environment)):
                out.write(line)
                rows += 1
            if not rows:
                raise JoshiError(
                    f"{_place(database)} query gives no rows; widen it, or take the database out of the plan"
                )


def snapshot_path(name: str, workspace: Workspace) -> Path:
    return workspace.private / "transcripts" / f"{name}.jsonl"


def _place(database: DatabaseSection) -> str:
    return f"joshi.toml: [[transcripts.databases]] {database.name}:"


def _url(database: DatabaseSection, workspace: Workspace, environment: Mapping[str, str]) -> URL:
    from sqlalchemy import make_url  # takes a third of a second, which commands without a database do not wait
    from sqlalchemy.exc import ArgumentError

    text = database.url
    if text.startswith("env:"):
        variable = text.removeprefix("env:")
        text = environment.get(variable, "").strip()
        if not text:
            raise JoshiError(
                f"{_place(database)} url names the environment variable {variable}, which is not set; "
                "set it to the database's URL and run again"
            )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # not told on: the text may hold a password
        raise JoshiError(
            f"{_place(database)} url is no SQLAlchemy URL; write it as postgresql+psycopg://user@host/name"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith("file:"):
        # Opened as it stands, a file that is missing would be made.
        file = workspace.root / Path(url.database).expanduser()
        url = url.set(database=f"file:{quote(str(file.resolve()))}").update_query_dict({"mode": "ro", "uri": "true"})
    return url


def _lines(database: DatabaseSection, url: URL) -> Iterator[bytes]:
    from sqlalchemy.exc import DBAPIError

    with _connected(database, url) as connection:
        try:
            if begin := _READ_ONLY.get(connection.dialect.name):
                connection.exec_driver_sql(begin)
            if connection.dialect.name == "sqlite":
                # Else one text that is not UTF-8 ends the whole query.
                driver: Any = connection.connection.driver_connection
                driver.text_factory = _text
            asked = connection.execution_options(no_parameters=True, stream_results=True, yield_per=ROWS_AT_ONCE)
            result = asked.exec_driver_sql(database.query.strip().removesuffix(";"))
            columns = list(result.keys())
            if twice := next((name for name in columns if columns.count(name) > 1), None):
                raise JoshiError(f"{_place(database)} query gives the column {twice} twice; name one of them with AS")
            for row in result:
                yield _line(dict(zip(columns, row, strict=True)))
        except DBAPIError as error:
            reason = _reason(error, url)
            if error.connection_invalidated:
                raise Unavailable(f"{_place(database)} the connection broke ({reason}); run again") from None
            raise JoshiError(
                f"{_place(database)} query failed ({reason}); mend it, trying it in the database's own client"
            ) from None


def _connected(database: DatabaseSection, url: URL) -> Connection:
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    try:
        return _engine(url).connect()
    except (NoSuchModuleError, ImportError) as error:
        raise Unavailable(
            f"{_place(database)} the driver for {url.drivername} is not installed ({_reason(error, url)}); "
            "install it with pip and run again"
        ) from None
    except (SQLAlchemyError, OSError, TypeError, ValueError) as error:
        raise Unavailable(
            f"{_place(database)} the database cannot be reached ({_reason(error, url)}); "
            "check that it runs and that url leads to it, and run again"
        ) from None


def _engine(url: URL) -> Engine:
    from sqlalchemy import NullPool, create_engine

    return create_engine(url, poolclass=NullPool)


def _reason(error: Exception, url: URL) -> str:
    """The first line of what the driver says, without what the URL keeps secret."""
    said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    options = [value for key, value in url.query.items() if "pass" in key.lower() or "pwd" in key.lower()]
    for secret in (url.password, *options):
        for form in {str(secret or ""), quote(str(secret or "")), unquote(str(secret or ""))} - {""}:
            said = said.replace(form, "***")
    return printable(said).rstrip(". ")


def _line(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON. Bytes that are not UTF-8 stay in it as they are, for the reader to quarantine."""
    record = {key: _decoded(key, _text(value) if isinstance(value, bytes) else value) for key, value in row.items()}
    line = json.dumps(record, ensure_ascii=False, default=_plain) + "\n"
    try:
        return line.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half a character, from a JSON column
        return (json.dumps(record, default=_plain) + "\n").encode()


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _decoded(key: str, value: Any) -> Any:
    if key.casefold() in _JSON and isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parse(value.encode(errors="surrogateescape"))
        except Refused:
            return value  # the reader says of the record what is wrong with it
    return value


def _plain(value: Any) -> Any:
    """What JSON has no type for."""
    match value:
        case date() | time():  # and datetime, which is a date
            return value.isoformat()
        case Decimal():
            return _number(value)
        case bytes() | bytearray() | memoryview():
            return _text(bytes(value))
        case set() | frozenset():
            return sorted(value, key=str)
        case _:
            return str(value)  # identifiers, intervals, addresses


def _number(value: Decimal) -> int | float | str:
    """A number if it is one to the last digit, else its text."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and value.adjusted() < _MOST_DIGITS:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
