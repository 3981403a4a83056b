"""From a filled text back to the one with placeholders: where a finding lies in what the reviewer sees."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from joshi.schema import Finding
from joshi.surrogates import PLACEHOLDER, PRICE_RANGE

ONE_AT_A_TIME = threading.Lock()  # who asks the rubric: its cache of embeddings has no lock of its own
_REPLACED = re.compile(f"{PLACEHOLDER.pattern}|{PRICE_RANGE.pattern}")


def filled_spans(text: str, fill: Callable[[str], str], findings: Sequence[Finding]) -> list[Finding]:
    """The findings on `fill(text)` with their spans in `text`; one that touches a replaced piece takes all of it."""
    pieces: list[tuple[int, int, int, int]] = []  # start and end in the filled text, start and end in the text
    filled_at = at = 0
    for match in _REPLACED.finditer(text):
        filled_at += match.start() - at
        length = len(fill(match[0]))
        pieces.append((filled_at, filled_at + length, match.start(), match.end()))
        filled_at, at = filled_at + length, match.end()

    def back(position: int, end: bool) -> int:
        shift = 0
        for filled_start, filled_end, start, stop in pieces:
            if position < filled_start or (end and position == filled_start):
                break
            if position < filled_end or (end and position == filled_end):
                return stop if end else start
            shift = stop - filled_end
        return min(len(text), max(0, position + shift))

    return [
        finding.model_copy(update={"span": (back(finding.span[0], False), back(finding.span[1], True))})
        if finding.span
        else finding
        for finding in findings
    ]
