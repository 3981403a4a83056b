"""What can be made to go wrong with the double goes wrong until it is taken away, and leaves behind what it should."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from tests.release.ollama_double import (
    DiskFull,
    Drips,
    Drops,
    Fails,
    Hangs,
    LosesBlob,
    LosesModel,
    Misrenders,
    Mute,
    OllamaDouble,
    ShowsOther,
    subtly_other,
)  # fmt: skip
from tests.release.small_models import write_header, write_small

PATIENCE = 300  # seconds: a machine may be busy with something else
get = functools.partial(httpx.get, timeout=PATIENCE)
post = functools.partial(httpx.post, timeout=PATIENCE)
TURNS = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
ONE = {"num_ctx": 256, "num_predict": 1, "temperature": 0}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_header(tmp_path_factory.mktemp("header") / "header.gguf")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "models", threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def talking(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaDouble]:
    folder = tmp_path_factory.mktemp("talking")
    with OllamaDouble(folder / "models", threads=1) as server:
        client = ollama.Client(server.url)
        digest = client.create_blob(write_small(folder / "small.gguf", smollm2))
        client.create("small", files={"s.gguf": digest}, template=TURNS, parameters=ONE)
        yield server


@pytest.fixture(autouse=True)
def nothing_wrong_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "talking" in request.fixturenames:
        request.getfixturevalue("talking").fault = None


def make(server: OllamaDouble, header: Path, name: str = "m", **body: Any) -> httpx.Response:
    digest = f"sha256:{hashlib.sha256(header.read_bytes()).hexdigest()}"
    files = {"files": {"m.gguf": digest}, "template": TURNS, **body}
    return httpx.post(f"{server.url}/api/create", json={"model": name, **files}, timeout=PATIENCE)


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def wait_for(server: OllamaDouble, n_requests: int) -> None:
    while len(server.log) < n_requests:
        time.sleep(0.01)


def test_a_route_hangs_until_the_fault_is_taken_away(server: OllamaDouble) -> None:
    server.fault = Hangs("GET /api/tags")
    assert get(f"{server.url}/api/version").status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/api/tags", timeout=0.3)
    wait_for(server, 2)
    assert server.log[-1].status is None
    answered: list[Exception] = []

    def ask() -> None:
        try:
            httpx.get(f"{server.url}/api/tags", timeout=PATIENCE)
        except httpx.HTTPError as error:
            answered.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(server, 3)
    server.fault = None
    asking.join()
    assert len(answered) == 1  # the connection was closed without an answer
    assert get(f"{server.url}/api/tags").status_code == 200


def test_a_hanging_server_can_be_stopped(tmp_path: Path) -> None:
    with OllamaDouble(tmp_path, threads=1) as server:
        server.fault = Hangs()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(server.url, timeout=0.2)
    with pytest.raises(httpx.ConnectError):
        get(server.url)


def test_the_nth_request_of_a_route_fails(server: OllamaDouble) -> None:
    server.fault = Fails("POST /api/show", nth=2, status=503, message="server busy, please try again")
    client = ollama.Client(server.url)
    statuses = [post(f"{server.url}/api/show", json={"model": "m"}).status_code for _ in range(3)]
    assert statuses == [404, 503, 404]
    server.fault = Fails("GET /api/tags")
    for _ in range(2):
        with pytest.raises(ollama.ResponseError, match="llama runner process has terminated") as error:
            client.list()
        assert error.value.status_code == 500
    assert get(f"{server.url}/api/ps").status_code == 200


def test_a_connection_dropped_inside_an_upload_leaves_nothing(header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    server.fault = Drops("POST /api/blobs", after_bytes=100, of="request")
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        client.create_blob(header)
    assert files_below(server.folder) == set()
    assert server.log[-1].status is None
    server.fault = None
    client.create_blob(header)
    assert len(files_below(server.folder)) == 1


@pytest.mark.parametrize(("after_bytes", "made"), [(0, False), (40, False), (10**4, True)])
def test_a_connection_dropped_inside_a_stream(after_bytes: int, made: bool, header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    digest = client.create_blob(header)
    server.fault = Drops("POST /api/create", after_bytes=after_bytes)

    def create() -> list[ollama.ProgressResponse]:
        return list(client.create("m", files={"m.gguf": digest}, stream=True))

    if made:
        create()
    else:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            create()
    server.fault = None
    assert bool(client.list().models) is made


def test_a_model_is_made_though_its_last_word_is_lost(header: Path, server: OllamaDouble) -> None:
    """The server goes on with what it does when nobody listens any more."""
    client = ollama.Client(server.url)
    digest = client.create_blob(header)
    size = len(make(server, header).content)
    client.delete("m")
    client.create_blob(header)
    server.fault = Drops("POST /api/create", after_bytes=size - 5)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        list(client.create("m", files={"m.gguf": digest}, template=TURNS, stream=True))
    assert [model.model for model in client.list().models] == ["m:latest"]


def test_an_answer_dropped_inside_its_stream(talking: OllamaDouble) -> None:
    client = ollama.Client(talking.url)
    talking.fault = Drops("POST /api/chat", after_bytes=150)
    pieces: list[Any] = []
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        for piece in client.chat("small", HELLO, options={"num_predict": 5}, stream=True):
            pieces.append(piece)
    assert not any(piece.done for piece in pieces)
    talking.fault = None
    assert client.chat("small", HELLO).done


def test_an_answer_that_drips_comes_whole(talking: OllamaDouble) -> None:
    talking.fault = Drips("POST /api/chat", n_bytes=20, seconds=0.002)
    body = {"model": "small", "messages": HELLO}
    pieces = []
    with httpx.stream("POST", f"{talking.url}/api/chat", json=body, timeout=PATIENCE) as reply:
        pieces += list(reply.iter_raw())
    assert b"".join(pieces).endswith(b"}\n")
    talking.fault = Drips("GET /api/tags", n_bytes=1, seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{talking.url}/api/tags", timeout=0.3)


def test_a_blob_is_lost_after_its_upload(header: Path, server: OllamaDouble) -> None:
    server.fault = LosesBlob()
    ollama.Client(server.url).create_blob(header)
    assert server.log[-1].status == 201
    assert "no such file or directory" in make(server, header).text
    server.fault = None
    ollama.Client(server.url).create_blob(header)
    assert '"success"' in make(server, header).text


def test_a_model_is_deleted_behind_the_clients_back(header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    client.create_blob(header)
    server.fault = LosesModel("m")
    assert make(server, header).text.endswith('{"status":"success"}\n')
    assert client.list().models == []
    server.fault = None
    client.create_blob(header)
    make(server, header)
    server.forget("m")
    with pytest.raises(ollama.ResponseError, match="model 'm:latest' not found"):
        client.show("m")
    assert [entry.method for entry in server.log].count("DELETE") == 0


def test_weights_that_are_lost_are_told_when_the_model_answers(header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    client.create_blob(header)
    make(server, header)
    for path in (server.folder / "blobs").iterdir():
        if path.read_bytes()[:4] == b"GGUF":
            path.unlink()
    assert [model.model for model in client.list().models] == ["m:latest"]
    for what, ask in (("chat", lambda: client.chat("m", HELLO)), ("generate", lambda: client.generate("m", "Hi"))):
        with pytest.raises(ollama.ResponseError, match=f'"m" does not support {what}') as error:
            ask()
        assert error.value.status_code == 400  # what the model can do is read in its weights


def test_an_empty_answer(talking: OllamaDouble) -> None:
    client = ollama.Client(talking.url)
    talking.fault = Mute()
    reply = client.chat("small", HELLO)
    assert (reply.message.content, reply.done, reply.done_reason, reply.eval_count) == ("", True, "stop", 1)
    assert client.generate("small", "Hello").response == ""
    talking.fault = None
    assert client.chat("small", HELLO).message.content


def test_another_template_than_the_one_that_is_shown(talking: OllamaDouble) -> None:
    client = ollama.Client(talking.url)
    n_tokens = client.chat("small", HELLO).prompt_eval_count
    right = talking.prompts[-1]
    assert right == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    talking.fault = Misrenders()
    counted = client.chat("small", HELLO).prompt_eval_count
    assert talking.prompts[-1] == "<|im_start|>user\nHello<|im_end|><|im_start|>assistant\n"
    assert counted == (n_tokens or 0) - 1  # all that a client could tell it by
    assert client.show("small").template == TURNS
    talking.fault = Misrenders(str.upper)
    client.chat("small", HELLO)
    assert talking.prompts[-1] == str(right).upper()
    assert subtly_other("<|im_start|>user<|im_sep|>Hi<|im_end|>") == "<|im_start|>user\nHi<|im_end|>"


def test_a_full_disk(header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    server.fault = DiskFull(after_bytes=100)
    with pytest.raises(ollama.ResponseError, match=r"write .*/blobs/sha256-\S+: no space left on device") as error:
        client.create_blob(header)
    assert error.value.status_code == 500
    assert files_below(server.folder) == set()
    server.fault = None
    client.create_blob(header)
    make(server, header)
    assert len(client.list().models) == 1
    server.fault = DiskFull(after_bytes=10**6)
    make(server, header, system="x")
    spent = 10**6 - (server.store.room or 0)
    # Room for the blobs, none for the manifest: the model that had the name is lost with it (manifest.WriteManifest).
    server.fault = DiskFull(after_bytes=spent - 1)
    assert "latest: no space left on device" in make(server, header, system="y").text
    assert client.list().models == []
    with pytest.raises(ollama.ResponseError, match="EOF"):
        client.show("m")
    server.fault = None
    assert '"success"' in make(server, header, system="z").text
    assert len(client.list().models) == 1


def test_a_parameter_that_is_shown_otherwise(header: Path, server: OllamaDouble) -> None:
    client = ollama.Client(server.url)
    client.create_blob(header)
    make(server, header, parameters={"temperature": 0.2, "stop": ["a", "b"]})
    right = set((client.show("m").parameters or "").splitlines())
    assert right == {f"{'temperature':<30} 0.2", f'{"stop":<30} "a"', f'{"stop":<30} "b"'}
    for value, lines in ((0.7, {f"{'temperature':<30} 0.7"}), (None, set())):
        server.fault = ShowsOther("temperature", value)
        assert (
            set((client.show("m").parameters or "").splitlines()) == {line for line in right if "stop" in line} | lines
        )
    server.fault = ShowsOther("stop", ["c"])
    assert f'{"stop":<30} "c"' in (client.show("m").parameters or "").splitlines()


def test_requests_are_written_down(header: Path, server: OllamaDouble) -> None:
    ollama.Client(server.url).create_blob(header)
    make(server, header)
    post(f"{server.url}/api/show", content=b"{")
    blob, create, show = server.log
    assert (blob.method, blob.n_bytes, blob.body, blob.status) == ("POST", header.stat().st_size, None, 201)
    assert (create.path, create.body["model"], create.status) == ("/api/create", "m", 200)
    assert (show.body, show.status) == (None, 400)
