"""Every figure, date, name and past event is in the context or the instruction, or follows from it."""

from __future__ import annotations

import math
import re

from joshi.rubric.arithmetic import Kind, follows
from joshi.rubric.text import MONTHS, WEEKDAYS, all_figures, figures, names, sentences, words
from joshi.schema import Finding

RULE = "grounded"

_DAYS = re.compile(rf"\b(?:{'|'.join(WEEKDAYS)})s?\b")
_MONTH = re.compile(rf"\b(?:{'|'.join(m for m in MONTHS if m != 'May')}|May(?= \d| 20|,|\.|$))\b")
# Words that are capitalised anywhere and name nobody.
_ORDINARY = {
    "I", "PO", "POs", "VAT", "RFQ", "EUR", "USD", "GBP", "CHF", "INR", "AM", "PM", "OK", "Q1", "Q2", "Q3", "Q4", "ID",
    "Euro", "Euros", "European", "British", "Incoterms", "Christmas", "Easter", "PDF", "CSV", "MOQ", "SLA", "KPI",
    "Mr", "Mrs", "Ms", "Dr", "Herr", "Frau", "Rs", "I’m", "I'm", "I’ve", "I've", "I’d", "I'd", "I’ll", "I'll", "Monday’s", "English", "DAP", "EXW", "FOB", "DDP",
}  # fmt: skip
MOST_FIGURES = 60  # in one answer; more are a list, and nobody checks a list
SMALL = 3.0
SMALL_IN_WORDS = 10.0  # 'one', 'half a dozen', 'one in five' are how people talk, not claims

_MONEY_BEFORE = re.compile(r"(?:[£$€₹¥]|\b(?:EUR|USD|GBP|CHF|INR|Rs\.?|AED|NZD|AUD|RM|kr|zł))\s?$")
_MONEY_AFTER = re.compile(r"^\s?(?:[£€$₹]|(?:euros?|pounds?|dollars?|EUR|USD|GBP|CHF|rupees|cents?|pence|p)\b)")
_PERCENT_AFTER = re.compile(r"^\s?(?:%|per ?cent|percent)")
_UNIT_AFTER = re.compile(
    r"^\s?-?(?P<unit>weeks?|days?|months?|years?|hours?|minutes?|pieces?|pcs|units?|rolls?|pallets?|boxes|cartons?|drums?|tonnes?|t|kg|kilos?|litres?|l|metres?|m|"
    r"mm|cm|m²|bags?|sheets?|trucks?|containers?|sets?|pairs?|machines?|people|persons?|visits?|trays?|bottles?|copies|crates?|seats?|users?)\b",
    re.IGNORECASE,
)
_PER = re.compile(
    r"^\s?(?:/|per |a |an |each )\s?(?:(?:loose|running|square|cubic|metric|long|short) )*(?P<per>[a-zA-Z²³]+)",
    re.IGNORECASE,
)
_DURATION = re.compile(r"^\s?-?(?:weeks?|days?|months?|years?|hours?)\b", re.IGNORECASE)
# A day with its month, or 01/07 and 1.7.2026.
_DATE = re.compile(
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{'|'.join(MONTHS)})\b|\b(?P<month2>{'|'.join(MONTHS)}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s?%|,\d)"
)
_DATE_IN_DIGITS = re.compile(r"(?<![\d/.])(\d{1,2})[/.](\d{1,2})(?:[/.]\d{2,4})?(?![\d/.]|\d)")
# What is said to have been said, agreed or done before.
_PAST = re.compile(
    r"\bas (?:you )?(?P<verb>agreed|promised|discussed|confirmed|arranged|settled|offered|said|stated|quoted)\b|"
    r"\b(?P<order>second|third|fourth|fifth|sixth) (?P<event>delay|time|increase|late|claim|rise|mistake|complaint|reminder)\b|"
    r"\b(?P<done>was|were|has been|have been) (?:already )?(?P<act>approved|paid|signed|sent off|transferred|ordered|released)\b|"
    r"\b(?P<said>admitted|promised (?:us|me)|assured (?:us|me))\b",
    re.IGNORECASE,
)
_EVENTS = {
    "approved": ("approv",), "paid": ("paid", "pay", "settle", "transfer"), "signed": ("sign",), "sent off": ("sent", "transfer", "paid"), "transferred": ("transfer", "paid"),
    "ordered": ("order",), "released": ("releas", "order"), "agreed": ("agree", "deal", "accept", "contract"), "promised": ("promis", "will", "’ll", "'ll"),
    "discussed": ("discuss", "spoke", "call", "talk", "meeting"), "confirmed": ("confirm", "will"), "arranged": ("arrang", "agree", "book", "plan"), "settled": ("settl", "agree"),
    "offered": ("offer", "can", "could", "propos", "suggest"), "quoted": ("quot", "offer", "price", "rate", "cost"),
}  # fmt: skip


