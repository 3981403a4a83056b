"""POST /api/chat and /api/generate (ChatHandler and GenerateHandler in server/routes.go)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.release.ollama_double import models, names, prompts
from tests.release.ollama_double.behaviour import Behaviour
from tests.release.ollama_double.go_template import Message, TemplateError
from tests.release.ollama_double.go_text import Refused, moment, now, quote
from tests.release.ollama_double.models import Model
from tests.release.ollama_double.runners import FOR_EVER, Runner, Runners, complete, cut, options_of
from tests.release.ollama_double.store import Store

Chunk = dict[str, Any]
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass
class Answering:
    """What an answer needs. Faults spoil a prompt by `misrender` and empty an answer by `mute`."""

    store: Store
    how: Behaviour
    runners: Runners
    prompts: list[str | list[int]]  # every prompt that llama.cpp read
    misrender: Callable[[str], str]
    mute: Callable[[], bool]


def chat(here: Answering, body: dict[str, Any]) -> Chunk | Iterator[Chunk]:
    """One object, or one piece after the other if the request streams. Raises: Refused."""
    began = time.perf_counter_ns()
    keep_alive = _keep_alive(body.get("keep_alive"))
    given = [Message(str(m.get("role", "")).lower(), m.get("content", "")) for m in body.get("messages") or []]
    if not body.get("model", "").strip():
        raise Refused("model is required", 400)
    model = _model(here, body)
    message = {"role": "assistant", "content": ""}
    if not given and keep_alive == timedelta(0):
        here.runners.unload(model.path)
        return {**_head(body), "message": message, "done": True, "done_reason": "unload"}
    _refuse_unmodelled(body)
    _require_completion(here, model, body, "chat")
    options = options_of(here.how, model.options, body.get("options") or {})
    runner = here.runners.load(model, options, keep_alive)
    loaded = time.perf_counter_ns()
    if not given:
        return {**_head(body), "message": message, "done": True, "done_reason": "load"}
    said = [Message(m["role"], m["content"]) for m in model.messages] + given
    if model.system and given[0].role != "system":
        said = [Message("system", model.system), *said]
    prompt = _conversation(here, model, runner, said, options, body)
    if body.get("_debug_render_only"):
        return {**_head(body), "message": {"role": "", "content": ""}, "done": False,
                "_debug_info": {"rendered_template": prompt}}  # fmt: skip

    def as_chunk(content: str) -> Chunk:
        return {"message": {"role": "assistant", "content": content}}

    pieces = _answer(here, runner, prompt, options, body, as_chunk, (began, loaded), context=False)
    return pieces if body.get("stream", True) is not False else _whole(pieces)


def generate(here: Answering, body: dict[str, Any]) -> Chunk | Iterator[Chunk]:
    """As `chat`, from one prompt. Raises: Refused."""
    began = time.perf_counter_ns()
    keep_alive = _keep_alive(body.get("keep_alive"))
    if not body.get("model", "").strip():
        raise Refused(f"model '{body.get('model', '')}' not found", 404)
    model = _model(here, body)
    prompt, suffix = body.get("prompt", ""), body.get("suffix", "")
    if not prompt and keep_alive == timedelta(0):
        here.runners.unload(model.path)
        return {**_head(body), "response": "", "done": True, "done_reason": "unload"}
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        raise Refused("raw mode does not support template, system, or context", 400)
    _refuse_unmodelled(body)
    if suffix and "insert" not in models.capabilities(model, here.how):
        raise Refused(f"{model.name} does not support insert", 400)
    _require_completion(here, model, body, "generate")
    options = options_of(here.how, model.options, body.get("options") or {})
    runner = here.runners.load(model, options, keep_alive)
    loaded = time.perf_counter_ns()
    if not prompt:
        return {**_head(body), "response": "", "done": True, "done_reason": "load"}
    text = prompt if body.get("raw") else _filled(here, model, runner, options, body)
    if body.get("_debug_render_only"):
        return {**_head(body), "response": "", "done": False, "_debug_info": {"rendered_template": text}}

    def as_chunk(content: str) -> Chunk:
        return {"response": content}

    pieces = _answer(here, runner, text, options, body, as_chunk, (began, loaded), context=not body.get("raw"))
    return pieces if body.get("stream", True) is not False else _whole(pieces)


def _model(here: Answering, body: dict[str, Any]) -> Model:
    wanted = body["model"]
    name = names.existing(names.parse(wanted.strip()), here.store.manifests())
    if not name.valid:
        raise Refused("invalid model name", 400)
    try:
        return models.find(here.store, name)
    except FileNotFoundError:
        raise Refused(f"model '{wanted}' not found", 404) from None


def _require_completion(here: Answering, model: Model, body: dict[str, Any], what: str) -> None:
    """What a model can do is read in its weights: one whose weights were lost can do nothing (ggufCapabilities)."""
    if "completion" not in models.capabilities(model, here.how):
        raise Refused(f"{quote(body['model'])} does not support {what}", 400)


def _refuse_unmodelled(body: dict[str, Any]) -> None:
    """Where a real server would go on in a way that is not known here, it must not look as if it did."""
    for part in (body, *(body.get("messages") or [])):
        for key in ("tools", "tool_calls", "images", "context", "logprobs", "top_logprobs"):
            if part.get(key):
                raise Refused(f"this double of Ollama knows no {key}", 501)
    if body.get("think"):
        raise Refused(f"{quote(body['model'])} does not support thinking", 400)


def _filled(here: Answering, model: Model, runner: Runner, options: dict[str, Any], body: dict[str, Any]) -> str:
    """A prompt in its template: another template in the request is filled without a look at the window."""
    prompt, template = body["prompt"], body.get("template")
    try:
        if body.get("suffix"):
            return here.misrender(prompts.infill(template or model.template, prompt, body["suffix"]))
        system = body.get("system") or model.system
        messages = [Message("system", system)] if system else []
        messages += [Message(m["role"], m["content"]) for m in model.messages]
        messages.append(Message("user", prompt))
        if template:
            return here.misrender(prompts.render(template, messages))
    except TemplateError as error:
        raise Refused(f"template: :1: {error}") from error
    return _conversation(here, model, runner, messages, options, body)


def _conversation(
    here: Answering,
    model: Model,
    runner: Runner,
    messages: list[Message],
    options: dict[str, Any],
    body: dict[str, Any],
) -> str:
    own = models.uses_own_template(model, here.how)

    def rendering(some: list[Message]) -> str:
        if own:
            return runner.own_prompt([{"role": m.role, "content": m.content} for m in some])
        return prompts.render(model.template, some)

    window = runner.window if here.how.native_templates else options["num_ctx"]
    if body.get("truncate") is False:
        window = 2**62
    try:
        return here.misrender(prompts.fitting(messages, rendering, lambda text: len(runner.tokens(text)), window))
    except TemplateError as error:
        raise Refused(f"template: :1: {error}") from error


def _answer(
    here: Answering,
    runner: Runner,
    prompt: str,
    options: dict[str, Any],
    body: dict[str, Any],
    as_chunk: Callable[[str], Chunk],
    times: tuple[int, int],
    context: bool,
) -> Iterator[Chunk]:
    """Pieces with `done` false, then one with the reason and the counts. A stop text is held back, not told."""
    began, loaded = times
    said = ""
    try:
        with runner.busy:
            read = cut(runner, here.how, prompt, options, body.get("truncate") is not False)
            here.prompts.append(read)
            for piece in _muted(runner, prompt) if here.mute() else complete(runner, read, options, body.get("format")):
                content = piece.get("content", "")
                said += content
                if piece.get("stop"):
                    reason = "length" if piece.get("stop_type") == "limit" else "stop"
                    last = {**_head(body), **as_chunk(content), "done": True, "done_reason": reason}
                    if context:
                        last["context"] = runner.tokens(prompt + said)
                    took = {"total_duration": time.perf_counter_ns() - began, "load_duration": loaded - began}
                    counts = {key: value for key, value in _counts(piece["timings"]).items() if value}
                    yield {**last, **took, **counts}
                elif content:
                    yield {**_head(body), **as_chunk(content), "done": False}
    finally:
        here.runners.done(runner)


def _muted(runner: Runner, prompt: str) -> Iterator[Chunk]:
    """What a model says that ends its turn at once."""
    yield {"stop": True, "timings": {"prompt_n": len(runner.tokens(prompt, special=True)), "predicted_n": 1}}


def _counts(timings: dict[str, Any]) -> dict[str, int]:
    """Counts in tokens, durations in nanoseconds; all of the prompt counts, also what llama.cpp had in its cache."""
    return {
        "prompt_eval_count": int(timings.get("prompt_n", 0)) + int(timings.get("cache_n", 0)),
        "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
        "eval_count": int(timings.get("predicted_n", 0)),
        "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
    }


def _whole(pieces: Iterator[Chunk]) -> Chunk:
    """The last piece, with the text of all of them; an answer that broke off is told with `done` false."""
    last: Chunk = {}
    said = ""
    for last in pieces:
        said += last["message"]["content"] if "message" in last else last["response"]
    if "message" in last:
        return {**last, "message": {**last["message"], "content": said}}
    return {**last, "response": said}


def _head(body: dict[str, Any]) -> Chunk:
    """The model by the name that was asked for, as it was written."""
    return {"model": body["model"], "created_at": moment(now())}


def _keep_alive(value: Any) -> timedelta | None:
    """Seconds, or a text such as 5m or 1h30m; less than nothing is for ever. Raises: Refused."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return FOR_EVER if value < 0 else timedelta(seconds=value)
    if not isinstance(value, str):
        raise Refused(f"Unsupported type: '{type(value).__name__}'", 400)
    bare = value.lstrip("+-")
    parts = _DURATION.findall(bare)
    if bare != "0" and (not parts or "".join(number + unit for number, unit in parts) != bare):
        missing = "missing unit in" if re.fullmatch(r"[\d.]+", bare) else "invalid"
        raise Refused(f"time: {missing} duration {quote(value)}", 400)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return FOR_EVER if value.startswith("-") and seconds else timedelta(seconds=seconds)
