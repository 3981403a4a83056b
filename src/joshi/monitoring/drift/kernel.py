"""A second opinion on embeddings: the maximum mean discrepancy (Gretton et al. 2012). It is told and alarms nobody."""

from __future__ import annotations

import numpy as np

from joshi.monitoring.drift.answers import Booleans, Compared, Floats
from joshi.monitoring.drift.permutation import Statistic


def kernel(features: Floats) -> Floats:
    """(n, n) Gaussian kernel exp(-d^2 / 2 s^2), s the median distance (Gretton et al. 2012, section 8); diagonal 0."""
    products = features @ features.T
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares - 2 * products, 0)  # squared
    median = float(np.median(distances[np.triu_indices(len(distances), 1)])) or 1.0
    found: Floats = np.exp(-distances / (2 * median))
    np.fill_diagonal(found, 0)
    return found


def discrepancy_statistic(compared: Compared, similar: Floats) -> Statistic:
    """MMD^2, unbiased (Gretton et al. 2012, equation 3), for `permutation.p_values`; about 0, also below, if alike."""
    n_after, n_before = len(compared.after), len(compared.before)
    each = similar.sum(axis=1)  # (n,)

    def discrepancy(today: Booleans) -> Floats:
        labels = today.astype(np.float64)
        within = np.einsum("dn,dn->d", labels @ similar, labels)  # both of the pair are today's
        across = labels @ each - within
        others = each.sum() - within - 2 * across
        found: Floats = (
            within / (n_after * (n_after - 1))
            + others / (n_before * (n_before - 1))
            - 2 * across / (n_after * n_before)
        )
        return found

    return discrepancy
