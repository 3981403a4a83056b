"""The double of Ollama, driven by Ollama's own client: what a release meets there, answers by llama.cpp included."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ollama
import pytest

from joshi import llama
from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter, write_adapter
from joshi.base.ollama import find_model
from joshi.plan import Plan
from tests.export.test_modelfile import FAMILIES
from tests.release.ollama_double import OllamaDouble
from tests.release.small_models import write_header, write_small

PATIENCE = 300  # seconds: a machine may be busy with something else
get = functools.partial(httpx.get, timeout=PATIENCE)
head = functools.partial(httpx.head, timeout=PATIENCE)
post = functools.partial(httpx.post, timeout=PATIENCE)
request = functools.partial(httpx.request, timeout=PATIENCE)
TURNS = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
HELLO = [{"role": "user", "content": "Hello there"}]
FEW = {"num_predict": 3, "temperature": 0, "num_ctx": 256}
WITH_TOOLS = (
    "{% if tools %}{{ tools }}{% endif %}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[bot]"
)


@pytest.fixture(scope="module")
def small(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("small") / "small.gguf", smollm2)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_header(tmp_path_factory.mktemp("header") / "header.gguf")


@pytest.fixture(scope="module")
def served(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OllamaDouble, ollama.Client]]:
    """A server with the model `small`, whose window is 256 tokens."""
    with OllamaDouble(tmp_path_factory.mktemp("models"), threads=1) as server:
        client = ollama.Client(server.url)
        client.create(
            "small", files={"s.gguf": client.create_blob(small)}, template=TURNS, system="Be kind.",
            parameters={"num_ctx": 256, "temperature": 0, "num_predict": 3},
        )  # fmt: skip
        yield server, client


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "models", threads=1) as server:
        yield server


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def blobs(server: OllamaDouble) -> dict[str, int]:
    """Name and size of every file in the blobs' folder, whatever it is."""
    return {path.name: path.stat().st_size for path in (server.folder / "blobs").iterdir()}


