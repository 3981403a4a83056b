"""Labels are dealt out anew within strata, and p-values from that are never too small in the long run."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.monitoring.drift.answers import Answers, compare
from joshi.monitoring.drift.means import fall_statistic
from joshi.monitoring.drift.permutation import ENOUGH, p_values

from .answers import compared_scores, draw, probes, talks


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_each_stratum_keeps_its_numbers(counts: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = [f"p{i}" for i, (n, _) in enumerate(counts) for _ in range(n)]
    after = [f"p{i}" for i, (_, n) in enumerate(counts) for _ in range(n)]
    compared = compare("probes", draw(before, rng), draw(after, rng))
    for labels in compared.relabelled(rng, 20):
        assert np.bincount(compared.stratum[labels], minlength=len(counts)).tolist() == [n for _, n in counts]


def test_the_p_value_is_that_of_all_relabellings() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.random(6), rng.random(4) - 0.3
    values = np.clip(np.concatenate([before, after]), 0, 1)
    compared = compared_scores("production", values[:6], values[6:], (talks(6), talks(4)))
    seen = values[:6].mean() - values[6:].mean()
    falls = []
    for chosen in combinations(range(10), 4):
        today = np.isin(np.arange(10), chosen)
        falls.append(values[~today].mean() - values[today].mean())
    exact = np.mean(np.array(falls) >= seen - 1e-12)
    found = p_values({"fall": fall_statistic(compared, values)}, compared, rng, 20_000)["fall"]
    assert found == pytest.approx(exact, rel=3 / ENOUGH**0.5)


def test_p_values_are_not_too_small_where_nothing_changed() -> None:
    rng = np.random.default_rng(8)
    found = []
    for _ in range(400):
        # Scores in tenths, with unlike numbers before and today: the differences are skewed and tie all the time.
        values = rng.choice([0.5, 0.9, 1.0], 60, p=[0.1, 0.2, 0.7])
        compared = compared_scores("probes", values[:40], values[40:], (probes(20, 2), probes(20, 1)))
        found.append(p_values({"fall": fall_statistic(compared, values)}, compared, rng, 999)["fall"])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    assert np.mean(found) < 0.7  # and are not all 1


def test_a_small_p_takes_all_draws_and_a_large_one_few() -> None:
    values = np.concatenate([np.ones(30), np.zeros(30)])
    compared = compared_scores("production", values[:30], values[30:], (talks(30), talks(30)))
    drawn = []

    def counted(today: np.ndarray) -> np.ndarray:
        drawn.append(len(today))
        return np.zeros(len(today))  # every draw is as extreme as what was seen

    rng = np.random.default_rng(1)
    assert p_values({"same": counted}, compared, rng, 5_000) == {"same": 1.0}
    assert sum(drawn) < 500
    assert p_values({"fall": fall_statistic(compared, values)}, compared, rng, 1_999)["fall"] == 1 / 2_000


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_p(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compared = compare("probes", draw(probes(8, 3), rng), draw(probes(8, 2), rng))
    statistic = {"fall": fall_statistic(compared, compared.both("scores"))}
    one, other = (p_values(statistic, compared, np.random.default_rng(seed), 300) for _ in range(2))
    assert one == other and 0 < one["fall"] <= 1


def test_probes_that_only_one_side_has_are_left_out() -> None:
    rng = np.random.default_rng(1)
    compared = compare("probes", draw(["a", "b", "b", "c"], rng), draw(["b", "c", "d", "c"], rng))
    assert set(compared.before.units) == set(compared.after.units) == {"b", "c"}
    assert compared.counts[0].tolist() == [2, 1] and compared.counts[1].tolist() == [1, 2]
    assert compared.contrast.sum() == pytest.approx(0) and np.abs(compared.contrast).sum() == pytest.approx(2)


def test_figures_that_cannot_be_are_named() -> None:
    rng = np.random.default_rng(1)
    sound = draw(talks(4), rng)
    wrong = Answers(sound.units, np.array([1, 0.5, np.nan, 0]), sound.passed, sound.tokens, sound.embeddings)
    with pytest.raises(JoshiError, match=r"production today: scores of answer 3 \(t2\) is not 0 to 1"):
        compare("production", sound, wrong)
    short = Answers(sound.units, sound.scores[:3], sound.passed, sound.tokens, sound.embeddings)
    with pytest.raises(JoshiError, match=r"scores has the shape \(3,\), expected \(4,\)"):
        compare("production", short, sound)
    with pytest.raises(JoshiError, match="conversation t1 has several answers; take one a conversation"):
        compare("production", sound, draw(["t1", "t1"], rng))
