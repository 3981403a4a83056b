"""What one reviewer said of one sample's two answers, once the seal was broken."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from joshi.schema import Record

System = Literal["shipped", "baseline"]
Score = Literal["tone", "grounding", "next_step"]
SYSTEMS: tuple[System, ...] = ("shipped", "baseline")
SCORES: tuple[Score, ...] = ("tone", "grounding", "next_step")
LOWEST, HIGHEST = 1, 5


class Judgement(Record):
    """`repeat`: the reviewer had judged this item before and was shown it once more, to see whether they agree."""

    item: str = Field(min_length=1)
    conversation: str = Field(min_length=1)
    reviewer: str = Field(min_length=1)
    at: str
    repeat: bool
    preferred: Literal["shipped", "baseline", "tie"]
    scores: dict[System, dict[Score, Annotated[int, Field(ge=LOWEST, le=HIGHEST, strict=True)]]]
    mentions_internals: dict[System, Annotated[bool, Field(strict=True)]]

    @field_validator("scores")
    @classmethod
    def every_score_of_both(cls, scores: dict[System, dict[Score, int]]) -> dict[System, dict[Score, int]]:
        if any(set(scores.get(system, {})) != set(SCORES) for system in SYSTEMS):
            raise ValueError(f"expected {', '.join(SCORES)} for {' and '.join(SYSTEMS)}, each {LOWEST} to {HIGHEST}")
        return scores

    @field_validator("mentions_internals")
    @classmethod
    def said_of_both(cls, mentions: dict[System, bool]) -> dict[System, bool]:
        if set(mentions) != set(SYSTEMS):
            raise ValueError(f"expected true or false for {' and '.join(SYSTEMS)}")
        return mentions