def lines(server: OllamaDouble, path: str, body: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    reply = httpx.post(server.url + path, json=body, timeout=PATIENCE)
    return reply.status_code, [json.loads(line) for line in reply.text.splitlines()]


def shown(client: ollama.Client, model: str) -> dict[str, list[str]]:
    """The parameters of /api/show, which are a text: a name, blanks, and a value as Go writes it in a program."""
    found: dict[str, list[str]] = {}
    for line in (client.show(model).parameters or "").splitlines():
        found.setdefault(line[:30].strip(), []).append(line[31:])
    return found


def test_the_official_client_walks_through_a_release(small: Path, empty: OllamaDouble) -> None:
    client = ollama.Client(empty.url)
    assert client.list().models == []
    digest = client.create_blob(small)
    assert digest == sha256(small)
    statuses = [
        step.status or ""
        for step in client.create(
            "Talker:v1", files={"talker.gguf": digest}, template=TURNS, system='Say "yes".\nOr <no>.',
            parameters={"num_ctx": 256, "temperature": 0.2, "top_p": 1.0, "stop": ["<|im_end|>", 'a "b"']},
            license=["free", "as in beer"], messages=[{"role": "user", "content": "Once."}], stream=True,
        )
    ]  # fmt: skip
    assert statuses[0] == "parsing GGUF"
    assert statuses[-2:] == ["writing manifest", "success"]
    (listed,) = client.list().models
    assert listed.model == "Talker:v1"
    shown_model = client.show("talker:V1")
    assert shown_model.template == TURNS
    assert shown(client, "talker:v1") == {
        "num_ctx": ["256"], "temperature": ["0.2"], "top_p": ["1"], "stop": ['"<|im_end|>"', r'"a \"b\""'],
    }  # fmt: skip
    assert shown_model.capabilities == ["completion"]
    assert shown_model.details
    assert shown_model.details.family == "llama"
    assert shown_model.details.quantization_level == "F16"
    info = shown_model.modelinfo
    assert info
    assert info["general.architecture"] == "llama"
    assert info["llama.context_length"] == 8192
    assert info["tokenizer.ggml.tokens"] is None
    assert "tokenizer.chat_template" not in info
    modelfile = shown_model.modelfile or ""
    assert f'TEMPLATE "{TURNS}"\n' in modelfile  # a text of several lines in single quotes, as Ollama writes it
    assert 'SYSTEM """Say "yes".\nOr <no>."""\n' in modelfile
    assert 'PARAMETER stop <|im_end|>\nPARAMETER stop a "b"\n' in modelfile
    assert "LICENSE free\nLICENSE as in beer\n" in modelfile
    assert "MESSAGE user Once.\n" in modelfile

    reply = client.chat("talker:v1", HELLO, options={"num_predict": 3})
    assert (reply.done, reply.message.role, reply.done_reason, reply.eval_count) == (True, "assistant", "length", 3)
    assert empty.prompts[-1] == (
        '<|im_start|>system\nSay "yes".\nOr <no>.<|im_end|>\n<|im_start|>user\nOnce.\n\nHello there<|im_end|>\n'
        "<|im_start|>assistant\n"
    )
    (running,) = client.ps().models
    assert (running.model, running.context_length, running.digest) == ("Talker:v1", 256, listed.digest)

    assert client.copy("talker:v1", "talker").status == "success"
    assert {model.model: model.digest for model in client.list().models} == {
        "Talker:v1": listed.digest, "Talker:latest": listed.digest,
    }  # fmt: skip
    assert client.delete("Talker:v1").status == "success"
    assert client.generate("talker", "Hi", options={"num_predict": 2}).eval_count == 2
    client.delete("talker")
    assert client.list().models == []
    with pytest.raises(ollama.ResponseError, match="model 'talker' not found") as error:
        client.chat("talker", HELLO)
    assert error.value.status_code == 404
    assert [entry.path for entry in empty.log][:3] == ["/api/tags", f"/api/blobs/{digest}", "/api/create"]


def test_answers_are_llama_cpps_own(served: tuple[OllamaDouble, ollama.Client], small: Path) -> None:
    _, client = served
    options = {"num_predict": 6, "repeat_penalty": 1.3, "seed": 7, "temperature": 0.9, "top_p": 0.8}
    said = client.generate("small", "<|im_start|>user\nOne two", raw=True, options=options)
    body = {"prompt": "<|im_start|>user\nOne two", "n_predict": 6, "min_p": 0.0, **options}
    with llama.running(small, Plan()) as url:
        own = httpx.post(f"{url}/completion", json=body, timeout=PATIENCE).json()
    assert said.response == own["content"] != ""
    assert said.eval_count == own["tokens_predicted"]
    assert said.prompt_eval_count == own["tokens_evaluated"]
    assert said.context is None  # raw has none


def test_a_real_model_answers_to_its_template(smollm2: Path, empty: OllamaDouble) -> None:
    client = ollama.Client(empty.url)
    client.create("smol", files={"smol.gguf": client.create_blob(smollm2)}, parameters=FEW)
    # Without a TEMPLATE the nearest known one is taken: SmolLM2's turns, less the system prompt that its own adds.
    assert client.show("smol").template == TURNS.replace("{{ range", "{{- range")
    question = [{"role": "user", "content": "What is the capital of France?"}]
    pieces = list(client.chat("smol", question, stream=True, options={"num_predict": 7}))
    assert "Paris" in "".join(piece.message.content or "" for piece in pieces)
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].prompt_eval_count == 16  # three line breaks, three marks, user, ass|istant, seven words and marks
    assert (pieces[-1].total_duration or 0) > (pieces[-1].eval_duration or 0) > 1000
    form = {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"],
            "additionalProperties": False}  # fmt: skip
    formed = client.chat("smol", question, format=form, options={"num_predict": 20})
    assert (json.loads(formed.message.content or ""), formed.done_reason) == ({"city": "Rome"}, "stop")


