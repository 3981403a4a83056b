"""A price's range: '£12,450' becomes '£12k–£13k', the same wherever the value occurs."""

from __future__ import annotations

import hashlib
import math


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
