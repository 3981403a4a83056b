"""Prices that carry a currency, in any notation, by patterns. Quantities, percentages, dates and 'net 45' stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from joshi.curation.redaction.spans import overlaps
from joshi.curation.redaction.tokens import pieces
from joshi.rubric.text import value_of, words_value

CODES = (
    "GBP EUR USD CHF INR SEK NOK DKK PLN CZK HUF RON TRY CAD AUD NZD SGD HKD JPY CNY RMB KRW ZAR KES NGN "
    "BRL MXN AED SAR ILS THB MYR IDR PHP VND TL EGP PKR BDT TWD QAR KWD GHS CLP COP"
).split()
# The other codes of ISO 4217, but for those that are words in capitals as well (ALL, TOP, CUP …); only as written here.
_RARE_CODES = (
    "AFN AMD AOA ARS AWG AZN BBD BGN BHD BIF BMD BND BOB BSD BTN BWP BYN BZD CDF CRC CVE DJF DOP DZD ERN ETB FJD GIP GMD GNF GTQ "
    "GYD HNL HTG IQD IRR ISK JMD JOD KGS KHR KMF KYD KZT LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MRU MUR MVR MWK MZN NAD "
    "NIO NPR OMR PAB PGK PYG RSD RUB RWF SBD SCR SDG SLE SRD SSP SYP SZL TJS TMT TND TTD TZS UAH UGX UYU UZS VES VUV WST "
    "XAF XCD XOF XPF YER ZMW CFA SR QR Rp GH₵"
).split()
# As people write a currency, to the unit that a range carries. A unit is a sign, or a code with a space.
_UNITS = {
    "£": "£", "$": "$", "€": "€", "₹": "₹", "¥": "¥", "US$": "$", "A$": "AUD ", "C$": "CAD ", "S$": "SGD ", "AU$": "AUD ",
    "NZ$": "NZD ", "HK$": "HKD ", "R$": "BRL ", "NT$": "TWD ", "MX$": "MXN ", "₺": "TRY ", "₫": "VND ", "₱": "PHP ",
    "฿": "THB ", "₦": "NGN ", "₪": "ILS ", "₩": "KRW ", "kč": "CZK ", "ft": "HUF ", "rs": "₹", "rs.": "₹", "re": "₹",
    "inr": "₹", "gbp": "£", "eur": "€", "usd": "$", "jpy": "¥", "fr.": "CHF ", "sfr": "CHF ", "rm": "MYR ", "ksh": "KES ", "le": "EGP ", "bs": "BOB ", "tk": "BDT ", "taka": "BDT ", "đồng": "VND ", "s/": "PEN ", "soles": "PEN ", "fcfa": "XOF ", "cfa": "XOF ", "sr": "SAR ", "qr": "QAR ", "rp": "IDR ", "gh₵": "GHS ", "₵": "GHS ", "₴": "UAH ", "₽": "RUB ", "₸": "KZT ", "₡": "CRC ", "₭": "LAK ", "₮": "MNT ", "₲": "PYG ", "₼": "AZN ", "₾": "GEL ", "ush": "UGX ", "tsh": "TZS ",
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

_NUMBER = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d{1,3}(?:[,.'’]\d{2,3})+(?:[.,]\d{1,4})?(?!\d)|\d+(?:[.,]\d+)?|\.\d+"
_K = r"(?:[kKmM](?!\w|[²³])|\s?(?:thousand|million|mio\.?|mln|mil|lakhs?|lacs?|crores?|cr|grand|tsd\.?|hundred)\b)"
_SIGN = r"(?:US\$|AU\$|A\$|C\$|S\$|NZ\$|HK\$|R\$|NT\$|MX\$|[kK][€£$]|(?:GH)?[£$€¥฿₡₦₩₪₫₭₮₱₲₴₵₸₹₺₼₽₾]|[RN](?=\d{1,3}(?:[, ]\d{3}|[.,]\d\d\b|[km]\b))|R(?=\d{2,3}(?![\w-])))"
_RARE = f"(?-i:{'|'.join(_RARE_CODES)})"
_CODE = rf"(?:(?:{_RARE}|{'|'.join(CODES)}|TEUR|SFr|KSh|Dhs?|Rs|Re|RM|SFr|Fr(?=\.)|[Kk]r|Euros?|LE|Bs|Tk|S/|Ush|TSh|FCFA|XOF|XAF|UGX|TZS|ETB|MAD|TND|UAH|RSD|BGN|UYU|PEN|LKR|NPR|MMK|KHR)(?![A-Za-z])\.?)"
_NAMES = (
    r"(?:euros?|pounds?(?:\s+sterling)?|sterling|dollars?|rupees?|francs?|Franken|quid|bucks?|kr\.?|kronor|kroner|crowns|zł|zloty?s?|"
    r"złoty|yen|yuan|renminbi|liras?|dirhams?|rand|reais|pesos|shillings|naira|ringgit|baht|Kč|lei|forints?|dong|đồng|taka|soles|dinars?|FCFA|won|riyals|shekels)"
)
# 'euro pallets' and 'pound coins' are things.
_AFTER = rf"(?:[kK]?[€£$¥฿₡₦₩₪₫₭₮₱₲₴₵₸₹₺₼₽₾](?![^\S\n]?\d)|(?:{'|'.join(CODES)}|{_RARE}|{_NAMES})(?!\w|[ -](?:pallets?|pools?|norm|plugs?|zone|sizes?)))"
_TO = r"(?:[ ]?(?:–|—)[ ]?|-|[ ](?:-|to|bis|à)[ ])"
# After the second number of a range these say that it is no price: '$29.90 - 24 months'.
_COUNTED = r"(?![ ]?(?:%|days?\b|weeks?\b|months?\b|years?\b|pcs\b|units?\b|pallets?\b|users?\b|seats?\b|kg\b|t\b))"

PRICE = re.compile(
    rf"""
    # £12,450 · EUR/t 1.180 · Rs. 84/- · £8–9 · CHF 1'250.–
    (?<![\w$])(?P<before>{_SIGN}|{_CODE})(?:/\w{{1,6}}(?!\w)|[^\S\n]?(?:per|a)\s\w+:?)?[^\S\n]?
    (?P<first>{_NUMBER})(?P<first_k>{_K})?
    (?:{_TO}(?:{_SIGN}|{_CODE})?\s?(?P<second>{_NUMBER})(?P<second_k>{_K})?(?!\s?(?:%|\d|/\d)){_COUNTED})?
    (?:\.[-–—]|/-|,[-–—])?
    # between 7.80 and 8.10 euros · 15 000 kr · 12 k€
    |(?<![\w.,£$€])(?:between\s)?(?:(?P<low>{_NUMBER})(?P<low_k>{_K})?(?:{_TO}|\s(?:or|and)\s(?=[\d.,'’ ]+\s?{_AFTER}(?!\s?\d))))?
    (?P<only>{_NUMBER})(?P<only_k>{_K})?[^\S\n]?(?P<after>{_AFTER})
    # 3.2 lakh
    |(?<![\w.,])(?P<lakh>\d+(?:\.\d+)?)\s?(?P<lakh_k>lakhs?|lacs?|crores?)\b(?!\s(?:pieces|pcs|units|nos|km|people))
    # 43 cents · 12p · 46c, not a 700c wheel
    |(?<![\w.,])(?:(?P<minor_low>\d+(?:[.,]\d+)?){_TO})?(?P<minor>\d+(?:[.,]\d+)?)\s?
    (?P<unit>pence|(?-i:p)|(?:euro|us|US)?\s?[cC]ents?|cts?|¢|paise|Rappen|öre|øre|(?<=[\d.]\d)(?<!700)(?-i:c))(?!\w|\.m)
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
# One of these stands in every price in words.
_IN_WORDS = frozenset(re.findall(r"[a-z]+", _WORDS.replace("?:", ""))) | set(
    "half fiver tenner grand dollar euro quid".split()
)
_LETTERS = re.compile("[a-z]+")
SPELLED = re.compile(rf"\b{_SPELLED}\b", re.IGNORECASE)
_SCALE = {
    "": 1, "k": 1e3, "m": 1e6, "thousand": 1e3, "million": 1e6, "mio": 1e6, "mln": 1e6, "mil": 1e6, "lakh": 1e5,
    "lakhs": 1e5, "lac": 1e5, "lacs": 1e5, "crore": 1e7, "crores": 1e7, "cr": 1e7, "grand": 1e3, "tsd": 1e3, "hundred": 100,
}  # fmt: skip
DEFAULT_UNIT = "£"  # of a price in a talk that names no currency
MOST_VALUE = 1e15  # a longer row of digits is no amount


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
    digits = any(character.isdigit() for character in text)
    found = [price for m in PRICE.finditer(text) if (price := _from_digits(m))] if digits else []
    if not _IN_WORDS.isdisjoint(_LETTERS.findall(text.lower())):
        taken = [price.span for price in found]
        found += [_from_words(m) for m in PRICE_IN_WORDS.finditer(text) if not overlaps(m.span(), taken)]
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
