"""Answers from a GGUF through the embedded llama.cpp: the same server, template and sampling that production uses."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from joshi.errors import JoshiError, Unavailable
from joshi.llama import running
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer
from joshi.schema import Completion, Message
from joshi.workspace import make_folder, sha256_file, sha256_json, sha256_text

SECONDS_PER_ANSWER = 600.0
_LOOP = re.compile(r"(.{12,}?)\1{2,}", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """One chat to answer; `seed` makes its sampling repeatable."""

    id: str
    messages: tuple[Message, ...]
    seed: int


def seed_of(plan: Plan, *names: str) -> int:
    """A seed of its own for each sample, or each draw of one; the same for every model."""
    return int(sha256_text(":".join([str(plan.seed), *names]))[:7], 16)


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters; `max_tokens` cuts an answer off, which its `finish` then says."""

    temperature: float
    top_p: float
    max_tokens: int


def generate(
    model: Path,
    requests: Sequence[Request],
    sampling: Sampling,
    plan: Plan,
    tokenizer: ChatTokenizer,
    cache: Path,
    progress: Progress,
    label: str,
    adapter: Path | None = None,
) -> list[Completion]:
    """Answers in the order of the requests. Finished ones are cached at once, so a killed run repeats none.

    `adapter` is a LoRA as GGUF that is applied to the model.

    Raises:
        JoshiError: a prompt and its answer do not fit the context; nothing is ever cut silently.
    """
    require_room(requests, sampling, plan, tokenizer)
    model_sha256 = sha256_file(model) + (sha256_file(adapter) if adapter else "")
    keys = [sha256_json([model_sha256, vars(sampling), r.seed, [m.model_dump() for m in r.messages]]) for r in requests]
    store = cache / "answers" / f"{sha256_text(model_sha256)[:16]}.jsonl"
    known = _read_cache(store)
    missing = [i for i, key in enumerate(keys) if key not in known]
    with progress.bar(label, len(requests)) as advance:
        advance(len(requests) - len(missing))
        if missing:
            make_folder(store.parent)
            with (
                running(model, plan, min(plan.evaluation.parallel, len(missing)), adapter) as address,
                httpx.Client(base_url=address, timeout=SECONDS_PER_ANSWER) as client,
                ThreadPoolExecutor(plan.evaluation.parallel) as pool,
                store.open("a", encoding="utf-8") as out,
            ):
                out.write("\n")  # ends a line that a crash cut off; empty lines are passed over
                futures = {pool.submit(complete, client, requests[i], sampling): i for i in missing}
                for future in as_completed(futures):
                    i = futures[future]
                    known[keys[i]] = future.result()
                    out.write(json.dumps({"key": keys[i], **known[keys[i]].model_dump()}, ensure_ascii=False) + "\n")
                    out.flush()
                    advance(1)
    return [known[key].model_copy(update={"id": r.id}) for key, r in zip(keys, requests, strict=True)]


def require_room(requests: Sequence[Request], sampling: Sampling, plan: Plan, tokenizer: ChatTokenizer) -> None:
    """Raises JoshiError if a prompt and its answer do not fit the context window."""
    for request in requests:
        tokens = len(tokenizer.prompt(request.messages))
        if tokens + sampling.max_tokens > plan.release.num_ctx:
            raise JoshiError(
                f"the prompt of {request.id} has {tokens} tokens; with {sampling.max_tokens} for the answer it does "
                f"not fit [release] num_ctx = {plan.release.num_ctx}; raise num_ctx or lower [curation] history_turns"
            )


def complete(client: httpx.Client, request: Request, sampling: Sampling) -> Completion:
    """One answer from an OpenAI-compatible address."""
    body = {
        "messages": [message.model_dump() for message in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
    }
    try:
        response = client.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        choice = answer["choices"][0]
        text = str(choice["message"].get("content") or "").strip()
        tokens = int(answer["usage"]["completion_tokens"])
    except (httpx.HTTPError, KeyError, IndexError, ValueError, TypeError) as error:
        raise Unavailable(f"{client.base_url} did not answer {request.id}: {error}; is the model loaded?") from error
    return Completion(id=request.id, answer=text, tokens=tokens, finish=_finish(text, choice.get("finish_reason")))


def _finish(text: str, reason: str | None) -> Any:
    if not text:
        return "empty"
    if _LOOP.search(text):
        return "loop"
    return "length" if reason == "length" else "stop"


def _read_cache(path: Path) -> dict[str, Completion]:
    """Answers by key; a last line that was cut off by a crash is passed over and generated again."""
    known: dict[str, Completion] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                known[key] = Completion.model_validate(entry)
            except (ValueError, KeyError, AttributeError):
                continue
    return known
