"""The scores 1 to 5 and 'mentions internals': paired, sample by sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from joshi.evaluation.measure import mean_interval, rate
from joshi.review.blind.clustered import flip_test
from joshi.review.blind.comparisons import Comparison
from joshi.review.blind.judgement import HIGHEST, LOWEST, SCORES, SYSTEMS


def scores(compared: Sequence[Comparison], seed: int) -> dict[str, dict[str, Any]]:
    """For each score both systems' means and counts of 1..5, the mean difference with its interval, and the tests.

    `p_holm` is the clustered p, corrected for testing three scores (Holm 1979).
    """
    conversations = [one.conversation for one in compared]
    found: dict[str, dict[str, Any]] = {}
    for score in SCORES:
        given = {system: [one.scores[system][score] for one in compared] for system in SYSTEMS}
        differences = [a - b for a, b in zip(given["shipped"], given["baseline"], strict=True)]
        found[score] = {
            **{
                system: {
                    "mean": float(np.mean(given[system])) if compared else None,
                    "counts": [
                        sum(said.scores[system][score] == value for one in compared for said in one.judgements)
                        for value in range(LOWEST, HIGHEST + 1)
                    ],
                }
                for system in SYSTEMS
            },
            "difference": mean_difference(differences, conversations, seed),
            "wilcoxon": signed_rank(differences, conversations),
        }
    for test, p in zip(
        (found[score]["wilcoxon"] for score in SCORES),
        holm([found[score]["wilcoxon"]["p_clustered"] for score in SCORES]),
        strict=True,
    ):
        test["p_holm"] = p
    return found


def mean_difference(differences: Sequence[float], clusters: Sequence[Hashable], seed: int) -> dict[str, Any]:
    """Mean with a 95% bootstrap interval over conversations; None where one alone, or none, cannot vary."""
    grouped: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(differences, clusters, strict=True):
        grouped[cluster].append(value)
    if len(grouped) < 2:
        return {"mean": float(np.mean(differences)) if differences else None, "low": None, "high": None}
    return mean_interval(list(grouped.values()), seed)


def signed_rank(differences: Sequence[float], clusters: Sequence[Hashable]) -> dict[str, Any]:
    """Wilcoxon's signed-rank test (1945), two-sided; equal sizes share the mean of their ranks.

    A difference of zero takes part in the ranking and is then left out (Pratt 1959): dropped before it, zeros could
    turn a result round. p is exact given the ranks, ties and all; `p_clustered` exchanges whole conversations.

    Returns:
        `plus` and `minus`, the sums of ranks; n of what differs, zeros; p, p_clustered and whether they are exact.
    """
    values = np.asarray(differences, np.float64)
    ranks = rankdata(np.abs(values)) * np.sign(values)
    doubled = [int(rank) for rank in np.rint(2 * ranks)]  # mean ranks are halves: whole numbers sum exactly
    alone, clustered = flip_test(doubled, range(len(doubled))), flip_test(doubled, clusters)
    return {
        "plus": float(ranks[ranks > 0].sum()),
        "minus": float(-ranks[ranks < 0].sum()),
        "n": int((values != 0).sum()),
        "zeros": int((values == 0).sum()),
        "p": alone.p,
        "p_clustered": clustered.p,
        "exact": alone.exact and clustered.exact,
    }


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p of a family of tests, in the order given."""
    adjusted, so_far = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        so_far = max(so_far, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = so_far
    return adjusted


def mentions(compared: Sequence[Comparison]) -> dict[str, Any]:
    """How often each system's answers speak of internal matters, and McNemar's exact test (1947) of the difference.

    The test is the sign test of the samples in which one of the two does; `p_clustered` by conversation.
    """
    n = len(compared)
    said = {system: [one.mentions_internals[system] for one in compared] for system in SYSTEMS}
    signs = [int(a) - int(b) for a, b in zip(said["shipped"], said["baseline"], strict=True)]
    return {
        **{system: {"count": sum(said[system]), "n": n, **rate(sum(said[system]), n)} for system in SYSTEMS},
        "only_shipped": sum(sign > 0 for sign in signs),
        "only_baseline": sum(sign < 0 for sign in signs),
        "mcnemar": {
            "p": flip_test(signs, range(n)).p,
            "p_clustered": flip_test(signs, [one.conversation for one in compared]).p,
        },
    }
