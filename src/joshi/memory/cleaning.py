"""What may be remembered: no recipients, prices or bodies; plain JSON values; short texts in metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# A key that holds one of these words, whatever surrounds it, is dropped before anything is stored.
PRIVATE_IN_KEYS = (
    "recipient",
    "email",
    "price",
    "offer",
    "walkaway",
    "walk_away",
    "no_deal",
    "body",
    "bodies",
)
PRIVATE_KEYS = ("to", "cc", "bcc", "sender")
# What ProcWise's own repository leaves out of the shared collection besides.
INTERNAL_IN_KEYS = ("analysis", "score", "scoring", "calculation", "formula", "explanation", "debug")
TEXT_CHARACTERS = 512  # longest text value in the shared collection's metadata, as in ProcWise's repository
MAX_DEPTH = 8  # what is nested deeper is dropped: it is no metadata, and would only exhaust the stack


def cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as JSON values, without recipients, prices and bodies, at any depth."""
    return _mapping(fields, PRIVATE_IN_KEYS, 1)


def shared_metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As `cleaned`, without internal scoring and with every text cut to TEXT_CHARACTERS."""
    short: dict[str, Any] = _shortened(_mapping(fields, PRIVATE_IN_KEYS + INTERNAL_IN_KEYS, 1))
    return short


def _mapping(fields: Mapping[str, Any], excluded: tuple[str, ...], depth: int) -> dict[str, Any]:
    return {_text(k): _plain(value, excluded, depth) for k, value in fields.items() if not _matches(k, excluded)}


def _matches(key: Any, excluded: tuple[str, ...]) -> bool:
    name = str(key).strip().lower().replace("-", "_").replace(" ", "_")
    return name in PRIVATE_KEYS or any(word in name for word in excluded)


def _plain(value: Any, excluded: tuple[str, ...], depth: int) -> Any:
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return _mapping(value, excluded, depth + 1)
    if isinstance(value, list | tuple):
        return [_plain(inner, excluded, depth + 1) for inner in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _text(value: Any) -> str:
    # Half of a surrogate pair, which json.loads lets through, cannot be written as UTF-8.
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:TEXT_CHARACTERS]
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    return [_shortened(inner) for inner in value] if isinstance(value, list) else value
