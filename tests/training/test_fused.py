"""Fused layers are used only where they are exact, and follow the adapter as it is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from joshi.base.tensors import LINEAR
from joshi.plan import Plan
from joshi.prompt import Encoded
from joshi.training import fused
from joshi.training.attention import NAME
from joshi.training.forward import answer_log_probs
from joshi.training.packing import Pack, build, pack
from joshi.training.trainer import lora
from joshi.training.trunk import shared_trunk

from .test_packing import tiny


def a_pack() -> Pack:
    sequences = [Encoded([2, 3, 4, 5 + i, 1], [False, False, True, True, True]) for i in range(4)]
    return build(sequences, range(4))


def trained(model: Any, fused_optimizer: bool) -> dict[str, torch.Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, fused=fused_optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        (-answer_log_probs(model, a_pack()).mean()).backward()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("fused_optimizer", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_several_steps_end_where_peft_ends(architecture: str, fused_optimizer: bool) -> None:
    """The merged matrices must be made anew after each step, whichever way the optimizer writes."""
    plain, quick = tiny(architecture, NAME), tiny(architecture, NAME)
    assert fused.install(quick)
    wanted = trained(plain, fused_optimizer)
    for name, value in trained(quick, fused_optimizer).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)


def test_a_loaded_adapter_is_merged_anew() -> None:
    model = tiny("llama", NAME)
    assert fused.install(model)
    before = answer_log_probs(model, a_pack())
    state = {name: p * 2 for name, p in model.state_dict().items() if "lora_B" in name}
    model.load_state_dict(state, strict=False)
    assert not torch.allclose(before, answer_log_probs(model, a_pack()))


class Counter:
    """How many numbers autograd keeps for the backward pass."""

    numbers = 0

    def keep(self, saved: torch.Tensor) -> torch.Tensor:
        self.numbers += saved.numel()
        return saved


def a_model(form: str, recompute: bool) -> Any:
    model = tiny("llama", NAME)
    if recompute:
        model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    assert form == "layers" or fused.install(model)
    return model.train()


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("form", ["layers", "fused"])
def test_activations_made_again_give_the_same_gradients_from_less_memory(form: str) -> None:
    found = []
    for recompute in (False, True):
        model, counter = a_model(form, recompute), Counter()
        with torch.autograd.graph.saved_tensors_hooks(counter.keep, lambda t: t):
            log_probs = answer_log_probs(model, a_pack())
        log_probs.sum().backward()
        found.append((gradients_of(model), counter.numbers))
    (wanted, much), (again, little) = found
    torch.testing.assert_close(again, wanted, rtol=1e-12, atol=1e-12)
    assert little < much / 2


@pytest.mark.parametrize("form", ["layers", "fused"])
def test_a_trunk_may_be_made_again_too(form: str) -> None:
    """Its layers run once more after the packs have: with what it was then, not what it has become."""
    lead = [2, 3, 4, 5] * 10
    texts = [Encoded([*lead, 6 + i, 7, 8 + i % 2, 1], [False] * 42 + [True] * 2) for i in range(4)]
    packs = pack([[one] for one in texts], 48)
    assert len(packs) > 1
    assert packs[0].trunk.numel() == len(lead)
    found = []
    for recompute in (False, True):
        model = a_model(form, recompute)
        with shared_trunk(model, packs):
            for one in packs:
                answer_log_probs(model, one).sum().backward()
        found.append(gradients_of(model))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_dropout_keeps_pefts_own_layers() -> None:
    model = tiny("llama", NAME).get_base_model()
    plan = Plan.model_validate({"sft": {"rank": 4, "dropout": 0.1}})
    assert not fused.install(lora(type(model)(model.config), plan, LINEAR["llama"]))


def test_a_layer_with_a_bias_is_left_alone() -> None:
    model = tiny("llama", NAME)
    projection = model.get_base_model().model.layers[1].self_attn.q_proj.get_base_layer()
    projection.bias = torch.nn.Parameter(torch.zeros(projection.out_features, dtype=torch.float64))
    assert not fused.install(model)
