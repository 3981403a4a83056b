"""Prices as a sentence says them."""

from __future__ import annotations

import re

_SIGNS = {"GBP": "£", "EUR": "€", "USD": "$", "INR": "₹", "JPY": "¥"}


_FIGURE = re.compile(r"-?\d{1,15}(\.\d{1,6})?")


def money(value: int | float | str, currency: str | None = None) -> str:
    """11900 and GBP: £11,900; "8.5" and CHF: CHF 8.50. Text that is no bare figure stays as it is."""
    if isinstance(value, str):
        if not _FIGURE.fullmatch(value.strip()):
            return value.strip()
        value = float(value)
    size = abs(value)
    if isinstance(size, int) or size.is_integer():
        figure = f"{int(size):,}"
    else:
        figure = f"{size:,.2f}" if size >= 0.01 else f"{size:g}"
    unit = (currency or "").strip()
    sign = _SIGNS.get(unit.upper(), unit)
    gap = " " if sign.isalpha() else ""
    return f"{'-' if value < 0 else ''}{sign}{gap}{figure}"
