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


def difference(one: tuple[int, int], other: tuple[int, int]) -> dict[str, float]:
    """Difference of two rates (passed, n) with Newcombe's 95% interval (1998, method 10)."""
    (a, n), (b, m) = one, other
    p, q = a / n, b / m
    (l1, u1), (l2, u2) = _wilson(a, n), _wilson(b, m)
    return {
        "rate": p - q,
        "low": p - q - math.sqrt((p - l1) ** 2 + (u2 - q) ** 2),
        "high": p - q + math.sqrt((u1 - p) ** 2 + (q - l2) ** 2),
    }


def _wilson(passed: int, n: int) -> tuple[float, float]:
    z = 1.959964
    p = passed / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def summarise(
    answers: Sequence[Completion], findings: Sequence[list[Finding]], references: Sequence[str]
) -> dict[str, Any]:
    """One system's part of the report. BLEU and chrF are against the held-out answers, for information."""
    n = len(answers)
    tokens = [answer.tokens for answer in answers]
    low, high = percentile_interval(tokens, 0.9)
    broken = [set(failed(found)) for found in findings]
    texts = [answer.answer for answer in answers]
    return {
        "n": n,
        "rules": {rule: rate(sum(rule not in b for b in broken), n) for rule in RULES},
        "all_rules": rate(sum(not b for b in broken), n),
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
        "chrf": round(CHRF().corpus_score(texts, [list(references)]).score, 2),
    }