def check(answer: str, known: str) -> Finding:
    """`known` is the whole context and the instruction."""
    for test in (_figures, _dates, _roles, _past, _names):
        if (found := test(answer, known)) is not None:
            return found
    return Finding(rule=RULE, passed=True, message="figures, dates and names are given")


def _figures(answer: str, known: str) -> Finding | None:
    given = _given(known)
    said: list[float] = []
    found = _all_in(answer)
    if len(found) > MOST_FIGURES:
        return _failed(found[MOST_FIGURES][1], f"more than {MOST_FIGURES} figures; the next", answer)
    for value, span in found:
        after = answer[span[1] : span[1] + 16]
        exact = bool(
            "." in answer[slice(*span)]
            or _MONEY_BEFORE.search(answer[: span[0]])
            or _MONEY_AFTER.match(after)
            or _PERCENT_AFTER.match(after)
            or _DURATION.match(after)
        )
        limit = 1.0 if exact else SMALL if answer[span[0]].isdigit() else SMALL_IN_WORDS
        stands = any(math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-9) for other in given)
        sentence = next((answer[a:b] for a, b in sentences(answer) if a <= span[0] < b), answer)
        kind = _kind(answer, span)
        if value > limit and not stands and not follows(value, [*given, *said], sentence, kind):
            return _failed(span, "a figure that nobody gave", answer)
        said.append(value)
    return None


_SMALL_UNIT = re.compile(r"^\s?(?:kg|kilos?|g|grams?|mm|cm|m|metres?|l|litres?|ml|cents?|pence|p|c)\b")


def _kind(text: str, span: tuple[int, int]) -> Kind:
    after = text[span[1] : span[1] + 16]
    if _PERCENT_AFTER.match(after):
        return "percent"
    if _SMALL_UNIT.match(after) or re.search(r"\bby [\d.,]+\s?(?:metres?|m)\b", text[span[0] - 4 : span[1] + 24]):
        return "small unit"
    return "money" if _MONEY_BEFORE.search(text[: span[0]]) else "count"


def _given(known: str) -> list[float]:
    """Figures of the context in the order of the text; a dozen is 12, ₦1.5m is also 1,500,000."""
    found = [value for value, _ in _all_in(known)]
    return [*found, *(all_figures(known) - set(found))]


_SCALED = re.compile(r"(?<![\w.,])(\d+(?:[.,]\d+)?)\s?(k|m|thousand|million|lakhs?|dozen)\b", re.IGNORECASE)
_SCALES = {"k": 1e3, "m": 1e6, "thousand": 1e3, "million": 1e6, "lakh": 1e5, "lakhs": 1e5, "dozen": 12.0}
_DOZEN = re.compile(r"\b(?P<n>half a|a|two|three|four|five|six|ten)?\s?\bdozen\b", re.IGNORECASE)
_DOZENS = {"half a": 6, "a": 12, "two": 24, "three": 36, "four": 48, "five": 60, "six": 72, "ten": 120}


def _all_in(text: str) -> list[tuple[float, tuple[int, int]]]:
    found = figures(text)
    found += [(float(m[1].replace(",", ".")) * _SCALES[m[2].lower()], m.span()) for m in _SCALED.finditer(text)]
    found += [(float(_DOZENS[(m["n"] or "a").lower()]), m.span()) for m in _DOZEN.finditer(text)]
    return sorted(found, key=lambda item: item[1])


def _dates(answer: str, known: str) -> Finding | None:
    lowered = known.lower()
    numeric = {(int(d), int(m)) for a, b in _DATE_IN_DIGITS.findall(known) for d, m in ((a, b), (b, a)) if int(m) <= 12}
    for found in _DAYS.finditer(answer):
        if found.group().lower()[:3] not in lowered:
            return _failed(found.span(), "a date that nobody gave", answer)
    for found in _MONTH.finditer(answer):
        month = _month(found.group())
        if found.group().lower()[:3] not in lowered and not any(m == month for _, m in numeric):
            return _failed(found.span(), "a date that nobody gave", answer)
    given = {pair for m in _DATE.finditer(known) if (pair := _pair(m))} | numeric
    ranges = {int(d) for d in re.findall(r"\b\d{1,2}\b", known)}
    for found in _DATE.finditer(answer):
        day, month = _pair(found)
        if (day, month) not in given and (any(m == month for _, m in given) or day not in ranges):
            # '11 and 12 February' gives both days; another day of a month that is named with its day is another date.
            if re.search(
                rf"\b{day}(?:st|nd|rd|th)?\s?(?:,|and|or|to|–|-|/)\s?\d{{1,2}}\S* {MONTHS[month - 1][:3]}", known
            ):
                continue
            return _failed(found.span(), "a date that nobody gave", answer)
    return None


