"""The records that pass between stages: pydantic models, JSON Lines on disk, UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from joshi.errors import JoshiError

# Stands in every task of joshi-bench: whoever trains on text that holds it has trained on the benchmark.
BENCHMARK_CANARY = "joshi-bench canary 5f0c1b7e-93d4-4a58-8f6e-2b7d90c4e1aa: not for training"


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class State(Record):
    """What the source knew about the negotiation when a message was written."""

    supplier_sentiment: str | None = None
    outstanding_asks: list[str] = Field(default_factory=list)
    current_offer: str | None = None
    brief: str | None = Field(None, description="what the buyer's agent was told to say in this turn")


class Turn(Record):
    speaker: str
    role: Literal["buyer", "supplier", "system"]
    text: str
    at: str | None = None
    round: int | None = None
    state: State | None = None


class Participant(Record):
    """Someone in the conversation; every name here is redacted wherever it occurs."""

    role: Literal["buyer", "supplier"]
    firm: str | None = None
    person: str | None = None
    email: str | None = None
    phone: str | None = None


class ConversationState(Record):
    """What holds for the whole conversation."""

    item: str | None = None
    family: str | None = None
    facts: list[str] = Field(default_factory=list)
    notes: str | None = Field(None, description="what production prompts carry and no answer may reveal")


class Conversation(Record):
    id: str
    source: str
    participants: list[Participant] = Field(default_factory=list)
    turns: list[Turn]
    state: ConversationState = Field(default_factory=ConversationState)


class HistoryTurn(Record):
    role: Literal["buyer", "supplier"]
    text: str


class Context(Record):
    """All that an answer may draw on. The last entry of `history` is the supplier's message."""

    round: int
    supplier_sentiment: str
    outstanding_asks: list[str] = Field(default_factory=list)
    item: str | None = None
    current_offer: str | None = None
    facts: list[str] = Field(default_factory=list)
    history: list[HistoryTurn] = Field(default_factory=list)
    notes: str | None = None


class Provenance(Record):
    source: str
    conversation_id: str
    turn: int
    family: str | None = None
    supplier: str | None = Field(None, description="keyed hash of the supplier: one side of a split holds all of it")
    inferred: list[str] = Field(default_factory=list, description="context fields that no source stated")
    redactions: dict[str, int] = Field(default_factory=dict)
    people: list[str] = Field(
        default_factory=list, description="keyed hashes of whoever was masked in the conversation"
    )
    tool_version: str


class Review(Record):
    """`approved_sha256` binds an approval to the text approved: a text changed later is unapproved again."""

    status: Literal["pending", "approved", "rejected"] = "pending"
    reviewer: str | None = None
    at: str | None = None
    edited: bool = False
    original: str | None = Field(None, description="the answer as it was before the reviewer rewrote it")
    note: str | None = Field(
        None, description="why it was rewritten: the reviewer's words, or those of whoever found it bad"
    )
    displaced: list[str] = Field(
        default_factory=list, description="texts that other reviewers approved, who were overruled"
    )
    approved_sha256: str | None = None


class Sample(Record):
    id: str
    instruction: str
    context: Context
    ideal_answer: str
    provenance: Provenance
    review: Review = Field(default_factory=Review)


Role = Literal["system", "user", "assistant"]


class Message(Record):
    role: Role
    content: str


class Preference(Record):
    """`sample_id` names the training sample whose prompt both answers reply to."""

    id: str
    sample_id: str
    prompt: list[Message]
    chosen: str
    rejected: str
    rationale: str
    failure_modes: list[str]
    origin: Literal["sampled", "edited", "feedback", "review"]
    review: Review = Field(default_factory=Review)


class Finding(Record):
    """One rule's verdict on one answer; `span` is a half-open character range of the answer."""

    rule: str
    passed: bool
    message: str
    span: tuple[int, int] | None = None


class Completion(Record):
    """A generated answer. `finish`: stop, length (cut off), empty or loop; none is ever dropped."""

    id: str
    answer: str
    tokens: int
    finish: Literal["stop", "length", "empty", "loop"]


R = TypeVar("R", bound=BaseModel)


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a JSON Lines file that Joshi wrote.

    Raises:
        JoshiError: a line is not a valid record; names the file and the line.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "the line"
                raise JoshiError(
                    f"{path}:{number}: {where}: {first['msg']}; expected a {kind.__name__} record; "
                    "mend the line, or make the file again with the stage that wrote it"
                ) from error


def to_jsonl(records: Iterable[BaseModel]) -> str:
    return "".join(record.model_dump_json() + "\n" for record in records)


JsonObject = dict[str, Any]
