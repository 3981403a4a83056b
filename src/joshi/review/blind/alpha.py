"""Krippendorff's alpha: how far reviewers agree beyond chance, for any number of them and any gaps."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from joshi.evaluation.measure import CONFIDENCE
from joshi.review.blind.clustered import cluster_index

DRAWS = 2_000  # of the bootstrap
Level = Literal["nominal", "ordinal", "interval"]


def alpha(
    units: Sequence[Sequence[int]], clusters: Sequence[Hashable], n_values: int, level: Level, seed: int
) -> dict[str, Any]:
    """Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability") with a 95% percentile bootstrap.

    The bootstrap draws conversations. A draw in which one value alone occurs shows no agreement beyond chance: 0.

    Args:
        units: the values 0..n_values-1 that each unit was given, by whom does not matter; one with fewer than two
            values pairs nothing and is left out.
        clusters: the conversation of each unit.

    Returns:
        alpha: 1 perfect, 0 chance; None if nothing pairs or one value alone occurs, for which it is not defined.
        low, high: None with it, or where one conversation alone cannot vary.
        units, values: how many were paired.
    """
    paired = [(list(unit), cluster) for unit, cluster in zip(units, clusters, strict=True) if len(unit) > 1]
    found: dict[str, Any] = {
        "alpha": None, "low": None, "high": None,
        "units": len(paired), "values": sum(len(unit) for unit, _ in paired),
    }  # fmt: skip
    if not paired:
        return found
    by_unit = np.stack([_coincidences(unit, n_values) for unit, _ in paired])
    whole = float(_alphas(by_unit.sum(0), level))
    if np.isnan(whole):
        return found
    index = cluster_index([cluster for _, cluster in paired])
    k = int(index.max()) + 1
    if k > 1:
        by_cluster = np.zeros((k, n_values, n_values))
        np.add.at(by_cluster, index, by_unit)
        drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), DRAWS)  # (draws, conversations)
        values = np.nan_to_num(_alphas(np.tensordot(drawn, by_cluster, 1), level), nan=0.0)
        tail = (1 - CONFIDENCE) / 2
        found["low"], found["high"] = (float(value) for value in np.quantile(values, [tail, 1 - tail]))
    return found | {"alpha": whole}


def _coincidences(unit: Sequence[int], n_values: int) -> NDArray[np.float64]:
    """How often each value meets each other within a unit: (values, values); its sum is the unit's number of values."""
    counts = np.bincount(np.asarray(unit), minlength=n_values).astype(np.float64)
    met: NDArray[np.float64] = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return met


def _alphas(coincidences: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Alpha of tables (..., values, values); NaN where one value alone occurs."""
    totals = coincidences.sum(-1)  # (..., values)
    n = totals.sum(-1)
    apart = _distances(totals, level)
    observed = (coincidences * apart).sum((-2, -1))
    expected = (totals[..., :, None] * totals[..., None, :] * apart).sum((-2, -1))
    return np.where(expected > 0, 1 - (n - 1) * observed / np.where(expected > 0, expected, 1), np.nan)


def _distances(totals: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Squared difference of each two values; the ordinal one counts the values given that lie between them."""
    if level == "nominal":
        return 1 - np.eye(totals.shape[-1])
    if level == "interval":
        place = np.broadcast_to(np.arange(totals.shape[-1], dtype=np.float64), totals.shape)
    else:
        place = np.cumsum(totals, -1) - totals / 2
    squared: NDArray[np.float64] = (place[..., :, None] - place[..., None, :]) ** 2
    return squared
