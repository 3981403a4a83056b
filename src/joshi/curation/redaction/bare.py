"""Prices that stand bare, '395', among the other numbers of a talk: which they are the network says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from joshi.curation.redaction.prices import _SCALE, DEFAULT_UNIT, MOST_VALUE, SPELLED, Price
from joshi.curation.redaction.tokens import Token
from joshi.rubric.text import value_of, words_value

# A number with one of these behind it measures a thing. 'm' and 't' may stand for a million and a tonne's price.
_MEASURES = frozenset("kg g mm cm km m² m2 m³ m3 ml gsm kwh mwh kw rpm °".split())
DOUBT = 0.8  # a number is a price above this score, in logits; chosen by cross-validation so that few other numbers go


@dataclass(frozen=True)
class Number:
    """A number or a price with its currency; tokens are counted over the whole talk."""

    first: int
    last: int
    value: float
    is_price: bool  # known to be: it carries a currency
    message: int


def find_bare(
    words: Sequence[Token],
    numbers: Iterable[Number],
    scores: Mapping[tuple[int, int], float],
    units: Mapping[float, str],
    start: int = 0,
) -> list[Price]:
    """Which of a message's numbers are prices.

    `scores`: of each number by its first and last token in the talk, in which the words begin at `start`; `units`: of the
    talk's prices that carry a currency.
    """
    found: dict[int, Price] = {}  # by its first token
    before = (-1, -1, 0.0)  # first and last token and value of the number before
    was_price = False
    for one in numbers:
        if one.is_price:  # it carries a currency
            continue
        number, last, value = one.first - start, one.last - start, one.value
        # 'between 7.80 and 8.10', '40 to 45 thousand': both ends or neither.
        pair = number - before[1] == 2 and words[number - 1].lower in ("to", "-", "–", "bis")
        measured = last + 1 < len(words) and words[last + 1].lower in _MEASURES
        is_price = not measured and (scores[one.first, one.last] > DOUBT or (pair and was_price))
        for first, end, amount in (before, (number, last, value)) if pair else ((number, last, value),):
            if is_price and amount > 0:
                found[first] = Price((words[first].start, words[end].end), unit_near(amount, units), (amount,))
        before, was_price = (number, last, value), is_price
    return [found[first] for first in sorted(found)]


def unit_near(value: float, units: Mapping[float, str]) -> str:
    """The unit of the price that is nearest by ratio."""
    near = min(units, key=lambda other: (abs(math.log(value / other)), other), default=None)
    return DEFAULT_UNIT if near is None else units[near]


_SUFFIXES = ("k", "m", "thousand", "million", "lakh", "grand", "hundred")


def numbers(words: Sequence[Token]) -> Iterator[tuple[int, int, float]]:
    """First and last token and value of every number: '14 k', '15 000', 'forty-five'."""
    number = 0
    while number < len(words):
        word = words[number]
        last = number
        if word.shape == "0":
            digits = word.text
            while _continues(words, last):
                last += 1
                digits += words[last].text
            value = value_of(digits)
            if (
                last + 1 < len(words)
                and words[last + 1].lower in _SUFFIXES
                and words[last + 1].start - words[last].end <= 1
            ):
                last += 1
                value *= _SCALE[words[last].lower]
            yield number, last, value if value < MOST_VALUE else 0.0
        elif _spelled(word.lower) and word.lower not in ("one", "a"):
            while last + 1 < len(words) and _spelled(words[last + 1].lower) and words[last + 1].lower != "a":
                last += 1
            value = words_value(" ".join(w.lower for w in words[number : last + 1]))
            if [w.lower for w in words[last + 1 : last + 4]] == ["and", "a", "half"]:  # 'ten and a half thousand'
                last, value = last + 3, value + 0.5
                if last + 1 < len(words) and words[last + 1].lower in _SUFFIXES:
                    last += 1
                    value *= _SCALE[words[last].lower]
            yield number, last, value if value < MOST_VALUE else 0.0
        number = last + 1


@lru_cache(maxsize=20_000)
def _spelled(word: str) -> bool:
    return SPELLED.fullmatch(word) is not None


def _continues(words: Sequence[Token], place: int) -> bool:
    """Whether the next token is three more digits of this number: 15 000."""
    if place + 1 >= len(words):
        return False
    this, following = words[place], words[place + 1]
    return (
        following.shape == "0"
        and len(following.text) == 3
        and following.start - this.end == 1
        and len(this.text) <= 3
        and this.text.isdigit()
        and following.text.isdigit()
    )
