"""What is minimised, each a small pure function named after its paper."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from joshi.training.packing import Pack


def answer_log_probs(model: Any, pack: Pack) -> torch.Tensor:
    """log p of every target token of a pack, (targets,), fp32. Logits are made only where something is predicted."""
    device = next(model.parameters()).device
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.model(
        input_ids=pack.input_ids[None].to(device),
        position_ids=pack.position_ids[None].to(device),
        use_cache=False,
        tree=pack.nodes,
    ).last_hidden_state[0]  # (tokens, hidden)
    positions, where = torch.unique(pack.source, return_inverse=True)
    logits = causal.lm_head(hidden[positions.to(device)]).float()  # (positions, vocabulary)
    picked: torch.Tensor = logits[where.to(device), pack.target.to(device)]
    return picked - torch.logsumexp(logits, dim=-1)[where.to(device)]


def sequence_log_probs(model: Any, pack: Pack) -> torch.Tensor:
    """log p(answer | prompt) of each of the pack's sequences, (sequences,)."""
    tokens = answer_log_probs(model, pack)
    total = torch.zeros(len(pack.members), dtype=tokens.dtype, device=tokens.device)
    return total.index_add(0, pack.sequence.to(tokens.device), tokens)


def sft_loss(token_log_probs: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Cross-entropy summed over a pack's targets, over the trained tokens of the whole optimizer step."""
    return -token_log_probs.sum() / n_tokens


def excess(tokens: torch.Tensor, limit: int) -> torch.Tensor:
    """h(y) = max(0, tokens(y) - limit)."""
    return (tokens - limit).clamp(min=0)


def dpo_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
    length_penalty: float = 0.0,
    chosen_excess: torch.Tensor | float = 0.0,
    rejected_excess: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """-log sigmoid(beta * D + lambda * (h(chosen) - h(rejected))), one loss a pair, (pairs,).

    D is the difference of log-ratios of DPO (Rafailov et al. 2023, eq. 7); the length term follows R-DPO
    (Park et al. 2024, eq. 9) with the excess over a limit in place of the length. An answer that is too long and
    preferred all the same loses part of its pull; one that is rejected pushes harder.
    """
    delta = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -F.logsigmoid(beta * delta + length_penalty * (chosen_excess - rejected_excess))
