"""Loaded models: real llama.cpp behind what Ollama's scheduler and runner do around it (server/sched.go, llm/*.go)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from joshi import llama
from joshi.errors import JoshiError
from joshi.plan import Plan
from tests.release.ollama_double import gguf_header
from tests.release.ollama_double.behaviour import Behaviour
from tests.release.ollama_double.go_text import Refused, moment, now
from tests.release.ollama_double.models import Model

DEFAULT_WINDOW = 4096  # tokens, on a machine without much video memory
KEEP_ALIVE = timedelta(minutes=5)
PATIENCE = 600  # seconds, with llama.cpp on a busy machine
FOR_EVER = timedelta(days=292 * 365)
SAME_TOKENS = 30  # a model that says one token more often than this in a row is stopped, without a last word
OPTIONS: dict[str, tuple[str, Any]] = {  # api.Options: type and default
    "num_keep": ("integer", 4), "seed": ("integer", -1), "num_predict": ("integer", -1), "top_k": ("integer", 40),
    "top_p": ("float32", 0.9), "min_p": ("float32", 0.0), "typical_p": ("float32", 1.0),
    "repeat_last_n": ("integer", 64), "temperature": ("float32", 0.8), "repeat_penalty": ("float32", None),
    "presence_penalty": ("float32", 0.0), "frequency_penalty": ("float32", 0.0), "stop": ("array", []),
    "num_ctx": ("integer", DEFAULT_WINDOW), "num_batch": ("integer", 512), "num_gpu": ("integer", -1),
    "main_gpu": ("integer", None), "use_mmap": ("boolean", None), "num_thread": ("integer", 0),
}  # fmt: skip
PASSED_ON = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "stop", "seed",
    "repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty",
)  # fmt: skip
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int, float), "float32": (int, float), "boolean": (bool,), "array": (list,),
}  # fmt: skip


def options_of(how: Behaviour, *given: dict[str, Any]) -> dict[str, Any]:
    """Ollama's defaults, then the model's parameters, then the request's; names that it does not know are dropped.

    A wrong type is told here, not where the model was created. Raises: Refused.
    """
    options: dict[str, Any] = {name: default for name, (_, default) in OPTIONS.items()}
    options["repeat_penalty"] = how.repeat_penalty
    pairs: list[tuple[str, Any]] = [item for some in given for item in some.items()]
    for name, value in pairs:
        if name not in OPTIONS or value is None:
            continue
        kind = OPTIONS[name][0]
        fits = isinstance(value, _JSON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits:
            raise Refused(f'option "{name}" must be of type {kind}')
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise Refused(f'option "{name}" must be of an array of strings')
        options[name] = int(value) if kind == "integer" else value  # a fraction is cut off
    return options


@dataclass
class Runner:
    """One model in memory. `name` is the first that it was loaded by: copies of a model share its weights."""

    name: str
    digest: str
    details: dict[str, Any]
    size: int
    window: int
    needs: tuple[Any, ...]  # what it was started with; another value starts it anew
    server: Any
    adds_beginning: bool  # whether the tokenizer puts a token before every text
    keep_alive: timedelta = KEEP_ALIVE
    expires: datetime = field(default_factory=now)
    busy: threading.Lock = field(default_factory=threading.Lock)  # OLLAMA_NUM_PARALLEL is 1

    @property
    def url(self) -> str:
        return str(self.server.listening_address)

    def tokens(self, text: str, special: bool = False) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": True}
        return list(httpx.post(f"{self.url}/tokenize", json=body, timeout=PATIENCE).raise_for_status().json()["tokens"])

    def own_prompt(self, messages: list[dict[str, str]]) -> str:
        """The GGUF's Jinja template, rendered by llama.cpp."""
        reply = httpx.post(f"{self.url}/apply-template", json={"messages": messages}, timeout=PATIENCE)
        if reply.is_error:
            raise Refused(reply.text, reply.status_code)
        return str(reply.json()["prompt"])


