"""What the training benchmark trains on: token sequences from real text, and the same as strings for TRL."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from joshi.base.find import find_base
from joshi.base.tokenizer import chat_tokenizer
from joshi.curation.mine import mine
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer, Encoded
from joshi.schema import Conversation
from joshi.transcripts import read
from joshi.window import fit

EXAMPLE = Path(__file__).parents[1] / "examples" / "procwise" / "transcripts"
SYSTEM_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS = 180, 380, 70  # of the shared system prompt, and of each sample


@dataclass(frozen=True)
class Row:
    """A prompt with one answer, or with a chosen and a rejected one."""

    sequences: list[Encoded]

    def texts(self, tokenizer: ChatTokenizer) -> dict[str, str]:
        first = self.sequences[0].trained.index(True)
        answers = [tokenizer.decode(one.ids[first:-1]) for one in self.sequences]
        names = ("completion",) if len(answers) == 1 else ("chosen", "rejected")
        return {"prompt": tokenizer.decode(self.sequences[0].ids[:first]), **dict(zip(names, answers, strict=True))}


def the_tokenizer() -> ChatTokenizer:
    return chat_tokenizer(find_base("builtin:smollm2", Path()))


def conversations(paths: Sequence[Path]) -> list[Conversation]:
    return [found for found in read(paths, ("buying.example",)) if isinstance(found, Conversation)]


def shared_prompt(n: int, answers: int, length: int = SYSTEM_TOKENS + PROMPT_TOKENS) -> list[Row]:
    """One system prompt of 180 tokens, then prompts and answers cut from the example's text, no two alike.

    The answers of a pair are 70 and 110 tokens long.
    """
    tokenizer = the_tokenizer()
    text = "\n".join(turn.text for one in conversations([EXAMPLE]) for turn in one.turns)
    words = tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
    chooser = random.Random(7)
    system = words[:SYSTEM_TOKENS]

    def cut(size: int) -> list[int]:
        start = chooser.randrange(SYSTEM_TOKENS, len(words) - size)
        return list(words[start : start + size])

    rows = []
    for _ in range(n):
        prompt = system + cut(max(length - SYSTEM_TOKENS, 1))
        sequences = []
        for k in range(answers):
            answer = [*cut(ANSWER_TOKENS + 40 * k - 1), tokenizer.end_id]
            sequences.append(Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer)))
        rows.append(Row(sequences))
    return rows


def buyer_turns(paths: Sequence[Path], n: int) -> list[Row]:
    """Every buyer turn of whole conversations with all its history, conversation by conversation, about n of them."""
    tokenizer = the_tokenizer()
    plan = Plan()
    samples = (sample for one in conversations(paths) for sample in mine(one, 100, {}))
    return [Row([fit(sample, plan, tokenizer).encoded]) for sample in islice(samples, n)]
