"""Which of the two people prefer: wins among what they decided, ties as half, the sign test, and one word for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from joshi.evaluation.measure import rate
from joshi.review.blind.clustered import clustered_rate, flip_test
from joshi.review.blind.comparisons import Comparison

EVEN = 0.5


def preference(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Counts, the win rate with its intervals and tests, and what the gate `human_review` reads.

    `decided` leaves ties out: wins among n samples, `exact` as if samples were independent (Clopper and Pearson 1934),
    `clustered` by conversation. `win_rate` counts a tie as half a win, of all samples, clustered: at 50% or more when
    wins are at least losses, as `decided` is. `sign_test` is exact and two-sided, `p_clustered` by conversation.
    """
    counts = Counter(one.preferred for one in compared)
    decided = [one for one in compared if one.sign]
    conversations = [one.conversation for one in decided]
    signs = [one.sign for one in decided]
    return {
        "samples": {
            **{name: counts[name] for name in ("shipped", "tie", "baseline")},
            "split": sum(one.split for one in compared),
        },
        "decided": {
            "wins": counts["shipped"],
            "n": len(decided),
            "exact": rate(counts["shipped"], len(decided)),
            "clustered": clustered_rate([float(one.sign > 0) for one in decided], conversations),
            "sign_test": {
                "p": flip_test(signs, range(len(signs))).p,
                "p_clustered": flip_test(signs, conversations).p,
            },
        },
        "win_rate": clustered_rate([(1 + one.sign) / 2 for one in compared], [one.conversation for one in compared]),
    }


def verdict(found: dict[str, Any], minimum: int) -> str:
    """shipped or baseline if the clustered interval of what was decided lies on its side of one half, else undecided;
    insufficient if fewer than `minimum` samples were compared. `found` is what `preference` returns."""
    if found["win_rate"]["n"] < max(minimum, 1):
        return "insufficient"
    interval = found["decided"]["clustered"]
    return "shipped" if interval["low"] > EVEN else "baseline" if interval["high"] < EVEN else "undecided"
