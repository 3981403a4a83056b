"""A model behind an address: llama.cpp's own server, Ollama, or anything that speaks OpenAI's chat protocol."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from joshi.errors import PlanError, Unavailable
from joshi.plan import EndpointSection

SECONDS_PER_ANSWER = 600.0
SECONDS_PER_QUESTION = 10.0  # about the server itself
TRIES = 4
PAUSE = 1.0  # seconds before the second try; doubled each time
OLLAMA_WINDOW = 4096  # tokens that Ollama gives a model whose Modelfile says nothing
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Endpoint:
    """An address without "/v1", the model's name there, and the API key, which is never printed."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, section: EndpointSection, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """The plan's endpoint with its key from the environment.

        Raises:
            PlanError: the variable is not set.
        """
        key = None
        if section.key:
            name = section.key.removeprefix("env:")
            if not (key := environment.get(name)):
                raise PlanError(f"endpoint {section.name!r} takes its key from {name}, which is not set; export it")
        return cls(re.sub(r"(?:/v1)?/*$", "", section.url), section.model, key)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, timeout=SECONDS_PER_ANSWER, headers=headers)

    def bytes_known(self) -> str:
        """What tells these weights from others of that name, for the cache: Ollama's digest, or nothing."""
        for model in self._ask("/api/tags").get("models", []):
            if model.get("name") in (self.model, f"{self.model}:latest"):
                return str(model.get("digest", ""))
        return ""

    def window(self) -> int | None:
        """The context window in tokens, if the server tells: past it Ollama cuts a prompt without a word."""
        shown = self._ask("/api/show", {"model": self.model})
        if "parameters" in shown or "modelfile" in shown:
            found = re.search(r"^num_ctx\s+(\d+)", str(shown.get("parameters", "")), re.MULTILINE)
            return int(found.group(1)) if found else OLLAMA_WINDOW
        settings = self._ask("/props").get("default_generation_settings", {})
        if "n_ctx" in settings:
            return int(settings["n_ctx"])
        for model in self._ask("/v1/models").get("data", []):
            if model.get("id") == self.model and model.get("max_model_len"):
                return int(model["max_model_len"])
        return None

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the server says of itself; empty if it does not know the question."""
        try:
            with self.client() as client:
                kind = "GET" if body is None else "POST"
                response = client.request(kind, path, json=body, timeout=SECONDS_PER_QUESTION)
                found = response.json() if response.is_success else {}
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def chat(client: httpx.Client, body: dict[str, Any], what: str, tries: int = TRIES) -> dict[str, Any]:
    """POST to /v1/chat/completions; tried again when the server is busy, failing, or breaks off in the middle.

    Args:
        what: whose answer, for the message.

    Raises:
        Unavailable: no answer after so many tries, or the server refuses; its own words are quoted.
    """
    for attempt in range(tries):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            response = client.post("/v1/chat/completions", json=body)
            if response.status_code in _TRY_AGAIN:
                problem = f"status {response.status_code}: {_said(response)}"
                continue
            if not response.is_success:
                raise Unavailable(
                    f"{client.base_url} refused {what} with status {response.status_code}: {_said(response)}; "
                    "check the model's name, the key and the context window"
                )
            found = response.json()
            if isinstance(found, dict) and found.get("choices"):
                return found
            problem = f"no answer in {response.text[:100]!r}"
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{client.base_url} did not answer {what} within {SECONDS_PER_ANSWER:.0f} s; is it overloaded?"
            ) from error
        except (httpx.HTTPError, ValueError) as error:  # refused, broken off, or half a JSON object
            problem = str(error) or type(error).__name__
    raise Unavailable(f"{client.base_url} did not answer {what} in {tries} tries: {problem}; is the model loaded?")


def _said(response: httpx.Response) -> str:
    try:
        error = response.json().get("error", response.text)
        return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
    except (ValueError, AttributeError):
        return " ".join(response.text.split())[:200]
