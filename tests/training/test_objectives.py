"""The losses against independent references; tests/parity compares whole steps with TRL's trainers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from joshi.base.memory import LOGIT_POSITIONS
from joshi.training.forward import TargetLogProbs
from joshi.training.objectives import (
    dpo_losses,
    excess,
    ld_weights,
    length_penalties,
    orpo_losses,
    sft_loss,
    simpo_losses,
)

LOG_PROBS = st.floats(-200, -1e-3, allow_nan=False)
LENGTHS = st.tuples(st.integers(1, 300), st.integers(1, 300))


def doubles(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def log1p_exp_minus(logit: float) -> float:
    return math.log1p(math.exp(-logit)) if logit > -30 else -logit


@given(LOG_PROBS, LOG_PROBS, LOG_PROBS, LOG_PROBS, st.floats(0.01, 1))
def test_dpo_is_the_papers_formula(pc: float, pr: float, rc: float, rr: float, beta: float) -> None:
    expected = log1p_exp_minus(beta * ((pc - rc) - (pr - rr)))
    assert math.isclose(float(dpo_losses(*doubles(pc, pr, rc, rr), beta=beta)), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_the_length_penalty_is_added_inside_the_sigmoid() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    penalty = length_penalties(torch.tensor([[300, 100]]), 180, 0.02)
    assert math.isclose(
        float(dpo_losses(zero, zero, zero, zero, 0.1, penalty)), log1p_exp_minus(0.02 * 120), rel_tol=1e-6
    )


def test_a_long_chosen_answer_pulls_less_and_a_long_rejected_one_pushes_more() -> None:
    lengths = torch.tensor([[100, 100], [300, 100], [100, 300]])
    policy = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64)
    dpo_losses(policy, zero, zero, zero, 0.1, length_penalties(lengths, 180, 0.01)).sum().backward()
    assert policy.grad is not None
    neutral, long_chosen, long_rejected = (-policy.grad).tolist()
    assert long_chosen < neutral < long_rejected


def test_excess_counts_only_tokens_over_the_limit() -> None:
    assert excess(torch.tensor([10, 180, 181, 400]), 180).tolist() == [0, 0, 1, 220]


@given(LOG_PROBS, LOG_PROBS, LENGTHS, st.floats(0.1, 10), st.floats(0, 2))
def test_simpo_is_what_trl_computes(pc: float, pr: float, lengths: tuple[int, int], beta: float, gamma: float) -> None:
    chosen, rejected = doubles(pc, pr)
    trl = SimpleNamespace(
        alpha=0.0, beta=beta, simpo_gamma=gamma, label_smoothing=0.0, loss_type="simpo",
        accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    expected, *_ = CPOTrainer.cpo_loss(trl, chosen / lengths[0], rejected / lengths[1])
    found = simpo_losses(chosen, rejected, torch.tensor([lengths]), beta, gamma)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@given(LOG_PROBS, LOG_PROBS, LENGTHS, st.floats(0.01, 1))
def test_orpo_is_what_trl_computes(pc: float, pr: float, lengths: tuple[int, int], beta: float) -> None:
    chosen, rejected = doubles(pc, pr)
    trl = SimpleNamespace(beta=beta, accelerator=SimpleNamespace(device="cpu"))
    gain, *_ = ORPOTrainer.odds_ratio_loss(trl, chosen / lengths[0], rejected / lengths[1])  # in fp32
    found = orpo_losses(chosen, rejected, torch.tensor([lengths]), beta)
    torch.testing.assert_close(found.float(), -gain, rtol=2e-4, atol=1e-4)


def test_ld_weights_only_discount_what_the_longer_answer_says_past_the_shorter() -> None:
    position = torch.tensor([0, 1, 2, 3, 0, 1])
    assert ld_weights(position, torch.full((6,), 2), 0.25).tolist() == [1, 1, 0.25, 0.25, 1, 1]


def test_sft_loss_normalises_over_the_step_not_the_pack() -> None:
    packs = [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0])]
    total = sum(float(sft_loss(one, 3)) for one in packs)
    assert math.isclose(total, 2.0)


@given(st.integers(1, 2 * LOGIT_POSITIONS + 3), st.integers(0, 40))
def test_log_probs_in_chunks_equal_a_log_softmax(positions: int, extra: int) -> None:
    """Value and gradient, with several targets at one position and positions over more than one chunk."""
    torch.manual_seed(positions * 41 + extra)
    weight = torch.randn(13, 4, dtype=torch.float64)
    where = torch.cat([torch.arange(positions), torch.randint(positions, (extra,))])
    target = torch.randint(13, where.shape)
    upstream = torch.randn(len(where), dtype=torch.float64)
    results = []
    for compute in (
        lambda h: TargetLogProbs.apply(h, where, target, weight),
        lambda h: (h @ weight.T).log_softmax(-1)[where, target],
    ):
        hidden = torch.linspace(-2, 2, positions * 4, dtype=torch.float64).view(positions, 4).requires_grad_()
        found = compute(hidden)
        (found * upstream).sum().backward()
        results.append((found.detach(), hidden.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


def test_a_trained_vocabulary_matrix_is_refused() -> None:
    weight = torch.randn(5, 3, requires_grad=True)
    with pytest.raises(ValueError, match="frozen"):
        TargetLogProbs.apply(torch.randn(2, 3), torch.arange(2), torch.arange(2), weight)
