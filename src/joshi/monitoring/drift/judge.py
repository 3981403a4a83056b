"""One day against the release: every test, corrected together, and the sums over days that decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from joshi.monitoring.drift import classifier, cusum, kernel, lengths, means, rates, sentences
from joshi.monitoring.drift.answers import SOURCES, Answers, Compared, Source, compare
from joshi.monitoring.drift.holm import adjust
from joshi.monitoring.drift.permutation import Statistic, p_values
from joshi.monitoring.drift.sample import minimum_sample
from joshi.monitoring.drift.verdict import (
    STREAMS,
    DayVerdict,
    ScoreToday,
    Stream,
    Sum,
    Tested,
    Watched,
    Word,
    before,
)
from joshi.rubric import RULES, WEIGHTS

# What is told and decides nothing: a second opinion; and in production what follows from whose turn it is to write.
TOLD: dict[Source, tuple[str, ...]] = {"probes": ("kernel",), "production": ("tokens", "meaning", "kernel")}
TOLD_DRAWS = 199  # permutations at most of such a test

LIMITS: dict[Stream, float] = {
    "probes": cusum.SCORE_LIMIT,
    "production": cusum.SCORE_LIMIT,
    "tests": cusum.TESTS_LIMIT,
}


@dataclass(frozen=True, eq=False)
class Baseline:
    """What the released model answered: the probes just after release, production in its first days."""

    release: str
    probes: Answers | None
    production: Answers | None


@dataclass(frozen=True, eq=False)
class Today:
    day: date
    probes: Answers | None
    production: Answers | None


@dataclass(frozen=True)
class Settings:
    threshold: float = 0.10  # fall of the mean empathy score that must be found, as a share of the release's
    level: float = 0.05  # at which a test of one day stands out, after correction
    permutations: int = 1_999  # at most, a test: enough for the smallest p to be an alarm on the second day
    seed: int = 0


def judge_day(baseline: Baseline, today: Today, history: Sequence[DayVerdict], settings: Settings) -> DayVerdict:
    """Whether answers drifted. The same arguments give the same verdict.

    The alarm is raised by the sums over days (`cusum`), never by one test at 5%, which would cry wolf every month. Of
    the score it is the evidence of a fall beyond half the threshold that is summed up: to ask for certainty that the
    whole threshold is reached would miss half of all falls that just reach it. Whether today's fall reaches the
    threshold is told with the alarm.

    Args:
        history: earlier verdicts in any order. A verdict of today's date is replaced, so that two runs on one day count
            once; those of later dates or of other releases are not looked at.

    Raises:
        JoshiError: answers that cannot be; the message names them.
    """
    watched: list[Watched] = []
    tests: list[Tested] = []
    scores: list[ScoreToday] = []
    increments: dict[Stream, float | None] = dict.fromkeys(STREAMS)
    for place, source in enumerate(SOURCES):
        at_release, now = getattr(baseline, source), getattr(today, source)
        if at_release is None or now is None:
            continue
        compared = compare(source, at_release, now)
        watched.append(_watched(compared, settings))
        if not watched[-1].enough:
            continue
        rng = np.random.default_rng([settings.seed, today.day.toordinal(), place])
        moved = means.change(compared, compared.both("scores"), resolution=min(WEIGHTS.values()))
        tests += _tests(compared, moved, settings, rng)
        fall = settings.threshold * moved.before
        increments[source] = cusum.score_increment(-moved.change, fall, moved.error)
        scores.append(_score(source, moved, fall))
    if tests:
        deciding = [place for place, test in enumerate(tests) if test.name not in TOLD[test.source]]
        adjusted = adjust([tests[place].p for place in deciding])
        for place, value in zip(deciding, adjusted, strict=True):
            tests[place] = replace(tests[place], adjusted=value)
        increments["tests"] = cusum.tests_increment(min(adjusted))
    earlier = before(history, baseline.release, today.day)
    found = [_sum(stream, increments[stream], earlier) for stream in STREAMS]
    alarms = [one for one in found if one.alarm]
    word: Word
    if not tests:
        word, reason = "insufficient data", sentences.insufficient(watched)
    elif alarms:
        word, reason = "drift", sentences.reason(alarms, scores, tests, settings.threshold)
    else:
        word, reason = "ok", sentences.well(tests, settings.level)
    return DayVerdict(
        today.day.isoformat(), baseline.release, word, reason, tuple(watched), tuple(scores), tuple(tests), tuple(found)
    )


def _watched(compared: Compared, settings: Settings) -> Watched:
    source, answers = compared.source, len(compared.after)
    units = len(set(compared.after.units))
    draws = answers / units if units else 1.0
    needed = minimum_sample(source, compared.before, draws, settings.threshold)
    told = sentences.watched(source, units, answers, needed)
    return Watched(source, units, answers, len(compared.before), needed, told)


def _tests(compared: Compared, moved: means.Change, settings: Settings, rng: np.random.Generator) -> Iterator[Tested]:
    """All tests of one source, not yet corrected."""
    source, tokens = compared.source, compared.both("tokens").astype(np.float64)
    features = classifier.centred(compared)
    predictor = classifier.out_of_fold(features, classifier.folds(compared, rng))
    statistics: dict[str, Statistic] = {
        "score": means.fall_statistic(compared, compared.both("scores")),
        "tokens": lengths.distance_statistic(compared, tokens),
        "meaning": classifier.separation_statistic(compared, predictor),
        "kernel": kernel.discrepancy_statistic(compared, kernel.kernel(features)),
    }
    seen = {name: float(statistic(compared.is_today[None])[0]) for name, statistic in statistics.items()}
    exact = lengths.exact(compared, tokens)
    deciding = {name: one for name, one in statistics.items() if name not in TOLD[source]}
    told = {name: one for name, one in statistics.items() if name in TOLD[source]}
    p = p_values(deciding, compared, rng, settings.permutations) | p_values(told, compared, rng, TOLD_DRAWS)
    p |= {} if exact is None else {"tokens": exact}
    longer, accuracy = means.change(compared, tokens, resolution=1.0), classifier.accuracy(compared, predictor)

    def tested(name: str, statistic: float, p: float, sentence: str, moved: means.Change | None = None) -> Tested:
        return Tested(name, source, statistic, p, None, moved, len(compared.after), len(compared.before), sentence)

    yield tested("score", seen["score"], p["score"], sentences.score(source, moved), moved)
    for place, rule in enumerate(RULES):
        passed = compared.both("passed")[:, place]
        kept = rates.change(compared, passed)
        yield tested(
            rule, kept.change, rates.fell(compared, passed), sentences.rule(source, rule, compared, kept), kept
        )
    yield tested("tokens", seen["tokens"], p["tokens"], sentences.length(source, longer, seen["tokens"]), longer)
    yield tested("meaning", accuracy, p["meaning"], sentences.meaning(source, accuracy))
    yield tested("kernel", seen["kernel"], p["kernel"], sentences.kernel(source, seen["kernel"]))


def _score(source: Source, moved: means.Change, fall: float) -> ScoreToday:
    alarm_below = moved.before - cusum.SCORE_REFERENCE * fall - cusum.SCORE_LIMIT * moved.error
    low, high = (min(max(moved.before + end, 0.0), 1.0) for end in (moved.low, moved.high))
    return ScoreToday(source, moved.before, moved.today, low, high, moved.before - fall, alarm_below)


def _sum(stream: Stream, increment: float | None, earlier: Sequence[DayVerdict]) -> Sum:
    limit = LIMITS[stream]
    return Sum(
        stream, increment, cusum.sums([*(one.increment(stream) for one in earlier), increment], limit)[-1], limit
    )
