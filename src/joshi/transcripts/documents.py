"""The records of one file before anyone asks what they say: lines, elements of an array, or one text.

JSON Lines are streamed: a record holds its place in the file, and its bytes are read when they are wanted.
Only a file that is one JSON value, or one plain text, is held in memory.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from joshi.transcripts.unread import EXCERPT_CHARACTERS, printable, quarantined

LARGEST_RECORD = 16 * 2**20  # bytes; a chat has kilobytes, so more is a mistake or an attack
LARGEST_DOCUMENT = 64 * 2**20  # bytes; one JSON value takes several times its size in memory

_BOM = b"\xef\xbb\xbf"
_BROKEN = re.compile("[\ud800-\udfff\0]")  # as JSON escapes can write them; decoded() sees to raw bytes


@dataclass(frozen=True, slots=True)  # a file of single e-mails is held as millions of these
class Line:
    """One line of a JSON Lines file: its 1-based number, and where its bytes stand in the file."""

    file: BinaryIO
    line: int
    offset: int
    length: int
    where = ""

    @property
    def position(self) -> int:
        return self.line

    def load(self) -> Any:
        if self.length > LARGEST_RECORD:
            raise quarantined(f"the line is over {LARGEST_RECORD // 2**20} MB; split the record")
        return parse(os.pread(self.file.fileno(), self.length, self.offset))

    def excerpt(self) -> str:
        return _head(self.file, self.offset, self.length)


@dataclass(frozen=True)
class Element:
    """A JSON value already in memory: its 1-based position, and in words where it stands in its file."""

    value: Any
    position: int = 1
    where: str = ""
    line: int | None = None

    def load(self) -> Any:
        return self.value

    def excerpt(self) -> str:
        start = ""
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(self.value):
            start += piece[:EXCERPT_CHARACTERS]
            if len(start) >= EXCERPT_CHARACTERS:
                break
        return printable(start)


@dataclass(frozen=True)
class Text:
    """A whole file: one plain text, or what could not be taken apart."""

    file: BinaryIO
    position = 1
    where = ""
    line = None

    def load(self) -> str:
        size = size_of(self.file)
        if size > LARGEST_RECORD:
            raise quarantined(f"the text is over {LARGEST_RECORD // 2**20} MB; split the file")
        return decoded(os.pread(self.file.fileno(), size, 0))

    def excerpt(self) -> str:
        return _head(self.file, 0, size_of(self.file))


Found = Line | Element | Text


def lines(file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank; of one that is too large no more than a part is in memory at a time."""
    file.seek(0)
    number = offset = 0
    while start := file.readline(LARGEST_RECORD + 1):
        number += 1
        length = len(start)
        blank = not start.removeprefix(_BOM).strip()
        while not start.endswith(b"\n") and (start := file.readline(2**20)):
            length += len(start)
            blank = blank and not start.strip()
        if not blank:
            yield Line(file, number, offset, length)
        offset += length


def parse(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Refused: quarantined; not UTF-8, not JSON, a key that stands twice in an object, or nested too deeply.
    """
    text = decoded(content).rstrip()
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise quarantined("nested too deeply to be a chat") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"character {error.colno}"
        raise quarantined(f"not JSON: {error.msg} at {where}; export the record again") from None
    except ValueError as error:
        raise quarantined(f"not JSON: {printable(str(error))}; export the record again") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of the pairs. Of a key that stands twice, Python keeps the last and others the first: nobody knows."""
    made = dict(pairs)
    if len(made) < len(pairs):
        key = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        raise quarantined(f"the key {printable(key, 60)!r} stands twice in an object; export the record again")
    return made


def decoded(content: bytes) -> str:
    """The text of bytes that must be UTF-8, without its byte order mark.

    Raises:
        Refused: quarantined; not UTF-8, or NUL bytes in it.
    """
    if b"\0" in content:
        raise quarantined("NUL bytes; the file is damaged, binary or UTF-16: save it as UTF-8")
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise quarantined(f"not UTF-8: byte 0x{byte:02x} at {error.start + 1}; save the file as UTF-8") from None


def intact(value: Any) -> None:
    """Refuse what parses but is no JSON: half a character, NUL, NaN; and a record that is too large.

    Raises:
        Refused: quarantined.
    """
    characters = 0
    waiting = [value]  # not recursive: the value may be nested as deep as the parser allows
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            characters += len(part)
            if broken := _BROKEN.search(part):
                what = "a NUL character" if broken.group() == "\0" else "a lone surrogate (half a character)"
                raise quarantined(f"{what} in {printable(part, 60)!r}; export the record again")
        elif isinstance(part, float) and not math.isfinite(part):
            raise quarantined(f"{part} where a number was expected; export the record again")
        elif isinstance(part, dict):
            waiting += part.keys()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    if characters > LARGEST_RECORD:
        raise quarantined(f"the record is over {LARGEST_RECORD // 2**20} MB; split it")


def size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _head(file: BinaryIO, offset: int, length: int) -> str:
    # Four bytes a character at most, and the byte order mark; a character cut in two at the end is dropped.
    content = os.pread(file.fileno(), min(length, 4 * EXCERPT_CHARACTERS + len(_BOM)), offset)
    return printable(content.removeprefix(_BOM).decode(errors="replace").rstrip("\r\n"))
