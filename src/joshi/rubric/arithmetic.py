"""Whether a figure follows from given ones by the arithmetic that people do in letters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

MOST_GIVEN = 60  # beyond this many figures anything follows from something
_TELLING_DIGITS = 3  # results of fewer digits follow from anything
# A sentence that reckons says so.
_RECKONS = re.compile(
    r"\b(?:less|more|below|above|under|over|differen\w+|drop\w*|sav\w+|gap|rise|risen|step|makes?|made|come|comes|total|in all|together|sum|short|later|sooner|"
    r"earlier|extra|each|half|halves|left|rest|remaining|both|between|fewer|add\w*|times|means?|would be|apiece|per|instead|rather|so|that is|visits|stands?)\b",
    re.IGNORECASE,
)
Kind = Literal["money", "percent", "small unit", "count"]


def follows(value: float, given: Sequence[float], sentence: str, kind: Kind = "count") -> bool:
    """Whether the value is the sum, difference, product, quotient or share of two of the given, or a sum of a row.

    Args:
        given: figures of the context in the order of its text, then what the answer has said before, so that a chain
            such as '3 × 24 t make 72 t, so at €480 that is €34,560' is followed link by link.
        sentence: where the value stands; few digits need a word that reckons.
        kind: a percentage follows from a ratio only, a conversion to kilograms or cents only where such a unit stands.
    """
    numbers = sorted({x for x in given if x > 0})[-MOST_GIVEN:]
    digits = len(f"{value:.10g}".replace(".", "").strip("0"))
    if digits < _TELLING_DIGITS and value < 100 and not _RECKONS.search(sentence):
        return False
    if any(_same(value, result) for n, a in enumerate(numbers) for b in numbers[n:] for result in _results(a, b, kind)):
        return True
    return kind != "percent" and any(_same(value, total) for total in _sums(given))


def _results(a: float, b: float, kind: Kind) -> Iterator[float]:
    """Of two figures, a <= b."""
    if kind == "percent":
        if a >= 1 and a != b:
            yield from (100 * (b - a) / b, 100 * (b - a) / a, 100 * a / b)
        return
    yield from (a + b, b - a, a * b, b / a, (a + b) / 2, a / 2, b / 2)
    for share, whole in ((a, b), (b, a)):
        if share <= 100:
            yield from (whole * share / 100, whole * (1 - share / 100), whole * (1 + share / 100))
    if kind == "small unit":
        for factor in (10.0, 100.0, 1_000.0):
            yield from (a * factor, b * factor, (b - a) * factor)
    if a == b:
        yield from (a / 1_000, a / 4, a / 3, a * 12)


def _sums(given: Iterable[float]) -> Iterator[float]:
    """Sums of three and four figures that stand one after another."""
    row = list(given)
    for size in (3, 4):
        for start in range(len(row) - size + 1):
            yield sum(row[start : start + size])


def _same(value: float, result: float) -> bool:
    """Equal, or equal after rounding the result to the digits of the value."""
    if math.isclose(value, result, rel_tol=1e-9, abs_tol=1e-9):
        return True
    decimals = len(f"{value:.10g}".partition(".")[2])
    return value >= 1 and abs(value - result) <= 0.5 * 10 ** (-decimals) and abs(value - result) <= 0.005 * abs(value)
