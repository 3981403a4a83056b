"""How far two raters agree beyond chance: Cohen's kappa with an interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joshi.evaluation.measure import CONFIDENCE, rate

DRAWS = 2_000  # of the bootstrap


def agreement(labels: Sequence[str], said: Sequence[str], verdicts: Sequence[str], seed: int) -> dict[str, Any]:
    """Cohen's kappa with a 95% percentile bootstrap over the cases, raw agreement, and `confusion[label][said]`.

    A verdict that only one rater gives lowers kappa like any disagreement. Where both give one verdict alone kappa is
    undefined: None, and 0 for such a draw of the bootstrap, as it shows no agreement beyond chance.
    """
    found = Counter(zip(labels, said, strict=True))
    counts = np.array([[found[label, verdict] for verdict in verdicts] for label in verdicts], np.int64)
    n = int(counts.sum())
    kappa = float(kappas(counts))
    low = high = None
    if not np.isnan(kappa):
        # To draw n cases with replacement is to draw the table's cells from a multinomial distribution.
        drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, DRAWS)
        tail = (1 - CONFIDENCE) / 2
        values = np.nan_to_num(kappas(drawn.reshape(DRAWS, *counts.shape)), nan=0.0)
        low, high = (float(value) for value in np.quantile(values, [tail, 1 - tail]))
    return {
        "kappa": None if np.isnan(kappa) else kappa,
        "low": low,
        "high": high,
        "agreement": rate(int(counts.trace()), n),
        "confusion": {
            label: dict(zip(verdicts, map(int, row), strict=True)) for label, row in zip(verdicts, counts, strict=True)
        },
    }


def kappas(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cohen's kappa (1960) of tables (..., verdicts, verdicts); NaN where chance alone would agree on everything."""
    n = counts.sum((-2, -1))
    by_chance = (counts.sum(-1) * counts.sum(-2)).sum(-1)  # times n squared, in whole numbers
    above, possible = n * np.trace(counts, axis1=-2, axis2=-1) - by_chance, n * n - by_chance
    return np.where(possible > 0, above / np.maximum(possible, 1), np.nan)
