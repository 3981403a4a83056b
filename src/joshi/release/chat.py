"""One question to a served model, as the agents send it, and what came back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from joshi.errors import Unavailable
from joshi.export.modelfile import Serving
from joshi.schema import Message

ANSWER_SECONDS = 600  # a 14B model on a laptop's CPU needs minutes for a long prompt


@dataclass(frozen=True)
class Question:
    messages: tuple[Message, ...]
    max_tokens: int
    seed: int
    temperature: float | None = None  # none: the release's own
    schema: dict[str, Any] | None = None  # the answer can only be such JSON
    as_prompt: bool = False  # one text through Ollama's /api/generate, not a chat


@dataclass(frozen=True)
class Reply:
    text: str
    finish: str  # stop, or length if it was cut off
    seconds: float
    tokens_per_second: float  # of the answer, without the prompt


Ask = Callable[[Question], Reply]


def with_system(messages: tuple[Message, ...], system: str) -> list[Message]:
    """The chat with the release's system prompt where it has none of its own, as Ollama adds it."""
    own = any(message.role == "system" for message in messages)
    return list(messages) if own else [Message(role="system", content=system), *messages]


def asking(url: str, how: Serving) -> Ask:
    """Questions to llama.cpp's own server at `url`."""

    client = httpx.Client(base_url=url, timeout=ANSWER_SECONDS)

    def ask(question: Question) -> Reply:
        request: dict[str, Any] = {
            "messages": [message.model_dump() for message in with_system(question.messages, how.system)],
            "temperature": how.temperature if question.temperature is None else question.temperature,
            "top_p": how.top_p,
            "max_tokens": question.max_tokens,
            "seed": question.seed,
        }
        if question.schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": question.schema},
            }
        began = time.monotonic()
        try:
            response = client.post("/v1/chat/completions", json=request)
            response.raise_for_status()
            body = response.json()
            choice = body["choices"][0]
            return Reply(
                text=str(choice["message"]["content"] or ""),
                finish=str(choice["finish_reason"]),
                seconds=round(time.monotonic() - began, 3),
                tokens_per_second=round(float(body["timings"]["predicted_per_second"]), 1),
            )
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Unavailable(f"the model server at {url} gave no answer ({error}); run 'joshi smoke' again") from error

    return ask
