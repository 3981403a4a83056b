"""Answers come from llama.cpp once, are cached at once, and a prompt is never cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from joshi import generate as module
from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError
from joshi.generate import Request, Sampling, generate
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import ChatTokenizer
from joshi.schema import Message

PLAN = Plan.model_validate({"threads": 1, "release": {"num_ctx": 512}})
SHORT = Sampling(temperature=0.2, top_p=0.9, max_tokens=12)


def ask(text: str, name: str = "q") -> Request:
    return Request(name, (Message(role="user", content=text),), seed=1)


def test_answers_are_cached_and_a_cut_off_line_is_made_again(
    smollm2: GgufFile, tokenizer: ChatTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [ask("Say yes.", "a"), ask("Say no.", "b")]
    arguments = (SHORT, PLAN, tokenizer, tmp_path, SILENT, "test")
    first = generate(smollm2.path, requests, *arguments)
    assert [answer.id for answer in first] == ["a", "b"]
    assert all(0 < answer.tokens <= 12 for answer in first)
    (store,) = (tmp_path / "answers").glob("*.jsonl")
    calls: list[str] = []
    real = module.complete
    monkeypatch.setattr(module, "complete", lambda c, r, s, m: (calls.append(r.id), real(c, r, s, m))[1])
    assert generate(smollm2.path, requests, *arguments) == first
    assert calls == []
    store.write_text(store.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    again = generate(smollm2.path, requests, *arguments)
    assert len(calls) == 1
    assert [answer.id for answer in again] == ["a", "b"]
    generate(smollm2.path, [ask("Say maybe.", "c")], *arguments)
    assert calls[-1] == "c"


def test_an_answer_that_is_cut_off_says_so(smollm2: GgufFile, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    sampling = Sampling(temperature=0.2, top_p=0.9, max_tokens=3)
    (answer,) = generate(smollm2.path, [ask("Tell a long story.")], sampling, PLAN, tokenizer, tmp_path, SILENT, "test")
    assert (answer.finish, answer.tokens) == ("length", 3)


def test_a_prompt_that_does_not_fit_is_an_error(smollm2: GgufFile, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match=r"num_ctx = 512"):
        generate(smollm2.path, [ask("word " * 600)], SHORT, PLAN, tokenizer, tmp_path, SILENT, "test")


@pytest.mark.parametrize(
    ("text", "reason", "finish"),
    [
        ("", "stop", "empty"),
        ("Fine.", "stop", "stop"),
        ("Fine", "length", "length"),
        ("and so it goes on " * 5, "length", "loop"),
    ],
)
def test_every_ending_has_its_name(text: str, reason: str, finish: str) -> None:
    assert module._finish(text, reason) == finish
