"""A model behind an address: against a server that answers, fails, breaks off, hangs, lies and tells the key."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi import endpoint as endpoints
from joshi.endpoint import OLLAMA_WINDOW, Endpoint
from joshi.errors import JoshiError, PlanError, Unavailable
from joshi.generate import LEAST_PERIOD, Request, Sampling, generate, loops
from joshi.plan import EndpointSection, Plan
from joshi.progress import SILENT
from joshi.prompt import ChatTokenizer
from joshi.schema import Completion, Message

from .evaluation.judge_server import Raw

MODEL = "phi4"
SAMPLING = Sampling(temperature=0.2, top_p=0.9, max_tokens=12)
KEY = "sk-5ecret0123456789"


@dataclass(frozen=True)
class Said:
    """A chat completion."""

    text: str | None
    tokens: int = 3
    finish: str = "stop"


@dataclass
class Double:
    """OpenAI's protocol, and Ollama's own where `digest` is set; what is said depends on the user's text."""

    says: Callable[[str], Said | Raw] = lambda text: Said(f"To: {text}")
    digest: str | None = None
    parameters: str = ""  # of Ollama's Modelfile
    length: int | None = None  # vLLM's max_model_len
    key: str | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(double: Double) -> Iterator[Double]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/api/tags" and double.digest is not None:
                others = {"name": "other:latest", "digest": "0000"}
                self.answer(200, {"models": [others, {"name": f"{MODEL}:latest", "digest": double.digest}]})
            elif self.path == "/v1/models":
                model = {"id": MODEL, "object": "model"} | ({"max_model_len": double.length} if double.length else {})
                self.answer(200, {"object": "list", "data": [model]})
            else:
                self.send(404, b"404 page not found", None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/show" and double.digest is not None:
                if body["model"] == MODEL:
                    self.answer(200, {"modelfile": "FROM x", "parameters": double.parameters, "model_info": {}})
                else:
                    self.answer(404, {"error": f"model '{body['model']}' not found"})
                return
            if self.path != "/v1/chat/completions":
                self.send(404, b"404 page not found", None)
                return
            text = body["messages"][-1]["content"]
            double.asked.append(text)
            double.bodies.append(body)
            double.headers.append(self.headers.get("Authorization"))
            if double.key and self.headers.get("Authorization") != f"Bearer {double.key}":
                given = self.headers.get("Authorization")
                self.refuse(401, f"Incorrect API key provided: {str(given).removeprefix('Bearer ')}.")
            elif body.get("model") != MODEL:
                self.refuse(404, f'model "{body.get("model")}" not found, try pulling it first')
            else:
                self.say(double.says(text))

        def say(self, said: Said | Raw) -> None:
            if isinstance(said, Said):
                message = {"role": "assistant", "content": said.text}
                choice = {"index": 0, "message": message, "finish_reason": said.finish}
                usage = {"prompt_tokens": 9, "completion_tokens": said.tokens, "total_tokens": 9 + said.tokens}
                self.answer(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
            elif said.hangs:
                double.ending.wait(30)
                self.close_connection = True
            elif said.drips:
                self.send(200, b" ", 10_000)
                while not double.ending.wait(0.02):
                    with contextlib.suppress(OSError):
                        self.wfile.write(b" ")
            else:
                self.send(said.status, said.body, said.promised)

        def refuse(self, status: int, message: str) -> None:
            self.answer(status, {"error": {"message": message, "type": "api_error", "param": None, "code": None}})

        def answer(self, status: int, value: Any) -> None:
            self.send(status, json.dumps(value).encode(), None)

        def send(self, status: int, body: bytes, promised: int | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(promised or len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = promised is not None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        double.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "PAUSE", 0.001)


Ask = Callable[..., list[Completion]]


@pytest.fixture
def ask(tokenizer: ChatTokenizer, tmp_path: Path) -> Ask:
    def asked(
        double: Double, texts: Sequence[str], model: str = MODEL, parallel: int = 4, key: str | None = None, **plan: Any
    ) -> list[Completion]:
        requests = [Request(text, (Message(role="user", content=text),), seed=1) for text in texts]
        its_plan = Plan.model_validate({"evaluation": {"parallel": parallel}} | plan)
        there = Endpoint(double.url, model, key)
        return generate(there, requests, SAMPLING, its_plan, tokenizer, tmp_path, SILENT, "test")

    return asked


TEXTS = [f"question {i}" for i in range(12)]


# Answers and the cache


def test_answers_come_in_the_order_of_the_requests(ask: Ask) -> None:
    def says(text: str) -> Said:
        time.sleep(0.02 * (int(text.split()[1]) % 3))
        return Said(f"To: {text}", tokens=7)

    with serving(Double(says)) as double:
        found = ask(double, TEXTS)
    assert [(a.id, a.answer, a.tokens, a.finish) for a in found] == [(t, f"To: {t}", 7, "stop") for t in TEXTS]
    assert double.bodies[0] == {
        "messages": [{"role": "user", "content": double.asked[0]}],
        "temperature": 0.2, "top_p": 0.9, "max_tokens": 12, "seed": 1, "model": MODEL,
    }  # fmt: skip


def test_the_cache_knows_url_model_and_ollamas_digest(ask: Ask) -> None:
    with serving(Double(digest="aaaa")) as double, serving(Double(digest="aaaa")) as elsewhere:
        first = ask(double, TEXTS[:3])
        assert ask(double, TEXTS[:3]) == first
        assert len(double.asked) == 3
        double.digest = "bbbb"
        ask(double, TEXTS[:3])
        assert len(double.asked) == 6
        double.digest = "aaaa"
        ask(double, TEXTS[:4])
        assert double.asked[6:] == [TEXTS[3]]
        ask(elsewhere, TEXTS[:3])
        assert len(elsewhere.asked) == 3
        assert Endpoint(double.url, f"{MODEL}:latest").bytes_known() == "aaaa"
        assert Endpoint(double.url, "unknown").bytes_known() == ""


KILLED = """
import sys
from pathlib import Path
from joshi.base.find import find_base
from joshi.base.tokenizer import chat_tokenizer
from joshi.endpoint import Endpoint
from joshi.generate import Request, Sampling, generate
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.schema import Message
url, model, cache, *texts = sys.argv[1:]
generate(
    Endpoint(url, model), [Request(text, (Message(role="user", content=text),), seed=1) for text in texts],
    Sampling(temperature=0.2, top_p=0.9, max_tokens=12), Plan.model_validate({"evaluation": {"parallel": 1}}),
    chat_tokenizer(find_base("builtin:smollm2", Path())), Path(cache), SILENT, "test",
)
"""


def test_a_run_that_is_killed_costs_no_answer_twice(ask: Ask, tmp_path: Path) -> None:
    reached = threading.Event()
    killed = False

    def says(text: str) -> Said | Raw:
        if text == TEXTS[3] and not killed:
            reached.set()
            return Raw(hangs=True)
        return Said(f"To: {text}")

    with serving(Double(says)) as double:
        command = [sys.executable, "-c", KILLED, double.url, MODEL, str(tmp_path), *TEXTS[:6]]
        with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) as running:
            try:
                assert reached.wait(60)
            finally:
                running.kill()
        killed = True
        assert double.asked == TEXTS[:4]
        assert [a.answer for a in ask(double, TEXTS[:6])] == [f"To: {t}" for t in TEXTS[:6]]
    # The fourth was asked and never answered.
    assert Counter(double.asked) == Counter(TEXTS[:6]) + Counter([TEXTS[3]])


def test_what_was_under_way_when_another_request_failed_is_kept(ask: Ask) -> None:
    failed = threading.Event()
    broken = True

    def says(text: str) -> Said | Raw:
        if text == "bad" and broken:
            failed.set()
            return Raw(400, b'{"error": {"message": "no"}}')
        failed.wait(5)
        time.sleep(0.2)
        return Said(f"To: {text}")

    with serving(Double(says)) as double:
        with pytest.raises(Unavailable):
            ask(double, ["bad", "good"], parallel=2)
        broken = False
        ask(double, ["bad", "good"], parallel=2)
    assert Counter(double.asked) == {"bad": 2, "good": 1}


# Servers in trouble


def is_one_sentence(error: JoshiError, url: str) -> bool:
    text = str(error)
    return url in text and "\n" not in text and "Traceback" not in text


def test_a_server_that_fails_three_times_is_asked_a_fourth_time(ask: Ask) -> None:
    troubles = [500, 503, 429]

    def says(text: str) -> Said | Raw:
        return Raw(troubles.pop(), b"busy") if troubles else Said("Fine.")

    with serving(Double(says)) as double:
        assert [a.answer for a in ask(double, TEXTS[:1])] == ["Fine."]
    assert len(double.asked) == 4


def test_a_server_that_always_fails_is_not_asked_a_hundred_times(ask: Ask) -> None:
    with (
        serving(Double(lambda text: Raw(500, b'{"error": {"message": "CUDA out of\\nmemory"}}'))) as double,
        pytest.raises(Unavailable, match=r"in 4 tries: status 500: CUDA out of memory; ") as raised,
    ):
        ask(double, [f"question {i}" for i in range(100)], parallel=8)
    assert raised.value.exit_code == 4
    assert is_one_sentence(raised.value, double.url)
    assert len(set(double.asked)) <= 24  # eight at a time; a few start before the first failure is known
    assert max(Counter(double.asked).values()) == 4


def test_an_address_where_nobody_listens_is_one_sentence(ask: Ask) -> None:
    with serving(Double()) as double:
        pass
    with pytest.raises(Unavailable) as raised:
        ask(double, TEXTS[:2])
    assert is_one_sentence(raised.value, double.url)


def test_a_wrong_model_name_is_told_in_the_servers_words_and_not_tried_again(ask: Ask) -> None:
    with (
        serving(Double(digest="aaaa")) as double,
        pytest.raises(Unavailable, match='status 404: model "nope" not found, try pulling it first; ') as raised,
    ):
        ask(double, TEXTS[:1], model="nope")
    assert is_one_sentence(raised.value, double.url)
    assert len(double.asked) == 1


BROKEN = [
    Raw(body=b'{"choices": [{"message": {"conte'),
    Raw(body=b'{"choices": [{"message"', promised=5_000),
    Raw(body=b"", promised=5_000),
    Raw(body=b"[]"),
    Raw(body=b"null"),
    Raw(body=b'{"choices": []}'),
    Raw(body=b"[" * 100_000),
    Raw(body=b"<html>Bad Gateway</html>"),
    Raw(502, b"\xff\xfe\x00"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_breaks_off_is_asked_again_and_in_the_end_one_sentence(broken: Raw, ask: Ask) -> None:
    troubles = [broken] * 3

    def says(text: str) -> Said | Raw:
        return troubles.pop() if troubles else Said("Fine.")

    with serving(Double(says)) as double:
        assert [a.answer for a in ask(double, ["mended"])] == ["Fine."]
        assert double.asked == ["mended"] * 4
        troubles = [broken] * 4
        with pytest.raises(Unavailable, match="in 4 tries") as raised:
            ask(double, ["broken"])
    assert is_one_sentence(raised.value, double.url)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "x"}}]},
        {"choices": [{"message": "x"}], "usage": {"completion_tokens": 1}},
        {"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": "many"}},
        {"choices": ["x"], "usage": {"completion_tokens": 1}},
        {"choices": {"message": 1}},
    ],
)
def test_another_protocol_is_one_sentence(body: Any, ask: Ask) -> None:
    with (
        serving(Double(lambda text: Raw(body=json.dumps(body).encode()))) as double,
        pytest.raises(Unavailable, match="in no form of OpenAI's") as raised,
    ):
        ask(double, TEXTS[:1])
    assert is_one_sentence(raised.value, double.url)
    assert len(double.asked) == 1


