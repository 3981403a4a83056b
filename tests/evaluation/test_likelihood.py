"""What a file makes of text that it did not write: nothing against itself, a little once it is quantised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from joshi.base.gguf_file import GgufFile, chunks_of
from joshi.base.gguf_write import GgufOut, entries_of
from joshi.evaluation import likelihood
from joshi.evaluation.likelihood import divergence, general_texts, losses
from joshi.export.merge import merge
from joshi.logprobs import scoring
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import ChatTokenizer, messages_for
from joshi.schema import Sample

from ..conftest import sample_of

PLAN = Plan.model_validate({"threads": 1, "release": {"num_ctx": 512}, "model": {"system_prompt": "You buy steel."}})
SHORT = [
    ("prose", "The river rises in the hills above the town and falls quickly."),
    ("prose", "Every spring the water carries down branches."),
    ("code", "for i in range(10):\n    print(i)"),
]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [
        sample_of("Could you confirm the 14 March date?", "Steel has gone up.", name="a"),
        sample_of("Thank you. What would 500 pieces cost?", "We can do £12 each.", name="b"),
    ]


@pytest.fixture(scope="module")
def files(smollm2: GgufFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The embedded base with its matrices in F16, and that file as the exporter writes it in 4 bits."""
    folder = tmp_path_factory.mktemp("files")
    found = {kind: folder / f"{kind}.gguf" for kind in ("F16", "Q4_K_M")}
    with found["F16"].open("wb+") as out:
        model = GgufOut(out, entries_of(smollm2, {}), [(tensor.name, tensor.shape) for tensor in smollm2.tensors])
        for tensor in smollm2.tensors:
            kind, dtype = (Type.F32, "<f4") if len(tensor.shape) == 1 else (Type.F16, "<f2")
            model.write(tensor.name, kind, (smollm2.weights(tensor, rows).astype(dtype) for rows in chunks_of(tensor)))
        model.close()
    merge(GgufFile(found["F16"]), None, "Q4_K_M", "small", found["Q4_K_M"], lambda n: None)
    return found


def test_general_texts_are_forty_passages_of_ten_kinds() -> None:
    found = general_texts()
    assert len(found) == len({text for _, text in found}) == 40
    assert list(Counter(kind for kind, _ in found).values()) == [4] * 10
    assert all(len(text.split()) > 50 for _, text in found)
    assert len({kind for kind, _ in general_texts(10)}) == len(general_texts(10)) == 10


def test_a_model_loses_nothing_against_itself_and_something_in_four_bits(
    files: dict[str, Path],
    samples: list[Sample],
    tokenizer: ChatTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(likelihood, "general_texts", lambda n: SHORT)
    models = {"base": files["F16"], "shipped": files["Q4_K_M"]}
    found = losses(models, samples, PLAN, tokenizer, tmp_path, SILENT)
    base, shipped = found["base"], found["shipped"]
    assert base["general_rise"] == {"mean": 0, "low": 0, "high": 0}
    tokens = [len(tokenizer.ids(text)) - 1 for _, text in SHORT]
    assert base["general"]["tokens"] == shipped["general"]["tokens"] == sum(tokens)
    changed = shipped["general_rise"]
    assert changed["mean"] == pytest.approx(shipped["general"]["mean"] - base["general"]["mean"], abs=2e-4)
    assert changed["low"] <= changed["mean"] <= changed["high"]
    assert abs(changed["mean"]) < 0.5
    # Means are by token, kind by kind and in all.
    with scoring(files["F16"], 512, 1) as scorer:
        each = [scorer.nll(tokenizer.ids(text)) for _, text in SHORT]
    assert base["general"]["mean"] == pytest.approx(np.concatenate(each).mean(), abs=1e-3)
    assert base["general_kinds"] == {
        "prose": pytest.approx(np.concatenate(each[:2]).mean(), abs=1e-3),
        "code": pytest.approx(each[2].mean(), abs=1e-3),
    }
    # What was read once is not read again.
    monkeypatch.setattr(likelihood, "scoring", None)
    assert losses(models, samples, PLAN, tokenizer, tmp_path, SILENT) == found
    assert base["heldout"]["perplexity"] == pytest.approx(np.exp(base["heldout"]["mean"]), rel=1e-3)
    answers = [tokenizer.encode(messages_for(s, "You buy steel."), s.ideal_answer) for s in samples]
    assert base["heldout"]["tokens"] == sum(answer.answer_tokens for answer in answers)


def compared(one: Path, other: Path, samples: list[Sample], tokenizer: ChatTokenizer) -> dict[str, Any]:
    return divergence(one, other, samples, [s.ideal_answer for s in samples], PLAN, tokenizer, SILENT)


def test_quantising_moves_the_next_token_a_little_and_a_copy_not_at_all(
    files: dict[str, Path], samples: list[Sample], smollm2: GgufFile, tokenizer: ChatTokenizer
) -> None:
    """Measured: KL 0.05 nats in Q4_K_M, 0.003 between F16 and the base's own types, whose weights are the same."""
    same = compared(files["F16"], files["F16"], samples[:1], tokenizer)
    assert (same["kl"], same["agreement"]) == ({"mean": 0, "low": 0, "high": 0}, {"mean": 1, "low": 1, "high": 1})
    quantised = compared(files["F16"], files["Q4_K_M"], samples, tokenizer)
    assert 0 < quantised["kl"]["low"] <= quantised["kl"]["mean"] < 0.5
    assert 0.5 < quantised["agreement"]["mean"] <= 1
    answers = [tokenizer.encode(messages_for(s, "You buy steel."), s.ideal_answer) for s in samples]
    assert quantised["tokens"] == sum(answer.answer_tokens for answer in answers)
    rounded = compared(files["F16"], smollm2.path, samples[:1], tokenizer)
    assert 0 <= rounded["kl"]["mean"] < min(0.02, quantised["kl"]["mean"])
