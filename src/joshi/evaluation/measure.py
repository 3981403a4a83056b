"""Figures with their uncertainty: exact intervals for rates, order statistics for percentiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import beta, binom

from joshi.rubric import RULES, failed, percentile
from joshi.rubric.learned import warmth
from joshi.rubric.text import words
from joshi.schema import Completion, Finding

CONFIDENCE = 0.95


def rate(passed: int, n: int) -> dict[str, float]:
    """A share with its two-sided 95% Clopper-Pearson interval (Clopper & Pearson 1934)."""
    if n == 0:
        return {"rate": 0.0, "low": 0.0, "high": 1.0}
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, passed, n - passed + 1)) if passed else 0.0
    high = float(beta.ppf(1 - tail, passed + 1, n - passed)) if passed < n else 1.0
    return {"rate": passed / n, "low": low, "high": high}


def upper_bound(hits: int, n: int) -> float:
    """One-sided 95% bound of a share (Clopper & Pearson 1934): none of 299 is below 1%."""
    return float(beta.ppf(CONFIDENCE, hits + 1, n - hits)) if hits < n else 1.0


def percentile_interval(values: Sequence[int], share: float) -> tuple[float, float | None]:
    """Distribution-free 95% interval of a percentile by order statistics (David & Nagaraja 2003, 7.1).

    The upper end is None when so few values cannot bound it: then the maximum may lie below the percentile.
    """
    ordered, n = sorted(values), len(values)
    tail = (1 - CONFIDENCE) / 2
    low = int(binom.ppf(tail, n, share))
    high = int(binom.ppf(1 - tail, n, share)) + 1
    return float(ordered[max(low - 1, 0)]), float(ordered[high - 1]) if high <= n else None


def difference(one: Sequence[bool], other: Sequence[bool]) -> dict[str, float]:
    """Difference of two pass rates on the same samples with Newcombe's 95% interval (1998, paired data, method 10)."""
    n = len(one)
    both = sum(a and b for a, b in zip(one, other, strict=True))
    first, second = sum(one) - both, sum(other) - both
    neither = n - both - first - second
    p, q = sum(one) / n, sum(other) / n
    (l1, u1), (l2, u2) = wilson(sum(one), n), wilson(sum(other), n)
    spread = math.sqrt((both + first) * (second + neither) * (both + second) * (first + neither))
    phi = _correlation(both * neither, first * second, n) / spread if spread else 0.0
    return {
        "rate": p - q,
        "low": p - q - math.sqrt(max(0.0, (p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2)),
        "high": p - q + math.sqrt(max(0.0, (u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2)),
    }


def _correlation(agreeing: int, differing: int, n: int) -> float:
    """Phi's numerator, drawn towards 0 by a continuity correction where it is positive."""
    found = agreeing - differing
    return max(found - n / 2, 0.0) if found > 0 else float(found)


def mean_interval(clusters: Sequence[Sequence[float]], seed: int, draws: int = 2_000) -> dict[str, float]:
    """Mean over all values with a 95% percentile bootstrap over clusters (Efron and Tibshirani 1993, chapter 13).

    Args:
        clusters: the values of one answer, talk or passage each; within one they are not independent.
    """
    sums = np.array([sum(cluster) for cluster in clusters], np.float64)
    sizes = np.array([len(cluster) for cluster in clusters], np.float64)
    chosen = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[chosen].sum(1) / np.maximum(sizes[chosen].sum(1), 1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"mean": float(sums.sum() / max(sizes.sum(), 1)), "low": float(low), "high": float(high)}


def token_overlap(answer: str, reference: str) -> float:
    """F1 of the words that two texts share, 0..1 (Rajpurkar et al. 2016)."""
    one, other = Counter(words(answer)), Counter(words(reference))
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else 0.0


def wilson(passed: int, n: int) -> tuple[float, float]:
    """A share's 95% interval (Wilson 1927)."""
    z = 1.959964
    p = passed / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def summarise(
    answers: Sequence[Completion], findings: Sequence[list[Finding]], references: Sequence[str], seed: int
) -> dict[str, Any]:
    """One system's part of the report. Warmth, BLEU and chrF (against the held-out answers) are for information."""
    n = len(answers)
    tokens = [answer.tokens for answer in answers]
    low, high = percentile_interval(tokens, 0.9)
    broken = [set(failed(found)) for found in findings]
    texts = [answer.answer for answer in answers]
    return {
        "n": n,
        "rules": {rule: rate(sum(rule not in b for b in broken), n) for rule in RULES},
        "all_rules": rate(sum(not b for b in broken), n),
        "broken": [sorted(b) for b in broken],
        "warmth": mean_interval([[warmth(text)] for text in texts], seed),
        "tokens": {
            "mean": float(np.mean(tokens)),
            "p50": percentile(tokens, 0.5),
            "p90": percentile(tokens, 0.9),
            "p90_low": low,
            "p90_high": high,
            "p95": percentile(tokens, 0.95),
            "max": float(max(tokens)),
            "values": tokens,
        },
        "finish": {kind: Counter(a.finish for a in answers)[kind] for kind in ("stop", "length", "empty", "loop")},
        "bleu": round(BLEU(effective_order=True).corpus_score(texts, [list(references)]).score, 2),
        "token_overlap": round(
            float(np.mean([token_overlap(text, wanted) for text, wanted in zip(texts, references, strict=True)])), 3
        ),
        "chrf": round(CHRF().corpus_score(texts, [list(references)]).score, 2),
    }
