"""The losses against independent references; tests/parity compares whole steps with TRL's trainers."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from joshi.training.objectives import dpo_losses, excess, sft_loss

LOG_PROBS = st.floats(-200, 0, allow_nan=False)


@given(LOG_PROBS, LOG_PROBS, LOG_PROBS, LOG_PROBS, st.floats(0.01, 1))
def test_dpo_is_the_papers_formula(pc: float, pr: float, rc: float, rr: float, beta: float) -> None:
    logit = beta * ((pc - rc) - (pr - rr))
    expected = math.log1p(math.exp(-logit)) if logit > -30 else -logit
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (pc, pr, rc, rr)]
    assert math.isclose(float(dpo_losses(*tensors, beta=beta)), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_the_length_penalty_is_added_inside_the_sigmoid() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    chosen, rejected = excess(torch.tensor([300]), 180).double(), excess(torch.tensor([100]), 180).double()
    loss = dpo_losses(zero, zero, zero, zero, 0.1, 0.02, chosen, rejected)
    logit = 0.02 * (120 - 0)
    assert math.isclose(float(loss), math.log1p(math.exp(-logit)), rel_tol=1e-12)


def test_excess_counts_only_tokens_over_the_limit() -> None:
    assert excess(torch.tensor([10, 180, 181, 400]), 180).tolist() == [0, 0, 1, 220]


def test_sft_loss_normalises_over_the_step_not_the_pack() -> None:
    packs = [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0])]
    total = sum(float(sft_loss(one, 3)) for one in packs)
    assert math.isclose(total, 2.0)