def test_an_upload_is_kept_under_the_digest_that_it_has(header: Path, empty: OllamaDouble) -> None:
    data = header.read_bytes()
    right, wrong = sha256(header), "sha256:" + "0" * 64
    assert head(f"{empty.url}/api/blobs/{right}").status_code == 404
    reply = post(f"{empty.url}/api/blobs/{wrong}", content=data)
    assert (reply.status_code, reply.json()["error"]) == (400, f'digest mismatch, expected "{wrong}", got "{right}"')
    assert blobs(empty) == {right.replace(":", "-"): len(data)}  # surprising, and so in manifest/layer.go
    assert head(f"{empty.url}/api/blobs/{wrong}").status_code == 404
    assert head(f"{empty.url}/api/blobs/{right}").status_code == 200
    assert post(f"{empty.url}/api/blobs/{right}", content=data).status_code == 200
    reply = post(f"{empty.url}/api/blobs/sha256:12", content=data)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid digest format")


def test_an_upload_in_chunks_and_one_that_breaks_off(header: Path, empty: OllamaDouble) -> None:
    async def send() -> str:
        return await ollama.AsyncClient(empty.url).create_blob(header)  # of no length told beforehand

    assert asyncio.run(send()) == sha256(header)
    assert empty.log[-1].status == 201
    before = blobs(empty)
    with socket.create_connection(("127.0.0.1", int(empty.url.rpartition(":")[2]))) as connection:
        head = f"POST /api/blobs/sha256:{'1' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n"
        connection.sendall(head.encode() + b"GGUF")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert blobs(empty) == before


def test_models_outlive_a_restart_and_unused_blobs_do_not_always(header: Path, tmp_path: Path) -> None:
    spare = write_header(tmp_path / "spare.gguf", chat_template="{{ x }}")
    for version, kept in (("0.17.1", False), ("0.33.0", True)):
        with OllamaDouble(tmp_path / version, version) as server:
            client = ollama.Client(server.url)
            client.create("a", files={"a.gguf": client.create_blob(header)}, template=TURNS)
            client.create_blob(spare)
            before, url = client.list(), server.url
            server.restart()
            assert (client.list(), server.url) == (before, url)
        with OllamaDouble(tmp_path / version, version) as server:
            client = ollama.Client(server.url)
            assert client.list() == before
            assert client.show("a").template == TURNS
            assert (head(f"{server.url}/api/blobs/{sha256(spare)}").status_code == 200) is kept


def test_an_uploaded_model_is_stored_in_other_bytes_since_0_30(small: Path, tmp_path: Path) -> None:
    digest = sha256(small)
    for version, rewritten in (("0.17.1", False), ("0.30.0", True)):
        with OllamaDouble(tmp_path / version, version) as server:
            client = ollama.Client(server.url)
            client.create("a", files={"a.gguf": client.create_blob(small)})
            stored = find_model("a", {"OLLAMA_MODELS": str(server.folder)}).weights
            assert (sha256(stored) != digest) is rewritten
            assert head(f"{server.url}/api/blobs/{digest}").status_code == 200
            assert f"FROM {stored}\n" in (client.show("a").modelfile or "")
    sent, kept = GgufFile(small), GgufFile(stored)
    assert kept.header.metadata == sent.header.metadata
    assert [tensor.name for tensor in kept.tensors] != [tensor.name for tensor in sent.tensors]
    by_name = {tensor.name: tensor for tensor in kept.tensors}
    assert all(np.array_equal(kept.raw(by_name[one.name]), sent.raw(one)) for one in sent.tensors)


