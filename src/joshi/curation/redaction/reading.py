"""What the network is told of a talk: its tokens, how each is written and placed, and its numbers.

Whatever patterns have found, identifiers and prices with a currency, is one token named by its kind.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from zlib import crc32

import numpy as np

from joshi.curation.redaction import names
from joshi.curation.redaction.bare import Number, numbers
from joshi.curation.redaction.identifiers import find_identifiers
from joshi.curation.redaction.prices import find_prices
from joshi.curation.redaction.spans import Span, apart, overlaps
from joshi.curation.redaction.tokens import Token, lexicon, tokens

BUCKETS = 1 << 14
MOST_FEATURES = 14  # of one surface
SHAPES = ("Xx", "XX", "xx", "X", "xX", "Xx-Xx", "0", "⏎")
_SHAPE_AT = {shape: place for place, shape in enumerate(SHAPES)}
# Facts of a token where it stands, one bit each.
FIRST, LINE_START, LINE_END, POSSESSIVE, LOWERED, CASUAL, GLUED_LEFT, GLUED_RIGHT, CANDIDATE, PRICED, ALONE = (
    1 << place for place in range(11)
)
N_PLACED = 11
N_WRITTEN = 16  # numbers of `written`
N_NUMBER = 23  # numbers of `of_number`
GAPS = (1e-9, 0.05, 0.15, 0.35, 0.7, 1.5)  # classes of distance between two amounts: the logarithm of their ratio

Surface = tuple[str, str]  # a token's text and shape


@dataclass
class Talk:
    words: list[list[Token]] = field(default_factory=list)  # of each message
    starts: list[int] = field(default_factory=list)  # each message's first token
    surfaces: list[Surface] = field(default_factory=list)  # of each token, as are:
    placed: list[int] = field(default_factory=list)  # bits
    numbers: list[Number] = field(default_factory=list)  # in the order of the text
    of_numbers: dict[int, np.ndarray] = field(default_factory=dict)  # (N_NUMBER,) by token


def read(
    texts: Sequence[str], masked: Sequence[Sequence[Span]], priced: Iterable[float], small: Collection[str]
) -> Talk:
    """`masked` are each message's spans that patterns found; `priced` the amounts that carry a currency somewhere in the
    talk; `small` the words that it also writes small."""
    logs = sorted(math.log(value) for value in priced if value > 0)
    talk = Talk()
    of_talk = (PRICED if logs else 0) | (ALONE if len(texts) == 1 else 0)
    for message, (text, spans) in enumerate(zip(texts, masked, strict=True)):
        words = tokens(text, spans)
        casual = names.casual(words)
        start = len(talk.surfaces)
        talk.starts.append(start)
        talk.words.append(words)
        of_message = of_talk | (CASUAL if casual else 0)
        for place, word in enumerate(words):
            bits = of_message
            if word.first:
                bits |= FIRST
            if word.line_start:
                bits |= LINE_START
            if word.line_end:
                bits |= LINE_END
            if word.possessive:
                bits |= POSSESSIVE
            if word.shape != "xx" and word.lower in small:
                bits |= LOWERED
            if place and words[place - 1].end == word.start:
                bits |= GLUED_LEFT
            if place + 1 < len(words) and words[place + 1].start == word.end:
                bits |= GLUED_RIGHT
            if names.candidate(words, place, casual):
                bits |= CANDIDATE
            talk.surfaces.append((word.text, word.shape))
            talk.placed.append(bits)
        found = [(first, last, value, False) for first, last, value in numbers(words)]
        for first, last, value, _ in found:
            told = of_number(words[first].text, first, last, value, logs)
            talk.of_numbers[start + first] = told
            for inner in range(first + 1, last + 1):
                talk.of_numbers[start + inner] = _INNER + told
        at = {price.span[0]: price.values for price in find_prices(text)}
        for place, word in enumerate(words):
            if word.shape == "<PRICE>":
                found += [(place, place, value, True) for value in at.get(word.start, ())]
        talk.numbers += [Number(start + a, start + b, v, sure, message) for a, b, v, sure in sorted(found)]
    return talk


CODES = ("RFQ", "PO", "INVOICE", "ACCOUNT", "WORKFLOW", "TAXID")


@lru_cache(maxsize=512)  # a conversation's messages are each looked at several times
def identified(text: str) -> tuple[Span, ...]:
    """Identifiers with a form of their own; a number with a currency is none, whatever word precedes it."""
    priced = [price.span for price in find_prices(text)]
    return tuple(span for span in find_identifiers(text) if span[2] not in CODES or not overlaps(span, priced))


def doubtful(text: str) -> list[Span]:
    """Those that may as well be an article's number: 'HL-2210', with no word before it that says."""
    return [span for span in identified(text) if span[2] == "CODE" and text[span[0]].isalpha()]


