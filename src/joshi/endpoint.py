"""A model behind an address: llama.cpp's own server, Ollama, or anything that speaks OpenAI's chat protocol."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from joshi.errors import Unavailable
from joshi.plan import EndpointSection
from joshi.secret import api_key

SECONDS_PER_ANSWER = 600.0
SECONDS_PER_QUESTION = 10.0  # about the server itself
MOST_BYTES = 1 << 26  # of one response
TRIES = 4
PAUSE = 1.0  # seconds before the second try; doubled each time
OLLAMA_WINDOW = 4096  # tokens that Ollama gives a model whose Modelfile says nothing
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_NO_JSON = (ValueError, RecursionError)


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
            PlanError: the variable is not set, or holds what no HTTP header can.
        """
        key = api_key(section.key, f"endpoint {section.name!r}", environment) if section.key else None
        return cls(re.sub(r"(?:/v1)?/*$", "", section.url), section.model, key)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, timeout=SECONDS_PER_ANSWER, headers=headers)

    def bytes_known(self) -> str:
        """What tells these weights from others of that name, for the cache: Ollama's digest, or nothing."""
        for model in _records(self._ask("/api/tags"), "models"):
            if model.get("name") in (self.model, f"{self.model}:latest"):
                return str(model.get("digest", ""))
        return ""

    def window(self) -> int | None:
        """The context window in tokens, if the server tells: past it Ollama cuts a prompt without a word."""
        shown = self._ask("/api/show", {"model": self.model})
        if "parameters" in shown or "modelfile" in shown:
            found = re.search(r"^num_ctx\s+(\d+)", str(shown.get("parameters", "")), re.MULTILINE)
            return int(found.group(1)) if found else OLLAMA_WINDOW
        settings = self._ask("/props").get("default_generation_settings")
        if isinstance(settings, dict) and isinstance(settings.get("n_ctx"), int):
            return int(settings["n_ctx"])
        for model in _records(self._ask("/v1/models"), "data"):
            if model.get("id") == self.model and isinstance(model.get("max_model_len"), int):
                return int(model["max_model_len"])
        return None

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the server says of itself; empty if it does not know the question."""
        try:
            with self.client() as client:
                kind = "GET" if body is None else "POST"
                response = client.request(kind, path, json=body, timeout=SECONDS_PER_QUESTION)
                found = response.json() if response.is_success else {}
        except (httpx.HTTPError, *_NO_JSON):
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
            response = _post(client, body)
            if response.status_code in _TRY_AGAIN:
                problem = f"status {response.status_code}: {_said(response.text, client)}"
                continue
            if not response.is_success:
                raise Unavailable(
                    f"{address(client)} refused {what} with status {response.status_code}: "
                    f"{_said(response.text, client)}; check the model's name, the key and the context window"
                )
            found = response.json()
            if isinstance(found, dict) and found.get("choices"):
                return found
            problem = f"no answer in {_said(response.text, client)!r}"
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{address(client)} did not answer {what} within {SECONDS_PER_ANSWER:.0f} s; is it overloaded?"
            ) from error
        except (httpx.HTTPError, *_NO_JSON) as error:  # refused, broken off, or half a JSON object
            problem = str(error) or type(error).__name__
    raise Unavailable(f"{address(client)} did not answer {what} in {tries} tries: {problem}; is the model loaded?")


def _post(client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """The whole response, within the time for one answer: httpx's own limit is for each read, and bytes may drip."""
    until = time.monotonic() + SECONDS_PER_ANSWER
    content = bytearray()
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        for part in response.iter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise httpx.HTTPError(f"a response of more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise httpx.ReadTimeout("the response drips", request=response.request)
    return httpx.Response(response.status_code, content=bytes(content), request=response.request)


def address(client: httpx.Client) -> str:
    """The client's address for messages, without a password that it may hold."""
    return str(client.base_url.copy_with(userinfo=b"")).rstrip("/")


def _said(text: str, client: httpx.Client) -> str:
    """A server's own words on one line. Some repeat the key that they refuse."""
    try:
        error = json.loads(text).get("error", text)
        found = str(error.get("message", error) if isinstance(error, dict) else error)
    except (AttributeError, *_NO_JSON):
        found = text
    key = client.headers.get("Authorization", "").removeprefix("Bearer ")
    shown = found.replace(key, "(key)") if key else found
    return " ".join(shown.split())[:200]


def _records(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of a list that a server may send as null, or of anything."""
    values = found.get(name)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
