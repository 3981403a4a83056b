"""Prices in any notation. What carries a currency is found by patterns; a bare '395' by what the talk says of it.

Quantities, percentages, dates, lead times and 'net 45' stay as they are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from joshi.curation.redaction.linear import load
from joshi.curation.redaction.spans import overlaps
from joshi.curation.redaction.tokens import Token, pieces, tokens
from joshi.rubric.text import value_of, words_value

CODES = (
    "GBP EUR USD CHF INR SEK NOK DKK PLN CZK HUF RON TRY CAD AUD NZD SGD HKD JPY CNY RMB KRW ZAR KES NGN "
    "BRL MXN AED SAR ILS THB MYR IDR PHP VND TL EGP PKR BDT TWD QAR KWD GHS CLP COP"
).split()
# As people write a currency, to the unit that a range carries. A unit is a sign, or a code with a space.
_UNITS = {
    "£": "£", "$": "$", "€": "€", "₹": "₹", "¥": "¥", "US$": "$", "A$": "AUD ", "C$": "CAD ", "S$": "SGD ", "AU$": "AUD ",
    "NZ$": "NZD ", "HK$": "HKD ", "R$": "BRL ", "NT$": "TWD ", "MX$": "MXN ", "₺": "TRY ", "₫": "VND ", "₱": "PHP ",
    "฿": "THB ", "₦": "NGN ", "₪": "ILS ", "₩": "KRW ", "kč": "CZK ", "ft": "HUF ", "rs": "₹", "rs.": "₹", "re": "₹",
    "inr": "₹", "gbp": "£", "eur": "€", "usd": "$", "jpy": "¥", "fr.": "CHF ", "sfr": "CHF ", "rm": "MYR ", "ksh": "KES ", "le": "EGP ", "bs": "BOB ", "tk": "BDT ", "taka": "BDT ", "đồng": "VND ", "s/": "PEN ", "soles": "PEN ", "fcfa": "XOF ", "ush": "UGX ", "tsh": "TZS ",
    "r": "ZAR ", "n": "NGN ", "dhs": "AED ", "dh": "AED ", "k€": "€", "teur": "€", "k£": "£", "k$": "$",
    "pound": "£", "pounds": "£", "quid": "£", "sterling": "£", "grand": "£", "fiver": "£", "tenner": "£", "euro": "€",
    "euros": "€", "dollar": "$", "dollars": "$", "bucks": "$", "buck": "$", "rupee": "₹", "rupees": "₹", "franc": "CHF ",
    "francs": "CHF ", "franken": "CHF ", "kr": "SEK ", "kr.": "SEK ", "kronor": "SEK ", "kroner": "NOK ", "crowns": "CZK ",
    "tl": "TRY ", "zł": "PLN ", "zloty": "PLN ", "złoty": "PLN ", "zlotys": "PLN ", "yen": "¥", "yuan": "CNY ", "renminbi": "CNY ",
    "lira": "TRY ", "liras": "TRY ", "dirham": "AED ", "dirhams": "AED ", "rand": "ZAR ", "reais": "BRL ", "pesos": "MXN ",
    "shillings": "KES ", "naira": "NGN ", "ringgit": "MYR ", "baht": "THB ", "lei": "RON ", "forint": "HUF ", "forints": "HUF ",
    "dong": "VND ", "won": "KRW ", "riyals": "SAR ", "shekels": "ILS ",
}  # fmt: skip
_MINOR = {
    "p": "£",
    "pence": "£",
    "penny": "£",
    "paise": "₹",
    "rappen": "CHF ",
    "öre": "SEK ",
    "øre": "NOK ",
}  # others: cents

_NUMBER = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d{1,3}(?:[,.'’]\d{2,3})+(?:[.,]\d{1,4})?|\d+(?:[.,]\d+)?|\.\d+"
_K = r"(?:[kKmM](?!\w|[²³])|\s?(?:thousand|million|mio\.?|mln|mil|lakhs?|lacs?|crores?|cr|grand|tsd\.?|hundred)\b)"
_SIGN = r"(?:US\$|AU\$|A\$|C\$|S\$|NZ\$|HK\$|R\$|NT\$|MX\$|[kK][€£$]|[£$€₹¥₺₫₱฿₦₪₩]|[RN](?=\d{1,3}(?:[, ]\d{3}|[.,]\d\d\b|[km]\b))|R(?=\d{2,3}(?![\w-])))"
_CODE = rf"(?:(?:{'|'.join(CODES)}|TEUR|SFr|KSh|Dhs?|Rs|Re|RM|SFr|Fr(?=\.)|[Kk]r|Euros?|LE|Bs|Tk|S/|Ush|TSh|FCFA|XOF|XAF|UGX|TZS|ETB|MAD|TND|UAH|RSD|BGN|UYU|PEN|LKR|NPR|MMK|KHR)(?![A-Za-z])\.?)"
_NAMES = (
    r"(?:euros?|pounds?(?:\s+sterling)?|sterling|dollars?|rupees?|francs?|Franken|quid|bucks?|kr\.?|kronor|kroner|crowns|zł|zloty?s?|"
    r"złoty|yen|yuan|renminbi|liras?|dirhams?|rand|reais|pesos|shillings|naira|ringgit|baht|Kč|lei|forints?|dong|đồng|taka|soles|dinars?|FCFA|won|riyals|shekels)"
)
# 'euro pallets' and 'pound coins' are things.
_AFTER = rf"(?:[kK]?[€£$₹¥₺₫₱฿₦₪₩](?!\s?\d)|(?:(?:{'|'.join(CODES)})|{_NAMES})(?!\w|[ -](?:pallets?|pools?|norm|plugs?|zone|sizes?)))"
_TO = r"(?:[ ]?(?:–|—)[ ]?|-|[ ](?:-|to|bis|à)[ ])"
# After the second number of a range these say that it is no price: '$29.90 - 24 months'.
_COUNTED = r"(?![ ]?(?:%|days?\b|weeks?\b|months?\b|years?\b|pcs\b|units?\b|pallets?\b|users?\b|seats?\b|kg\b|t\b))"

PRICE = re.compile(
    rf"""
    # £12,450 · EUR/t 1.180 · Rs. 84/- · £8–9 · CHF 1'250.–
    (?<![\w$])(?P<before>{_SIGN}|{_CODE})(?:/\w{{1,6}}|\s?(?:per|a)\s\w+:?)?\s?
    (?P<first>{_NUMBER})(?P<first_k>{_K})?
    (?:{_TO}(?:{_SIGN}|{_CODE})?\s?(?P<second>{_NUMBER})(?P<second_k>{_K})?(?!\s?(?:%|\d|/\d)){_COUNTED})?
    (?:\.[-–—]|/-|,[-–—])?
    # between 7.80 and 8.10 euros · 15 000 kr · 12 k€
    |(?<![\w.,£$€])(?:between\s)?(?:(?P<low>{_NUMBER})(?P<low_k>{_K})?(?:{_TO}|\s(?:or|and)\s(?=[\d.,'’ ]+\s?{_AFTER}(?!\s?\d))))?
    (?P<only>{_NUMBER})(?P<only_k>{_K})?\s?(?P<after>{_AFTER})
    # 3.2 lakh
    |(?<![\w.,])(?P<lakh>\d+(?:\.\d+)?)\s?(?P<lakh_k>lakhs?|lacs?|crores?)\b(?!\s(?:pieces|pcs|units|nos|km|people))
    # 43 cents · 12p
    |(?<![\w.,])(?:(?P<minor_low>\d+(?:[.,]\d+)?){_TO})?(?P<minor>\d+(?:[.,]\d+)?)\s?
    (?P<unit>pence|p|(?:euro|us|US)?\s?[cC]ents?|ct|¢|paise|Rappen|öre|øre)(?!\w|\.m)
    # 14 grand · two and a half grand
    |(?<![\w.,])(?:(?P<grand_low>\d+(?:\.\d+)?){_TO})?(?P<grand>\d+(?:\.\d+)?)\sgrand\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WORDS = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    r"eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|lakh|a(?=\s+(?:hundred|thousand|million)))"
)
_SPELLED = rf"{_WORDS}(?:[\s-]+(?:and[\s-]+)?{_WORDS}){{0,6}}"
PRICE_IN_WORDS = re.compile(
    rf"\b(?:(?:between\s+)?(?P<low>{_SPELLED})\s+(?:and|to|or)\s+)?(?P<words>{_SPELLED})(?P<half>\s+and\s+a\s+half)?\s+"
    rf"(?P<after>{_NAMES}|grand|pence|cents?|p|paise)\b(?![ -](?:pallets?|pools?))(?:[ ](?P<rest>{_SPELLED})\b)?|\b(?P<half_of>half)\s+a\s+(?P<scale>million|grand)\b|\ba\s+(?P<note>fiver|tenner|grand|dollar|euro|quid)\b(?![ -](?:pallets?|a\b))",
    re.IGNORECASE,
)  # fmt: skip
SPELLED = re.compile(rf"\b{_SPELLED}\b", re.IGNORECASE)
_SCALE = {
    "": 1, "k": 1e3, "m": 1e6, "thousand": 1e3, "million": 1e6, "mio": 1e6, "mln": 1e6, "mil": 1e6, "lakh": 1e5,
    "lakhs": 1e5, "lac": 1e5, "lacs": 1e5, "crore": 1e7, "crores": 1e7, "cr": 1e7, "grand": 1e3, "tsd": 1e3, "hundred": 100,
}  # fmt: skip
# Added to the score of "no price"; chosen by cross-validation so that few other numbers go.
DOUBT = 0.5
MOST_VALUE = 1e15  # a longer row of digits is no amount
DEFAULT_UNIT = "£"  # of a bare price in a talk that names no currency


@dataclass(frozen=True)
class Price:
    span: tuple[int, int]
    unit: str  # "£" or "CHF "
    values: tuple[float, ...]  # one, or both ends of a range


@lru_cache(maxsize=512)  # a conversation's messages are each looked at several times
def find_prices(text: str) -> tuple[Price, ...]:
    """Prices that carry a currency, in the order of the text."""
    return tuple(
        Price((start + price.span[0], start + price.span[1]), price.unit, price.values)
        for start, piece in pieces(text)
        for price in _in_piece(piece)
    )


def _in_piece(text: str) -> list[Price]:
    found = [price for m in PRICE.finditer(text) if (price := _from_digits(m))]
    taken = [price.span for price in found]
    for m in PRICE_IN_WORDS.finditer(text):
        if not overlaps(m.span(), taken):
            found.append(_from_words(m))
    return sorted((price for price in found if all(0 < v < MOST_VALUE for v in price.values)), key=lambda p: p.span)


def _from_digits(m: re.Match[str]) -> Price | None:
    if m["minor"]:
        unit = _MINOR.get(m["unit"].lower(), "€" if "euro" in m["unit"].lower() or m["unit"] == "ct" else "$")
        return Price(m.span(), unit, tuple(value_of(m[name]) / 100 for name in ("minor_low", "minor") if m[name]))
    if m["grand"]:
        return Price(m.span(), "£", tuple(value_of(m[name]) * 1e3 for name in ("grand_low", "grand") if m[name]))
    if m["lakh"]:
        return Price(m.span(), "₹", (_value(m["lakh"], m["lakh_k"]),))
    written = m["before"] or m["after"]
    names = ("first", "second") if m["before"] else ("low", "only")
    scale = 1e3 if written.lower() in ("k€", "k£", "k$", "teur") else 1
    values = [_value(m[name], m[f"{name}_k"]) * scale for name in names if m[name]]
    if len(values) == 2 and m[f"{names[1]}_k"] and not m[f"{names[0]}_k"] and values[0] < values[1] / 100:
        values[0] *= _SCALE[m[f"{names[1]}_k"].strip().lower().rstrip(".")]  # 'EUR 12-14k'
    return Price(m.span(), unit_of(written), tuple(values))


def _from_words(m: re.Match[str]) -> Price:
    if m["half_of"]:
        return Price(m.span(), DEFAULT_UNIT, (500_000.0 if m["scale"].lower() == "million" else 500.0,))
    if m["note"]:
        note = m["note"].lower()
        return Price(m.span(), unit_of(note), ({"fiver": 5.0, "tenner": 10.0, "grand": 1_000.0}.get(note, 1.0),))
    after = m["after"].lower()
    minor = after in ("pence", "cent", "cents", "p", "paise")
    scale = 1_000 if after == "grand" else 0.01 if minor else 1
    rest = words_value(m["rest"]) / 100 if m["rest"] else 0  # 'six quid fifty'
    values = [
        words_value(m[name]) + rest + (0.5 if name == "words" and m["half"] else 0)
        for name in ("low", "words")
        if m[name]
    ]
    unit = _MINOR.get(after, "$") if minor else unit_of(m["after"])
    return Price(m.span(), unit, tuple(value * scale for value in values))


def find_bare(
    text: str, known: Known, masked: Sequence[tuple[int, int, str]] = (), doubt: float = DOUBT
) -> list[Price]:
    """Numbers without a currency that are prices, by the words around them and the other prices of the talk.

    `known` are the talk's prices with their units; `masked` are spans that hold something else; `doubt` is added to the
    score of "no price".
    """
    priced = [(*price.span, "PRICE") for price in find_prices(text)]
    spans = [span for span in masked if not overlaps(span, priced)]
    words = tokens(text, [*priced, *spans])
    model = load("prices")
    found: dict[int, Price] = {}  # by its first token
    said = "O"
    before = (-1, -1, 0.0)  # first and last token and value of the number before
    for number, last, value in numbers(words):
        scores = model.scores(features(words, number, last, value, known, said))
        # 'between 7.80 and 8.10', '40 to 45 thousand': both ends or neither.
        pair = number - before[1] == 2 and words[number - 1].lower in ("to", "-", "–", "bis")
        is_price = scores[1] > scores[0] + doubt or (pair and said == "PRICE")
        said = "PRICE" if is_price else "OTHER"
        for first, end, amount in (before, (number, last, value)) if pair else ((number, last, value),):
            if is_price and amount > 0:
                found[first] = Price((words[first].start, words[end].end), known.unit(amount), (amount,))
        before = (number, last, value)
    return [found[first] for first in sorted(found)]


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
        elif SPELLED.fullmatch(word.lower) and word.lower not in ("one", "a"):
            while last + 1 < len(words) and SPELLED.fullmatch(words[last + 1].lower) and words[last + 1].lower != "a":
                last += 1
            value = words_value(" ".join(w.lower for w in words[number : last + 1]))
            if [w.lower for w in words[last + 1 : last + 4]] == ["and", "a", "half"]:  # 'ten and a half thousand'
                last, value = last + 3, value + 0.5
                if last + 1 < len(words) and words[last + 1].lower in _SUFFIXES:
                    last += 1
                    value *= _SCALE[words[last].lower]
            yield number, last, value if value < MOST_VALUE else 0.0
        number = last + 1


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


def features(words: Sequence[Token], number: int, last: int, value: float, known: Known, said: str) -> Iterator[str]:
    """What is known of a number: its form, its neighbours, and how near it is to prices of the same talk."""
    written = words[number].text
    digits = words[number].shape == "0"
    size = int(math.log10(value)) if value >= 1 else -1
    decimals = (
        len(written) - 1 - max(written.rfind("."), written.rfind(",")) if digits and re.search(r"[.,]", written) else 0
    )
    form = f"{'0' if digits else 'w'}{size}.{decimals}{'k' if last > number and digits else ''}"
    gap = known.gap(value) if value > 0 else 9.0
    near = next((n for n, limit in enumerate((1e-9, 0.05, 0.15, 0.35, 0.7, 1.5)) if gap <= limit), 6)
    around = [_word(words, place) for place in (number - 3, number - 2, number - 1, last + 1, last + 2, last + 3)]
    before3, before2, before, after, after2, after3 = around
    glued = f"{'g' if _touches(words, number - 1) else ''}{'h' if _touches(words, last) else ''}"
    yield "bias"
    yield f"form={form}"
    yield f"priced talk={bool(known.units)}|{decimals}"
    yield f"near={near}"
    yield f"near={near}|{form}"
    yield f"near={near}|{after}"
    yield f"near={near}|{before}"
    yield f"glued={glued}|{before if 'g' in glued else ''}|{after if 'h' in glued else ''}"
    yield f"-1={before}"
    yield f"-2={before2}"
    yield f"-3={before3}"
    yield f"+1={after}"
    yield f"+2={after2}"
    yield f"+3={after3}"
    yield f"-2-1={before2}|{before}"
    yield f"-3-2-1={before3}|{before2}|{before}"
    yield f"+1+2={after}|{after2}"
    yield f"-1+1={before}|{after}"
    yield f"-1f={before}|{form}"
    yield f"+1f={after}|{form}"
    yield f"+1+2f={after}|{after2}|{decimals > 0}"
    yield f"said={said}|{min(last, 9)}"
    yield f"said={said}|{before}"
    yield f"said={said}|{form}"
    window = [word.shape for word in words[max(0, number - 8) : last + 9]]
    yield f"beside={'<PRICE>' in window}|{near}"
    yield f"line={words[number].line_start}{words[last].line_end}"
    for word in {w.lower for w in words[max(0, number - 6) : number] if w.shape in ("xx", "Xx")}:
        yield f"before={word}"
    for word in {w.lower for w in words[last + 1 : last + 6] if w.shape in ("xx", "Xx")}:
        yield f"after={word}"


def _word(words: Sequence[Token], place: int) -> str:
    if not 0 <= place < len(words):
        return "<edge>"
    return "0" if words[place].shape == "0" else words[place].lower


def _touches(words: Sequence[Token], place: int) -> bool:
    """Whether no space is between this token and the next: '5.3' in 'item 5.3/b', 'M10'."""
    return 0 <= place < len(words) - 1 and words[place].end == words[place + 1].start


@dataclass(frozen=True)
class Known:
    """The prices of a talk with their units. `once`: those that stand bare and in one place only."""

    units: Mapping[float, str]
    once: frozenset[float] = frozenset()

    def gap(self, value: float) -> float:
        """Distance to the nearest other price, as the logarithm of their ratio; 9 where there is none."""
        others = (abs(math.log(value / other)) for other in self.units if other != value or value not in self.once)
        return min(others, default=9.0)

    def unit(self, value: float) -> str:
        """The unit of the price that is nearest by ratio."""
        near = min(self.units, key=lambda other: (abs(math.log(value / other)), other), default=None)
        return DEFAULT_UNIT if near is None else self.units[near]


def known_values(texts: Sequence[str]) -> Known:
    """Every price of a conversation with its unit, also those that stand bare; on a clash the commoner unit stays."""
    sure = with_currency(texts)
    units = dict(sure)
    bare: Counter[float] = Counter()
    for text in texts:  # a first look: what is a price beyond doubt helps to tell the others
        for price in find_bare(text, Known(sure), doubt=1.5):
            units.setdefault(price.values[0], price.unit)
            bare[price.values[0]] += 1
    return Known(units, frozenset(value for value, n in bare.items() if n == 1 and value not in sure))


def with_currency(texts: Iterable[str]) -> dict[float, str]:
    """Every price that carries a currency, with its unit."""
    seen: Counter[tuple[float, str]] = Counter()
    for text in texts:
        for price in find_prices(text):
            seen.update((value, price.unit) for value in price.values)
    known: dict[float, str] = {}
    for (value, unit), _ in seen.most_common():
        known.setdefault(value, unit)
    return known


def unit_of(written: str) -> str:
    """The unit of a currency as people write it: 'euros' is '€', 'chf' is 'CHF '."""
    key = written.strip().removesuffix(" sterling")
    found = _UNITS.get(key) or _UNITS.get(key.upper()) or _UNITS.get(key.lower()) or _UNITS.get(key.lower().rstrip("."))
    return found or key.upper().rstrip(".") + " "


def _value(number: str, suffix: str | None) -> float:
    plain = re.sub(r"[ \u202f\u00a0]", "", number)
    return round(value_of(plain) * _SCALE[(suffix or "").strip().lower().rstrip(".")], 6)
