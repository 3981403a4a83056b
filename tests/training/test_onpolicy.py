"""What is sampled during training comes from the weights that are trained, and is measured by the rubric."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from joshi.base.gguf_file import GgufFile
from joshi.base.lora import write_adapter
from joshi.base.tensors import LINEAR
from joshi.errors import JoshiError
from joshi.llama import Adapted, Weights, running
from joshi.logprobs import scoring
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import ChatTokenizer, Encoded, messages_for
from joshi.schema import Completion, Sample
from joshi.training.forward import answer_log_probs
from joshi.training.onpolicy import (
    adapter_of,
    answers_measure,
    divergence,
    is_base,
    put_weights,
    sampled_tokens,
    trained_weights,
)
from joshi.training.packing import pack
from joshi.training.trainer import frozen_base, lora
from joshi.window import fit

from .test_packing import MODELS, naive

PLAN = Plan.model_validate(
    {
        "sft": {"rank": 8, "dropout": 0.0, "watch_answers": 2},
        "release": {"num_ctx": 1024},
        "evaluation": {"max_tokens": 40},
    }
)


@pytest.fixture(scope="module")
def tuned(smollm2: GgufFile) -> Any:
    torch.manual_seed(0)
    model = lora(frozen_base(smollm2, PLAN), PLAN, LINEAR["llama"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return model.eval()


def test_llama_cpp_with_the_adapter_says_what_the_trained_model_says(
    tuned: Any, smollm2: GgufFile, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.gguf"
    write_adapter(smollm2, adapter_of(tuned), path)
    ids = tokenizer.tokenizer.encode("The supplier asks for an answer by", add_special_tokens=False).ids

    def llama(adapter: Path | None) -> dict[int, float]:
        """Log-probabilities of the 50 likeliest next tokens."""
        with running(Adapted(smollm2.path, adapter) if adapter else smollm2.path, PLAN) as address:
            body = {"prompt": ids, "n_predict": 1, "n_probs": 50, "temperature": 0, "cache_prompt": False}
            found = httpx.post(f"{address}/completion", json=body, timeout=60).json()
        return {t["id"]: t["logprob"] for t in found["completion_probabilities"][0]["top_logprobs"]}

    def scored(model: Weights, tokens: Iterable[int]) -> dict[int, float]:
        """The same by llama.cpp's C interface."""
        with scoring(model, 64, 1) as scorer:
            (row,) = scorer.logprobs([*ids, 0], len(ids))
        return {token: float(row[token]) for token in tokens}

    def ours(tokens: Iterable[int]) -> dict[int, float]:
        (one,) = pack([[Encoded([*ids, token], [False] * len(ids) + [True])] for token in tokens], 4096)
        with torch.no_grad():
            return dict(zip(one.target.tolist(), answer_log_probs(tuned, one).tolist(), strict=True))

    def gap(one: dict[int, float], other: dict[int, float]) -> float:
        return statistics.fmean(abs(other[token] - value) for token, value in one.items())

    with_adapter, without = llama(path), llama(None)
    tuned_ours, moved = ours(with_adapter), ours(without)
    kept = trained_weights(tuned)
    put_weights(tuned, {name: torch.zeros_like(p) for name, p in kept.items()})
    base_ours = ours(without)
    put_weights(tuned, kept)
    noise = gap(without, base_ours)  # llama.cpp rounds activations to 8 bits
    assert gap(with_adapter, tuned_ours) < 3 * noise
    assert gap(without, moved) > 5 * noise
    assert gap(with_adapter, scored(Adapted(smollm2.path, path), with_adapter)) < noise
    assert gap(without, scored(smollm2.path, without)) < noise


def test_answers_are_sampled_and_measured(
    tuned: Any, smollm2: GgufFile, tokenizer: ChatTokenizer, make_sample: Callable[..., Sample], tmp_path: Path
) -> None:
    development = [fit(make_sample(name=f"c{i}", message=f"We need {i + 2} days."), PLAN, tokenizer) for i in range(3)]
    reference = trained_weights(tuned)
    measure = answers_measure(smollm2, development, reference, PLAN, tokenizer, tmp_path, 512, SILENT)
    figures = measure(tuned)
    assert figures["kl"] == pytest.approx(0, abs=1e-9), "it is its own reference"
    assert 0 <= figures["pass_rate"] <= figures["rules_passed"] <= 1
    assert 0 < figures["answer_tokens_mean"] <= figures["answer_tokens_p90"] <= 40
    assert (tmp_path / "now.gguf").is_file()
    put_weights(tuned, {name: torch.zeros_like(p) if "lora_B" in name else p for name, p in reference.items()})
    assert is_base(tuned)
    assert measure(tuned) == {}, "the base's own answers are in the evaluation"
    put_weights(tuned, reference)


def test_a_prompt_without_room_for_its_answer_is_told_before_training(
    smollm2: GgufFile, tokenizer: ChatTokenizer, make_sample: Callable[..., Sample], tmp_path: Path
) -> None:
    plan = Plan.model_validate({"release": {"num_ctx": 256}, "evaluation": {"max_tokens": 240}})
    development = [fit(make_sample(), plan, tokenizer)]
    with pytest.raises(JoshiError, match=r"prompt of talk/1 has \d+ tokens.* num_ctx = 256"):
        answers_measure(smollm2, development, {}, plan, tokenizer, tmp_path, 512, SILENT)


def test_divergence_is_the_estimators_formula() -> None:
    model = MODELS["llama"]["fused"]
    sampled = [Encoded([2, 3, 4 + i, 5, 1], [False, False, True, True, True]) for i in range(3)]
    kept = trained_weights(model)
    reference = {name: p * 1.5 for name, p in kept.items()}
    found = divergence(model, reference, pack([[one] for one in sampled], 100))
    assert all(torch.equal(p, kept[name]) for name, p in trained_weights(model).items()), "the weights are put back"

    def tokens(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        plain = MODELS["llama"]["plain"]
        before = trained_weights(plain)
        put_weights(plain, weights)
        with torch.no_grad():
            each = [
                naive(plain, Encoded(one.ids[: k + 1], [i == k for i in range(k + 1)]))
                for one in sampled
                for k in range(2, 5)
            ]
        put_weights(plain, before)
        return torch.stack(each)

    log_ratio = tokens(reference) - tokens(kept)
    wanted = (log_ratio.exp() - 1 - log_ratio).sum() / len(sampled)
    assert found == pytest.approx(float(wanted), rel=1e-5)
    assert found > 0


@pytest.mark.parametrize(("finish", "ends"), [("stop", True), ("length", False)])
def test_an_answer_that_was_cut_off_has_no_end_of_turn(
    finish: Any, ends: bool, tokenizer: ChatTokenizer, make_sample: Callable[..., Sample]
) -> None:
    messages = messages_for(make_sample(), PLAN.model.system_prompt)
    encoded = sampled_tokens(messages, Completion(id="a", answer="Thanks for", tokens=2, finish=finish), tokenizer)
    assert (encoded.ids[-1] == tokenizer.end_id) is ends
    assert encoded.answer_tokens == 2 + ends
