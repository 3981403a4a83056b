"""Run by test_processes under torchrun: train the tiny model, and let the first process write its weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from joshi.training import processes

from .test_trainer import run, seeded, weights, without_dropout

if __name__ == "__main__":
    processes.start()
    folder = Path(sys.argv[1])
    model, log, held_out = run(folder / "checkpoints", model=without_dropout(seeded()))
    if processes.is_main():
        torch.save({"weights": weights(model), "log": log, "held_out": held_out}, folder / "result.pt")
    processes.wait()
