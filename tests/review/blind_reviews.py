"""Blind reviews made up for the tests."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from joshi.review.blind.judgement import SCORES, SYSTEMS, Judgement

KINDS: tuple[Literal["shipped", "tie", "baseline"], ...] = ("shipped", "tie", "baseline")


def judgement(item: str = "talk/1", preferred: str = "shipped", reviewer: str = "Ana", **given: Any) -> Judgement:
    """One judgement; its conversation is the item's beginning, `shipped` and `baseline` are all three scores."""
    shipped, baseline = given.pop("shipped", 4), given.pop("baseline", 3)
    return Judgement.model_validate(
        {
            "item": item,
            "conversation": item.rpartition("/")[0],
            "reviewer": reviewer,
            "at": "2026-11-26T10:00:00Z",
            "repeat": False,
            "preferred": preferred,
            "scores": {"shipped": dict.fromkeys(SCORES, shipped), "baseline": dict.fromkeys(SCORES, baseline)},
            "mentions_internals": dict.fromkeys(SYSTEMS, False),
        }
        | given
    )


def review(wins: int, ties: int, losses: int, reviewer: str = "Ana") -> list[Judgement]:
    """So many samples, each of a conversation of its own."""
    said = ["shipped"] * wins + ["tie"] * ties + ["baseline"] * losses
    return [judgement(f"talk-{number}/1", preferred, reviewer) for number, preferred in enumerate(said)]


def drawn(
    seed: int, n: int = 30, conversations: int = 12, reviewers: tuple[str, ...] = ("Ana", "Raj")
) -> list[Judgement]:
    """A review drawn at random: the first third seen by all reviewers, the rest by one; three repeats."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(n):
        seen_by = reviewers if number < n // 3 else (reviewers[number % len(reviewers)],)
        for reviewer in seen_by:
            found.append(
                judgement(
                    f"talk-{number % conversations}/{number}",
                    str(random.choice(KINDS, p=[0.6, 0.15, 0.25])),
                    reviewer,
                    scores={
                        "shipped": {score: int(random.integers(2, 6)) for score in SCORES},
                        "baseline": {score: int(random.integers(1, 5)) for score in SCORES},
                    },
                    mentions_internals={
                        "shipped": bool(random.random() < 0.1),
                        "baseline": bool(random.random() < 0.3),
                    },
                )
            )
    again = [one.model_copy(update={"repeat": True, "preferred": "tie"}) for one in found[:3]]
    return found + again