def test_layers_are_shared_and_go_with_the_last_model(header: Path, empty: OllamaDouble) -> None:
    client = ollama.Client(empty.url)
    client.create(
        "a", files={"a.gguf": client.create_blob(header)}, system="One.", parameters={"num_ctx": 64, "seed": 1}
    )
    client.create("b", from_="a", system="Two.", parameters={"seed": 2})
    assert shown(client, "b") == {"num_ctx": ["64"], "seed": ["2"]}
    assert post(f"{empty.url}/api/show", json={"model": "b"}).json()["system"] == "Two."
    client.create("c", from_="a", system="")  # an empty text changes nothing
    assert post(f"{empty.url}/api/show", json={"model": "c"}).json()["system"] == "One."
    for name in ("a", "c"):
        client.delete(name)
    assert (details := client.show("b").details)
    assert (details.parent_model, details.quantization_level) == ("a:latest", "Q8_0")
    client.create("b", from_="b", system="Three.")
    client.delete("b")
    assert set(blobs(empty)) == {sha256(header).replace(":", "-")}  # what was uploaded, before it was rewritten


REFUSED: list[tuple[dict[str, Any], int, str, bool]] = [  # body, status, error, whether statuses came before it
    ({"files": {"a.gguf": "sha256:" + "a" * 64}}, 500, "no such file or directory", True),
    ({"files": {"a": "sha256:" + "a" * 64}}, 400, "unknown type", False),
    ({"files": {"a.gguf": "NO"}}, 400, "supplied file was not in GGUF format", True),
    ({"files": {"a": "NO"}}, 400, "unknown type", False),
    ({"files": {"a.gguf": "CUT"}}, 500, "exceeds file size", True),
    ({"files": {"a.gguf": "HEAD"}}, 500, "unexpected EOF", True),
    ({"files": {"a.gguf": ""}}, 400, "invalid digest format", False),
    ({"files": {"../a.gguf": "GGUF"}}, 400, "file path must be relative", False),
    ({"files": {}}, 400, "unknown type", False),
    ({}, 400, "neither 'from' or 'files' was specified", False),
    ({"modelfile": "FROM ./a.gguf"}, 400, "neither 'from' or 'files' was specified", False),
    ({"from": "a b"}, 400, "invalid model name", False),
    ({"from": "nobody/knows"}, 500, "pull model manifest: file does not exist", True),
    ({"model": "a b", "from": "x"}, 400, "invalid model name", False),
    ({"files": {"a.gguf": "GGUF"}, "template": "{{ if .System }}"}, 400, "template error: ", True),
    ({"files": {"a.gguf": "GGUF"}, "adapters": {"b.gguf": "NO"}}, 400, "supplied file was not in GGUF format", True),
]


@pytest.mark.parametrize(("body", "status", "error", "late"), REFUSED)
def test_what_cannot_be_created_is_refused_before_or_inside_the_stream(
    body: dict[str, Any], status: int, error: str, late: bool, header: Path, tmp_path: Path, empty: OllamaDouble
) -> None:
    data = header.read_bytes()
    digests = {}
    for name, content in {"GGUF": data, "NO": b"no such thing", "CUT": data[:-40], "HEAD": data[:60]}.items():
        (tmp_path / name).write_bytes(content)
        digests[name] = ollama.Client(empty.url).create_blob(tmp_path / name)
    body = {"model": "m", **body}
    for key in ("files", "adapters"):
        if key in body:
            body[key] = {path: digests.get(digest, digest) for path, digest in body[key].items()}
    streamed, told = lines(empty, "/api/create", body)
    assert streamed == (200 if late else status)
    assert ("status" in told[0]) is late
    assert error in told[-1]["error"]
    whole, (only,) = lines(empty, "/api/create", {**body, "stream": False})
    assert (whole, only) == (status, told[-1])
    assert ollama.Client(empty.url).list().models == []


