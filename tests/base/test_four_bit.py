"""NF4 weights: what they compute is what their own dequantisation computes, and LoRA trains on them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import LINEAR
from joshi.base.weights import load_model
from joshi.errors import Unavailable
from joshi.plan import Plan
from joshi.prompt import Encoded
from joshi.training import attention, forward, fused
from joshi.training.forward import answer_log_probs
from joshi.training.packing import build
from joshi.training.trainer import lora

PLAN = Plan.model_validate({"sft": {"rank": 4, "dropout": 0.0}})


def with_lora(model: Any) -> Any:
    torch.manual_seed(3)
    model = lora(forward.install(model), PLAN, LINEAR["llama"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def test_nf4_trains_as_its_own_dequantised_weights_do(smollm2: GgufFile) -> None:
    """The peer holds the same rounded weights in fp32."""
    small = load_model(smollm2, attention.NAME, "nf4")
    plain = load_model(smollm2, attention.NAME)
    modules = dict(small.named_modules())
    four_bit = {name: module for name, module in modules.items() if isinstance(module, Linear4bit)}
    assert len(four_bit) == 30 * 7
    for name, module in four_bit.items():
        rounded = dequantize_4bit(module.weight.data, module.weight.quant_state)
        linear = plain.get_submodule(name)
        assert 0.01 < (rounded - linear.weight.data).norm() / linear.weight.data.norm() < 0.2
        linear.weight.data = rounded
    small, plain = with_lora(small), with_lora(plain)
    assert not fused.install(small), "the fused layers need weights in full"
    sequences = [Encoded([5, 6, 7, 8 + i, 9, 2], [False] * 4 + [True] * 2) for i in range(3)]
    results = []
    for model in (small, plain):
        log_probs = answer_log_probs(model, build(sequences, range(3)))
        log_probs.sum().backward()
        results.append((log_probs.detach(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}))
    (found, of_found), (wanted, of_wanted) = results
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert of_found.keys() == of_wanted.keys()
    for name, gradient in of_wanted.items():
        assert (of_found[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_without_bitsandbytes_the_plan_is_refused_with_what_to_install(
    smollm2: GgufFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(Unavailable, match=r"install joshi\[nf4\]"):
        load_model(smollm2, quantization="nf4")
