"""The one way to turn a sample into chat messages and tokens, for training, evaluation and production alike.

What samples share comes first (system prompt, fixed facts, history oldest first), then this turn's state and the
instruction: successive turns of a conversation share their prefix in packed training and in llama.cpp's cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from joshi.errors import JoshiError
from joshi.schema import Context, Message, Sample

INSTRUCTION = "Reply to the supplier's latest message."  # where nobody says more
CHAT_TOKEN = re.compile(r"<(\|[^|<>\s]{1,40}\|>)")


def defuse(text: str) -> str:
    """Break up chat tokens in a text of unknown origin: it must never read as the end of a turn."""
    return CHAT_TOKEN.sub(r"< \1", text)


def context_text(context: Context) -> str:
    """The user message's part before the instruction."""
    fixed = [f"Item: {context.item}"] if context.item else []
    fixed += [f"Fact: {fact}" for fact in context.facts]
    if context.notes:
        fixed.append(f"Internal notes: {context.notes}")
    history = [f"{turn.role.capitalize()}: {turn.text}" for turn in context.history]
    state = [f"Round {context.round}.", f"Supplier sentiment: {context.supplier_sentiment}."]
    if context.current_offer:
        state.append(f"Current offer: {context.current_offer}.")
    if context.outstanding_asks:
        state.append(f"Still open: {'; '.join(context.outstanding_asks)}.")
    blocks = ["\n".join(fixed), "Conversation:\n" + "\n".join(history) if history else "", " ".join(state)]
    return "\n\n".join(block for block in blocks if block)


def messages_for(sample: Sample, system_prompt: str) -> list[Message]:
    """The chat that asks for the sample's answer. Fill surrogates first (joshi.surrogates)."""
    user = f"{context_text(sample.context)}\n\n{sample.instruction}"
    return [
        Message(role="system", content=defuse(system_prompt.strip())),
        Message(role="user", content=defuse(user.strip())),
    ]


@dataclass(frozen=True)
class Encoded:
    """Token ids with the loss mask made beside them; `trained[i]` says that token i carries loss."""

    ids: list[int]
    trained: list[bool]

    @property
    def answer_tokens(self) -> int:
        return sum(self.trained)


@dataclass(frozen=True)
class ChatTokenizer:
    """A base model's tokenizer with its chat template and end-of-turn token."""

    tokenizer: Tokenizer
    template: str
    end_token: str
    bos_token: str = ""

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Read tokenizer.json, chat_template.jinja and chat.json as base/ wrote them."""
        try:
            chat = json.loads((folder / "chat.json").read_text(encoding="utf-8"))
            return cls(
                Tokenizer.from_file(str(folder / "tokenizer.json")),
                (folder / "chat_template.jinja").read_text(encoding="utf-8"),
                chat["end_token"],
                chat["bos_token"],
            )
        except (OSError, KeyError, ValueError) as error:
            raise JoshiError(
                f"{folder} holds no imported base model ({error}); run 'joshi curate', which imports it"
            ) from error

    @cached_property
    def end_id(self) -> int:
        token = self.tokenizer.token_to_id(self.end_token)
        if token is None:
            raise JoshiError(f"the tokenizer lacks {self.end_token}, which the chat template ends turns with")
        return int(token)

    def count(self, text: str) -> int:
        """Tokens of a text on its own."""
        return len(self.ids(text))

    def ids(self, text: str) -> list[int]:
        """Token ids of a text on its own; chat tokens in it are plain letters."""
        return self._encode(text, special=False)

    def render(self, messages: Sequence[Message], answer_follows: bool = True) -> str:
        """The template's text, as llama.cpp and Ollama build it."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.template).render(
                messages=[message.model_dump() for message in messages],
                add_generation_prompt=answer_follows,
                bos_token=self.bos_token,
                eos_token=self.end_token,
            )
        except TemplateError as error:
            raise JoshiError(f"the base's chat template cannot be rendered: {error}") from error

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the answer starts. Only the template's own text makes special tokens."""
        # Each content is rendered as a marker, so that the template's text and the users' are told apart.
        marks = [Message(role=m.role, content=f"\ue000{i}\ue001") for i, m in enumerate(messages)]
        ids: list[int] = []
        for part in re.split(r"(\ue000\d+\ue001)", self.render(marks)):
            if part.startswith("\ue000"):
                ids += self._encode(messages[int(part[1:-1])].content, special=False)
            elif part:
                ids += self._encode(part, special=True)
        return ids

    def encode(self, messages: Sequence[Message], answer: str) -> Encoded:
        """Prompt, answer and end of turn; the answer and the end of turn are trained."""
        prompt = self.prompt(messages)
        completion = [*self._encode(defuse(answer.strip()), special=False), self.end_id]
        return Encoded(prompt + completion, [False] * len(prompt) + [True] * len(completion))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def _encode(self, text: str, special: bool) -> list[int]:
        self.tokenizer.encode_special_tokens = not special  # True makes "<|im_end|>" in a text plain letters
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _refuse(message: str) -> Any:
    raise TemplateError(message)
