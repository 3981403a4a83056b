"""The loop: a resumed run equals an uninterrupted one, one seed gives the same bytes, trouble stops with a sentence."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import set_seed

from joshi.base.tensors import LINEAR
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import Encoded
from joshi.training.forward import answer_log_probs, install
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, pack
from joshi.training.trainer import Loop, Step, last_checkpoint, lora, train, with_less_memory

from .test_packing import tiny

PLAN = Plan.model_validate({"sft": {"rank": 4, "dropout": 0.1}})
LOOP = Loop(learning_rate=1e-2, schedule="cosine", warmup_steps=1, checkpoint_every=2, measure_every=3)


def steps() -> list[Step]:
    sequences = [Encoded([2, 3, 4 + i % 5, 5, 1], [False, False, True, True, True]) for i in range(24)]
    return [pack([[encoded] for encoded in sequences[i : i + 4]], 8) for i in range(0, 24, 4)]


def fresh() -> Any:
    from transformers import LlamaForCausalLM

    base = tiny("llama", "joshi_tree").get_base_model()
    clean = install(LlamaForCausalLM(base.config).float())
    set_seed(7)
    return lora(clean, PLAN, LINEAR["llama"])


def run(
    folder: Path, loss_of: Any = None, model: Any = None
) -> tuple[Any, list[dict[str, float]], list[dict[str, float]]]:
    def loss(m: Any, one: Pack, step: Step) -> torch.Tensor:
        return sft_loss(answer_log_probs(m, one), sum(p.target.numel() for p in step))

    measure = lambda m: {"heldout_loss": float(-answer_log_probs(m, steps()[0][0]).mean())}  # noqa: E731
    set_seed(7)
    model = model or fresh()
    trained = train(model, steps(), loss_of or loss, measure, LOOP, PLAN, folder, SILENT, "test")
    return model, trained.log, trained.history


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module", autouse=True)
def one_base() -> None:
    torch.manual_seed(0)


def test_one_seed_gives_the_same_bytes_and_a_resumed_run_the_same_end(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole, log, held_out = run(tmp_path / "a", model=seeded())
    again, *_ = run(tmp_path / "b", model=seeded())
    assert all(torch.equal(weights(again)[name], value) for name, value in weights(whole).items())

    calls = 0

    def dies_in_step_4(m: Any, one: Pack, step: Step) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 3 * len(steps()[0]):
            raise KeyboardInterrupt
        return sft_loss(answer_log_probs(m, one), sum(p.target.numel() for p in step))

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", dies_in_step_4, model=seeded())
    assert last_checkpoint(tmp_path / "c") == str(tmp_path / "c" / "checkpoint-2")
    resumed, resumed_log, resumed_held_out = run(tmp_path / "c", model=seeded())
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-5, atol=1e-7)
    assert [entry["step"] for entry in resumed_log] == [entry["step"] for entry in log]
    assert [entry["step"] for entry in resumed_held_out] == [entry["step"] for entry in held_out] == [0, 3, 6]


def seeded() -> Any:
    torch.manual_seed(5)
    return fresh()


def without_dropout(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_learning_lowers_the_held_out_loss(tmp_path: Path) -> None:
    _, log, held_out = run(tmp_path)
    assert held_out[-1]["heldout_loss"] < held_out[0]["heldout_loss"]
    assert len(log) == len(steps())


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    for step, text in ((2, '{"global_step": 2}'), (4, '{"global_')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(text, encoding="utf-8")
    (tmp_path / "checkpoint-6").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


@pytest.mark.parametrize(("factor", "said"), [(float("nan"), "nan"), (1e6, r"\d{4,}")])
def test_a_loss_that_is_no_number_or_explodes_stops_with_its_batch(tmp_path: Path, factor: float, said: str) -> None:
    def broken(m: Any, one: Pack, step: Step) -> torch.Tensor:
        return sft_loss(answer_log_probs(m, one), 1) * factor

    with pytest.raises(
        JoshiError, match=rf"the loss became {said}.* at step 1; the batch is in .*exploded-step-1.json"
    ):
        run(tmp_path, broken)
    batch = json.loads((tmp_path / "exploded-step-1.json").read_text(encoding="utf-8"))
    assert batch["input_ids"] == steps()[0][0].input_ids.tolist()


def test_a_termination_request_saves_and_the_next_run_goes_on(tmp_path: Path) -> None:
    calls = 0

    def asked_to_stop_in_step_3(m: Any, one: Pack, step: Step) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == len(steps()[0]) + len(steps()[1]) + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return sft_loss(answer_log_probs(m, one), sum(p.target.numel() for p in step))

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", asked_to_stop_in_step_3, model=seeded())
    assert signal.getsignal(signal.SIGTERM) == handler
    assert last_checkpoint(tmp_path / "a") == str(tmp_path / "a" / "checkpoint-3")
    resumed, log, _ = run(tmp_path / "a", model=seeded())
    whole, *_ = run(tmp_path / "b", model=seeded())
    assert len(log) == len(steps())
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-5, atol=1e-7)


def test_out_of_memory_halves_the_budget_once() -> None:
    tried: list[int] = []

    def attempt(token_budget: int) -> str:
        tried.append(token_budget)
        torch.empty(1 << 60 if token_budget > limit else 1)  # more than any machine has
        return "done"

    limit = 600
    assert with_less_memory(attempt, 1024, SILENT) == "done"
    assert tried == [1024, 512]
    limit = 100
    with pytest.raises(JoshiError, match="token_budget = 1024 and 512"):
        with_less_memory(attempt, 1024, SILENT)


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    def attempt(token_budget: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        with_less_memory(attempt, 1024, SILENT)
