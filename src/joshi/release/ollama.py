"""An Ollama server: where it listens, and what its version can do."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

PORT = 11434
# From this release on ollama create refuses ADAPTER (ollama/ollama, pull request 14969); what was made before runs.
NO_NEW_ADAPTERS = (0, 34, 1)
SECONDS = 3.0


def address(environment: Mapping[str, str]) -> str:
    """The base URL that OLLAMA_HOST names, as Ollama reads it: [SCHEME://]HOST[:PORT], loopback without one."""
    scheme, _, rest = environment.get("OLLAMA_HOST", "").strip().rpartition("://")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or not port.isdecimal():
        host, port = rest.rstrip("/"), str({"http": 80, "https": 443}.get(scheme, PORT))
    if host in ("", "0.0.0.0"):  # where a server listens; a client asks its own machine
        host = "127.0.0.1"
    return f"{scheme or 'http'}://{host}:{port}"


def version(environment: Mapping[str, str]) -> str | None:
    """What the server says it is; None if none answers."""
    try:
        answer = httpx.get(f"{address(environment)}/api/version", timeout=SECONDS)
        answer.raise_for_status()
        found = answer.json()["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def makes_adapters(found: str) -> bool:
    """Whether `ollama create` of this version takes a Modelfile with ADAPTER; a version that is no number does."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", found)
    return numbers is None or tuple(map(int, numbers.groups())) < NO_NEW_ADAPTERS
