"""Prices to ranges: '£12,450' becomes '£12k–£13k', the same range wherever the value occurs.

A range is as wide as the plan's price band and holds the value at a place that differs from value to value.
Quantities, percentages, dates, lead times and 'net 45' stay as they are.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from joshi.rubric.text import value_of, words_value

CODES = (
    "GBP EUR USD CHF INR SEK NOK DKK PLN CZK HUF RON TRY CAD AUD NZD SGD HKD JPY CNY RMB KRW ZAR KES NGN "
    "BRL MXN AED SAR ILS THB MYR IDR PHP VND"
).split()
_NAMES = {
    "£": "£", "$": "$", "€": "€", "₹": "₹", "¥": "¥", "US$": "$", "A$": "AUD ", "C$": "CAD ", "S$": "SGD ",
    "NZ$": "NZD ", "HK$": "HKD ", "R$": "BRL ", "Rs": "₹", "Rs.": "₹", "INR": "₹", "GBP": "£", "EUR": "€", "USD": "$",
    "pounds": "£", "pound": "£", "quid": "£", "euro": "€", "euros": "€", "dollars": "$", "dollar": "$", "bucks": "$",
    "rupees": "₹", "francs": "CHF ", "kr": "SEK ", "zł": "PLN ",
}  # fmt: skip

_NUMBER = r"\d{1,3}(?:[,.'’  ]\d{2,3})+(?:[.,]\d{1,4})?|\d+(?:[.,]\d+)?"
_SYMBOL = r"(?:US\$|A\$|C\$|S\$|NZ\$|HK\$|R\$|[£$€₹¥])"
_CODE = rf"(?:{'|'.join(CODES)}|Rs\.?)"
_AFTER = rf"(?:[€£$₹¥](?!\s?\d)|(?:{'|'.join(CODES)}|euros?|pounds?|dollars?|rupees|francs|quid|bucks|kr|zł)\b)"
_DASH = r"\s?(?:–|—|-|to)\s?"
_K = r"\s?(?:k|m|million|thousand|lakh|crore)\b"

PRICE = re.compile(
    rf"(?:(?<![\w$])(?P<before>{_SYMBOL}|\b{_CODE})\s?(?P<first>{_NUMBER})(?P<first_k>{_K})?"
    rf"(?:{_DASH}(?:{_SYMBOL}|{_CODE}\s?)?(?P<second>{_NUMBER})(?P<second_k>{_K})?(?!\s?(?:%|\d|/\d)))?(?:\.[-–—])?)"
    rf"|(?<![\w.,£$€])(?:(?P<low>{_NUMBER})(?P<low_k>{_K})?{_DASH})?(?P<only>{_NUMBER})(?P<only_k>{_K})?\s?(?P<after>{_AFTER})"
    rf"|(?<![\w.,])(?P<minor>\d+(?:\.\d+)?)\s?(?P<unit>p|pence|cents?|ct|¢|paise)(?!\w|\.m)",
    re.IGNORECASE,
)
_WORDS = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    r"eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|lakh)"
)
PRICE_IN_WORDS = re.compile(
    rf"\b(?P<words>{_WORDS}(?:[\s-]+(?:and[\s-]+)?{_WORDS})*)\s+(?P<after>pounds?|euros?|dollars?|rupees|francs|quid|bucks|grand)\b",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?<![\w.,£$€₹/#-])(?P<number>\d{1,3}(?:[,.'’]\d{2,3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d+)?)(?![\w%°/-]|[.,]\d)"
)
_COUNTED = re.compile(
    r"\s?(?:%|percent|per cent|pcs|pieces|units?|kg|kilos?|tonnes?|tons?|t\b|m\b|mm|cm|m²|m³|km|litres?|l\b|days?|weeks?|months?|"
    r"years?|hours?|minutes?|pallets?|boxes|cartons?|rolls?|sheets?|drums?|sacks?|bags?|bottles?|pairs?|sets?|lots?|"
    r"trucks?|loads?|drops?|people|men|staff|visits?|calls?|V\b|W\b|A\b|bar|MPa|°)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Price:
    span: tuple[int, int]
    unit: str  # "£" or "CHF "
    values: tuple[float, ...]  # one, or both ends of a range


def find_prices(text: str) -> list[Price]:
    """Prices that carry a currency, in the order of the text."""
    found: list[Price] = []
    for m in PRICE.finditer(text):
        if m["minor"]:
            unit = "£" if m["unit"].lower() in ("p", "pence") else "₹" if m["unit"].lower() == "paise" else "$"
            found.append(Price(m.span(), unit, (float(m["minor"]) / 100,)))
            continue
        unit = _unit(m["before"] or m["after"])
        pairs = (
            (("first", "first_k"), ("second", "second_k")) if m["before"] else (("low", "low_k"), ("only", "only_k"))
        )
        numbers = [_value(m[a], m[b]) for a, b in pairs if m[a]]
        found.append(Price(m.span(), unit, tuple(numbers)))
    taken = [price.span for price in found]
    for m in PRICE_IN_WORDS.finditer(text):
        if not any(a < m.end() and m.start() < b for a, b in taken):
            scale = 1_000 if m["after"].lower() == "grand" else 1
            unit = "£" if m["after"].lower() == "grand" else _unit(m["after"])
            found.append(Price(m.span(), unit, (words_value(m["words"]) * scale,)))
    return sorted((price for price in found if all(v > 0 for v in price.values)), key=lambda p: p.span)


def find_bare(text: str, known: dict[float, str]) -> list[Price]:
    """Numbers without a currency that the conversation uses as prices elsewhere: 'can you do 7.95?'"""
    taken = [price.span for price in find_prices(text)]
    found = []
    for m in _BARE.finditer(text):
        value = value_of(m["number"])
        telling = "." in m["number"] or "," in m["number"] or value >= 100  # a bare '7' or '12' may be anything
        if not telling or value not in known or _COUNTED.match(text, m.end()):
            continue
        if any(a < m.end() and m.start() < b for a, b in taken):
            continue
        found.append(Price(m.span(), known[value], (value,)))
    return found


def known_values(texts: Iterable[str]) -> dict[float, str]:
    """Every price of a conversation with its unit; on a clash the first unit stays."""
    known: dict[float, str] = {}
    for text in texts:
        for price in find_prices(text):
            for value in price.values:
                known.setdefault(value, price.unit)
    return known


def as_range(value: float, unit: str, band: float, seed: int, finer: int = 0) -> str:
    """The range that stands for a value; about `band` of the value wide, its ends rounded to that size.

    Where inside the range the value lies is drawn from a hash of the value, so that equal values get equal
    ranges and nobody learns the value from the middle of its range. `finer` adds that many digits to the ends,
    to tell apart two values that would share a range.
    """
    digest = hashlib.sha256(f"{seed}:{unit}:{value!r}".encode()).digest()
    place = 0.15 + 0.7 * int.from_bytes(digest[:4], "big") / 2**32
    width = value * band
    step = 10.0 ** (math.floor(math.log10(width)) - finer)
    low = min(round((value - width * place) / step), math.floor(value / step)) * step
    high = low + max(round(width / step), 1) * step
    while high < value:
        high += step
    return f"{unit}{_write(low, step)}–{unit}{_write(high, step)}"


def _write(value: float, step: float) -> str:
    for size, letter in ((1e6, "m"), (1e3, "k")):
        if step >= size / 100 and value >= 10 * size / (1 if letter == "k" else 10):
            decimals = max(0, -math.floor(math.log10(step / size) + 1e-9))
            return f"{value / size:.{decimals}f}{letter}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{2 if decimals == 1 else decimals}f}"


def _unit(text: str) -> str:
    key = text.strip()
    if key in _NAMES:
        return _NAMES[key]
    if key.lower() in _NAMES:
        return _NAMES[key.lower()]
    upper = key.upper()
    return _NAMES.get(upper, upper.rstrip(".") + " ")


def _value(number: str, suffix: str | None) -> float:
    plain = number.replace(" ", "").replace("\u202f", "").replace("\u00a0", "")
    scale = {"": 1, "k": 1e3, "m": 1e6, "thousand": 1e3, "million": 1e6, "lakh": 1e5, "crore": 1e7}
    return round(value_of(plain) * scale[(suffix or "").strip().lower()], 6)
