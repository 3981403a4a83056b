"""What the check finds on one day; also what history is made of, and what stands in report.json."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from joshi.errors import JoshiError
from joshi.monitoring.drift.answers import Source
from joshi.monitoring.drift.cusum import sums
from joshi.monitoring.drift.means import Change

Word = Literal["ok", "drift", "insufficient data"]
Stream = Literal["probes", "production", "tests"]  # the sums over days: the score of either source, and all tests
STREAMS: tuple[Stream, ...] = ("probes", "production", "tests")


@dataclass(frozen=True)
class Watched:
    """Whether a source brought enough. Probes are counted in `units`, answered several times over."""

    source: Source
    units: int  # probes or conversations
    answers: int
    answers_before: int
    needed: int | None  # units; None: no number suffices with what is known of the release
    sentence: str

    @property
    def enough(self) -> bool:
        return self.needed is not None and self.units >= self.needed


@dataclass(frozen=True)
class Tested:
    """One test of the day."""

    name: str  # score, a rule, tokens, meaning or kernel
    source: Source
    statistic: float
    p: float
    adjusted: float | None  # by Holm over all tests that decide; None: it is told only
    moved: Change | None  # what the test is about, where it is a mean or a share
    answers: int
    answers_before: int
    sentence: str


@dataclass(frozen=True)
class Sum:
    """One sum over days; `increment` is None where this day brought too little."""

    stream: Stream
    increment: float | None
    total: float
    limit: float

    @property
    def alarm(self) -> bool:
        return self.total > self.limit


@dataclass(frozen=True)
class ScoreToday:
    """A source's empathy score, 0..1. `alarm_below`: a single day below it is an alarm; of two days more suffices."""

    source: Source
    before: float
    today: float
    low: float  # of today's, 95%
    high: float
    threshold: float  # the score at which the fall reaches the plan's threshold
    alarm_below: float

    @property
    def fallen(self) -> bool:
        return self.today <= self.threshold


@dataclass(frozen=True)
class DayVerdict:
    day: str  # YYYY-MM-DD
    release: str  # whose answers are the baseline
    verdict: Word
    reason: str
    watched: tuple[Watched, ...]
    scores: tuple[ScoreToday, ...]
    tests: tuple[Tested, ...]
    sums: tuple[Sum, ...]

    def increment(self, stream: Stream) -> float | None:
        return next((one.increment for one in self.sums if one.stream == stream), None)


_KIND = TypeAdapter(DayVerdict)


def to_json(verdict: DayVerdict) -> dict[str, Any]:
    """What report.json holds."""
    return asdict(verdict)


def from_json(value: Any, where: str) -> DayVerdict:
    """A verdict as `to_json` gave it, also after JSON made lists of its tuples.

    Raises:
        JoshiError: it is none; names `where` it stood and the key.
    """
    try:
        found = _KIND.validate_python(value)
        date.fromisoformat(found.day)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the value"
        message = f"{where}: {key}: {first['msg']}; expected a day's verdict; restore the file, or delete that day"
        raise JoshiError(message) from error
    except ValueError as error:
        raise JoshiError(
            f"{where}: day: {found.day!r} is no date; expected YYYY-MM-DD; restore the file, or delete that day"
        ) from error
    return found


def in_order(history: Iterable[DayVerdict], release: str) -> list[DayVerdict]:
    """One verdict a day by date, whatever order they come in; of one day the last given, of other releases none.

    A new release has answers of its own to be compared with, so that its sums begin at zero.
    """
    days = {one.day: one for one in history if one.release == release}
    return [days[day] for day in sorted(days)]


def before(history: Iterable[DayVerdict], release: str, day: date) -> list[DayVerdict]:
    """The days that the sums of `day` rest on. What a wrong clock wrote for a later day is left alone and not used."""
    return [one for one in in_order(history, release) if one.day < day.isoformat()]


def totals(days: Iterable[DayVerdict], stream: Stream, limit: float) -> list[float]:
    """A stream's sum after each day, made anew of the days' increments: a day judged again changes those after."""
    return sums([one.increment(stream) for one in days], limit)
