"""The weights that answer best are kept, and training stops when nothing gets better."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from joshi.errors import JoshiError
from joshi.progress import SILENT
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack
from joshi.training.trainer import Loop, Step, Trained, train
from joshi.training.watch import Entry, Watch, best, fruitless

from .test_trainer import PLAN, seeded, steps, weights


def entry(step: float, pass_rate: float, rules: float = 0.5, loss: float = 1.0) -> Entry:
    return {"step": step, "answers": 100.0, "pass_rate": pass_rate, "rules_passed": rules, "heldout_loss": loss}


def scripted(folder: Path, rates: Sequence[float], patience: int = 0, cut_after: int = 99) -> tuple[Any, Trained]:
    """Six steps, measured at the start and after each, with pass rates as given and a loss that stands still."""
    said = iter(rates)
    calls = 0

    def loss(model: Any, one: Pack, step: Step) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > cut_after * len(steps()[0]):
            raise KeyboardInterrupt
        return sft_loss(answer_log_probs(model, one), sum(p.target.numel() for p in step))

    model = seeded()
    loop = Loop(1e-2, "linear", 0, checkpoint_every=1, measure_every=1, patience=patience)
    measure = lambda m: entry(0, next(said))  # noqa: E731
    return model, train(model, steps(), loss, measure, loop, PLAN, folder, SILENT, "test")


def test_the_weights_that_answer_best_are_kept(tmp_path: Path) -> None:
    model, trained = scripted(tmp_path / "best", [0.9, 0.1, 0.2, 0.8, 0.3, 0.4, 0.5])
    assert trained.kept["step"] == 3, "the start is no candidate"
    assert [one["pass_rate"] for one in trained.history] == [0.9, 0.1, 0.2, 0.8, 0.3, 0.4, 0.5]
    until_then, _ = scripted(tmp_path / "stopped", [0.0, 0.1, 0.2, 0.8, 0.8, 0.8, 0.8], patience=0)
    last, ended = scripted(tmp_path / "last", [0, 0, 0, 0, 0, 0, 0])
    assert ended.kept["step"] == 6, "of equals the later is kept"
    assert all(torch.equal(weights(until_then)[name], value) for name, value in weights(last).items())
    assert not all(torch.equal(weights(model)[name], value) for name, value in weights(last).items())


def test_kept_weights_are_those_of_their_step(tmp_path: Path) -> None:
    model, _ = scripted(tmp_path / "best", [0, 0, 0.8, 0, 0, 0, 0])
    with pytest.raises(KeyboardInterrupt):
        scripted(tmp_path / "cut", [0, 0, 0.8, 0], cut_after=2)
    (checkpoint,) = (tmp_path / "cut").glob("checkpoint-2")
    saved = load_file(checkpoint / "adapter_model.safetensors")
    for name, value in weights(model).items():
        assert torch.equal(saved[name.replace(".default", "")], value)


def test_a_resumed_run_keeps_what_was_best_before_it_was_cut(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        scripted(tmp_path / "a", [0, 0, 0.8, 0.1], cut_after=3)
    model, trained = scripted(tmp_path / "a", [0.2, 0.2, 0.2])
    whole, wanted = scripted(tmp_path / "b", [0, 0, 0.8, 0.1, 0.2, 0.2, 0.2])
    assert trained.kept == wanted.kept
    assert trained.kept["step"] == 2
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(model)[name], value, rtol=1e-5, atol=1e-7)


def test_training_stops_when_nothing_improves(tmp_path: Path) -> None:
    _, trained = scripted(tmp_path, [0, 0.5, 0.4, 0.4, 0.9, 0.9, 0.9], patience=2)
    assert len(trained.log) == 3
    assert trained.kept["step"] == 1


def test_a_file_of_another_run_is_not_taken_for_the_best(tmp_path: Path) -> None:
    watch = Watch(lambda m: {}, 1, 0, itemgetter("step"), lambda n: None, None, tmp_path)
    watch.history = [entry(1, 0.9), entry(2, 0.1)]
    with pytest.raises(JoshiError, match=r"measured-1\.safetensors cannot be read"):
        watch.restore(seeded())
    save_file({"a": torch.zeros(1)}, tmp_path / "measured-1.safetensors")
    with pytest.raises(JoshiError, match=r"measured-1\.safetensors cannot be read"):
        watch.restore(seeded())


def test_a_lead_that_chance_may_give_does_not_outweigh_the_loss() -> None:
    """6 of 12 against 4 of 12 is no difference; 60 of 120 against 40 of 120 is one."""
    for n, kept in ((12.0, 2.0), (120.0, 1.0)):
        history = [entry(1, 6 / 12, loss=2.73) | {"answers": n}, entry(2, 4 / 12, loss=2.58) | {"answers": n}]
        found = best(history, lambda measured: -measured["heldout_loss"])
        assert found is not None
        assert found["step"] == kept


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=6), st.integers(4, 200))
def test_what_is_kept_is_within_a_standard_error_of_the_highest(rates: list[float], n: int) -> None:
    history = [entry(i + 1, rate) | {"answers": float(n)} for i, rate in enumerate(rates)]
    found = best(history, itemgetter("step"))
    assert found is not None
    assert max(rates) - found["pass_rate"] <= (0.5 / n) ** 0.5 + 1e-9
    assert all(one["step"] <= found["step"] or one["pass_rate"] < found["pass_rate"] for one in history)


def test_without_sampled_answers_the_last_weights_are_kept() -> None:
    assert best([{"step": 0.0, "heldout_loss": 2.0}, {"step": 3.0, "heldout_loss": 1.0}], itemgetter("step")) is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, 2.0])), min_size=1, max_size=8))
def test_a_measurement_that_is_best_in_anything_starts_the_count_anew(figures: list[tuple[float, float]]) -> None:
    history = [entry(i, rate, 0.5, loss) for i, (rate, loss) in enumerate(figures)]
    count = fruitless(history)
    assert 0 <= count < len(history)
    if count:
        before, last = history[:-1], history[-1]
        assert last["pass_rate"] <= max(one["pass_rate"] for one in before)
        assert last["heldout_loss"] >= min(one["heldout_loss"] for one in before)
        assert fruitless(before) == count - 1
    assert fruitless([*history, entry(99, 2.0)]) == 0