def masked_in(text: str) -> list[Span]:
    """What patterns find in a text, but for what is doubtful: that is read as it stands."""
    doubts = doubtful(text)
    sure = [span for span in identified(text) if span not in doubts]
    return apart(sorted([*sure, *((*price.span, "PRICE") for price in find_prices(text))]))


def features(surface: Surface) -> tuple[int, ...]:
    """Buckets of a token's features; feature hashing (Weinberger et al., 2009). 0 is none."""
    text, shape = surface
    if shape == "0":
        form = re.sub(r"\d", "0", text)
        zeros = len(text) - len(text.rstrip("0"))
        named = [
            f"w0={text if len(text) <= 4 else form}", f"p={form}", f"n{len(form)}", f"z{zeros}", "s=0", f"y={text[:2]}{len(text)}",
        ]  # fmt: skip
    else:
        lower = text.lower()
        named = [f"w={text if shape.startswith('<') else lower}"]
        if not shape.startswith("<") and lower[0].isalpha():
            named += [
                f"s={shape}",
                f"k={lexicon().get(lower, '-')}",
                f"e3={lower[-3:]}",
                f"e2={lower[-2:]}",
                f"b3={lower[:3]}",
            ]
            named += [f"e4={lower[-4:]}", f"b4={lower[:4]}"]
            named += [f"g={lower[i : i + 3]}" for i in range(len(lower) - 2)]
    return tuple(crc32(name.encode()) % (BUCKETS - 1) + 1 for name in named[:MOST_FEATURES])


def written(surface: Surface) -> np.ndarray:
    """(N_WRITTEN,): a token's shape, what the lexicon knows of it, its length."""
    text, shape = surface
    told = np.zeros(N_WRITTEN, np.float32)
    told[_SHAPE_AT.get(shape, 8 if shape[0] == "<" else 9)] = 1
    if text[0].isalpha():
        letters = lexicon().get(text.lower(), "")
        told[10:15] = ["g" in letters, "f" in letters, "w" in letters, "d" in letters, not letters]
    told[15] = min(len(text), 12) / 8
    return told


def of_number(text: str, first: int, last: int, value: float, logs: Sequence[float]) -> np.ndarray:
    """(N_NUMBER,): how near it is to the talk's prices with a currency, its size and its decimals."""
    told = np.zeros(N_NUMBER, np.float32)
    gap = _gap(math.log(value), logs) if value > 0 else 9.0
    told[next((n for n, limit in enumerate(GAPS) if gap <= limit), 6)] = 1
    size = math.log10(value) if value >= 1e-3 else -3.0
    decimals = len(text) - 1 - max(text.rfind("."), text.rfind(",")) if re.search(r"[.,]", text) else 0
    told[7] = 1
    told[8] = size / 4
    told[9 + min(decimals, 3)] = 1
    told[13] = last > first
    told[15 + int(min(max(size + 1, 0), 7))] = 1
    return told


_INNER = np.zeros(N_NUMBER, np.float32)
_INNER[14] = 1  # not the first token of its number


def _gap(log: float, logs: Sequence[float]) -> float:
    place = bisect_left(logs, log)
    return min((abs(log - other) for other in logs[max(0, place - 1) : place + 1]), default=9.0)
