"""Chats as CSV: a turn a row, the rows of a conversation together, columns found by their names."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from joshi.transcripts.documents import LARGEST_RECORD, Element
from joshi.transcripts.unread import Refused, printable, quarantined, rejected

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a chat needs or may have, and the headings that are taken for it
    "id": ("conversation_id", "conversation", "thread_id", "dialogue_id", "dialog_id", "chat_id", "session_id"),
    "role": ("role", "sender_role", "speaker_role", "from"),
    "content": ("content", "text", "message", "body", "utterance"),
    "name": ("name", "speaker", "sender", "author"),
    "at": ("at", "sent_at", "timestamp", "created_at", "date", "time"),
}
_NEEDED = ("id", "role", "content")


@dataclass(frozen=True)
class Broken:
    """Where a table could not be read on."""

    position: int
    line: int | None
    refusal: Refused
    where = ""

    def load(self) -> Any:
        raise self.refusal

    def excerpt(self) -> str:
        return ""


def conversations(file: BinaryIO) -> Iterator[Element | Broken]:
    """Each run of rows with one id, as a chat record (joshi.transcripts.chat).

    Raises:
        Refused: rejected; the first row does not name the columns that a chat needs.
    """
    file.seek(0)
    first = file.readline(2**16)
    delimiter = max(",;\t", key=lambda one: first.count(one.encode()))
    rows = _rows(file, delimiter)
    _, heading = next(rows, (0, list[str]()))
    if isinstance(heading, Refused):
        raise heading
    places = _places(heading)
    missing = [name for name in _NEEDED if name not in places]
    if missing:
        names, found = " and ".join(_COLUMNS[name][0] for name in missing), printable(", ".join(heading), 80)
        raise rejected(f"a table without a column for {names} (its first row: {found}); name its columns so")
    return _chats(rows, places)


def _chats(rows: Iterator[tuple[int, Any]], places: dict[str, int]) -> Iterator[Element | Broken]:
    def cell(row: Any, name: str) -> str:
        place = places.get(name, len(row))
        return str(row[place]).strip() if place < len(row) else ""

    def key(numbered: tuple[int, Any]) -> str | None:
        return None if isinstance(numbered[1], Refused) else cell(numbered[1], "id")

    for position, (identity, run) in enumerate(itertools.groupby(rows, key=key), 1):
        start, row = next(run)
        if isinstance(row, Refused):
            yield Broken(position, start, row)
            return
        size = 0
        messages = []
        for _, one in itertools.chain([(start, row)], run):
            size += sum(map(len, one))
            if size > LARGEST_RECORD:
                break
            said = {name: cell(one, name) for name in ("role", "content", "name", "at")}
            messages.append({name: value for name, value in said.items() if value or name in ("role", "content")})
        if size > LARGEST_RECORD:
            yield Broken(
                position, start, quarantined(f"the conversation is over {LARGEST_RECORD // 2**20} MB; split it")
            )
        elif not identity:
            yield Broken(position, start, rejected("a row without a conversation's id"))
        else:
            yield Element({"id": identity, "messages": messages}, position, line=start)


def _rows(file: BinaryIO, delimiter: str) -> Iterator[tuple[int, Any]]:
    """Rows that are not blank with the line they begin on; a refusal in place of the first that cannot be read."""
    csv.field_size_limit(LARGEST_RECORD)
    reader = csv.reader(_lines(file), delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            yield line, quarantined(f"no table from here on: {printable(str(error))}; save the file as UTF-8 CSV")
            return
        if any("\0" in value for value in row):
            yield line, quarantined("NUL bytes; the file is damaged or binary: save it as UTF-8 CSV")
            return
        if any(value.strip() for value in row):
            yield line, row


def _lines(file: BinaryIO) -> Iterator[str]:
    file.seek(0)
    mark = "\ufeff"  # of byte order, at the start alone
    while raw := file.readline(LARGEST_RECORD + 1):
        if len(raw) > LARGEST_RECORD:
            raise csv.Error(f"a line of over {LARGEST_RECORD // 2**20} MB")
        yield raw.decode("utf-8").removeprefix(mark)
        mark = ""


def _places(heading: list[str]) -> dict[str, int]:
    names = [name.strip().casefold().replace(" ", "_") for name in heading]
    found: dict[str, int] = {}
    for column, known in _COLUMNS.items():
        place = next((names.index(name) for name in known if name in names), None)
        if place is not None:
            found[column] = place
    return found
