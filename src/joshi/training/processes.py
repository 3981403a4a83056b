"""Data parallel training: every process plans the same steps, runs its share of each step's packs, and adds gradients.

Started by torchrun or accelerate, which set RANK and WORLD_SIZE. Gradients are of LoRA weights alone, so one sum a step
is cheap, and processes may run unlike numbers of packs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from joshi.training.packing import Pack

T = TypeVar("T")


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and talks."""
    return rank() == 0


def start() -> None:
    """Meet the other processes; nothing to do for one alone."""
    if count() > 1 and not dist.is_initialized():
        PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))  # sampling pairs may take long


def share(packs: Sequence[Pack]) -> tuple[list[Pack], int]:
    """This process's packs of a step, and how many fewer they are than the busiest process has.

    The longest go first, each to whoever has the fewest tokens so far.
    """
    loads = [0] * count()
    found: list[list[Pack]] = [[] for _ in loads]
    for one in sorted(packs, key=lambda one: -one.n_tokens):
        least = loads.index(min(loads))
        loads[least] += one.n_tokens
        found[least].append(one)
    mine = found[rank()]
    return mine, max(map(len, found)) - len(mine)


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes; one without a gradient counts as zero."""
    if count() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
    dist.all_reduce(flat)
    start = 0
    for parameter in trained:
        assert parameter.grad is not None
        parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def total(value: torch.Tensor) -> torch.Tensor:
    """The sum of a number over all processes."""
    if count() > 1:
        dist.all_reduce(value)
    return value


def from_main(make: Callable[[], T]) -> T:
    """What the first process makes, in every process; the others wait for it."""
    if count() == 1:
        return make()
    holder: list[Any] = [make() if is_main() else None]
    dist.broadcast_object_list(holder, src=0)
    made: T = holder[0]
    return made


def wait() -> None:
    """Go on when every process has come here."""
    if count() > 1:
        dist.barrier()
