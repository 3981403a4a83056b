"""Shared: the embedded base, its tokenizer, and samples made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.rubric import Rubric
from joshi.schema import Context, HistoryTurn, Provenance, Sample

EXAMPLE = Path(__file__).parents[1] / "examples" / "procwise"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: of two processes one would end with it alone."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.fixture(scope="session")
def smollm2() -> GgufFile:
    return find_base("builtin:smollm2", Path())


@pytest.fixture(scope="session")
def tokenizer(smollm2: GgufFile) -> ChatTokenizer:
    return chat_tokenizer(smollm2)


@pytest.fixture(scope="session")
def rubric(tokenizer: ChatTokenizer) -> Rubric:
    return Rubric(Plan(), tokenizer)


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    return sample_of


def sample_of(
    answer: str = "Steel jumping twice is hard to absorb. Could you confirm the 14 March date?",
    message: str = "Steel has gone up twice and we must ask £12,450 from 14 March.",
    *,
    name: str = "talk",
    turn: int = 1,
    instruction: str = "Reply to the supplier's latest message.",
    history: list[tuple[str, str]] | None = None,
    **context: Any,
) -> Sample:
    turns = [*(history or []), ("supplier", message)]
    return Sample(
        id=f"{name}/{turn}",
        instruction=instruction,
        context=Context(
            round=context.pop("round", 1),
            supplier_sentiment=context.pop("supplier_sentiment", "worried"),
            history=[HistoryTurn(role=role, text=text) for role, text in turns],  # type: ignore[arg-type]
            **context,
        ),
        ideal_answer=answer,
        provenance=Provenance(source="test", conversation_id=name, turn=turn, tool_version="0"),
    )
