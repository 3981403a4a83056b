"""Two processes train what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joshi.prompt import Encoded
from joshi.training import processes
from joshi.training.packing import build

from .test_trainer import run, seeded, weights, without_dropout


def torchrun(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "tests.training.two_processes", str(folder)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    done = torchrun(tmp_path)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "result.pt", weights_only=True)
    model, log, held_out = run(tmp_path / "alone", model=without_dropout(seeded()))
    for name, value in weights(model).items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(log, found["log"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert [one["step"] for one in held_out] == [one["step"] for one in found["held_out"]]


@given(st.lists(st.integers(2, 30), min_size=1, max_size=12), st.integers(1, 5))
def test_every_pack_is_somebodys_and_loads_are_even(lengths: list[int], count: int) -> None:
    packs = [build([Encoded([2] * n, [False] + [True] * (n - 1))], [i]) for i, n in enumerate(lengths)]
    shares = []
    for rank in range(count):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RANK", str(rank))
            patch.setenv("WORLD_SIZE", str(count))
            shares.append(processes.share(packs))
    assert sorted(one.members[0] for share in shares for one in share) == list(range(len(packs)))
    loads = [sum(one.n_tokens for one in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