@pytest.mark.parametrize("version", ["0.34.0", "0.34.1"])
def test_adapters_are_refused_since_0_34_1(version: str, small: Path, tmp_path: Path) -> None:
    sent = GgufFile(small)
    weights = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{name}.weight": np.full(shape, 0.5, np.float32)
        for name, shape in (("A", (4, 32)), ("B", (32, 4)))
    }
    write_adapter(sent, Adapter.of(weights, 2.0), tmp_path / "lora.gguf")
    with OllamaDouble(tmp_path / "models", version, threads=1) as server:
        client = ollama.Client(server.url)
        client.create("base", files={"s.gguf": client.create_blob(small)}, template=TURNS, parameters=FEW)
        make = {"from_": "base", "adapters": {"lora.gguf": client.create_blob(tmp_path / "lora.gguf")}}
        if version == "0.34.1":
            with pytest.raises(ollama.ResponseError, match="adapters") as error:
                client.create("tuned", **make)  # type: ignore[call-overload]
            assert error.value.status_code == 400
            return
        client.create("tuned", **make)  # type: ignore[call-overload]
        assert "\nADAPTER " in (client.show("tuned").modelfile or "")
        base, tuned = (client.chat(name, HELLO).message.content for name in ("base", "tuned"))
        assert base != tuned


def test_a_guessed_template_brings_its_stop_texts_and_they_stay(tmp_path: Path, empty: OllamaDouble) -> None:
    """Phi-4's is near enough to ChatML's to lose <|im_sep|>; a TEMPLATE of one's own does not undo the rest."""
    phi4 = write_header(tmp_path / "phi4.gguf", FAMILIES["phi4"][0])
    client = ollama.Client(empty.url)
    files = {"phi4.gguf": client.create_blob(phi4)}
    statuses = [step.status for step in client.create("trap", files=files, stream=True)]
    assert "using autodetected template chatml" in statuses
    assert "<|im_sep|>" not in (client.show("trap").template or "")
    client.create("own", files=files, template="{{ .Prompt }}<|im_sep|>", parameters={"temperature": 0.5})
    assert client.show("own").template == "{{ .Prompt }}<|im_sep|>"
    assert shown(client, "own") == {"temperature": ["0.5"], "stop": ['"<|im_start|>"', '"<|im_end|>"']}
    client.create("all", files=files, template="{{ .Prompt }}", parameters={"stop": ["<|im_end|>"]})
    assert shown(client, "all") == {"stop": ['"<|im_end|>"']}


def test_a_template_of_the_gguf_that_knows_tools_is_preferred_since_0_30(smollm2: Path, tmp_path: Path) -> None:
    model = write_small(tmp_path / "tools.gguf", smollm2, tokenizer__chat_template=WITH_TOOLS)
    prompts = {}
    for version in ("0.17.1", "0.33.0"):
        with OllamaDouble(tmp_path / version, version, threads=1) as server:
            client = ollama.Client(server.url)
            client.create(
                "m", files={"m.gguf": client.create_blob(model)}, template=TURNS, system="Hm.", parameters=FEW
            )
            client.chat("m", HELLO, options={"num_predict": 1})
            prompts[version] = (client.show("m").template, client.show("m").capabilities, server.prompts[-1])
    turns = "<|im_start|>system\nHm.<|im_end|>\n<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\n"
    assert prompts["0.17.1"] == (TURNS, ["completion"], turns)
    own = "[system] Hm.\n[user] Hello there\n[bot]"
    assert prompts["0.33.0"] == (WITH_TOOLS, ["tools", "completion"], own)


def test_long_talks_lose_their_oldest_messages_without_a_word(served: tuple[OllamaDouble, ollama.Client]) -> None:
    server, client = served
    talk = [{"role": "user" if i % 2 == 0 else "assistant", "content": f"{i} " + "word " * 40} for i in range(9)]
    reply = client.chat("small", talk)
    prompt = str(server.prompts[-1])
    assert "Be kind." in prompt
    assert [i for i in range(9) if f"\n{i} word" in prompt] == [4, 5, 6, 7, 8]
    assert (reply.prompt_eval_count or 0) <= 256
    # A last message that is too long loses its middle instead: four tokens, and the end of it.
    reply = client.chat("small", [{"role": "user", "content": "word " * 400}])
    assert isinstance(server.prompts[-1], list)
    assert reply.prompt_eval_count == len(server.prompts[-1]) == 256 - (256 - 4) // 2
    status, (refusal,) = lines(
        server, "/api/chat", {"model": "small", "messages": talk, "truncate": False, "stream": False}
    )
    assert status == 400
    assert "exceeds the available context size" in refusal["error"]