def _pair(found: re.Match[str]) -> tuple[int, int]:
    return int(found["day"] or found["day2"]), _month(found["month"] or found["month2"])


def _month(name: str) -> int:
    return next(n for n, full in enumerate(MONTHS[:12], 1) if full[:3].lower() == name[:3].lower())


def _roles(answer: str, known: str) -> Finding | None:
    """A given figure in another role: a quantity as a price, a price per tonne that was per cubic metre."""
    roles: dict[float, set[str]] = {}
    for value, span in _all_in(known):
        roles.setdefault(value, set()).add(_role(known, span))
    for value, span in _all_in(answer):
        role, told = _role(answer, span), roles.get(value, set())
        if value <= SMALL or not told or role in told or "" in told or role == "":
            continue
        kinds = {kind.partition(":")[0] for kind in told}
        if role.partition(":")[0] not in kinds:
            return _failed(span, f"a figure that was given as {_words(min(told))}", answer)
        if role.startswith("money:") and role != "money:" and all(t != "money:" for t in told):
            return _failed(span, f"a price that was given {_words(min(told))}", answer)
    return None


_SAME_UNIT = {
    "pcs": "piece",
    "unit": "piece",
    "each": "piece",
    "apiece": "piece",
    "kilo": "kg",
    "tonne": "t",
    "ton": "t",
    "mt": "t",
    "litre": "l",
    "metre": "m",
    "person": "head",
}


def _role(text: str, span: tuple[int, int]) -> str:
    """'money:roll', 'percent', 'count:day', or '' where nothing tells."""
    after = text[span[1] : span[1] + 40]
    if _PERCENT_AFTER.match(after):
        return "percent"
    before, behind = _MONEY_BEFORE.search(text[: span[0]]), _MONEY_AFTER.match(after)
    if before or behind:
        per = _PER.match(after if before or not behind else after[behind.end() :])
        return f"money:{_unit(per['per'])}" if per and _unit(per["per"]) in _UNITS else "money:"
    if unit := _UNIT_AFTER.match(after):
        return f"count:{_unit(unit['unit'])}"
    return ""


_UNITS = frozenset(
    "piece roll pallet box carton drum t kg l m mm bag sheet truck container set pair machine head visit tray bottle copy crate seat user month week day hour year thousand "
    "hundred metre desk parcel motor circuit wheel litre loaf case pack unit lb oz gram".split()
)


def _unit(word: str) -> str:
    plain = word.lower().rstrip(".")
    plain = plain[:-1] if plain.endswith("s") and len(plain) > 3 else plain
    return _SAME_UNIT.get(plain, plain)


def _words(role: str) -> str:
    kind, _, unit = role.partition(":")
    if kind == "money":
        return f"per {unit}" if unit else "money"
    return "a percentage" if kind == "percent" else f"a number of {unit}"


def _past(answer: str, known: str) -> Finding | None:
    """'As agreed', 'the third delay', 'was approved': the context must tell of it in some word."""
    lowered = known.lower()
    for start, end in sentences(answer):
        sentence = answer[start:end]
        if sentence.rstrip("\"'”’ )").endswith("?"):
            continue
        for found in _PAST.finditer(sentence):
            key = (found["verb"] or found["act"] or "").lower()
            if key and any(word in lowered for word in _EVENTS.get(key, (key[:5],))):
                continue
            if found["order"] and found["order"].lower() in lowered:
                continue
            if found["said"]:
                said = {word[:5] for word in words(sentence) if len(word) > 4} & {word[:5] for word in words(known)}
                if len(said) >= 3:
                    continue
            if key or found["order"] or found["said"]:
                return _failed((start + found.start(), start + found.end()), "an event that nobody told of", answer)
    return None


def _names(answer: str, known: str) -> Finding | None:
    lowered = known.lower()
    for name, span in names(answer):
        bare = re.sub(r"['’]s?$", "", name)
        ordinary = name in _ORDINARY or bare in _ORDINARY or (len(bare) <= 3 and bare.isupper()) or _DAYS.match(bare)
        if not ordinary and bare.lower() not in lowered:
            parts = [part for part in re.split(r"[-’'&]", bare) if len(part) > 2]
            if not parts or not all(part.lower() in lowered for part in parts):
                return _failed(span, "a name that nobody gave", answer)
    return None


def _failed(span: tuple[int, int], what: str, answer: str) -> Finding:
    return Finding(rule=RULE, passed=False, message=f"{what}: “{answer[slice(*span)]}”", span=span)
