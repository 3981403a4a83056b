"""What is minimised, each a small pure function named after its paper.

Pairs are given as log p(answer | prompt) of both answers, (pairs,), fp32, with their lengths in tokens, (pairs,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def sft_loss(token_log_probs: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Cross-entropy summed over a pack's targets, over the trained tokens of the whole optimizer step."""
    return -token_log_probs.sum() / n_tokens


def excess(tokens: torch.Tensor, limit: int) -> torch.Tensor:
    """h(y) = max(0, tokens(y) - limit)."""
    return (tokens - limit).clamp(min=0)


def length_penalties(lengths: torch.Tensor, limit: int, weight: float) -> torch.Tensor:
    """lambda * (h(chosen) - h(rejected)) of `lengths`, (pairs, 2); added to a preference logit, (pairs,).

    After R-DPO (Park et al. 2024, eq. 9), with the excess over a limit in place of the length. An answer that is too
    long and preferred all the same loses part of its pull; one that is rejected pushes harder.
    """
    over = excess(lengths, limit).float()
    return weight * (over[:, 0] - over[:, 1])


def dpo_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
    penalty: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """-log sigmoid(beta * D + penalty), (pairs,); D is DPO's difference of log-ratios (Rafailov et al. 2023, eq. 7)."""
    delta = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -F.logsigmoid(beta * delta + penalty)


def ld_weights(position: torch.Tensor, public: torch.Tensor, alpha: float) -> torch.Tensor:
    """LD-DPO's weight of an answer's token (Liu et al. 2024, eq. 9): 1 up to the pair's shorter length, alpha after it.

    Args:
        position: place of each token in its answer, from 0, (tokens,).
        public: length of the shorter answer of its pair, (tokens,).
        alpha: 1 is plain DPO, 0 ignores what the longer answer says past the shorter one's end.
    """
    return torch.where(position < public, 1.0, alpha)


def simpo_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    lengths: torch.Tensor,
    beta: float,
    gamma: float,
    penalty: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """-log sigmoid(beta * (mean chosen - mean rejected) - gamma + penalty), (pairs,) (SimPO, Meng et al. 2024, eq. 6).

    Means are over tokens and no reference is used; `gamma` is the margin that the paper wants between the rewards.
    """
    return -F.logsigmoid(beta * (chosen / lengths[:, 0] - rejected / lengths[:, 1]) - gamma + penalty)


def log_odds(mean_log_probs: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) of mean token log-probabilities below 0 (ORPO, Hong et al. 2024, eq. 4)."""
    return mean_log_probs - torch.log(-torch.expm1(mean_log_probs))


def orpo_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    lengths: torch.Tensor,
    beta: float,
    penalty: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """beta * -log sigmoid(log odds ratio + penalty), (pairs,) (ORPO, Hong et al. 2024, eq. 6; beta is its lambda).

    The paper adds the chosen answers' cross-entropy; that is `sft_loss`.
    """
    ratio = log_odds(chosen / lengths[:, 0]) - log_odds(rejected / lengths[:, 1])
    return -beta * F.logsigmoid(ratio + penalty)
