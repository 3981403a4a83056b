"""Typed reading of JSON objects: a value of the wrong type is corrupt, and the reason says where it is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from joshi.schema import Record
from joshi.transcripts.unread import Refused, printable, quarantined

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Fields:
    """A JSON object and its path in the record. A key that is missing or null gives None, or nothing in it.

    Every method raises `Refused` (quarantined) for a value of another type than it reads.
    """

    values: dict[str, Any]
    path: str = ""

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "text")

    def identifier(self, key: str) -> str | None:
        """An id, which some sources write as a number; one that is blank counts as missing."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is None or isinstance(value, str):
            return (value or "").strip() or None
        raise self._wrong(key, "text or a whole number")

    def whole(self, key: str) -> int | None:
        value = self.values.get(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong(key, "a whole number")

    def amount(self, key: str) -> int | float | str | None:
        """A price: a number, or text as its writer put it."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float | str | None):
            raise self._wrong(key, "a number or text")
        return value

    def moment(self, key: str) -> str | None:
        """A time: text as its writer put it; seconds since 1970 become ISO 8601."""
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(ValueError, OverflowError, OSError):
                return datetime.fromtimestamp(value, UTC).isoformat()
        raise self._wrong(key, "a date as text or in seconds since 1970")

    def texts(self, key: str) -> list[str]:
        values = self.listed(key)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(key, "a list of texts")
        return values

    def inner(self, key: str) -> Fields:
        value = self.values.get(key)
        if value is None:
            return Fields({}, self._at(key))
        if isinstance(value, dict):
            return Fields(value, self._at(key))
        raise self._wrong(key, "an object")

    def rows(self, key: str) -> list[Fields]:
        rows = []
        for position, value in enumerate(self.listed(key), 1):
            path = f"{self._at(key)}[{position}]"
            if not isinstance(value, dict):
                raise quarantined(f"{path} must be an object, found {kind_of(value)}")
            rows.append(Fields(value, path))
        return rows

    def record(self, kind: type[R]) -> R:
        """This object as one of Joshi's own records, which know no other keys."""
        try:
            return kind.model_validate({key: value for key, value in self.values.items() if value is not None})
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = printable(".".join([self.path, *(str(part) for part in problem["loc"])]), 80)
            if problem["type"] == "extra_forbidden":
                known = ", ".join(kind.model_fields)
                raise quarantined(f"{where} is not a known key; known keys are {known}") from None
            raise quarantined(f"{where}: {printable(problem['msg'])}") from None

    def listed(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self._wrong(key, "a list")

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _wrong(self, key: str, expected: str) -> Refused:
        return quarantined(f"{self._at(key)} must be {expected}, found {kind_of(self.values[key])}")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
