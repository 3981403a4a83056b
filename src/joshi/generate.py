"""Answers to many chats, with production's template and sampling: from a GGUF through the embedded llama.cpp, or from
an address that serves a model already.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from joshi.endpoint import SECONDS_PER_ANSWER, Endpoint, address, chat
from joshi.errors import JoshiError, Unavailable
from joshi.llama import Weights, bytes_of, running
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer
from joshi.schema import Completion, Message
from joshi.workspace import make_folder, sha256_json, sha256_text

LEAST_PERIOD = 12  # characters that come three times in a row are a loop; shorter ones may be a rule or a table
Model = Weights | Endpoint  # whatever answers


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
    model: Model,
    requests: Sequence[Request],
    sampling: Sampling,
    plan: Plan,
    tokenizer: ChatTokenizer,
    cache: Path,
    progress: Progress,
    label: str,
) -> list[Completion]:
    """Answers in the order of the requests. Finished ones are cached at once, so a killed run repeats none.

    What is cached is known by the model's sha256; at an address, by its URL, the model's name and, where the server
    tells it, the digest of its weights.

    Raises:
        JoshiError: a prompt and its answer do not fit the context; nothing is ever cut silently.
        Unavailable: the address does not answer.
    """
    window = plan.release.num_ctx
    if isinstance(model, Endpoint):
        identity = f"{model.url} {model.model} {model.bytes_known()}"
        window = min(window, model.window() or window)
    else:
        identity = bytes_of(model)
    require_room(requests, sampling, window, tokenizer)
    keys = [sha256_json([identity, vars(sampling), r.seed, [m.model_dump() for m in r.messages]]) for r in requests]
    store = cache / "answers" / f"{sha256_text(identity)[:16]}.jsonl"
    known = _read_cache(store)
    missing = [i for i, key in enumerate(keys) if key not in known]
    with progress.bar(label, len(requests)) as advance:
        advance(len(requests) - len(missing))
        if missing:
            make_folder(store.parent)
            parallel = min(plan.evaluation.parallel, len(missing))
            with (
                _client(model, plan, parallel) as client,
                store.open("a", encoding="utf-8") as out,
                ThreadPoolExecutor(parallel) as pool,
            ):
                out.write("\n")  # ends a line that a crash cut off; empty lines are passed over
                name = model.model if isinstance(model, Endpoint) else None
                writing = Lock()

                def answer(i: int) -> None:  # kept by who got it: also when another's trouble has ended the loop below
                    found = complete(client, requests[i], sampling, name)
                    line = json.dumps({"key": keys[i], **found.model_dump()}, ensure_ascii=False)
                    with writing:
                        known[keys[i]] = found
                        out.write(line + "\n")
                        out.flush()

                futures = [pool.submit(answer, i) for i in missing]
                try:
                    for future in as_completed(futures):
                        future.result()
                        advance(1)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)  # a server that is down is not asked a hundred times
                    raise
    return [known[key].model_copy(update={"id": r.id}) for key, r in zip(keys, requests, strict=True)]


@contextlib.contextmanager
def _client(model: Model, plan: Plan, parallel: int) -> Iterator[httpx.Client]:
    if isinstance(model, Endpoint):
        with model.client() as client:
            yield client
        return
    with (
        running(model, plan, parallel) as url,
        httpx.Client(base_url=url, timeout=SECONDS_PER_ANSWER) as client,
    ):
        yield client


def require_room(requests: Sequence[Request], sampling: Sampling, window: int, tokenizer: ChatTokenizer) -> None:
    """Raises JoshiError if a prompt and its answer do not fit a context window of so many tokens."""
    for request in requests:
        tokens = len(tokenizer.prompt(request.messages))
        if tokens + sampling.max_tokens > window:
            raise JoshiError(
                f"the prompt of {request.id} has {tokens} tokens; with {sampling.max_tokens} for the answer it does "
                f"not fit num_ctx = {window}; raise [release] num_ctx, and the server's, or lower [curation] "
                "history_turns"
            )


def complete(client: httpx.Client, request: Request, sampling: Sampling, model: str | None = None) -> Completion:
    """One answer from an OpenAI-compatible address; `model` where it serves more than one."""
    body = {
        "messages": [message.model_dump() for message in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
    }
    answer = chat(client, body | ({"model": model} if model else {}), request.id)
    try:
        choice = answer["choices"][0]
        said = str(choice["message"].get("content") or "").strip()
        tokens = int(answer["usage"]["completion_tokens"])
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise Unavailable(
            f"{address(client)} answered {request.id} in no form of OpenAI's: {error!r} is missing; name another server"
        ) from error
    text = said.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, which no file can
    return Completion(id=request.id, answer=text, tokens=tokens, finish=_finish(text, choice.get("finish_reason")))


def _finish(text: str, reason: str | None) -> Any:
    if not text:
        return "empty"
    if loops(text):
        return "loop"
    return "length" if reason == "length" else "stop"


def loops(text: str) -> bool:
    """Whether a run of LEAST_PERIOD characters or more comes three times in a row.

    Such a run of period p agrees with itself p further on for 2p characters, so at two multiples of p in a row: only
    these are looked at. A regular expression with a backreference takes seconds for a page and hours for a book.
    """
    n = len(text)
    for period in range(LEAST_PERIOD, n // 3 + 1):
        for i in range(0, n - 2 * period, period):
            if text[i] != text[i + period] or text[i : i + period] != text[i + period : i + 2 * period]:
                continue
            start = i
            while start > max(i - period, 0) and text[start - 1] == text[start - 1 + period]:
                start -= 1
            if text[start : start + 2 * period] == text[start + period : start + 3 * period]:
                return True
    return False


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
