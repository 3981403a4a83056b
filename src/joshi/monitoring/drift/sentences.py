"""The findings in words that need no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joshi.monitoring.drift.answers import Compared, Source
from joshi.monitoring.drift.means import Change
from joshi.monitoring.drift.verdict import ScoreToday, Sum, Tested, Watched
from joshi.pages.numbers import MINUS

WHERE: dict[str, str] = {"probes": "on the probes", "production": "in production"}


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def points(value: float) -> str:
    """A difference of shares in percentage points, or of scores in hundredths."""
    return f"{round(100 * value):+d}".replace("-", MINUS)


def chance(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def score(source: Source, moved: Change) -> str:
    return (
        f"Empathy score {WHERE[source]}: {number(moved.today)} today, {number(moved.before)} at release; "
        f"a change of {number(moved.change, 3)} ({number(moved.low, 3)} to {number(moved.high, 3)})."
    )


def rule(source: Source, name: str, compared: Compared, kept: Change) -> str:
    n, big_n = len(compared.after), len(compared.before)
    return (
        f"Rule “{name.replace('_', ' ')}” {WHERE[source]}: {kept.today * n:.0f} of {n} answers keep it today, "
        f"{kept.before * big_n:.0f} of {big_n} at release; {points(kept.change)} points "
        f"({points(kept.low)} to {points(kept.high)})."
    )


def length(source: Source, moved: Change, distance: float) -> str:
    return (
        f"Length {WHERE[source]}: {moved.today:.0f} tokens in the mean today, {moved.before:.0f} at release; the two "
        f"distributions are at most {distance:.0%} apart."
    )


def meaning(source: Source, accuracy: float) -> str:
    return (
        f"What is said {WHERE[source]}: a classifier tells today's answers from those at release in {accuracy:.0%} "
        "of cases; 50% is guessing."
    )


def kernel(source: Source, discrepancy: float) -> str:
    return (
        f"What is said {WHERE[source]}, second opinion: squared mean discrepancy {number(discrepancy, 4)}; 0 is alike."
    )


def watched(source: Source, units: int, answers: int, needed: int | None) -> str:
    what = f"{units} probes, {answers} answers" if source == "probes" else f"{answers} answers"
    have = f"{WHERE[source].capitalize()}: {what} today"
    if needed is None:
        return f"{have}; the release has too few answers of this kind, or a score of 0, to find such a fall at all."
    wanted = f"{needed} probes, answered as often as these," if source == "probes" else f"{needed}"
    return f"{have}; {wanted} are needed." if units < needed else f"{have}; at least {needed} are needed."


def insufficient(sources: Sequence[Watched]) -> str:
    told = " ".join(one.sentence for one in sources) or "There is no answer to compare."
    return f"Nothing can be said of this day. {told}"


def reason(alarms: Sequence[Sum], scores: Sequence[ScoreToday], tests: Sequence[Tested], threshold: float) -> str:
    """Why the day is drift."""
    known: dict[str, ScoreToday] = {one.source: one for one in scores}
    parts = [
        _fallen(known[alarm.stream], threshold) if alarm.increment and alarm.increment > 0 else _still(alarm, known)
        for alarm in alarms
        if alarm.stream != "tests"
    ]
    if any(alarm.stream == "tests" for alarm in alarms):
        parts.append(f"Answers are not what they were, more than chance explains. First of all: {_first(tests)}")
    return " ".join(parts)


def _fallen(one: ScoreToday, threshold: float) -> str:
    fall, reached = (one.before - one.today) / one.before, "reaches" if one.fallen else "is below"
    return (
        f"The empathy score {WHERE[one.source]} has fallen: {number(one.today)} today, {number(one.before)} at "
        f"release. Today's fall of {fall:.0%} {reached} the threshold of {threshold:.0%}."
    )


def _still(alarm: Sum, known: Mapping[str, ScoreToday]) -> str:
    """Of an alarm that earlier days raised."""
    where = WHERE[alarm.stream]
    if alarm.stream not in known:
        return f"The empathy score {where} had fallen before, and today brought too few answers to say that it rose."
    one = known[alarm.stream]
    return (
        f"The empathy score {where} had fallen before; today it is {number(one.today)}, at release it was "
        f"{number(one.before)}. The alarm ends when it stays there."
    )


def well(tests: Sequence[Tested], level: float) -> str:
    if not any(one.adjusted is not None and one.adjusted <= level for one in tests):
        return "No change since release that chance does not explain."
    return (
        f"One day alone stands out, which chance does on one day in {1 / level:.0f}; it becomes an alarm if it stays. "
        f"{_first(tests)}"
    )


def _first(tests: Sequence[Tested]) -> str:
    """The test that says most."""
    deciding = [(one.adjusted, one.p, one.sentence) for one in tests if one.adjusted is not None]
    adjusted, _, sentence = min(deciding)
    return f"{sentence.removesuffix('.')}; {chance(adjusted)} after correction for {len(deciding)} tests."
