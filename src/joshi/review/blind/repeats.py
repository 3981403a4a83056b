"""Whether reviewers agree with themselves: items that they were shown twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joshi.evaluation.measure import rate
from joshi.review.blind.judgement import SCORES, SYSTEMS, Judgement


def repeats(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Shares of repeats that say what was said at first, with exact 95% intervals.

    Returns:
        n: repeats with a first judgement by the same reviewer; `without_first` are those that have none.
        preferred: the same preference again; `reversed` counts those that went from one system to the other.
        scores: for each score `same` and `within_one`, of both answers, and `mean_gap` in points.
        mentions_internals: the same again, of both answers.
    """
    first = {(one.reviewer, one.item): one for one in judgements if not one.repeat}
    again = [one for one in judgements if one.repeat]
    pairs = [(first[one.reviewer, one.item], one) for one in again if (one.reviewer, one.item) in first]
    n = len(pairs)
    gaps = {
        score: [abs(a.scores[system][score] - b.scores[system][score]) for a, b in pairs for system in SYSTEMS]
        for score in SCORES
    }
    mentioned = [a.mentions_internals[system] == b.mentions_internals[system] for a, b in pairs for system in SYSTEMS]
    return {
        "n": n,
        "without_first": len(again) - n,
        "preferred": rate(sum(a.preferred == b.preferred for a, b in pairs), n),
        "reversed": sum({a.preferred, b.preferred} == set(SYSTEMS) for a, b in pairs),
        "scores": {
            score: {
                "same": rate(sum(gap == 0 for gap in found), 2 * n),
                "within_one": rate(sum(gap <= 1 for gap in found), 2 * n),
                "mean_gap": sum(found) / len(found) if found else None,
            }
            for score, found in gaps.items()
        },
        "mentions_internals": rate(sum(mentioned), 2 * n),
    }