def test_a_prompt_can_be_looked_at_and_made_otherwise(served: tuple[OllamaDouble, ollama.Client]) -> None:
    server, client = served

    def rendered(**body: Any) -> str:
        _, (reply,) = lines(
            server, "/api/generate", {"model": "small", "prompt": "Hi", "_debug_render_only": True, **body}
        )
        return str(reply["_debug_info"]["rendered_template"])

    whole = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert rendered() == whole
    assert rendered(system="No.") == whole.replace("Be kind.", "No.")
    assert rendered(template="{{ .System }}/{{ .Prompt }}/") == "Be kind./Hi/"
    assert rendered(raw=True) == "Hi"
    client.generate("small", "Hi", options={"num_predict": 1})
    assert server.prompts[-1] == whole
    with pytest.raises(ollama.ResponseError, match="raw mode does not support template, system, or context"):
        client.generate("small", "Hi", raw=True, system="No.")
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        client.generate("small", "Hi", suffix="there")


def test_stop_texts_end_an_answer_and_are_not_told(served: tuple[OllamaDouble, ollama.Client]) -> None:
    _, client = served
    said = client.generate("small", "Hi", options={"num_predict": 8}).response or ""
    stop = said[len(said) // 2 :]
    reply = client.generate("small", "Hi", options={"num_predict": 8, "stop": [stop]})
    assert (reply.response, reply.done_reason) == (said.partition(stop)[0], "stop")


def test_models_are_loaded_for_a_while_and_copies_share_their_weights(
    served: tuple[OllamaDouble, ollama.Client],
) -> None:
    server, client = served
    loaded = client.generate("small", "", keep_alive="10m")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    client.copy("small", "twin")
    assert client.chat("twin", [], keep_alive=-1).done_reason == "load"
    (running,) = client.ps().models
    assert (running.model, running.context_length) == ("small:latest", 256)  # the name that was first
    assert running.expires_at
    assert running.expires_at.year > 2100
    before = server.runners.loaded.copy()
    wide = {"num_ctx": 10**6, "num_predict": 1}
    client.generate("small", "Hi", options=wide, keep_alive=60)
    assert server.runners.loaded != before  # another window, another load
    assert [one.context_length for one in client.ps().models] == [8192]  # what it was trained with
    client.generate("small", "Hi", options=wide, keep_alive=0)
    assert client.ps().models == []
    client.generate("small", "")
    assert client.chat("small", [], keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    client.delete("twin")


def test_wrong_options_are_told_when_the_model_answers(header: Path, empty: OllamaDouble) -> None:
    client = ollama.Client(empty.url)
    parameters = {"temperature": "0.2", "no_such": 1}
    body = {"model": "m", "files": {"m.gguf": client.create_blob(header)}, "parameters": parameters}
    assert lines(empty, "/api/create", {**body, "stream": False}) == (200, [{"status": "success"}])
    assert shown(client, "m") == {"temperature": ['"0.2"'], "no_such": ["1"]}
    chat = {"model": "m", "messages": HELLO}
    assert lines(empty, "/api/chat", chat) == (500, [{"error": 'option "temperature" must be of type float32'}])
    # A right one in the request does not help: the model's are read first.
    assert lines(empty, "/api/chat", {**chat, "options": {"temperature": 0.2}})[0] == 500
    ollama.Client(empty.url).create("m", from_="m", parameters={"temperature": 0.2})
    status, (refusal,) = lines(empty, "/api/chat", chat)
    assert status == 500
    assert refusal["error"].startswith("llama-server process has terminated: ")  # two tensors are no model


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/", None, 200, "Ollama is running"),
        ("HEAD", "/", None, 200, ""),
        ("HEAD", "/api/tags", None, 200, ""),
        ("GET", "/api/version", None, 200, '{"version":"0.33.0"}'),
        ("GET", "/api/ps", None, 200, '{"models":[]}'),
        ("GET", "/api/nothing", None, 404, "404 page not found"),
        ("GET", "/api/create", None, 405, "405 method not allowed"),
        ("POST", "/api/show", "", 400, '{"error":"missing request body"}'),
        ("POST", "/api/show", "{}", 400, '{"error":"model is required"}'),
        ("POST", "/api/show", '{"model": "x"}', 404, '{"error":"model \'x:latest\' not found"}'),
        ("POST", "/api/show", '{"model": 1}', 400, "cannot unmarshal number into Go struct field"),
        ("POST", "/api/show", '{"model"', 400, "invalid character"),
        ("POST", "/api/chat", "{}", 400, '{"error":"model is required"}'),
        ("POST", "/api/chat", '{"model": "x"}', 404, '{"error":"model \'x\' not found"}'),
        ("POST", "/api/chat", '{"model": "x", "keep_alive": "5"}', 400, "missing unit in duration"),
        ("POST", "/api/copy", '{"source": "x", "destination": "y"}', 404, r'{"error":"model \"x\" not found"}'),
        ("POST", "/api/copy", '{"source": "x"}', 400, r'{"error":"destination \"\" is invalid"}'),
        ("DELETE", "/api/delete", '{"model": "x"}', 404, '{"error":"model \'x\' not found"}'),
        ("DELETE", "/api/delete", '{"model": "a b"}', 400, r'{"error":"name \"a b\" is invalid"}'),
        ("POST", "/api/pull", '{"model": "x"}', 501, "this double of Ollama has no /api/pull"),
        ("GET", "/api/blobs/sha256:00", None, 405, "405 method not allowed"),
    ],
)
def test_plain_requests(method: str, path: str, body: str | None, status: int, text: str, empty: OllamaDouble) -> None:
    reply = request(method, empty.url + path, content=body)
    assert reply.status_code == status
    assert text in reply.text
    assert bool(reply.text) is bool(text)
    entry = empty.log[-1]
    assert (entry.method, entry.path, entry.status) == (method, path, status)


