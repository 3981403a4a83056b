"""Can a classifier tell today's answers from those at release? If it can, what is said has changed.

A two-sample test by classifier (Lopez-Paz and Oquab 2017) on sentence embeddings. The classifier is ridge regression on
the labels, which for two classes points where regularised linear discriminant analysis does. It is linear in the
labels, so one matrix M takes any labels to all out-of-fold predictions: a permutation costs a matrix product instead of
five fits, and is exactly what the five fits would give.
"""

from __future__ import annotations

import numpy as np

from joshi.monitoring.drift.answers import Booleans, Compared, Floats, Integers
from joshi.monitoring.drift.permutation import Statistic

FOLDS = 5
RIDGE = 1.0  # penalty, as a multiple of the mean squared length of a centred embedding


def centred(compared: Compared) -> Floats:
    """(n, size) embeddings less the mean of their stratum: what a probe is about tells nothing of the day."""
    values = compared.both("embeddings").astype(np.float64)
    sums = np.zeros((compared.strata, values.shape[1]))
    np.add.at(sums, compared.stratum, values)
    found: Floats = values - (sums / np.bincount(compared.stratum)[:, None])[compared.stratum]
    return found


def folds(compared: Compared, rng: np.random.Generator) -> Integers:
    """(n,) the fold of each row; all answers to one probe are in the same."""
    if compared.source == "probes":
        return rng.permutation(compared.strata)[compared.stratum] % FOLDS
    return rng.permutation(len(compared.stratum)) % FOLDS


def out_of_fold(features: Floats, fold: Integers) -> Floats:
    """M (n, n): M @ y are the predictions of every row by a ridge regression fitted without its fold.

    With H the hat matrix of all rows, what a fold's rows would miss if they were left out is (I - H_ff)^-1 times what
    they miss now (Cook and Weisberg 1982, 2.2, for blocks; ridge keeps the identity at a fixed penalty). So
    M = I - blocks((I - H_ff)^-1) (I - H).
    """
    gram = features @ features.T  # (n, n)
    penalty = RIDGE * np.trace(gram) / len(gram)
    if not penalty:  # all embeddings of a stratum are equal: there is nothing to predict from
        return np.zeros_like(gram)
    # I - H = penalty (gram + penalty I)^-1
    missed = penalty * np.linalg.inv(gram + penalty * np.eye(len(gram)))
    left_out = np.empty_like(missed)
    for one in range(FOLDS):
        rows = np.flatnonzero(fold == one)
        left_out[rows] = np.linalg.solve(missed[np.ix_(rows, rows)], missed[rows])
    found: Floats = np.eye(len(gram)) - left_out
    return found


def separation_statistic(compared: Compared, predictor: Floats) -> Statistic:
    """How much higher today's rows are predicted than the others, for `permutation.p_values`.

    The mean margin rather than the accuracy: it uses how sure each prediction is, and has more power for it (Cheng and
    Cloninger 2022).
    """

    def separation(today: Booleans) -> Floats:
        labels = compared.contrasts(today)  # (draws, n), each stratum's sum is 0
        found: Floats = np.einsum("dn,dn->d", labels @ predictor.T, labels)
        return found

    return separation


def accuracy(compared: Compared, predictor: Floats) -> float:
    """Share of rows told rightly out of fold, both days weighing alike: 0.5 is guessing, 1 is never wrong."""
    predicted = predictor @ compared.contrast
    right = (np.sign(predicted) == np.sign(compared.contrast)) + 0.5 * (predicted == 0)
    return float(np.abs(compared.contrast) @ right / 2)
