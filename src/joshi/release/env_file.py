"""One variable of a .env file, read and changed without touching anything else in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joshi.errors import JoshiError
from joshi.workspace import atomic, explain

HEAD = re.compile(r"\ufeff?[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
# A quoted value may span lines; after it only a comment may follow, else the line is taken as it stands.
QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'[^']*')[ \t]*(?=\#|\r?(?:\n|\Z))""", re.DOTALL)
PLAIN_VALUE = re.compile(r"[A-Za-z0-9._:/@+-]+")


@dataclass(frozen=True)
class _Assignment:
    name: str
    value: str
    quote: str  # " or ' or nothing
    start: int  # where the value lies in the text, quotes included
    end: int


def read_value(path: Path, name: str) -> str | None:
    """What the variable is set to; the last assignment wins, as in a shell. None if there is none.

    Raises:
        JoshiError: the file cannot be read.
    """
    found = _last(_text(read_bytes(path) or b""), name)
    return found.value if found else None


def set_value(path: Path, name: str, value: str) -> None:
    """Set the variable in place, or add it at the end; makes the file if there is none.

    Other lines, comments, quotation marks, line endings, the file's mode and a link stay as they are.

    Raises:
        JoshiError: no quotation marks make this value one line, or the file cannot be read or written.
    """
    if "'" in value or not value.isprintable():
        raise JoshiError(f"{path}: {name} cannot be set to {value!r}; it must be one line without '")
    plain = bool(PLAIN_VALUE.fullmatch(value))
    before = read_bytes(path)
    text = _text(before or b"")
    found = _last(text, name)
    if found:
        quote = found.quote if plain else "'"
        text = f"{text[: found.start]}{quote}{value}{quote}{text[found.end :]}"
    else:
        newline = "\r\n" if "\r\n" in text else "\n"
        gap = newline if text and not text.endswith("\n") else ""
        shown = value if plain else f"'{value}'"
        text = f"{text}{gap}{name}={shown}{newline}"
    after = text.encode("utf-8", "surrogateescape")
    if after != before:
        replace_bytes(path, after)


def unset(path: Path, name: str) -> None:
    """Take out every line that sets the variable; the others stay as they are.

    Raises:
        JoshiError: the file cannot be read or written.
    """
    before = read_bytes(path)
    text = _text(before or b"")
    while found := _last(text, name):
        start = text.rfind("\n", 0, found.start) + 1
        text = text[:start] + text[_line_end(text, found.end) + 1 :]
    after = text.encode("utf-8", "surrogateescape")
    if before is not None and after != before:
        replace_bytes(path, after)


def read_bytes(path: Path) -> bytes | None:
    """The file's content, or None if there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error


def replace_bytes(path: Path, content: bytes) -> None:
    """Write the file that the path leads to, whole or not at all, keeping its mode."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o7777 if target.exists() else None
    with atomic(target, "wb") as out:
        out.write(content)
    if mode is not None:
        target.chmod(mode)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")  # bytes of another encoding come out as they went in


def _last(text: str, name: str) -> _Assignment | None:
    found = None
    for assignment in _assignments(text):
        if assignment.name == name:
            found = assignment
    return found


def _assignments(text: str) -> Iterator[_Assignment]:
    position = 0
    while position < len(text):
        head = HEAD.match(text, position)
        if head:
            quoted = QUOTED.match(text, head.end())
            if quoted:
                raw, position = quoted[1], quoted.end(1)
                value = raw[1:-1] if raw[0] == "'" else re.sub(r"\\(.)", r"\1", raw[1:-1], flags=re.DOTALL)
                yield _Assignment(head[1], value, raw[0], head.end(), position)
            else:
                line = text[head.end() : _line_end(text, position)]
                value = re.split(r"[ \t]#", line, maxsplit=1)[0].rstrip()
                yield _Assignment(head[1], value, "", head.end(), head.end() + len(value))
        position = _line_end(text, position) + 1


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end
