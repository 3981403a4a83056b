"""Tiny checkpoints with random weights, as transformers saves them: Llama's shape rules and Phi-4's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from joshi.base.tokenizer import CL100K

PHI4_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + "
    "'<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "procwise" / "transcripts"


def phi4_tokenizer() -> Tokenizer:
    """Phi-4's split, markers and byte-level BPE, with a vocabulary of 2,000 made of the example's text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train(sorted(map(str, EXAMPLE.glob("*.jsonl"))), trainer)
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"]
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in markers])
    return tokenizer


def save(
    folder: Path, architecture: str, tokenizer: Tokenizer, template: str, dtype: torch.dtype, **config: Any
) -> Any:
    """A checkpoint in several shards; returns the model that transformers reads from it, in fp32."""
    torch.manual_seed(3)
    shape: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size() + 24,  # the embedding is padded, as Phi-4's is
        "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": tokenizer.token_to_id("<|im_end|>"), **config,
    }  # fmt: skip
    made = Phi3Config(**shape) if architecture == "phi3" else LlamaConfig(**shape)
    model = AutoModelForCausalLM.from_config(made).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.1)
    model.save_pretrained(str(folder), max_shard_size="500KB")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "add_bos_token": False})
    )
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
