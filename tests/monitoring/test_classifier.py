"""Embeddings: the closed form is refitting, and what can be told apart is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.monitoring.drift.answers import Compared, compare
from joshi.monitoring.drift.classifier import (
    FOLDS,
    RIDGE,
    accuracy,
    centred,
    folds,
    out_of_fold,
    separation_statistic,
)
from joshi.monitoring.drift.kernel import discrepancy_statistic, kernel
from joshi.monitoring.drift.permutation import p_values

from .answers import draw, probes, talks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(FOLDS, 40), st.integers(1, 30))
def test_the_predictor_is_what_refitting_without_each_fold_gives(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, size))
    labels = rng.normal(size=n)
    fold = rng.permutation(n) % FOLDS
    penalty = RIDGE * np.square(features).sum() / n
    expected = np.empty(n)
    for one in range(FOLDS):
        kept, out = fold != one, fold == one
        inner = features[kept].T @ features[kept] + penalty * np.eye(size)
        expected[out] = features[out] @ np.linalg.solve(inner, features[kept].T @ labels[kept])
    assert out_of_fold(features, fold) @ labels == pytest.approx(expected, abs=1e-9)


def test_permuted_labels_are_predicted_as_if_fitted_to_them() -> None:
    rng = np.random.default_rng(11)
    compared = compare("probes", draw(probes(10, 3), rng), draw(probes(10, 2), rng))
    features, fold = centred(compared), folds(compared, rng)
    predictor = out_of_fold(features, fold)
    labels = compared.relabelled(rng, 5)
    found = separation_statistic(compared, predictor)(labels)
    penalty = RIDGE * np.square(features).sum() / len(features)
    for today, value in zip(labels, found, strict=True):
        y = compared.contrasts(today[None])[0]
        total = 0.0
        for one in range(FOLDS):
            kept, out = fold != one, fold == one
            inner = features[kept].T @ features[kept] + penalty * np.eye(features.shape[1])
            total += y[out] @ features[out] @ np.linalg.solve(inner, features[kept].T @ y[kept])
        assert value == pytest.approx(total, abs=1e-12)


def test_a_probe_is_never_split_between_folds() -> None:
    rng = np.random.default_rng(12)
    compared = compare("probes", draw(probes(13, 3), rng), draw(probes(13, 2), rng))
    fold = folds(compared, rng)
    assert all(len(set(fold[compared.stratum == probe])) == 1 for probe in range(13))
    assert set(fold) == set(range(FOLDS))


def _judged(compared: Compared, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    features = centred(compared)
    predictor = out_of_fold(features, folds(compared, rng))
    statistics = {
        "meaning": separation_statistic(compared, predictor),
        "kernel": discrepancy_statistic(compared, kernel(features)),
    }
    found = p_values(statistics, compared, rng, 499)
    return accuracy(compared, predictor), found["meaning"], found["kernel"]


@pytest.mark.parametrize("source", ["probes", "production"])
def test_what_moved_is_told_apart_and_what_did_not_is_guessed(source: str) -> None:
    rng = np.random.default_rng(13)
    names = (probes(20, 3), probes(20, 2)) if source == "probes" else (talks(60), talks(40))
    moved = _judged(compare(source, draw(names[0], rng), draw(names[1], rng, shift=2.0)), 1)  # type: ignore[arg-type]
    assert moved[0] > 0.95 and moved[1] == moved[2] == 1 / 500
    still = _judged(compare(source, draw(names[0], rng), draw(names[1], rng)), 1)  # type: ignore[arg-type]
    assert 0.3 < still[0] < 0.7 and still[1] > 0.02


def test_p_is_not_too_small_where_nothing_changed() -> None:
    rng = np.random.default_rng(14)
    found = np.array(
        [_judged(compare("probes", draw(probes(10, 2), rng), draw(probes(10, 2), rng)), i) for i in range(150)]
    )
    for column in (1, 2):
        assert np.mean(found[:, column] <= 0.1) <= 0.1 + 3 * np.sqrt(0.09 / 150)


def test_equal_embeddings_tell_nothing() -> None:
    rng = np.random.default_rng(15)
    before, after = draw(talks(20), rng), draw(talks(20), rng)
    before.embeddings[:], after.embeddings[:] = 1.0, 1.0
    found = _judged(compare("production", before, after), 1)
    assert found == pytest.approx((0.5, 1.0, 1.0))


def test_the_discrepancy_is_grettons_sum() -> None:
    rng = np.random.default_rng(16)
    compared = compare("production", draw(talks(9), rng), draw(talks(7), rng, shift=0.5))
    x = compared.both("embeddings")
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(16) for j in range(i)]
    width = np.median(distances)

    def k(i: int, j: int) -> float:
        return float(np.exp(-(np.linalg.norm(x[i] - x[j]) ** 2) / (2 * width**2)))

    before, after = range(9), range(9, 16)
    expected = (
        sum(k(i, j) for i in before for j in before if i != j) / (9 * 8)
        + sum(k(i, j) for i in after for j in after if i != j) / (7 * 6)
        - 2 * sum(k(i, j) for i in before for j in after) / (9 * 7)
    )
    similar = kernel(x)
    # The median is of squared distances, whose root it is up to the mean of the middle two.
    assert discrepancy_statistic(compared, similar)(compared.is_today[None])[0] == pytest.approx(expected, abs=2e-3)