@pytest.mark.parametrize("said", [Raw(hangs=True), Raw(drips=True)])
def test_a_server_that_hangs_or_drips_is_left(said: Raw, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SECONDS_PER_ANSWER", 0.3)
    with (
        serving(Double(lambda text: said)) as double,
        pytest.raises(Unavailable, match="did not answer question 0 within 0 s") as raised,
    ):
        ask(double, TEXTS[:3], parallel=1)
    assert is_one_sentence(raised.value, double.url)
    assert 1 <= len(double.asked) <= 2  # the second may have begun before the first one's failure was known


def test_a_response_without_end_is_not_kept_in_memory(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_BYTES", 1 << 20)
    with (
        serving(Double(lambda text: Said("x" * (2 << 20)))) as double,
        pytest.raises(Unavailable, match="more than 1 MiB"),
    ):
        ask(double, TEXTS[:1])


# What a model may say


def test_an_answer_of_50_000_tokens_with_escapes_and_markup_comes_back_whole(ask: Ask, tmp_path: Path) -> None:
    text = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\u2028\x00\r" + " ".join(f"w{i}" for i in range(50_000))
    with serving(Double(lambda _: Said(text, tokens=50_000, finish="length"))) as double:
        (found,) = ask(double, TEXTS[:1])
        assert (found.answer, found.tokens, found.finish) == (text, 50_000, "length")
        assert ask(double, TEXTS[:1]) == [found]
        assert len(double.asked) == 1
    (store,) = (tmp_path / "answers").iterdir()
    assert "\x1b" not in store.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "answer", "finish"),
    [
        (Said("", 0), "", "empty"),
        (Said(None, 0), "", "empty"),
        (Said(" \n\t ", 2), "", "empty"),
        (Said("Could you conf", 12, "length"), "Could you conf", "length"),
        (Said("and so it goes " * 9, 40, "length"), ("and so it goes " * 9).strip(), "loop"),
        (Said(" Fine. ", 2), "Fine.", "stop"),
        (Said("Fine.", 2, "content_filter"), "Fine.", "stop"),
        (Said("half a \ud83d pair", 4), "half a ? pair", "stop"),
    ],
)
def test_each_ending_is_a_result_of_its_own_kind(said: Said, answer: str, finish: str, ask: Ask) -> None:
    with serving(Double(lambda text: said)) as double:
        (found,) = ask(double, TEXTS[:1])
        assert (found.answer, found.tokens, found.finish) == (answer, said.tokens, finish)
        assert ask(double, TEXTS[:1]) == [found]
    assert len(double.asked) == 1


