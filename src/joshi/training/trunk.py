"""The trunk: what all packs of a step begin with, computed once for the step, forward and backward.

Packs see its keys and values as leaves and add their gradients to them; when the last pack is through, one backward
pass takes the sum down the trunk. So memory holds the trunk and one pack at a time, and no pack computes it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from joshi.training.packing import Node, Pack

States = tuple[torch.Tensor, torch.Tensor]  # keys and values, (1, key heads, tokens, size) each


class Trunk:
    """Keys and values of every layer at the trunk's tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.recording = True
        self._made: dict[int, States] = {}
        self._leaves: dict[int, States] = {}

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        if layer in self._made:  # made again in the backward pass: what packs have seen stays
            return
        self._made[layer] = (key, value)
        self._leaves[layer] = (
            key.detach().requires_grad_(key.requires_grad),
            value.detach().requires_grad_(value.requires_grad),
        )

    def states(self, layer: int) -> States:
        return self._leaves[layer]

    def backward(self) -> None:
        """Send what packs have added to the leaves' gradients down the trunk."""
        made, gradients = [], []
        for layer, leaves in self._leaves.items():
            for output, leaf in zip(self._made[layer], leaves, strict=True):
                if leaf.grad is not None:
                    made.append(output)
                    gradients.append(leaf.grad)
        if made:
            torch.autograd.backward(made, gradients)


@contextlib.contextmanager
def shared_trunk(model: Any, packs: Sequence[Pack]) -> Iterator[None]:
    """Compute the trunk of packs made together; they may be run, and sent backward, inside."""
    ids = packs[0].trunk if packs else torch.empty(0, dtype=torch.long)
    if not ids.numel():
        yield
        return
    holder = causal_of(model)
    trunk = Trunk(ids.numel())
    device = next(model.parameters()).device
    nothing = torch.empty(0, dtype=torch.long, device=device)
    holder.joshi_trunk = trunk
    try:
        model(
            input_ids=ids[None].to(device),
            position_ids=torch.arange(len(ids), device=device)[None],
            tree=(Node(0, len(ids), (), len(ids)),),
            source=nothing,
            target=nothing,
        )
        trunk.recording = False
        yield
        trunk.backward()
    finally:
        holder.joshi_trunk = None


def causal_of(model: Any) -> Any:
    """transformers' model inside PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
