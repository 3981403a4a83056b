"""One person's judgement on one blind comparison, once the sides are unsealed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from joshi.schema import Record

System = Literal["shipped", "baseline"]
Quality = Literal["tone", "grounding", "next_step"]
Score = Annotated[int, Field(ge=1, le=5)]


class Judgement(Record):
    """`at` is ISO 8601 in UTC; `repeat` says that the same reviewer judged the item before."""

    item: str
    conversation: str
    reviewer: str
    at: str
    repeat: bool
    preferred: Literal["shipped", "baseline", "tie"]
    scores: dict[System, dict[Quality, Score]]
    mentions_internals: dict[System, bool]