BACKREFERENCE = re.compile(rf"(.{{{LEAST_PERIOD},}}?)\1{{2,}}", re.DOTALL)


@given(
    st.text("ab", max_size=12),
    st.text("ab\n", min_size=1, max_size=20),
    st.integers(0, 5),
    st.integers(0, 20),
    st.text("ab", max_size=12),
)
def test_loops_are_those_that_a_backreference_finds(before: str, run: str, times: int, more: int, after: str) -> None:
    text = before + run * times + run[:more] + after
    assert loops(text) == bool(BACKREFERENCE.search(text))


# The context window


def test_a_prompt_that_ollama_would_cut_is_never_sent(ask: Ask) -> None:
    with serving(Double(digest="aaaa", parameters='stop "<|im_end|>"\nnum_ctx                        256')) as double:
        assert Endpoint(double.url, MODEL).window() == 256
        with pytest.raises(JoshiError, match=r"does not fit num_ctx = 256; raise \[release\] num_ctx, and the server"):
            ask(double, ["fits", "word " * 300])
        assert double.asked == []
        ask(double, ["fits"])
        double.parameters = "temperature 0.2"
        assert Endpoint(double.url, MODEL).window() == OLLAMA_WINDOW
        with pytest.raises(JoshiError, match=r"num_ctx = 4096"):
            ask(double, ["word " * 5_000], release={"num_ctx": 16_384})
        assert double.asked == ["fits"]


