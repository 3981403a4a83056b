"""Ask a model in Ollama as the agents do, and prove that it is given the prompt that training used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ollama

from joshi.errors import JoshiError
from joshi.prompt import ChatTokenizer
from joshi.release.chat import Ask, Question, Reply
from joshi.release.ollama import Server, talking
from joshi.schema import Message

PARITY_TOKENS = 32  # of greedy answer compared
UNLOAD = 0  # keep_alive: the next question finds no cached prompt, of which Ollama would count no tokens


def asking(server: Server, model: str) -> Ask:
    """Questions to `model` through /api/chat and /api/generate."""

    def ask(question: Question) -> Reply:
        options: dict[str, Any] = {"num_predict": question.max_tokens, "seed": question.seed}
        if question.temperature is not None:
            options["temperature"] = question.temperature
        began = time.monotonic()
        with talking(server.url, f"a question to {model}"):
            answer: ollama.ChatResponse | ollama.GenerateResponse
            if question.as_prompt:
                prompt = "\n\n".join(message.content for message in question.messages)
                answer = server.client.generate(model, prompt, format=question.schema, options=options)
                text = answer.response or ""
            else:
                messages = [message.model_dump() for message in question.messages]
                answer = server.client.chat(model, messages, format=question.schema, options=options)
                text = answer.message.content or ""
        seconds = round(time.monotonic() - began, 3)
        took = (answer.eval_duration or 0) / 1e9
        speed = round((answer.eval_count or 0) / took, 1) if took else 0.0
        return Reply(text, answer.done_reason or ("stop" if answer.done else "cut off"), seconds, speed)

    return ask


@dataclass(frozen=True)
class Prompted:
    """How many tokens Ollama counted in a prompt, if it said so, and the greedy answer's beginning."""

    tokens: int | None
    text: str


def parity(server: Server, model: str, messages: Sequence[Message], tokenizer: ChatTokenizer) -> str | None:
    """What differs between the prompt that Ollama builds of a chat and the one that training used, or None.

    The chat goes to Ollama once as messages, which its template renders, and once rendered by the base's own
    template, raw: both must have as many tokens as training counts, and one greedy answer.

    Raises:
        Unavailable: Ollama is gone or hangs.
        JoshiError: it refuses a question, or never says how long a prompt was.
    """
    expected = tokenizer.prompt(messages)
    rendered = tokenizer.render(messages).removeprefix(tokenizer.bos_token)  # Ollama puts it there itself
    options = {"temperature": 0.0, "num_predict": PARITY_TOKENS, "seed": 1}
    with talking(server.url, f"the comparison of prompts with {model}"):
        raw = server.client.generate(model, rendered, raw=True, options=options, keep_alive=UNLOAD)
        chat = server.client.chat(
            model, [message.model_dump() for message in messages], options=options, keep_alive=UNLOAD
        )
    by_raw = Prompted(raw.prompt_eval_count, raw.response or "")
    by_chat = Prompted(chat.prompt_eval_count, chat.message.content or "")
    if by_raw.tokens is None or by_chat.tokens is None:
        raise JoshiError(
            f"Ollama at {server.url} does not say how many tokens the prompt of {model} had, so it cannot be compared "
            "with training's; run the command again"
        )
    if by_chat.tokens != len(expected) or by_raw.tokens != len(expected):
        return (
            f"the prompt has {len(expected)} tokens in training, {by_chat.tokens} as Ollama builds it and "
            f"{by_raw.tokens} as Ollama reads training's text"
        )
    if by_raw.text != by_chat.text:
        return f"the greedy answers differ: {by_chat.text[:60]!r} as Ollama builds the prompt, {by_raw.text[:60]!r} raw"
    return None
