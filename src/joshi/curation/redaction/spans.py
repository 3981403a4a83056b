"""Half-open character ranges of a text, with what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

Span = tuple[int, int, str]  # start, end, kind
Ranged = TypeVar("Ranged", bound="tuple[Any, ...]")  # any tuple that begins with start and end


def overlaps(span: Sequence[Any], others: Iterable[Sequence[Any]]) -> bool:
    """Whether the span shares a character with one of the others."""
    return any(other[0] < span[1] and span[0] < other[1] for other in others)


def apart(spans: Iterable[Ranged]) -> list[Ranged]:
    """The spans without those that overlap one before them, in the order given."""
    kept: list[Ranged] = []
    for span in spans:
        if not overlaps(span, kept):
            kept.append(span)
    return kept
