"""Two processes train what one does, whole or with the base split between them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import Encoded
from joshi.training import processes
from joshi.training.packing import build
from joshi.training.trainer import frozen_base, last_checkpoint

from .test_trainer import run, seeded, weights, without_dropout
from .two_processes import embedded, two_layers


def torchrun(way: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "tests.training.two_processes", way, str(folder)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "result.pt", weights_only=True)
    return found


def assert_same_run(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(found["log"], wanted["log"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    for mine, theirs in zip(found["held_out"], wanted["held_out"], strict=True):
        assert mine["heldout_loss"] == pytest.approx(theirs["heldout_loss"], rel=1e-5)


def alone(folder: Path) -> dict[str, Any]:
    model, log, held_out = run(folder, model=without_dropout(seeded()))
    return {"weights": weights(model), "log": log, "held_out": held_out}


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    done = torchrun("whole", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(read(tmp_path), alone(tmp_path / "alone"))


def test_one_process_goes_on_where_two_were_stopped(tmp_path: Path) -> None:
    done = torchrun("cut", tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "result.pt").exists()
    assert last_checkpoint(tmp_path / "checkpoints") == str(tmp_path / "checkpoints" / "checkpoint-2")
    assert_same_run(alone(tmp_path / "checkpoints"), alone(tmp_path / "alone"))


def test_a_base_split_over_two_processes_trains_as_a_whole_one(tmp_path: Path) -> None:
    two_layers(tmp_path / "base.gguf")
    done = torchrun("sharded", tmp_path)
    assert done.returncode == 0, done.stderr
    model, trained = embedded(tmp_path / "base.gguf", tmp_path / "alone")
    assert_same_run(read(tmp_path), {"weights": weights(model), "log": trained.log, "held_out": trained.history})


def test_a_base_to_be_split_needs_several_processes(smollm2: GgufFile) -> None:
    with pytest.raises(JoshiError, match=r"sharded = true .* torchrun"):
        frozen_base(smollm2, Plan.model_validate({"sft": {"sharded": True}}))


@given(st.lists(st.integers(2, 30), min_size=1, max_size=12), st.integers(1, 5))
def test_every_pack_is_somebodys_and_loads_are_even(lengths: list[int], count: int) -> None:
    packs = [build([Encoded([2] * n, [False] + [True] * (n - 1))], [i]) for i, n in enumerate(lengths)]
    shares = []
    for rank in range(count):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RANK", str(rank))
            patch.setenv("WORLD_SIZE", str(count))
            shares.append(processes.share(packs))
    most = max(len(mine) for mine, _ in shares)
    assert all(len(mine) + fewer == most for mine, fewer in shares)
    assert sorted(one.members[0] for mine, _ in shares for one in mine) == list(range(len(packs)))
    loads = [sum(one.n_tokens for one in mine) for mine, _ in shares]
    assert max(loads) - min(loads) <= max(lengths)
