"""Next-token distributions of a GGUF: what llama.cpp's server answers by, and near what training computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch

from joshi import logprobs as module
from joshi.base.gguf_file import GgufFile
from joshi.base.weights import load_model
from joshi.errors import JoshiError
from joshi.generate import Request, Sampling, complete
from joshi.llama import running
from joshi.logprobs import Scorer, scoring
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Message

PARAGRAPH = (
    "The river rises in the hills above the town and falls quickly at first, past mills that have not turned for a "
    "hundred years. Below the weir it slows, and in summer children swim there. Every spring the water carries down "
    "branches, and the farmers on the lower meadows move their cattle before the first heavy rain. In 1953 the bridge "
    "was swept away; the new one stands four metres higher."
)


@pytest.fixture(scope="module")
def scorer(smollm2: GgufFile) -> Iterator[Scorer]:
    with scoring(smollm2.path, n_ctx=256, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(tokenizer: ChatTokenizer) -> list[int]:
    return tokenizer.ids(PARAGRAPH)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(rows,): KL(p || q) in nats of rows of log-probabilities."""
    wide = p.astype(np.float64)
    found: np.ndarray = (np.exp(wide) * (wide - q)).sum(1)
    return found


def test_rows_are_distributions_and_nll_is_read_off_them(
    scorer: Scorer, ids: list[int], tokenizer: ChatTokenizer
) -> None:
    ids = ids[:50]
    found = scorer.logprobs(ids, 1)
    assert found.shape == (len(ids) - 1, scorer.vocabulary)
    assert scorer.vocabulary == tokenizer.tokenizer.get_vocab_size()
    np.testing.assert_allclose(np.exp(found, dtype=np.float64).sum(1), 1, atol=1e-5)
    nll = scorer.nll(ids)
    np.testing.assert_allclose(nll, -found[np.arange(len(ids) - 1), ids[1:]], atol=1e-5)
    # A later first row is the tail of an earlier one, whatever was read in between.
    scorer.nll(ids[::-1][:20])
    np.testing.assert_array_equal(scorer.logprobs(ids, 40), found[39:])
    np.testing.assert_array_equal(scorer.nll(ids, len(ids) - 1), nll[-1:])


def test_texts_longer_than_a_chunk_are_read_as_one(
    scorer: Scorer, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's kernels are of two kinds, for up to 32 tokens together and for more; within one kind no bit changes.

    Measured between the kinds on two passages of 120 tokens: KL 0.003 nats a token, 0.02 at most, mean loss within
    0.022 nats; either is 0.003 nats from fp32.
    """
    ids = ids[:66]
    whole = scorer.logprobs(ids, 1)
    monkeypatch.setattr(module, "CHUNK", 7)
    sevens = scorer.logprobs(ids, 1)
    monkeypatch.setattr(module, "CHUNK", 16)
    np.testing.assert_array_equal(scorer.logprobs(ids, 40), sevens[39:])
    between = divergence(whole, sevens)
    assert between.mean() < 0.01
    assert between.max() < 0.1


def test_training_computes_nearly_the_same(scorer: Scorer, smollm2: GgufFile, ids: list[int]) -> None:
    """llama.cpp rounds activations to 8 bits, the training's forward pass is fp32 on the same weights.

    Measured on such paragraphs: mean loss within 0.3% (0.6% with chunks of 32 and less), the same likeliest token at
    94% to 99% of positions, KL 0.003 nats a token, 0.03 at most; a single token's loss differs by up to 0.3 nats.
    """
    with torch.no_grad():
        logits = load_model(smollm2).eval()(torch.tensor([ids])).logits[0]
        expected = torch.log_softmax(logits.double(), -1)[:-1].numpy()
    found = scorer.logprobs(ids, 1)
    rows = np.arange(len(ids) - 1)
    assert -found[rows, ids[1:]].mean() == pytest.approx(-expected[rows, ids[1:]].mean(), rel=0.02)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.9
    assert divergence(expected, found).mean() < 0.01
    assert divergence(expected, found).max() < 0.1
    # What would be wrong is far away: the row before.
    assert divergence(expected[1:], found[:-1]).mean() > 1


def test_the_servers_greedy_answer_is_the_likeliest_token_each_time(
    scorer: Scorer, smollm2: GgufFile, tokenizer: ChatTokenizer
) -> None:
    messages = (Message(role="user", content="Name the capital of France."),)
    plan = Plan.model_validate({"threads": 1, "release": {"num_ctx": 256}})
    with running(smollm2.path, plan) as address, httpx.Client(base_url=address, timeout=60) as client:
        answer = complete(client, Request("greedy", messages, seed=1), Sampling(0.0, 1.0, max_tokens=5))
    prompt = tokenizer.prompt(messages)
    said: list[int] = []
    while len(said) < 5 and (not said or said[-1] != tokenizer.end_id):
        # The token after the last one is not read: any stands for it.
        said.append(int(scorer.logprobs([*prompt, *said, 0], len(prompt) + len(said))[0].argmax()))
    assert tokenizer.decode([i for i in said if i != tokenizer.end_id]).strip() == answer.answer
    assert len(said) == answer.tokens


def test_what_cannot_be_read_is_one_sentence(scorer: Scorer, tmp_path: Path) -> None:
    assert len(scorer.nll([5] * 256, 255)) == 1
    with pytest.raises(JoshiError, match="257 tokens and the context window 256; raise num_ctx"):
        scorer.nll([5] * 257)
    for first in (0, 3):
        with pytest.raises(ValueError, match="first = "):
            scorer.nll([5, 6, 7], first)
    (tmp_path / "text.gguf").write_text("not a GGUF", encoding="utf-8")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    for path in (tmp_path / "text.gguf", tmp_path / "cut.gguf", tmp_path / "none.gguf", tmp_path):
        with (
            pytest.raises(JoshiError, match=f"llama.cpp cannot load {path}; is it a whole GGUF"),
            scoring(path, 256, 1),
        ):
            pass
    # The open one still works.
    assert scorer.nll([5, 6]).shape == (1,)


def test_a_closed_model_leaves_no_memory_behind(smollm2: GgufFile) -> None:
    """A context of 256 tokens alone takes 6 MB, the weights 100."""
    process = psutil.Process()

    def opened(times: int) -> int:
        for _ in range(times):
            with scoring(smollm2.path, n_ctx=256, threads=1) as one:
                one.nll([5, 6, 7])
        return int(process.memory_info().rss)

    before = opened(3)
    assert opened(20) - before < 30e6


def test_llama_cpp_says_nothing_while_it_scores(smollm2: GgufFile, capfd: pytest.CaptureFixture[str]) -> None:
    with scoring(smollm2.path, n_ctx=256, threads=1) as outer, scoring(smollm2.path, n_ctx=256, threads=1) as inner:
        assert outer.nll([5, 6, 7]) == pytest.approx(inner.nll([5, 6, 7]))
    assert capfd.readouterr() == ("", "")
