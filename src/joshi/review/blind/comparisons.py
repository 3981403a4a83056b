"""From judgements to one comparison a sample: what its reviewers say of it together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from joshi.errors import JoshiError
from joshi.review.blind.judgement import SCORES, SYSTEMS, Judgement, Score, System


@dataclass(frozen=True)
class Comparison:
    """One sample. Several reviewers of it are one observation, not several: they read the same two answers."""

    item: str
    conversation: str
    judgements: list[Judgement]
    preferred: Literal["shipped", "baseline", "tie"]  # by more reviewers than prefer the other; tie if as many
    scores: dict[System, dict[Score, float]]  # means over the reviewers, 1..5
    mentions_internals: dict[System, bool]  # whether any reviewer says so

    @property
    def sign(self) -> int:
        """1 if the shipped model is preferred, -1 if the baseline is, 0 if neither."""
        return {"shipped": 1, "tie": 0, "baseline": -1}[self.preferred]

    @property
    def split(self) -> bool:
        """A tie between reviewers who each preferred one."""
        return self.preferred == "tie" and any(one.preferred != "tie" for one in self.judgements)


def compare(judgements: Iterable[Judgement]) -> list[Comparison]:
    """One comparison for each item, in the order of conversations and items; repeats are left out.

    Raises:
        JoshiError: a reviewer judged an item twice without its being a repeat, or an item has two conversations.
    """
    items: dict[str, list[Judgement]] = defaultdict(list)
    for one in sorted(judgements, key=lambda one: (one.conversation, one.item, one.reviewer)):
        if one.repeat:
            continue
        for other in items[one.item]:
            if other.reviewer == one.reviewer:
                raise JoshiError(
                    f"blind review: {one.reviewer!r} judged {one.item!r} twice, and neither is marked as a repeat; "
                    "a sample counts once, so leave one out or mark the later one as a repeat"
                )
            if other.conversation != one.conversation:
                raise JoshiError(
                    f"blind review: {one.item!r} is said to be of conversation {other.conversation!r} and of "
                    f"{one.conversation!r}; a sample is of one, so mend its judgements"
                )
        items[one.item].append(one)
    return [_together(found) for found in items.values()]


def _together(found: list[Judgement]) -> Comparison:
    lead = sum(one.preferred == "shipped" for one in found) - sum(one.preferred == "baseline" for one in found)
    return Comparison(
        item=found[0].item,
        conversation=found[0].conversation,
        judgements=found,
        preferred="shipped" if lead > 0 else "baseline" if lead < 0 else "tie",
        scores={
            system: {score: sum(one.scores[system][score] for one in found) / len(found) for score in SCORES}
            for system in SYSTEMS
        },
        mentions_internals={system: any(one.mentions_internals[system] for one in found) for system in SYSTEMS},
    )