def test_a_page_elsewhere_cannot_reach_it_by_a_name_of_its_own(empty: OllamaDouble) -> None:
    for host, status in (("rebound.example.com", 403), ("localhost:1", 200), ("ollama.local", 200), ("[::1]:5", 200)):
        assert get(empty.url, headers={"Host": host}).status_code == status


@pytest.mark.parametrize("value", ["5", "1d", "m", "1h-2m", True, [], {}])
def test_a_keep_alive_that_is_no_time_is_refused(value: Any, served: tuple[OllamaDouble, ollama.Client]) -> None:
    server, _ = served
    status, (refusal,) = lines(server, "/api/generate", {"model": "small", "keep_alive": value})
    assert status == 400
    assert "duration" in refusal["error"] or "Unsupported type" in refusal["error"]


@pytest.mark.parametrize(
    "more", [{"tools": [{}]}, {"logprobs": True}, {"messages": [{"role": "user", "content": "", "images": ["eA=="]}]}]
)
def test_what_the_double_does_not_know_it_refuses(
    more: dict[str, Any], served: tuple[OllamaDouble, ollama.Client]
) -> None:
    server, _ = served
    status, (refusal,) = lines(server, "/api/chat", {"model": "small", "messages": HELLO, **more})
    assert (status, refusal["error"][:27]) == (501, "this double of Ollama knows")
