"""Run by test_processes under torchrun, in one of three ways; the first process writes what came out.

whole: train the tiny model to its end. cut: the same, ended by SIGTERM in the second step. sharded: train layers of the
embedded base, split over the processes (or whole, if there is only one).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import LINEAR
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import Encoded
from joshi.training import processes
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, pack
from joshi.training.trainer import Loop, Step, Trained, frozen_base, lora, train

from ..gguf_files import rewrite
from .test_trainer import run, seeded, steps, weights, without_dropout


def loss_of(model: Any, one: Pack, step: Step) -> torch.Tensor:
    return sft_loss(answer_log_probs(model, one), sum(p.target.numel() for p in step))


def cut_off(model: Any, one: Pack, step: Step) -> torch.Tensor:
    if [p.input_ids.tolist() for p in step] == [p.input_ids.tolist() for p in steps()[1]] and processes.is_main():
        os.kill(os.getpid(), signal.SIGTERM)
    return loss_of(model, one, step)


def two_layers(path: Path) -> None:
    """The first two layers of the embedded base as a GGUF: enough to gather, and quick."""
    whole = find_base("builtin:smollm2", Path())
    rewrite(
        whole, path, {"llama.block_count": 2},
        lambda tensor: not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < 2,
    )  # fmt: skip


def embedded(base: Path, folder: Path) -> tuple[Any, Trained]:
    """One step of a small base, of three packs, so that two processes have unlike numbers of them."""
    plan = Plan.model_validate({"sft": {"rank": 4, "dropout": 0.0, "sharded": processes.count() > 1}})
    sequences = [Encoded([*range(20 + i, 60 + i), 2], [False] * 30 + [True] * 11) for i in range(3)]
    planned = [pack([[one] for one in sequences], 50, trunk=False)]
    assert len(planned[0]) == 3
    file = GgufFile(base)
    set_seed(7)
    model = lora(frozen_base(file, plan), plan, LINEAR[file.architecture]).double()  # AdamW makes noise into steps
    measure = lambda m: {"heldout_loss": float(-answer_log_probs(m, planned[0][0]).mean())}  # noqa: E731
    return model, train(model, planned, loss_of, measure, Loop(1e-2, "linear", 0, 1, 1), plan, folder, SILENT, "test")


def main(way: str, folder: Path) -> None:
    processes.start()
    if way == "sharded":
        model, trained = embedded(folder / "base.gguf", folder / "checkpoints")
        log, held_out = trained.log, trained.history
    else:
        loss = cut_off if way == "cut" else None
        model, log, held_out = run(folder / "checkpoints", loss, model=without_dropout(seeded()))
    if processes.is_main():
        torch.save({"weights": weights(model), "log": log, "held_out": held_out}, folder / "result.pt")
    processes.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
