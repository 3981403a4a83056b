"""Every figure, date and name is in the context or the instruction."""

from __future__ import annotations

import re

from joshi.rubric.text import MONTHS, WEEKDAYS, all_figures, figures, names
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
SMALL = 3.0
SMALL_IN_WORDS = 10.0  # 'one', 'half a dozen', 'one in five' are how people talk, not claims


def check(answer: str, known: str) -> Finding:
    """`known` is the whole context and the instruction."""
    given = all_figures(known)
    for value, span in figures(answer):
        limit = SMALL if answer[span[0]].isdigit() else SMALL_IN_WORDS
        if value > limit and not any(abs(value - other) <= 1e-9 * max(value, 1) for other in given):
            return _failed(span, "a figure that nobody gave", answer)
    lowered = known.lower()
    for pattern in (_DAYS, _MONTH):
        for found in pattern.finditer(answer):
            if found.group().lower()[:3] not in lowered:
                return _failed(found.span(), "a date that nobody gave", answer)
    for name, span in names(answer):
        bare = re.sub(r"['’]s?$", "", name)
        ordinary = name in _ORDINARY or bare in _ORDINARY or (len(bare) <= 3 and bare.isupper()) or _DAYS.match(bare)
        if not ordinary and bare.lower() not in lowered:
            parts = [part for part in re.split(r"[-’'&]", bare) if len(part) > 2]
            if not parts or not all(part.lower() in lowered for part in parts):
                return _failed(span, "a name that nobody gave", answer)
    return Finding(rule=RULE, passed=True, message="figures, dates and names are given")


def _failed(span: tuple[int, int], what: str, answer: str) -> Finding:
    return Finding(rule=RULE, passed=False, message=f"{what}: “{answer[slice(*span)]}”", span=span)
