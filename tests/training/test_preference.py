"""The reference of a preference run is computed once."""

from __future__ import annotations

from pathlib import Path

import torch

from joshi.training.preference import cached


def test_what_is_known_is_not_computed_again_and_a_damaged_file_is(tmp_path: Path) -> None:
    path = tmp_path / "reference" / "key.safetensors"
    calls: list[int] = []

    def compute() -> torch.Tensor:
        calls.append(1)
        return torch.tensor([[-1.5, -2.25], [-3.0, -40.0]])

    shape = torch.Size((2, 2))
    first = cached(path, shape, compute)
    assert torch.equal(cached(path, shape, compute), first)
    assert len(calls) == 1
    whole = path.read_bytes()
    for damaged in (b"", whole[:-3], b"\x80\x04pickle", whole.replace(b"log_probs", b"log_prbos")):
        path.write_bytes(damaged)
        assert torch.equal(cached(path, shape, compute), first)
    assert len(calls) == 5
    assert list(path.parent.iterdir()) == [path]
