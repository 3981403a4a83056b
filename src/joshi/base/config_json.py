"""A checkpoint's JSON files, which may hold anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from joshi.errors import JoshiError


def integer(folder: Path, key: str, value: Any) -> int:
    """A positive number of config.json without a fraction.

    Raises:
        JoshiError: it is none.
    """
    if type(value) is not int or not 0 < value < 1 << 31:
        raise _wrong(folder, key, value)
    return value


def number(folder: Path, key: str, value: Any) -> float:
    """A positive number of config.json; raises as `integer` does."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise _wrong(folder, key, value)
    return float(value)


def _wrong(folder: Path, key: str, value: Any) -> JoshiError:
    found = "lacks" if value is None else f"has {str(value)[:40]!r} as"
    return JoshiError(f"{folder}/config.json {found} {key}, where a positive number belongs; get the checkpoint again")


def read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object; `missing` if there is no such file and one is given.

    Raises:
        JoshiError: it is not there, or no object.
    """
    if missing is not None and not path.is_file():
        return missing
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise JoshiError(f"{path} cannot be read ({error}); get the checkpoint again") from error
    return value
