"""Products on a CPU are those of fp64 to fp32's precision, however their matrices are stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.base.tensors import LINEAR
from joshi.plan import Plan
from joshi.training import fused, products
from joshi.training.attention import NAME
from joshi.training.forward import answer_log_probs
from joshi.training.products import LinearProduct, add_product, product
from joshi.training.trainer import lora

from .test_fused import a_pack
from .test_packing import tiny


def stored(rows: int, columns: int, how: str) -> torch.Tensor:
    match how:
        case "rows":
            return torch.randn(rows, columns)
        case "columns":
            return torch.randn(columns, rows).T
        case "part of wider rows":
            return torch.randn(rows, columns + 7)[:, 3 : columns + 3]
        case _:
            return torch.randn(columns, rows + 7).T[3 : rows + 3]


HOW = st.sampled_from(["rows", "columns", "part of wider rows", "part of taller columns"])


@given(st.tuples(st.integers(0, 40), st.integers(0, 70), st.integers(0, 40)), HOW, HOW)
@settings(max_examples=150, deadline=None)
def test_a_product_is_that_of_fp64(sizes: tuple[int, int, int], left: str, right: str) -> None:
    rows, inner, columns = sizes
    torch.manual_seed(rows * inner + columns)
    a, b, c = stored(rows, inner, left), stored(inner, columns, right), torch.randn(rows, columns)
    copy = c.clone()
    torch.testing.assert_close(product(a, b).double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        add_product(c, a, b).double(), c.double() + a.double() @ b.double(), rtol=1e-5, atol=1e-5
    )
    assert torch.equal(c, copy)


def test_fp64_stays_fp64() -> None:
    a, b = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    assert torch.equal(product(a, b), a @ b)


def test_a_linear_layer_has_the_gradients_of_torchs() -> None:
    x = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LinearProduct.apply, (x, weight))


def results(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    log_probs = answer_log_probs(model, a_pack())
    log_probs.sum().backward()
    return log_probs.detach(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("form", ["fused", "layers"])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_a_step_in_fp32_is_that_in_fp64(architecture: str, form: str) -> None:
    wanted = results(tiny(architecture, NAME))
    model = tiny(architecture, NAME).float()
    if form == "fused":
        assert fused.install(model)
    else:
        products.install(model)
    found = results(model)
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=1e-5, atol=1e-5)
    for name, gradient in found[1].items():
        scale = float(wanted[1][name].abs().max())
        torch.testing.assert_close(gradient.double() / scale, wanted[1][name] / scale, rtol=1e-4, atol=1e-5)


def test_layers_that_cannot_be_fused_take_these_products_too() -> None:
    plan = Plan.model_validate({"sft": {"rank": 4, "dropout": 0.1}})
    whole = tiny("llama", NAME).get_base_model()
    model = lora(type(whole)(whole.config), plan, LINEAR["llama"])
    assert not fused.install(model)
    linear = [m for m in model.modules() if type(m) is torch.nn.Linear]
    assert linear
    assert all(m.forward.__func__ is products._linear for m in linear)
