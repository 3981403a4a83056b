"""An Ollama server: where it listens, what its version can do, and one way to ask it.

Its HTTP interface is described in ollama/ollama, docs/api.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import httpx
import ollama

from joshi.errors import JoshiError, Unavailable

PORT = 11434
CONNECT_SECONDS = 5.0
# From this release on ollama create refuses ADAPTER (ollama/ollama, pull request 14969); what was made before runs.
NO_NEW_ADAPTERS = (0, 34, 1)
SECONDS = 3.0


@dataclass(frozen=True)
class Server:
    """Where it listens, and how long it may be silent: it hashes a file before it answers, 9 GB in a minute."""

    url: str
    patience: float = 600.0  # seconds

    @property
    def timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self.patience, connect=CONNECT_SECONDS)

    @cached_property
    def client(self) -> ollama.Client:
        return ollama.Client(host=self.url, timeout=self.timeout)


def address(environment: Mapping[str, str]) -> str:
    """The base URL that OLLAMA_HOST names, as Ollama reads it: [SCHEME://]HOST[:PORT], loopback without one."""
    scheme, _, rest = environment.get("OLLAMA_HOST", "").strip().rpartition("://")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or not port.isdecimal():
        host, port = rest.rstrip("/"), str({"http": 80, "https": 443}.get(scheme, PORT))
    if host in ("", "0.0.0.0"):  # where a server listens; a client asks its own machine
        host = "127.0.0.1"
    return f"{scheme or 'http'}://{host}:{port}"


def version(url: str) -> str | None:
    """What the server says it is; None if none answers."""
    try:
        answer = httpx.get(f"{url}/api/version", timeout=SECONDS)
        answer.raise_for_status()
        found = answer.json()["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def require_version(url: str, oldest: str, adapter: bool) -> str:
    """The server's version.

    Raises:
        Unavailable: no Ollama answers there.
        JoshiError: it is older than `oldest`, or an adapter is to be put on a base and it takes none.
    """
    found = version(url)
    if found is None:
        raise Unavailable(f"no Ollama answers at {url}; start it, or name another in [release] ollama or OLLAMA_HOST")
    numbers = _numbers(found)
    if numbers is not None and numbers < (_numbers(oldest) or ()):
        raise JoshiError(f"Ollama at {url} is {found}; the plan's oldest_ollama is {oldest}: update Ollama")
    if adapter and not makes_adapters(found):
        raise JoshiError(
            f'Ollama at {url} is {found}, which takes no new adapters; set [release] artifact = "gguf" in the plan'
        )
    return found


def makes_adapters(found: str) -> bool:
    """Whether `ollama create` of this version takes a Modelfile with ADAPTER; a version that is no number does."""
    numbers = _numbers(found)
    return numbers is None or numbers < NO_NEW_ADAPTERS


def _numbers(version: str) -> tuple[int, ...] | None:
    """As in 0.17.1 or v0.17.1-rc2; a build of one's own may be called anything."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else None


@contextmanager
def talking(url: str, about: str) -> Iterator[None]:
    """Say what went wrong in a block that talks to the server.

    Raises:
        Unavailable: it is gone, hangs, or answers with an error of its own.
        JoshiError: it refuses what it is asked.
    """
    try:
        yield
    except ollama.ResponseError as error:
        said = f"Ollama at {url} answered to {about}: {str(error.error).strip()[:300]}"
        if 400 <= error.status_code < 500:
            raise JoshiError(f"{said}; nothing was switched") from error
        raise Unavailable(f"{said}; nothing was switched; see Ollama's log, then run the command again") from error
    except httpx.TimeoutException as error:
        raise Unavailable(f"Ollama at {url} did not answer in time to {about}; nothing was switched") from error
    except (ConnectionError, httpx.HTTPError, ValueError) as error:
        raise Unavailable(
            f"Ollama at {url} broke off {about} ({type(error).__name__}: {str(error)[:200]}); nothing was switched; "
            "run the command again"
        ) from error
