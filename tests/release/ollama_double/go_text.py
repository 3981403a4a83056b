"""Go's forms of text: what encoding/json and fmt write where Python writes it otherwise."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


class Refused(Exception):  # noqa: N818 - an answer of the server, not a failure of the double
    """An error that a client reads as {"error": …}."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.message, self.status = message, status


def to_json(value: Any) -> str:
    """As json.Marshal writes it: no blanks, and <, >, & escaped as if it were meant for a page."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def number(value: float) -> str:
    """%v of a float64: the shortest digits; from 1e+06 on and below 1e-04 with an exponent (strconv's 'g', -1)."""
    if value == 0:
        return "0"
    digits = Decimal(repr(float(value))).normalize()
    exponent = digits.adjusted()
    if -4 <= exponent < 6:
        return format(digits, "f")
    mantissa = format(digits.scaleb(-exponent), "f")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def shown(value: Any, quoted: bool) -> str:
    """%#v (`quoted`) or %v of a value that came out of JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    if value is None:
        return "<nil>"
    return json.dumps(value, ensure_ascii=False) if quoted else str(value)


def quote(text: Any) -> str:
    """%q."""
    return json.dumps(str(text), ensure_ascii=False)


def now() -> datetime:
    return datetime.now(UTC)


def moment(at: datetime) -> str:
    """RFC 3339 with a fraction, as time.Time marshals."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def told(error: OSError) -> str:
    """As an *fs.PathError reads: the call, the path, and the reason in small letters."""
    reason = (error.strerror or str(error)).lower()
    return f"{getattr(error, 'call', 'open')} {error.filename}: {reason}"


def human_number(count: int) -> str:
    """format.HumanNumber: parameters as `ollama list` and details.parameter_size tell them."""
    if count >= 10**9:
        return f"{count // 10**9}B" if count % 10**9 == 0 else f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count // 10**6}M" if count % 10**6 == 0 else f"{count / 10**6:.2f}M"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)
