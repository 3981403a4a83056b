"""On a GPU: FlexAttention over the trie against the unpacked computation, and bases in bf16 and NF4 that learn."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM, set_seed

from joshi.base.find import find_base
from joshi.base.tensors import LINEAR
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import Encoded
from joshi.training.attention import NAME, block_mask, by_mask, per_node
from joshi.training.forward import answer_log_probs, install, per_sequence, scores
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, build, pack
from joshi.training.trainer import Loop, Step, frozen_base, lora, train
from joshi.training.trunk import shared_trunk

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "pad_token_id": 0,
    "eos_token_id": 1,
}  # fmt: skip


def sequences(generator: torch.Generator, systems: int, histories: int, answers: int) -> list[Encoded]:
    """Answers of 3 to 40 tokens after one of some histories of up to 300 tokens, after one of some system prompts."""

    def words(lowest: int, highest: int) -> list[int]:
        n = int(torch.randint(lowest, highest + 1, (), generator=generator))
        return torch.randint(2, VOCABULARY, (n,), generator=generator).tolist()

    found = []
    for _ in range(systems):
        system = words(40, 200)
        for _ in range(histories):
            prompt = system + words(1, 300)
            for _ in range(answers):
                answer = words(3, 40)
                found.append(Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer)))
    return found


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
@pytest.mark.parametrize(("systems", "histories", "answers"), [(1, 5, 3), (3, 2, 2), (1, 1, 1)])
def test_flex_attention_over_the_trie_equals_the_unpacked_computation(
    architecture: str, systems: int, histories: int, answers: int, recompute: bool
) -> None:
    """fp32 on the GPU against fp64 on the CPU, sequence by sequence; one system prompt is a trunk, three are none."""
    generator = torch.Generator().manual_seed(systems * 100 + histories)
    torch.manual_seed(0)
    if architecture == "llama":
        bare: Any = LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation="sdpa"))
    else:
        bare = Phi3ForCausalLM(Phi3Config(**SHAPE, attn_implementation="sdpa"))
    packed = copy.deepcopy(bare)
    packed.set_attn_implementation(NAME)
    if recompute:
        packed.gradient_checkpointing_enable({"use_reentrant": False})
    plan = Plan.model_validate({"sft": {"rank": 4, "alpha": 8, "dropout": 0.0}})
    plain = lora(bare, plan, LINEAR[architecture]).double().eval()
    model = lora(install(packed), plan, LINEAR[architecture])
    for name, parameter in plain.named_parameters():  # PEFT starts B at zero, where A has no gradient
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.1
    model.load_state_dict(plain.state_dict())
    model = model.float().cuda().train()

    texts = sequences(generator, systems, histories, answers)
    n_tokens = sum(one.answer_tokens for one in texts)
    expected = []
    for one in texts:
        log_probs = plain(input_ids=torch.tensor([one.ids])).logits[0].log_softmax(-1)
        first = one.trained.index(True)
        at = torch.arange(first - 1, len(one.ids) - 1)
        expected.append(log_probs[at, torch.tensor(one.ids[first:])].sum())
    (-torch.stack(expected).sum() / n_tokens).backward()

    packs = pack([[one] for one in texts], 700)
    found = torch.empty(len(texts), dtype=torch.float64)
    with shared_trunk(model, packs):
        for one in packs:
            log_probs = answer_log_probs(model, one)
            found[list(one.members)] = per_sequence(log_probs, one).detach().cpu().double()
            sft_loss(log_probs, n_tokens).backward()
    torch.testing.assert_close(found, torch.stack(expected).detach(), rtol=1e-5, atol=1e-4)
    wanted, made = gradients_of(plain), gradients_of(model)
    assert made.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (made[name].double() - gradient).norm() < 1e-4 * gradient.norm(), name


@pytest.mark.parametrize(("before", "answers"), [(0, 12), (130, 12), (130, 1)])
def test_flex_attention_in_bf16_is_as_near_as_one_call_a_node(before: int, answers: int) -> None:
    """Also where a pack has fewer tokens than a block."""
    generator = torch.Generator().manual_seed(before)
    texts = [one for one in sequences(generator, 1, 4, 3) if answers > 1] or [Encoded([2] * 60, [False] + [True] * 59)]
    nodes = build(texts, range(len(texts))).nodes
    tokens = nodes[-1].end
    states = [torch.randn(1, n, m, 64, generator=generator).cuda() for n, m in
              ((8, tokens), (2, before + tokens), (2, before + tokens))]  # fmt: skip
    upstream = torch.randn(1, 8, tokens, 64, generator=generator).cuda()
    mask = block_mask(nodes, before, torch.device("cuda"))

    def run(dtype: torch.dtype, flex: bool) -> list[torch.Tensor]:
        leaves = [state.to(dtype).requires_grad_() for state in states]
        out = by_mask(*leaves, mask, 0.125) if flex else per_node(*leaves, nodes, before, 0.125)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream.to(dtype))]

    exact = run(torch.float64, flex=False)
    for mine, plain, right in zip(run(torch.bfloat16, True), run(torch.bfloat16, False), exact, strict=True):
        assert (mine - right).norm() < 1.5 * (plain - right).norm() < 0.02 * right.norm()


def test_logits_of_a_bf16_base_are_not_rounded_to_bf16() -> None:
    torch.manual_seed(1)
    hidden, vocabulary = torch.randn(64, 512).cuda().bfloat16(), torch.randn(1000, 512).cuda().bfloat16()
    exact = hidden.double() @ vocabulary.double().T
    with torch.autocast("cuda", torch.bfloat16):
        assert (scores(hidden, vocabulary) - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_base_on_the_gpu_learns(quantization: str, tmp_path: Path) -> None:
    save(tmp_path / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16, hidden_size=256)
    file = find_base(f"hf:{tmp_path / 'tiny'}", tmp_path)
    plan = Plan.model_validate({"sft": {"rank": 8, "dropout": 0.0, "quantization": quantization, "recompute": True}})
    set_seed(5)
    model = lora(frozen_base(file, plan), plan, LINEAR["phi3"])
    weight = model.get_base_model().lm_head.weight
    assert weight.dtype == torch.bfloat16
    assert weight.device.type == "cuda"
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    texts = sequences(torch.Generator().manual_seed(3), 1, 4, 3)
    packs = pack([[one] for one in texts], 600)
    n_tokens = sum(one.target.numel() for one in packs)

    def loss_of(m: Any, one: Pack, step: Step) -> torch.Tensor:
        return sft_loss(answer_log_probs(m, one), n_tokens)

    loop = Loop(5e-3, "cosine", 0, 10**6, 10**6)
    done = train(model, [packs] * 12, loss_of, lambda m: {}, loop, plan, tmp_path / "run", SILENT, "gpu", known={})
    losses = [entry["loss"] for entry in done.log]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.9 * losses[0]