@dataclass
class Runners:
    """The loaded models, by the blob of their weights."""

    how: Behaviour
    threads: int = 0
    loaded: dict[Path, Runner] = field(default_factory=dict)
    loading: threading.Lock = field(default_factory=threading.Lock)

    def load(self, model: Model, options: dict[str, Any], keep_alive: timedelta | None) -> Runner:
        """A runner for this model and window; it starts anew if either changed. Raises: Refused."""
        assert model.path
        with self.loading:
            self.expire()
            trained = gguf_header.read(model.path).trained_context
            window = min(max(options["num_ctx"], 4), trained or options["num_ctx"])
            needs = (window, *model.adapters, options["num_batch"], options["num_thread"], options["num_gpu"])
            runner = self.loaded.get(model.path)
            if runner is None or runner.needs != needs:
                self.loaded.pop(model.path, None)
                runner = self._start(model, window, needs)
                self.loaded[model.path] = runner
            runner.keep_alive = KEEP_ALIVE if keep_alive is None else keep_alive
            runner.expires = now() + runner.keep_alive
            return runner

    def done(self, runner: Runner) -> None:
        """The time to live counts from the end of the last request; with none left the model goes at once."""
        runner.expires = now() + runner.keep_alive
        self.expire()

    def unload(self, path: Path | None) -> None:
        if path:
            self.loaded.pop(path, None)

    def expire(self) -> None:
        for path, runner in list(self.loaded.items()):
            if runner.expires <= now() and not runner.busy.locked():
                self.loaded.pop(path, None)

    def ps(self) -> dict[str, Any]:
        self.expire()
        running = sorted(self.loaded.values(), key=lambda runner: runner.expires, reverse=True)
        return {
            "models": [
                {
                    "name": runner.name,
                    "model": runner.name,
                    "size": runner.size,
                    "digest": runner.digest,
                    "details": runner.details,
                    "expires_at": moment(runner.expires),
                    "size_vram": 0,
                    "context_length": runner.window,
                }
                for runner in running
            ]
        }

    def _start(self, model: Model, window: int, needs: tuple[Any, ...]) -> Runner:
        assert model.path
        plan = Plan()
        plan = plan.model_copy(
            update={"threads": self.threads, "release": plan.release.model_copy(update={"num_ctx": window})}
        )
        if len(model.adapters) > 1:
            raise Refused("this double of Ollama applies one adapter", 501)
        try:
            server = llama.start(llama.Adapted(model.path, *model.adapters) if model.adapters else model.path, plan)
        except JoshiError as error:
            process = "llama-server" if self.how.native_templates else "llama runner"
            raise Refused(f"{process} process has terminated: error loading model {model.path}") from error
        size = sum(path.stat().st_size for path in (model.path, *model.adapters))
        adds = bool(gguf_header.read(model.path).metadata.get("tokenizer.ggml.add_bos_token"))
        return Runner(model.name.shortest, model.manifest.digest, model.details, size, window, needs, server, adds)


def cut(runner: Runner, how: Behaviour, prompt: str, options: dict[str, Any], truncate: bool) -> str | list[int]:
    """A prompt that does not fit loses its middle: the first num_keep tokens stay, and as many of the last as fit.

    Nobody is told. From 0.31.0 on, half a window is then left free for the answer.

    Raises:
        Refused: it does not fit, and the request forbids to cut it; from 0.30.0 on llama.cpp says so.
    """
    tokens = runner.tokens(prompt, special=True)
    most = runner.window - 1 if how.halves_long_prompts else runner.window
    if len(tokens) <= most:
        return prompt
    if not truncate:
        if how.native_templates:
            return prompt  # for llama.cpp to refuse
        raise Refused("the input length exceeds the context length", 400)
    keep = options["num_keep"] if options["num_keep"] >= 0 else len(tokens)
    keep = min(keep + runner.adds_beginning, runner.window - 1)
    limit = runner.window - max((runner.window - keep) // 2, 1) if how.halves_long_prompts else runner.window
    return tokens[:keep] + tokens[len(tokens) - (limit - keep) :]


def complete(runner: Runner, prompt: str | list[int], options: dict[str, Any], form: Any) -> Iterator[dict[str, Any]]:
    """llama.cpp's answer, a piece at a time; the last one has `stop`, counts of tokens and times in milliseconds.

    Raises:
        Refused: the answer's form is none that can be asked for, or llama.cpp refuses.
    """
    at_most = 10 * runner.window
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "cache_prompt": True,
        "n_predict": options["num_predict"] if 0 <= options["num_predict"] <= at_most else at_most,
        "n_keep": options["num_keep"],
        **{name: options[name] for name in PASSED_ON},
    }
    if form == "json":
        body["json_schema"] = {"type": "object"}
    elif isinstance(form, dict):
        body["json_schema"] = form
    elif form:
        raise Refused(f'invalid format: {json.dumps(json.dumps(form))}; expected "json" or a valid JSON Schema object')
    last, again = "", 0
    with httpx.stream("POST", f"{runner.url}/completion", json=body, timeout=PATIENCE) as reply:
        if reply.is_error:
            raise Refused(reply.read().decode(errors="replace"), reply.status_code)
        for line in reply.iter_lines():
            if not line.startswith("data: "):
                continue
            piece = json.loads(line.removeprefix("data: "))
            again = again + 1 if piece.get("content", "").strip() == last else 0
            last = piece.get("content", "").strip()
            if again > SAME_TOKENS:
                return
            yield piece
            if piece.get("stop"):
                return