def test_a_window_is_vllms_or_the_plans(ask: Ask) -> None:
    with serving(Double(length=512)) as double:
        assert Endpoint(double.url, MODEL).window() == 512
        assert Endpoint(double.url, "another").window() is None
        double.length = None
        assert Endpoint(double.url, MODEL).window() is None
        with pytest.raises(JoshiError, match=r"num_ctx = 300"):
            ask(double, ["word " * 400], release={"num_ctx": 300})
    assert double.asked == []


@pytest.mark.parametrize("said", [b'{"models": null, "data": null}', b'{"models": [1], "data": [[]]}', b"[" * 50_000])
def test_a_server_may_say_anything_of_itself(said: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        there = Endpoint(f"http://127.0.0.1:{server.server_port}", MODEL)
        assert (there.bytes_known(), there.window()) == ("", None)
        server.shutdown()
        thread.join()


# Address and key


def section(url: str = "http://127.0.0.1:1", key: str | None = "env:MY_KEY") -> EndpointSection:
    return EndpointSection(name="other", url=url, model=MODEL, key=key)


@pytest.mark.parametrize("end", ["", "/", "//", "/v1", "/v1/"])
@pytest.mark.parametrize("path", ["", "/api", "/openai/v2"])
def test_an_address_may_end_as_the_servers_documentation_writes_it(path: str, end: str) -> None:
    assert Endpoint.of(section(f"http://host:8000{path}{end}", None)).url == f"http://host:8000{path}"


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_requests_and_cache_are_the_same_for_every_writing_of_an_address(
    end: str, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    with serving(Double(digest="aaaa")) as double:
        for written in (double.url, double.url + end):
            there = Endpoint.of(section(written, None))
            request = Request("a", (Message(role="user", content="a"),), seed=1)
            (found,) = generate(there, [request], SAMPLING, Plan(), tokenizer, tmp_path, SILENT, "test")
            assert found.answer == "To: a"
    assert double.asked == ["a"]


def test_the_key_is_in_the_header_and_nowhere_else(
    ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    there = Endpoint.of(section(), {"MY_KEY": KEY})
    assert there.key == KEY
    with serving(Double(key=KEY)) as double:
        ask(double, TEXTS[:3], key=KEY)
        assert set(double.headers) == {f"Bearer {KEY}"}
        ask(double, TEXTS[:3])  # what is cached needs no key
        with pytest.raises(Unavailable, match=r"status 401: Incorrect API key provided: None\.") as without:
            ask(double, ["x"])
        double.key = "another"
        with pytest.raises(Unavailable, match=r"status 401: Incorrect API key provided: \(key\)\.") as wrong:
            ask(double, ["y"], key=KEY)
        double.key, double.says = None, lambda text: Raw(500, f"key {KEY}".encode())
        with pytest.raises(Unavailable, match=r"status 500: key \(key\); ") as failing:
            ask(double, ["z"], key=KEY)
        double.says = lambda text: Raw(body=f"key {KEY}".encode())
        with pytest.raises(Unavailable) as odd:
            ask(double, ["z"], key=KEY)
    told = "".join(map(str, (without.value, wrong.value, failing.value, odd.value))) + repr(there) + str(there)
    printed = capfd.readouterr()
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert "To: question 0" in written
    assert "127.0.0.1" in caplog.text
    for place in (told, caplog.text, printed.out, printed.err, written):
        assert KEY not in place


def test_a_key_that_is_not_there_or_no_key_is_named_by_its_variable() -> None:
    for environment in ({}, {"MY_KEY": ""}):
        with pytest.raises(PlanError, match="endpoint 'other' takes its key from MY_KEY, which is not set; export it"):
            Endpoint.of(section(), environment)
    assert Endpoint.of(section(), {"MY_KEY": f"{KEY}\r\n"}).key == KEY
    for key in ("sk-\n5ecret", "sk-5ecrét", "sk-\x005ecret"):
        with pytest.raises(PlanError, match="MY_KEY holds characters that no API key has") as raised:
            Endpoint.of(section(), {"MY_KEY": key})
        assert "5ecr" not in str(raised.value)
    assert Endpoint.of(section(key=None), {}).key is None


def test_a_password_in_an_address_is_not_told(ask: Ask) -> None:
    with serving(Double(lambda text: Raw(400, b"no"))) as double:
        double.url = double.url.replace("http://", "http://user:5ecret@")
        with pytest.raises(Unavailable, match="refused") as raised:
            ask(double, TEXTS[:1])
    assert "5ecret" not in str(raised.value)
