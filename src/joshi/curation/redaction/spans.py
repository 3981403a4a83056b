"""Half-open character ranges of a text, with what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

Span = tuple[int, int, str]  # start, end, kind
Ranged = TypeVar("Ranged", bound="tuple[Any, ...]")  # any tuple that begins with start and end


def overlaps(span: Sequence[Any], others: Iterable[Sequence[Any]]) -> bool:
    """Whether the span shares a character with one of the others."""
    start, end = span[0], span[1]
    for other in others:  # noqa: SIM110 - asked so often that any() with its generator shows in the time
        if other[0] < end and start < other[1]:
            return True
    return False


def apart(spans: Iterable[Ranged]) -> list[Ranged]:
    """The spans without those that overlap one before them, in the order given."""
    kept: list[Ranged] = []
    for span in spans:
        if not overlaps(span, kept):
            kept.append(span)
    return kept


def occurrences(forms: Iterable[str], text: str) -> list[tuple[int, int, str]]:
    """Where a text has one of these forms (in casefold) as words of its own, whatever their case.

    None overlap; of those that begin at one place the longest is taken. To look for each beats a pattern of all, which would have to be compiled for every conversation.
    """
    folded = text.casefold()
    if len(folded) != len(text):  # 'ß' is 'ss': places must stay what they are
        folded = "".join(letter if len(letter.casefold()) > 1 else letter.casefold() for letter in text)
    found: list[tuple[int, int, str]] = []
    for form in forms:
        start = folded.find(form) if form else -1
        while start >= 0:
            end = start + len(form)
            if not _joins(text[max(start - 1, 0) : start], "@") and not _joins(text[end : end + 1]):
                found.append((start, end, form))
            start = folded.find(form, start + 1)
    kept: list[tuple[int, int, str]] = []
    for one in sorted(found, key=lambda one: (one[0], -one[1])):
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
    return kept


def _joins(beside: str, others: str = "") -> bool:
    """Whether this character, or none, makes what stands beside it part of a longer word."""
    return bool(beside) and (beside.isalnum() or beside == "_" or beside in others)
