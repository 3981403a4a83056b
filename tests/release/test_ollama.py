"""What an Ollama server is asked, against a server that answers as Ollama's API documentation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from joshi.release.ollama import address, makes_adapters, version


@pytest.fixture
def served() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server, and the one answer that it gives to GET /api/version."""
    answers = [json.dumps({"version": "0.34.2"}).encode()]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/version" else 404)
            self.end_headers()
            self.wfile.write(answers[0])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_says_its_version(served: tuple[str, list[bytes]]) -> None:
    assert version(f"http://{served[0]}") == "0.34.2"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"nonsense", b'{"version": 3}', b"\xff"])
def test_what_is_no_version_is_none(answer: bytes, served: tuple[str, list[bytes]]) -> None:
    served[1][0] = answer
    assert version(f"http://{served[0]}") is None


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no such host", "http://[::"])
def test_no_server_is_none(host: str) -> None:
    assert version(address({"OLLAMA_HOST": host})) is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8000", "http://127.0.0.1:8000"),
        ("box", "http://box:11434"),
        ("box:8000", "http://box:8000"),
        ("https://box", "https://box:443"),
        ("http://box:8000/", "http://box:8000"),
    ],
)
def test_addresses_are_read_as_ollama_reads_them(host: str, url: str) -> None:
    assert address({"OLLAMA_HOST": host}) == url


@pytest.mark.parametrize(
    ("found", "makes"),
    [("0.5.2-rc1", True), ("0.34.0", True), ("0.34.1", False), ("0.35.0", False), ("1.0.0", False), ("dev", True)],
)
def test_new_adapters_end_with_0_34_1(found: str, makes: bool) -> None:
    assert makes_adapters(found) == makes
