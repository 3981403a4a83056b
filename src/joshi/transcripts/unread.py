"""What could not be read as a conversation, and why: a refusal is raised where it is found, reported once."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

Kind = Literal["rejected", "quarantined"]

EXCERPT_CHARACTERS = 200


@dataclass(frozen=True)
class Unread:
    """One record that gave no conversation.

    `source` is the file's name below the folder that was given, `line` its 1-based line in a JSON Lines file.
    Rejected: well-formed, but no usable chat. Quarantined: corrupt. `excerpt` has at most 200 characters.
    """

    source: str
    line: int | None
    kind: Kind
    reason: str
    excerpt: str


class Refused(Exception):  # noqa: N818 - a verdict on a record, not a failure of the program
    """Raised by the readers below when a record gives no conversation; becomes an `Unread`."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason


def rejected(reason: str) -> Refused:
    return Refused("rejected", reason)


def quarantined(reason: str) -> Refused:
    return Refused("quarantined", reason)


def printable(text: str, characters: int = EXCERPT_CHARACTERS) -> str:
    """At most so many characters of a text, safe on a terminal and in any file.

    Control, formatting, surrogate and unassigned characters become U+FFFD, line breaks and tabs a space.
    """
    return "".join(_shown(character) for character in text[:characters])


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    return "\ufffd" if unicodedata.category(character).startswith("C") else character
