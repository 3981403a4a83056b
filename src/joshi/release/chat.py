"""One chat request to a running server, as the agents send it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from joshi.errors import Unavailable
from joshi.schema import Message

ANSWER_SECONDS = 600  # a 14B model on a laptop's CPU needs minutes for a long prompt


@dataclass(frozen=True)
class Reply:
    text: str
    finish: str  # stop, or length if it was cut off
    seconds: float
    tokens_per_second: float  # of the answer, without the prompt


def ask(
    url: str,
    messages: Sequence[Message],
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    schema: dict[str, Any] | None = None,
) -> Reply:
    """Send a chat to `/v1/chat/completions`; with a JSON schema the answer can only be such JSON.

    Raises:
        Unavailable: no answer, or not a chat completion.
    """
    request: dict[str, Any] = {
        "messages": [message.model_dump() for message in messages],
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
    }
    if schema is not None:
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        }
    began = time.monotonic()
    try:
        response = httpx.post(f"{url}/v1/chat/completions", json=request, timeout=ANSWER_SECONDS)
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
