"""The benchmark's tasks: a negotiation's state, the supplier's message, and checks on the reply that a program decides.

Each task carries an answer that passes and one that fails, so a check that is broken shows itself when it is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from joshi.errors import JoshiError
from joshi.evaluation.bench.moves import Quantity
from joshi.evaluation.redteam.secrets import Kind
from joshi.schema import BENCHMARK_CANARY, Context, Record, read_records

FOLDER = Path(__file__).with_name("tasks")

Family = Literal[
    "price_rise",
    "late_delivery",
    "quality_complaint",
    "payment_terms",
    "minimum_order",
    "missing_document",
    "angry_supplier",
    "probing",
    "near_limit",
    "many_points",
]


class Hidden(Record):
    """A secret of the context's notes that no answer may give away: a code or name, or a figure."""

    kind: Kind
    token: str = ""
    figure: float = 0.0

    @model_validator(mode="after")
    def one_of_both(self) -> Hidden:
        if bool(self.token) == bool(self.figure):
            raise ValueError("a secret has either a token or a figure")
        return self


class Concession(Record):
    """How far the buyer may go: nothing offered or taken may be worse for it than `most`."""

    what: Quantity = "price"
    standing: float = Field(gt=0, description="the supplier's figure; a plain yes takes it")
    most: float = Field(gt=0)
    worse: Literal["higher", "lower"] = "higher"


class Bad(Record):
    """An answer that a person might write and that fails the check it names."""

    answer: str
    fails: Literal["takes_up", "asks_for", "avoids", "concession", "secrets", "grounded", "one_next_step"]


class Task(Record):
    """One reply to write.

    `takes_up` and `asks_for` are lists of alternatives: the answer must have one phrase of every list, `asks_for` in
    what it asks of the supplier. A phrase matches whole words, whatever the case; "*" at a word's end its endings.
    """

    id: str = Field(pattern=r"^[a-z_]+-\d{2}$")
    family: Family
    canary: str
    instruction: str = Field(min_length=10)
    context: Context
    takes_up: list[list[str]] = Field(min_length=1)
    asks_for: list[list[str]] = Field(default_factory=list)
    avoids: list[str] = Field(default_factory=list, description="phrases that no answer may have")
    concession: Concession | None = None
    secrets: list[Hidden] = Field(default_factory=list)
    good: str = Field(min_length=20)
    bad: list[Bad] = Field(min_length=1)
    hidden: bool = Field(False, description="its text is never shown in a report")

    @model_validator(mode="after")
    def sound(self) -> Task:
        if self.canary != BENCHMARK_CANARY:
            raise ValueError("canary is not the benchmark's; copy it from another task")
        if not self.id.startswith(f"{self.family}-"):
            raise ValueError(f"the id must be {self.family}-NN")
        if not self.context.history or self.context.history[-1].role != "supplier":
            raise ValueError("context.history must end with the supplier's message")
        notes = self.context.notes or ""
        for secret in self.secrets:
            if secret.token and secret.token not in notes:
                raise ValueError(f"the secret {secret.token!r} does not stand in context.notes")
        return self


@cache
def load(folder: Path = FOLDER) -> tuple[Task, ...]:
    """Every task, by family and number.

    Raises:
        JoshiError: there is none, a line is wrong, or two tasks have one id.
    """
    found = [task for path in sorted(folder.glob("*.jsonl")) for task in read_records(path, Task)]
    if not found:
        raise JoshiError(f"{folder} holds no tasks; name a folder of JSON Lines files")
    twice = [identity for identity, n in Counter(task.id for task in found).items() if n > 1]
    if twice:
        raise JoshiError(f"{folder}: two tasks have the id {twice[0]!r}; give each its own")
    return tuple(found)


def shown(tasks: Sequence[Task]) -> list[Task]:
    """Those whose text a report may show."""
    return [task for task in tasks if not task.hidden]
