"""Tree packing must be exact: the same log-probabilities and gradients as one sequence at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from joshi.base.tensors import LINEAR
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import Encoded
from joshi.training import fused, packing
from joshi.training.attention import BLOCK, NAME, TreeAttention, block_mask, by_mask, per_node, tree_attention
from joshi.training.forward import answer_log_probs, install, per_sequence
from joshi.training.objectives import sft_loss
from joshi.training.packing import PACK_TOKENS, build, cuts, pack, trie_tokens
from joshi.training.row_blocks import ROWS, row_blocks
from joshi.training.trainer import lora
from joshi.training.trunk import shared_trunk

VOCABULARY = 11
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def tiny(architecture: str, attention: str) -> Any:
    torch.manual_seed(0)
    if architecture == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation=attention))
    else:
        model = Phi3ForCausalLM(Phi3Config(**SHAPE, attn_implementation=attention))
    if attention == NAME:
        install(model)
    plan = Plan.model_validate({"sft": {"rank": 4, "alpha": 8, "dropout": 0.0}})
    model = lora(model.double(), plan, LINEAR[architecture])
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # PEFT starts B at zero, where A has no gradient
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.1
    return model.eval()


MODELS = {a: {"layers": tiny(a, NAME), "fused": tiny(a, NAME), "plain": tiny(a, "sdpa")} for a in ("llama", "phi3")}
assert all(fused.install(models["fused"]) for models in MODELS.values())


@st.composite
def families(draw: st.DrawFn) -> list[Encoded]:
    """Sequences over few letters, so that many share prefixes, some are prefixes of others and some are equal.

    Often all begin with the same untrained letters, so that their packs have a trunk.
    """
    lead = [2] * draw(st.integers(0, 4))
    stems = draw(st.lists(st.lists(st.integers(2, 5), max_size=6), min_size=1, max_size=3))
    sequences = []
    for _ in range(draw(st.integers(1, 6))):
        stem = draw(st.sampled_from(stems))
        ids = [*lead, 2, *stem, *draw(st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=5))]
        first = draw(st.integers(len(lead) + 1, len(ids) - 1))
        sequences.append(Encoded(ids, [i >= first for i in range(len(ids))]))
    return sequences


def naive(model: Any, encoded: Encoded) -> torch.Tensor:
    log_probs = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
    picked = [log_probs[k - 1, encoded.ids[k]] for k in range(1, len(encoded.ids)) if encoded.trained[k]]
    return torch.stack(picked).sum()


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", ["layers", "fused"])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
@given(families(), st.sampled_from([4, 12, 1000]), st.sampled_from([1, 32]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_equals_the_unpacked_computation(
    architecture: str, form: str, sequences: list[Encoded], budget: int, shortest_trunk: int
) -> None:
    packed_model, plain_model = MODELS[architecture][form], MODELS[architecture]["plain"]
    n_tokens = sum(encoded.answer_tokens for encoded in sequences)
    with mock.patch.object(packing, "SHORTEST_TRUNK", shortest_trunk):
        packs = pack([[encoded] for encoded in sequences], budget)

    expected = torch.stack([naive(plain_model, encoded) for encoded in sequences])
    wanted = gradients(plain_model, -expected.sum() / n_tokens)
    found = torch.empty(len(sequences), dtype=torch.float64)
    packed_model.zero_grad()
    with shared_trunk(packed_model, packs):
        for one in packs:
            log_probs = answer_log_probs(packed_model, one)
            found[list(one.members)] = per_sequence(log_probs, one).detach()
            sft_loss(log_probs, n_tokens).backward()
    # transformers takes norms in fp32
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-6)
    for name, parameter in packed_model.named_parameters():
        if name not in wanted:
            assert parameter.grad is None
            continue
        scale = max(float(wanted[name].abs().max()), 1e-8)
        torch.testing.assert_close(parameter.grad / scale, wanted[name] / scale, rtol=1e-5, atol=1e-5)


@given(families(), st.integers(1, 40), st.sampled_from([1, 32]))
@settings(deadline=None)
def test_packs_hold_every_sequence_once_within_the_budget(
    sequences: list[Encoded], budget: int, shortest_trunk: int
) -> None:
    with mock.patch.object(packing, "SHORTEST_TRUNK", shortest_trunk):
        packs = pack([[encoded] for encoded in sequences], budget)
    assert len({tuple(one.trunk.tolist()) for one in packs}) == 1
    assert trie_tokens(packs) <= sum(one.n_tokens + one.trunk.numel() for one in packs)
    assert sorted(member for one in packs for member in one.members) == list(range(len(sequences)))
    for one in packs:
        longest = max(len(sequences[member].ids) for member in one.members)
        held = one.n_tokens + one.trunk.numel()
        assert held <= budget or (len(one.members) == 1 and held == longest)
        assert one.target.numel() == sum(sequences[m].answer_tokens for m in one.members)


def cost(ranges: Sequence[tuple[int, int]], alone: Sequence[int], behind: Sequence[int]) -> float:
    return sum(alone[start] + sum(behind[start + 1 : end]) + PACK_TOKENS for start, end in ranges)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1)), min_size=1, max_size=8), st.integers(1, 900))
@settings(deadline=None)
def test_no_other_cuts_take_fewer_tokens(units: list[tuple[int, float]], budget: int) -> None:
    alone = [n for n, _ in units]
    behind = [round(n * share) for n, share in units]
    found = cuts(alone, behind, budget)
    assert [i for start, end in found for i in range(start, end)] == list(range(len(units)))
    every = []
    for inner in range(len(units)):
        for places in itertools.combinations(range(1, len(units)), inner):
            edges = [0, *places, len(units)]
            ranges = list(itertools.pairwise(edges))
            if all(e - s == 1 or alone[s] + sum(behind[s + 1 : e]) <= budget for s, e in ranges):
                every.append(cost(ranges, alone, behind))
    assert cost(found, alone, behind) == min(every)


def test_a_conversation_is_not_cut_where_that_would_repeat_its_history() -> None:
    histories = [list(range(10 * c, 10 * c + 10)) * 20 for c in (1, 2)]  # 200 tokens each
    turns = [Encoded([*h, 3 + i, 1], [False] * 201 + [True]) for h in histories for i in range(3)]
    packs = pack([[one] for one in turns], 300)
    assert [sorted(one.members) for one in packs] == [[0, 1, 2], [3, 4, 5]]
    assert trie_tokens(packs) == 2 * (200 + 3 * 2)


def test_a_shared_prefix_is_laid_out_once() -> None:
    prompt = list(range(2, 8))
    a = Encoded([*prompt, 8, 1], [False] * 6 + [True] * 2)
    b = Encoded([*prompt, 9, 10, 1], [False] * 6 + [True] * 3)
    one = build([a, b], [0, 1])
    assert one.n_tokens == len(prompt) + 2 + 3
    assert one.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8]


@given(families(), st.integers(0, 3 * ROWS), st.sampled_from([(4, 4), (6, 2), (3, 1)]), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_attention_by_blocks_equals_one_masked_call_a_node(
    sequences: list[Encoded], longer: int, heads: tuple[int, int], before: int
) -> None:
    """Also where runs are longer than a block of rows; values and gradients, fp64."""
    prefix, last = [2] * longer, sequences[-1]
    stretched = [Encoded([*prefix, *one.ids], [False] * longer + one.trained) for one in sequences]
    stretched.append(Encoded([3, *last.ids], [False, *last.trained]))
    one = build(stretched, range(len(stretched)))
    generator = torch.Generator().manual_seed(longer)
    states = [
        torch.randn(1, n, ahead + one.n_tokens, 8, dtype=torch.float64, generator=generator, requires_grad=True)
        for n, ahead in ((heads[0], 0), (heads[1], before), (heads[1], before))
    ]
    upstream = torch.randn(1, heads[0], one.n_tokens, 8, dtype=torch.float64, generator=generator)
    results = []
    for attention in (TreeAttention.apply, per_node):
        out = attention(*states, one.nodes, before, 0.3)
        results.append((out.detach(), *torch.autograd.grad((out * upstream).sum(), states)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
    with torch.no_grad():  # FlexAttention has no backward on a CPU
        mask = block_mask(one.nodes, before, torch.device("cpu"))
        masked = by_mask(*(state.float() for state in states), mask, 0.3)
    torch.testing.assert_close(masked.double(), results[1][0], rtol=1e-4, atol=1e-5)


@given(families(), st.integers(0, 3 * BLOCK), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_a_block_mask_visits_every_pair_that_is_seen_and_tests_all_others(
    sequences: list[Encoded], longer: int, before: int
) -> None:
    """FlexAttention asks the mask itself in blocks listed as partly seen, and nothing in those listed as whole."""
    stretched = [Encoded([2] * longer + one.ids, [False] * longer + one.trained) for one in sequences]
    nodes = build(stretched, range(len(stretched))).nodes
    tokens = nodes[-1].end
    seen = torch.zeros(-tokens % BLOCK + tokens, -(before + tokens) % BLOCK + before + tokens, dtype=torch.bool)
    seen[:tokens, :before] = True
    for node in nodes:
        of_node = seen[node.start : node.subtree, before + node.start : before + node.end]
        of_node |= torch.ones_like(of_node).tril()
    blocks = seen.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(1, 2)
    mask = block_mask(nodes, before, torch.device("cpu"))
    partly, whole = listed(mask.kv_num_blocks, mask.kv_indices), listed(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not partly & whole
    for place in itertools.product(range(blocks.shape[0]), range(blocks.shape[1])):
        assert not blocks[place].any() or place in partly | whole
        assert blocks[place].all() or place not in whole
    rows, columns = torch.arange(tokens)[:, None], torch.arange(before + tokens)
    assert torch.equal(mask.mask_mod(None, None, rows, columns), seen[:tokens, : before + tokens])


@given(families(), st.integers(0, 3 * ROWS), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_blocks_of_rows_cover_each_row_once_and_hide_what_it_does_not_see(
    sequences: list[Encoded], longer: int, before: int
) -> None:
    stretched = [Encoded([2] * longer + one.ids, [False] * longer + one.trained) for one in sequences]
    nodes = build(stretched, range(len(stretched))).nodes
    seen = torch.zeros(nodes[-1].end, before + nodes[-1].end, dtype=torch.bool)
    for block in row_blocks(nodes, before):
        assert block.rows.stop - block.rows.start <= ROWS
        places = torch.cat([torch.arange(*columns) for columns in block.columns])
        hidden = torch.zeros(len(block.hidden), len(places))
        hidden[:, len(places) - block.hidden.shape[-1] :] = block.hidden[:, 0]
        assert not seen[block.rows].any()
        seen[block.rows][:, places] = hidden == 0
    assert seen[:, :before].all()
    for node in nodes:
        own = seen[:, before + node.start : before + node.end]
        expected = torch.zeros_like(own)
        expected[node.start : node.subtree] = torch.ones_like(own[node.start : node.subtree]).tril()
        assert torch.equal(own, expected)


def listed(counts: Any, places: Any) -> set[tuple[int, int]]:
    rows = zip(counts[0, 0].tolist(), places[0, 0].tolist(), strict=True)
    return {(row, column) for row, (count, columns) in enumerate(rows) for column in columns[:count]}


def test_a_subtree_ends_where_its_last_descendant_does() -> None:
    words = [[2, 3, 4, 5], [2, 3, 4, 6], [2, 3, 7], [8, 9]]
    one = build([Encoded(ids, [False] + [True] * (len(ids) - 1)) for ids in words], range(4))
    assert [(n.start, n.end, n.subtree) for n in one.nodes] == [
        (0, 2, 6),
        (2, 3, 5),
        (3, 4, 4),
        (4, 5, 5),
        (5, 6, 6),
        (6, 8, 8),
    ]


def test_a_sequence_longer_than_a_sliding_window_is_refused() -> None:
    one = build([Encoded([2, 3, 4, 5], [False, True, True, True])], [0])
    states = torch.zeros(1, 1, 4, 8)
    with pytest.raises(JoshiError, match="sliding window of 3"):
        tree_attention(torch.nn.Identity(), states, states, states, None, tree=one.nodes, sliding_window=3)


def test_what_all_packs_begin_with_is_laid_out_in_none() -> None:
    system = list(range(2, 10)) * 5
    sequences = [Encoded([*system, 3 + i, 4, 1], [False] * 41 + [True] * 2) for i in range(6)]
    packs = pack([[one] for one in sequences], 46)
    assert len(packs) > 1
    assert all(one.trunk.tolist() == system for one in packs)
    assert trie_tokens(packs) == 40 + 6 * 3
    assert packs[0].position_ids[0] == 40
    assert not pack([[one] for one in sequences], 100)[0].trunk.numel(), "one pack needs no trunk"


def test_a_pack_after_a_trunk_that_was_not_computed_is_refused() -> None:
    sequences = [Encoded([2, 3, 4, 5 + i, 1], [False] * 3 + [True] * 2) for i in range(2)]
    with pytest.raises(ValueError, match="trunk of 2 tokens"):
        answer_log_probs(MODELS["llama"]["fused"], build(sequences, range(2), trunk=2))


def test_attention_without_a_tree_is_refused() -> None:
    states = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="tree"):
        tree_attention(torch.nn.Identity(), states, states, states, None)
