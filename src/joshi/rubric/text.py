"""Sentences, figures and names in short business prose, found alike in answers and in contexts."""

from __future__ import annotations

import re

MOST_CHARACTERS = 4_000  # of an answer that are looked at: one far beyond any limit fails by its length

_ABBREVIATION = re.compile(
    r"(?:\b(?:No|Nos|e\.g|i\.e|approx|Mr|Mrs|Ms|Dr|St|Ltd|Inc|Co|vs|pcs|Rs|ref|Ref|incl|excl|est|max|min|Unit|cf|p\.a)"
    r"|\b[A-Z])\.$"
)
_LONGEST = 12  # characters of an abbreviation at most
_BOUNDARY = re.compile(r"[.!?…]+[\"'’”)]*(?=\s|$)|\n+")
_NEXT = re.compile(r"\s*(\S?)")


def sentences(text: str) -> list[tuple[int, int]]:
    """Half-open character ranges of the sentences; 'No. 5', 'Rs. 8' and initials do not end one."""
    spans: list[tuple[int, int]] = []
    start = 0
    for mark in _BOUNDARY.finditer(text):
        if mark.group().startswith("."):
            following = _NEXT.match(text, mark.end())
            short = _ABBREVIATION.search(text, max(start, mark.end() - _LONGEST), mark.end())
            if short or (following and following[1].islower()):
                continue
        _append(spans, text, start, mark.end())
        start = mark.end()
    _append(spans, text, start, len(text))
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    chunk = text[start:end]
    if any(letter.isalnum() for letter in chunk):
        spans.append((start + len(chunk) - len(chunk.lstrip()), end - (len(chunk) - len(chunk.rstrip()))))


_TEENS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = ("twenty thirty forty fifty sixty seventy eighty ninety").split()
_WORDS = {word: float(i) for i, word in enumerate(_TEENS)} | {word: 10.0 * i for i, word in enumerate(_TENS, 2)}
_SCALES = {"hundred": 100.0, "thousand": 1_000.0, "lakh": 100_000.0, "million": 1_000_000.0}
_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6}

NUMBER = re.compile(
    r"(?<![\w.,])(?P<digits>\d{1,3}(?:[,.'’]\d{2,3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?)(?P<suffix>[km](?![\w]))?",
    re.IGNORECASE,
)
_NUMBER_ANYWHERE = re.compile(r"\d{1,3}(?:[,.'’]\d{2,3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?")
_IN_WORDS = re.compile(
    rf"\b(?:{'|'.join([*_TEENS, *_TENS, *_SCALES])})(?:[\s-]+(?:and[\s-]+)?(?:{'|'.join([*_TEENS, *_TENS, *_SCALES])}))*\b",
    re.IGNORECASE,
)


def value_of(digits: str, suffix: str = "") -> float:
    """12,450 · 12.450,00 · 1'250 · 4,50,000 · 8,90 · 12.5 (k, m) as a number."""
    text = digits.replace("'", "").replace("’", "")
    last = max(text.rfind(","), text.rfind("."))
    if last >= 0:
        decimals = len(text) - last - 1
        other = "." if text[last] == "," else ","
        # One separator with three digits behind it groups thousands, unless it is a lone 0.125.
        grouping = (decimals == 3 and not (text.startswith("0") or other in text)) or text.count(text[last]) > 1
        if grouping:
            text = text.replace(",", "").replace(".", "")
        else:
            text = text[:last].replace(",", "").replace(".", "") + "." + text[last + 1 :]
    return float(text) * _SUFFIX[suffix.lower()]


def words_value(phrase: str) -> float:
    """'twelve thousand five hundred' as 12500; 'twenty-four' as 24."""
    total = current = 0.0
    for word in re.split(r"[\s-]+", phrase.lower()):
        if word in _SCALES:
            current = max(current, 1.0) * _SCALES[word]
            if _SCALES[word] >= 1_000:
                total, current = total + current, 0.0
        elif word in _WORDS:
            current += _WORDS[word]
    return total + current


def figures(text: str) -> list[tuple[float, tuple[int, int]]]:
    """Every number with its character range: digits in any notation, and words ('twelve', 'forty-five')."""
    found = [(value_of(m["digits"], m["suffix"] or ""), m.span()) for m in NUMBER.finditer(text)]
    found += [(words_value(m.group()), m.span()) for m in _IN_WORDS.finditer(text)]
    return sorted(found, key=lambda item: item[1])


def all_figures(text: str) -> set[float]:
    """Every number that a reader may take from a text: also those inside codes and both ends of a range."""
    values = {value for value, _ in figures(text)}
    return values | {value_of(m.group()) for m in _NUMBER_ANYWHERE.finditer(text)}


MONTHS = (
    "January February March April May June July August September October November December Jan Feb Mar "
    "Apr Jun Jul Aug Sept Sep Oct Nov Dec"
).split()
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_CAPITALISED = re.compile(r"\b[A-Z][\w'’&-]*[A-Za-z0-9]\b")


def names(text: str) -> list[tuple[str, tuple[int, int]]]:
    """Capitalised words that do not start a sentence, with their character ranges; months and days left out."""
    starts = {start for start, _ in sentences(text)}
    quoted = {start + 1 for start in starts}
    return [
        (m.group(), m.span())
        for m in _CAPITALISED.finditer(text)
        if m.start() not in starts | quoted
        and m.group() not in (*MONTHS, *WEEKDAYS)
        and text[m.start() - 1] not in ":–—"
    ]


_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
