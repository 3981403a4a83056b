"""The day's verdict: what raises the alarm, what does not, and that odd histories corrupt nothing."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.monitoring.drift.judge import Baseline, Settings, Today, judge_day
from joshi.monitoring.drift.sample import BAD_ANSWER, FEWEST, THRESHOLD_ERRORS, minimum_sample
from joshi.monitoring.drift.verdict import DayVerdict, from_json, in_order, to_json

from .answers import draw, probes, talks

QUICK = Settings(permutations=499)
FIRST = date(2026, 3, 1)
KEPT = 0.97  # share of answers that keep a rule at release


def release(seed: int = 1, name: str = "r1") -> Baseline:
    rng = np.random.default_rng(seed)
    return Baseline(name, draw(probes(24, 6), rng, KEPT), draw(talks(250), rng, KEPT))


def today(number: int, kept: float = KEPT, tokens: float = 60, production: bool = True) -> Today:
    rng = np.random.default_rng([7, number, int(1000 * kept), int(tokens)])
    answered = draw(talks(90), rng, kept, tokens) if production else None
    return Today(FIRST + timedelta(days=number), draw(probes(24, 4), rng, kept, tokens), answered)


def days(kept: list[float], known: Baseline) -> list[DayVerdict]:
    history: list[DayVerdict] = []
    for number, share in enumerate(kept):
        history.append(judge_day(known, today(number, share), history, QUICK))
    return history


def test_quiet_days_are_ok_and_a_fall_by_the_threshold_is_drift_within_two_days() -> None:
    found = days([KEPT] * 8 + [0.9 * KEPT] * 2, release())
    assert [one.verdict for one in found[:8]] == ["ok"] * 8
    assert found[9].verdict == "drift"
    assert "The empathy score on the probes has fallen" in found[9].reason
    assert "correction for 18 tests" in found[9].reason


def test_days_of_many_releases_are_rarely_drift_while_nothing_changes() -> None:
    words = []
    for seed in range(6):
        rng = np.random.default_rng([50, seed])
        known = Baseline("r", draw(probes(20, 6), rng, KEPT), draw(talks(150), rng, KEPT))
        history: list[DayVerdict] = []
        for number in range(12):
            now = Today(FIRST + timedelta(days=number), draw(probes(20, 4), rng, KEPT), draw(talks(60), rng, KEPT))
            history.append(judge_day(known, now, history, Settings(permutations=499, seed=number)))
        words += [one.verdict for one in history]
    assert len(words) == 72 and words.count("drift") == 0


def test_a_single_test_that_stands_out_is_no_alarm_and_is_told() -> None:
    found = judge_day(release(), today(0, tokens=70), [], QUICK)
    standing = {(one.name, one.source) for one in found.tests if one.adjusted is not None and one.adjusted <= 0.05}
    assert standing and all(name == "tokens" for name, _ in standing)
    assert found.verdict == "ok" and "it becomes an alarm if it stays" in found.reason
    history, verdicts = [found], []
    for number in range(1, 7):
        history.append(judge_day(release(), today(number, tokens=70), history, QUICK))
        verdicts.append(history[-1].verdict)
    assert "drift" in verdicts  # it stayed
    assert "Length" in history[-1].reason


def test_the_same_day_judged_again_gives_the_same_and_counts_once() -> None:
    known = release()
    history = days([KEPT, 0.93, 0.93], known)
    again = judge_day(known, today(2, 0.93), history, QUICK)
    assert again == history[2]
    assert judge_day(known, today(2, 0.93), [*history, again, again], QUICK) == history[2]
    # A second run with other answers replaces the first.
    other = judge_day(known, today(2, KEPT), history, QUICK)
    assert other == judge_day(known, today(2, KEPT), history[:2], QUICK)


@settings(max_examples=4, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_history_does_not_matter(rng: random.Random) -> None:
    shuffled = list(HISTORY)
    rng.shuffle(shuffled)
    assert judge_day(KNOWN, today(4, 0.93), shuffled, QUICK) == judge_day(KNOWN, today(4, 0.93), HISTORY, QUICK)


KNOWN = release()
HISTORY = days([KEPT, 0.93, 0.93, KEPT], KNOWN)


def test_a_clock_that_was_ahead_does_not_count() -> None:
    ahead = replace(judge_day(KNOWN, today(0, 0.5), [], QUICK), day="2031-01-01")
    assert ahead.verdict == "drift"
    assert judge_day(KNOWN, today(4), [*HISTORY, ahead], QUICK) == judge_day(KNOWN, today(4), HISTORY, QUICK)
    # When it jumped back, the day that is judged late uses what lay before it, and those after it stay what they were.
    late = judge_day(KNOWN, today(1, KEPT), HISTORY, QUICK)
    assert late == judge_day(KNOWN, today(1, KEPT), HISTORY[:1], QUICK)
    assert in_order([*HISTORY, late], "r1") == [HISTORY[0], late, *HISTORY[2:]]


def test_a_new_release_begins_at_zero() -> None:
    bad = days([0.7, 0.7], KNOWN)
    assert bad[-1].verdict == "drift"
    other = release(2, "r2")
    assert judge_day(other, today(2), bad, QUICK) == judge_day(other, today(2), [], QUICK)


def test_too_few_answers_are_insufficient_and_leave_the_sums_as_they_were() -> None:
    few = Today(FIRST + timedelta(days=4), draw(probes(9, 4), np.random.default_rng(1)), None)
    found = judge_day(KNOWN, few, HISTORY, QUICK)
    assert found.verdict == "insufficient data"
    assert "On the probes: 9 probes, 36 answers today; " in found.reason and "are needed" in found.reason
    assert [one.total for one in found.sums] == [one.total for one in HISTORY[-1].sums]
    assert not found.tests and not found.scores
    nobody = judge_day(KNOWN, Today(FIRST, None, None), [], QUICK)
    assert nobody.verdict == "insufficient data" and "no answer" in nobody.reason
    strangers = Today(FIRST, draw(["x"] * 90, np.random.default_rng(1)), None)
    assert judge_day(KNOWN, strangers, [], QUICK).verdict == "insufficient data"


def test_one_source_is_enough() -> None:
    alone = judge_day(KNOWN, today(0, production=False), [], QUICK)
    assert alone.verdict == "ok" and {one.source for one in alone.tests} == {"probes"}
    assert judge_day(replace(KNOWN, probes=None), today(0), [], QUICK).scores[0].source == "production"


def test_a_fall_below_half_the_threshold_is_no_alarm_of_the_score() -> None:
    found = days([0.985 * KEPT] * 6, KNOWN)
    assert max(one.total for verdict in found for one in verdict.sums if one.stream != "tests") == 0


def test_the_score_below_which_one_day_is_an_alarm_is_where_its_sum_passes_its_limit() -> None:
    for kept in np.linspace(0.8, 0.99, 12):
        found = judge_day(KNOWN, today(0, float(kept), production=False), [], QUICK)
        score, total = found.scores[0], next(one for one in found.sums if one.stream == "probes")
        assert (score.today < score.alarm_below) == total.alarm


def test_whether_the_threshold_is_reached_is_told() -> None:
    deep = judge_day(KNOWN, today(0, 0.7, production=False), [], QUICK)
    assert deep.scores[0].fallen and "reaches the threshold of 10%" in deep.reason
    shallow = days([0.92 * KEPT] * 4, KNOWN)[-1]
    assert shallow.verdict == "drift" and "is below the threshold of 10%" in shallow.reason


def test_a_verdict_survives_json() -> None:
    for one in (*HISTORY, judge_day(KNOWN, Today(FIRST, None, None), [], QUICK)):
        assert from_json(json.loads(json.dumps(to_json(one))), "report.json") == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "fine"}, "report.json: verdict: "),
        ({"day": "yesterday"}, "'yesterday' is no date; expected YYYY-MM-DD"),
        ({"sums": [{"stream": "probes"}]}, "report.json: sums.0"),
        ({"scores": 3}, "restore the file, or delete that day"),
    ],
)
def test_a_verdict_that_is_none_is_a_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(JoshiError, match=message):
        from_json(to_json(HISTORY[0]) | change, "report.json")
    with pytest.raises(JoshiError, match="expected a day's verdict"):
        from_json([], "report.json")


def test_the_minimum_is_where_the_threshold_measures_its_standard_errors() -> None:
    known = release(3)
    assert known.probes is not None and known.production is not None
    for threshold in (0.04, 0.06, 0.1):
        needed = minimum_sample("production", known.production, 1, threshold)
        assert needed is not None and needed >= FEWEST["production"]
        own, mean = known.production.scores.var(ddof=1), known.production.scores.mean()
        fall = threshold * mean
        spread = own + fall * (BAD_ANSWER * mean - fall)
        for n, fits in ((needed, True), (needed - 1, False)):
            error = np.sqrt(spread / n + own / len(known.production))
            if needed > FEWEST["production"]:
                assert (fall / error >= THRESHOLD_ERRORS) == fits
    smaller = [minimum_sample("probes", known.probes, 1, t) or 0 for t in (0.02, 0.04, 0.08)]
    assert smaller == sorted(smaller, reverse=True) and smaller[0] > smaller[2]
    more = [minimum_sample("probes", known.probes, draws, 0.05) or 0 for draws in (1, 2, 4)]
    assert more == sorted(more, reverse=True) and more[0] > more[2]


def test_no_number_of_answers_helps_where_the_release_is_not_known_well_enough() -> None:
    rng = np.random.default_rng(1)
    assert minimum_sample("production", draw(talks(12), rng, 0.7), 1, 0.1) is None
    assert minimum_sample("production", draw([], rng), 1, 0.1) is None
    assert minimum_sample("probes", draw(probes(30, 4), rng, kept=0.0), 4, 0.1) is None  # nothing to fall from
    found = judge_day(replace(KNOWN, probes=None, production=draw(talks(12), rng, 0.7)), today(0), [], QUICK)
    assert found.verdict == "insufficient data" and "too few answers of this kind" in found.reason


def test_probes_answered_once_at_release_need_no_fewer() -> None:
    rng = np.random.default_rng(2)
    once = minimum_sample("probes", draw(probes(40, 1), rng, KEPT), 1, 0.1)
    often = minimum_sample("probes", draw(probes(40, 8), rng, KEPT), 1, 0.1)
    assert once is not None and often is not None and once >= often


def test_what_production_writes_about_is_told_and_raises_no_alarm() -> None:
    history: list[DayVerdict] = []
    for number in range(4):
        now = today(number)
        assert now.production is not None
        now.production.embeddings[:] += 3.0  # other topics
        now.production.tokens[:] += 30
        history.append(judge_day(KNOWN, now, history, QUICK))
    assert [one.verdict for one in history] == ["ok"] * 4
    found = {one.name: one for one in history[-1].tests if one.source == "production"}
    assert found["meaning"].statistic > 0.9 and found["meaning"].adjusted is None
    assert found["tokens"].p <= 0.01 and found["tokens"].adjusted is None
