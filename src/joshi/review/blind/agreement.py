"""How far several reviewers of the same samples agree with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joshi.review.blind.alpha import alpha
from joshi.review.blind.comparisons import Comparison
from joshi.review.blind.judgement import HIGHEST, LOWEST, SCORES, SYSTEMS, Score

PREFERENCES = ("baseline", "tie", "shipped")
RELIABLE, TENTATIVE = 0.8, 0.667  # Krippendorff (2004), chapter 11: below, not even tentative conclusions
FEW = 20  # shared samples below which the bootstrap's interval is too narrow (benchmarks/blind_power.py)


def agreement(compared: Sequence[Comparison], seed: int) -> dict[str, Any]:
    """Krippendorff's alpha where samples have several reviewers: of the preference, each score, 'mentions internals'.

    Either answer of a sample is a unit of its own in what is said of answers; the bootstrap draws conversations.
    """
    shared = [one for one in compared if len(one.judgements) > 1]
    of_samples = [one.conversation for one in shared]
    of_answers = [one.conversation for one in shared for _ in SYSTEMS]
    preferred = [[PREFERENCES.index(said.preferred) for said in one.judgements] for one in shared]
    mentioned = [
        [int(said.mentions_internals[system]) for said in one.judgements] for one in shared for system in SYSTEMS
    ]
    found = alpha(preferred, of_samples, len(PREFERENCES), "nominal", seed)
    return {
        "samples": len(shared),
        "few": len(shared) < FEW,
        "reviewers": len({said.reviewer for one in shared for said in one.judgements}),
        "preferred": found | {"said": words(found["alpha"])},
        "scores": {
            score: alpha(_scores(shared, score), of_answers, HIGHEST - LOWEST + 1, "ordinal", seed) for score in SCORES
        },
        "mentions_internals": alpha(mentioned, of_answers, 2, "nominal", seed),
    }


def words(found: float | None) -> str:
    """reliable, tentative or weak, by Krippendorff's bounds; unknown where alpha is not defined."""
    if found is None:
        return "unknown"
    return "reliable" if found >= RELIABLE else "tentative" if found >= TENTATIVE else "weak"


def _scores(shared: Sequence[Comparison], score: Score) -> list[list[int]]:
    return [[said.scores[system][score] - LOWEST for said in one.judgements] for one in shared for system in SYSTEMS]
