"""Losses and gradients against TRL's own trainers, on the same tiny model and the same texts."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from joshi.plan import Plan
from joshi.prompt import Encoded
from joshi.training.attention import NAME
from joshi.training.forward import answer_log_probs, install
from joshi.training.objectives import dpo_losses, sft_loss
from joshi.training.packing import pack
from joshi.training.preference import pair_log_probs, pairs_of

WORDS = 40
BETA = 0.3


def words(generator: random.Random, n: int) -> str:
    return " ".join(f"w{generator.randrange(WORDS)}" for _ in range(n))


def pairs() -> list[dict[str, str]]:
    """A few prompts with answers of unlike length; two pairs share a prompt, and all share its first words."""
    chooser = random.Random(11)
    prompts = ["w1 w2 w3 " + words(chooser, 3 + i) for i in range(5)]
    return [
        {"prompt": prompt + " ", "chosen": words(chooser, 1 + i), "rejected": words(chooser, 9 - i)}
        for i, prompt in enumerate([*prompts, prompts[0]])
    ]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{i}": 3 + i for i in range(WORDS)}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="right"
    )


def tiny(seed: int) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS + 3, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).float().eval()


def ours_of(theirs: Any) -> Any:
    """The same weights behind tree attention."""
    model = copy.deepcopy(theirs)
    model.set_attn_implementation(NAME)
    model.lm_head.weight.requires_grad_(False)  # as under LoRA
    return install(model)


def encoded(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> Encoded:
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    after = [*tokenizer(answer, add_special_tokens=False)["input_ids"], 1]
    return Encoded(before + after, [False] * len(before) + [True] * len(after))


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        scale = max(float(value.abs().max()), 1e-8)
        torch.testing.assert_close(ours[name] / scale, value / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ld_alpha", [1.0, 0.3])
def test_dpo_is_what_trls_trainer_computes(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, ld_alpha: float) -> None:
    policy, reference = tiny(1), tiny(2)
    policy.lm_head.weight.requires_grad_(False)  # as under LoRA, in theirs and in ours
    mine, my_reference = ours_of(policy), ours_of(reference)
    rows = pairs()
    arguments = DPOConfig(
        output_dir=str(tmp_path), beta=BETA, per_device_train_batch_size=len(rows), report_to=[], use_cpu=True,
        gradient_checkpointing=False, bf16=False, disable_dropout=True, max_length=None,
        ld_alpha=ld_alpha,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=policy, ref_model=reference, args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    batch = trainer.data_collator(list(trainer.train_dataset))
    wanted = trainer.compute_loss(trainer.model, batch)
    theirs = gradients(trainer.model, wanted)

    units = [[encoded(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")] for row in rows]
    lengths = torch.tensor([[one.answer_tokens for one in unit] for unit in units])
    plan = Plan.model_validate({"preference": {"ld_alpha": ld_alpha}})
    policy_pairs, reference_pairs = torch.empty(len(rows), 2), torch.empty(len(rows), 2)
    for one in pack(units, 30):
        policy_pairs[pairs_of(one)] = pair_log_probs(answer_log_probs(mine, one), one, lengths, plan)
        with torch.no_grad():
            tokens = answer_log_probs(my_reference, one)
            reference_pairs[pairs_of(one)] = pair_log_probs(tokens, one, lengths, plan)
    loss = dpo_losses(*policy_pairs.T, *reference_pairs.T, beta=BETA).mean()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
    assert abs(wanted.item() - math.log(2)) > 0.02, "the policies must differ, or every loss is log 2"
    assert_same(gradients(mine, loss), theirs)


def test_sft_is_what_trls_trainer_computes(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny(3)
    model.lm_head.weight.requires_grad_(False)
    mine = ours_of(model)
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs()]
    arguments = SFTConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=len(rows), report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, completion_only_loss=True, max_length=None,
    )  # fmt: skip
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    batch = trainer.data_collator(list(trainer.train_dataset))
    wanted = trainer.compute_loss(trainer.model, batch)
    theirs = gradients(trainer.model, wanted)

    sequences = [encoded(tokenizer, row["prompt"], row["completion"]) for row in rows]
    n_tokens = sum(one.answer_tokens for one in sequences)
    parts = [sft_loss(answer_log_probs(mine, one), n_tokens) for one in pack([[one] for one in sequences], 30)]
    loss = torch.stack(parts).sum()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
    assert_same(gradients(mine, loss), theirs)
