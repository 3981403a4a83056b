"""Words of a message with what surrounds them: what the classifiers look at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<number>(?:(?<![\w.,])\.)?\d+(?:[.,'’]\d+)*)|(?P<word>[^\W\d_](?:[\w’'-]*\w)?)|(?P<line>\n+)|(?P<mark>[^\w\s]|_)"
)
_POSSESSIVE = re.compile(r"(?<=\w)['’]s?$")
# Capital letters of the languages in Latin script, for a class in a pattern.
UPPER = "A-ZÀ-ÖØ-ÞĀĆČĎĐĒĘĞĢĪİĶĻŁŃŇŐŘŚŞŠŢŤŪŮŰŹŻŽ"
MOST_CHARACTERS = 2_000  # searched at once
_LEXICON = Path(__file__).with_name("lexicon.txt")


class Token(NamedTuple):
    text: str  # without a possessive ending
    lower: str
    start: int
    end: int
    shape: str  # Xx, XX, xx, X, xX, 0, ⏎, or the mark itself
    first: bool  # of a sentence
    line_start: bool
    line_end: bool
    possessive: bool


def tokens(text: str, masked: Sequence[tuple[int, int, str]] = ()) -> list[Token]:
    """`masked` are spans that are identifiers already; each becomes one token named by its kind, such as <EMAIL>."""
    raw: list[tuple[str, int, int, str]] = []
    at = 0
    for start, end, kind in [*sorted(masked), (len(text), len(text), "")]:
        for found in _TOKEN.finditer(text, at, start):
            raw.append((found.group(), *found.span(), found.lastgroup or ""))
        if kind:
            raw.append((f"<{kind}>", start, end, "masked"))
        at = max(at, end)
    made: list[Token] = []
    first = line_start = True
    ends = [*(kind == "line" for *_, kind in raw[1:]), True] if raw else []
    for (chunk, start, _, kind), line_end in zip(raw, ends, strict=True):
        bare, lower, shape = _formed(chunk, kind)
        made.append(Token(bare, lower, start, start + len(bare), shape, first, line_start, line_end, bare != chunk))
        line_start = kind == "line"
        first = line_start or chunk in ".!?…:•" or (first and kind == "mark")
    return made


@lru_cache(maxsize=20_000)
def _formed(chunk: str, kind: str) -> tuple[str, str, str]:
    """A chunk without a possessive ending, the same in small letters, and its shape."""
    if kind == "word":
        bare = _POSSESSIVE.sub("", chunk)
        return bare, bare.lower(), _shape(bare)
    return chunk, chunk.lower(), "⏎" if kind == "line" else "0" if kind == "number" else chunk


def _shape(word: str) -> str:
    if word.isupper():
        return "X" if len(word) == 1 else "XX"
    if word.islower():
        return "xx"
    if word[0].isupper() and word[1:].islower():
        return "Xx"
    if word[0].isupper() and ("-" in word or "'" in word or "’" in word):
        return "Xx-Xx"
    return "xX"


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of at most MOST_CHARACTERS with their places, cut between words where there are any.

    Patterns that look ahead take time that grows with the square of what they look at; nobody's message is longer, but a
    hostile one may be.
    """
    start = 0
    while len(text) - start > MOST_CHARACTERS:
        cut = max(text.rfind(mark, start + MOST_CHARACTERS // 2, start + MOST_CHARACTERS) for mark in "\n ")
        end = cut + 1 if cut >= 0 else start + MOST_CHARACTERS
        yield start, text[start:end]
        start = end
    yield start, text[start:]


@cache
def lexicon() -> dict[str, str]:
    """Lower-case word to letters: g a given name, f a family name, w a word that people write small, d a word of a
    frequency list that is no name."""
    return dict(line.rsplit(" ", 1) for line in _LEXICON.read_text(encoding="utf-8").splitlines())
