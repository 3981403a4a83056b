"""How many answers a day must bring before anything can be said of it."""

from __future__ import annotations

import math

import numpy as np

from joshi.monitoring.drift.answers import Answers, Source

# What is recommended; docs/drift.md has the figures that they come from.
PROBES = 30
DRAWS = 4  # answers to each probe every day
RELEASE_DRAWS = 8  # answers to each probe at release: what is compared with every day should be known better
PRODUCTION = 100  # answers of one day
RELEASE_PRODUCTION = 300

FEWEST = {"probes": 20, "production": 50}  # below it neither Student's interval nor a p-value's resolution is to be had
THRESHOLD_ERRORS = 3.3  # standard errors that the threshold must measure, so that two days find it nine times in ten
BAD_ANSWER = 0.6  # share of the mean score that an answer loses that goes wrong; the untuned base's lose 0.59


def minimum_sample(source: Source, before: Answers, draws: float, threshold: float) -> int | None:
    """The fewest probes or production answers a day with which a fall by the threshold is found within two days.

    The standard error of the mean change must fit THRESHOLD_ERRORS times into the threshold. What one answer varies by
    is taken from those at release, plus what a fall itself adds: if a share of the answers loses BAD_ANSWER of the mean
    m, and the mean loses f, that adds f (BAD_ANSWER m - f) to the variance.

    Args:
        draws: answers to each probe a day; of production 1.
        threshold: fall that shall be found, as a share of the mean score at release.

    Returns:
        None if no number suffices, because too few answers at release are known or they score nothing.
    """
    mean = float(before.scores.mean()) if len(before) else 0.0
    fall = threshold * mean
    if not fall:
        return None
    wanted = (fall / THRESHOLD_ERRORS) ** 2  # variance of the mean change
    added = max(fall * (BAD_ANSWER * mean - fall), 0.0)
    if source == "production":
        own = float(before.scores.var(ddof=1)) if len(before) > 1 else math.inf
        left = wanted - own / len(before)
        needed = (own + added) / left if left > 0 else math.inf
    else:
        own, at_release = _within(before)
        needed = ((own + added) / draws + own / at_release) / wanted
    return max(FEWEST[source], math.ceil(needed)) if math.isfinite(needed) else None


def _within(before: Answers) -> tuple[float, float]:
    """Variance of the answers to one probe, and answers a probe; of single answers that of all, which is more."""
    _, probe, counts = np.unique(np.array(before.units), return_inverse=True, return_counts=True)
    freedom = len(before) - len(counts)
    if not freedom:
        return float(before.scores.var(ddof=1)) if len(before) > 1 else math.inf, 1.0
    means = np.bincount(probe, before.scores) / counts
    squares = float(((before.scores - means[probe]) ** 2).sum())
    return squares / freedom, len(counts) / float((1 / counts).sum())
