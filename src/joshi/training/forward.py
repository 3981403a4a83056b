"""The packed forward pass: log-probabilities of the trained tokens of a pack, and logits nowhere else.

It runs inside the causal model's own `forward`, so that whatever wraps the model (DDP, FSDP, PEFT) sees every call.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch

from joshi.base.memory import LOGIT_POSITIONS
from joshi.training.attention import block_mask
from joshi.training.packing import Node, Pack
from joshi.training.products import product
from joshi.training.trunk import causal_of


def install(causal: Any) -> Any:
    """Make a transformers causal model return log-probabilities of targets, (targets,), fp32; call before PEFT."""
    causal.forward = MethodType(_forward, causal)
    causal.joshi_trunk = None
    return causal


def _forward(
    self: Any,
    input_ids: torch.Tensor,  # (1, tokens)
    position_ids: torch.Tensor,  # (1, tokens)
    tree: Sequence[Node],
    source: torch.Tensor,  # (targets,)
    target: torch.Tensor,  # (targets,)
    **_: Any,
) -> torch.Tensor:
    positions, where = torch.unique(source, return_inverse=True)  # where branches part, one position has many targets
    trunk, weight = self.joshi_trunk, self.lm_head.weight
    record = trunk is not None and trunk.recording  # said in the call: layers that are made again come later
    before = trunk.tokens if trunk and not record else 0
    # A base in bf16 has its LoRA weights in fp32: measuring and training then compute alike.
    with torch.autocast(weight.device.type, weight.dtype, enabled=weight.dtype == torch.bfloat16):
        output = self.model(
            input_ids=input_ids, position_ids=position_ids, use_cache=False, tree=tree, trunk=trunk, record=record,
            rows=positions, mask=block_mask(tree, before, weight.device) if weight.device.type == "cuda" else None,
        )  # fmt: skip
    hidden = output.last_hidden_state[0]
    if len(hidden) > len(positions):  # fused layers have picked them already
        hidden = hidden[positions]
    found: torch.Tensor = TargetLogProbs.apply(hidden, where, target, weight)  # type: ignore[no-untyped-call]
    return found


def scores(hidden: torch.Tensor, vocabulary: torch.Tensor) -> torch.Tensor:
    """hidden W^T, (positions, vocabulary), in fp32 or as given; a GPU adds up products of bf16 in fp32 and keeps it."""
    if hidden.device.type == "cuda" and hidden.dtype == torch.bfloat16:
        return torch.mm(hidden, vocabulary.T, out_dtype=torch.float32)
    return product(hidden, vocabulary.T)


class TargetLogProbs(torch.autograd.Function):
    """log p(target[k] | hidden[where[k]]) of a frozen vocabulary matrix W, (targets,).

    d log p / d hidden = W[target] - softmax(W hidden) W does not depend on what comes later, so it is made while the
    logits of a chunk exist; backward only scales it, and no logits are kept or made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, where: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """hidden (positions, size), where and target (targets,), weight (vocabulary, size); fp32, or fp64 as given."""
        if ctx.needs_input_grad[3]:
            raise ValueError("the vocabulary matrix must be frozen: its gradient is not computed")
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.empty(len(hidden), dtype=dtype, device=hidden.device)
        expected = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None  # softmax(W hidden) W
        picked = torch.empty(len(target), dtype=dtype, device=hidden.device)
        for start in range(0, len(hidden), LOGIT_POSITIONS):
            end = min(start + LOGIT_POSITIONS, len(hidden))
            logits = scores(hidden[start:end], weight).to(dtype)
            here = (where >= start) & (where < end)
            picked[here] = logits[where[here] - start, target[here]]
            highest = logits.amax(-1, keepdim=True)
            chances = logits.sub_(highest).exp_()
            sums = chances.sum(-1, keepdim=True)
            total[start:end] = (highest + sums.log()).squeeze(-1)
            if expected is not None:
                torch.div(product(chances.to(weight.dtype), weight), sums, out=expected[start:end])
        if expected is not None:
            ctx.save_for_backward(expected, where, target, weight)
        return picked - total[where]

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        expected, where, target, weight = ctx.saved_tensors
        scale = upstream[0].to(weight.dtype)
        of_position = scale.new_zeros(len(expected)).index_add_(0, where, scale)
        gradient = -expected * of_position[:, None]
        gradient.index_add_(0, where, weight[target] * scale[:, None])
        return gradient, None, None, None


def answer_log_probs(model: Any, pack: Pack) -> torch.Tensor:
    """log p of every target token of a pack, (targets,), fp32. Packs with a trunk are run inside `shared_trunk`.

    Raises:
        ValueError: the pack's trunk was not computed.
    """
    device = next(model.parameters()).device
    trunk = causal_of(model).joshi_trunk
    if pack.trunk.numel() != (trunk.tokens if trunk else 0):
        raise ValueError(f"the pack follows a trunk of {pack.trunk.numel()} tokens; run it inside shared_trunk")
    log_probs: torch.Tensor = model(
        input_ids=pack.input_ids[None].to(device),
        position_ids=pack.position_ids[None].to(device),
        tree=pack.nodes,
        source=pack.source.to(device),
        target=pack.target.to(device),
    )
    return log_probs


def per_sequence(values: torch.Tensor, pack: Pack) -> torch.Tensor:
    """Sums of values of target tokens, (targets,), over each of the pack's sequences, (sequences,)."""
    total = torch.zeros(len(pack.members), dtype=values.dtype, device=values.device)
    return total.index_add(0, pack.sequence.to(values.device), values)
