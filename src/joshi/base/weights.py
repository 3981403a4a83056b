"""A GGUF's weights as a transformers model in fp32, read tensor by tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gguf import dequantize
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import SUPPORTED, target_of, to_rope_halves
from joshi.errors import JoshiError


def load_model(file: GgufFile, attention: str = "sdpa") -> Any:
    """The base as a trainable LlamaForCausalLM or Phi3ForCausalLM.

    Raises:
        JoshiError: an architecture other than llama and phi3, a tensor of a wrong shape, or NaN in a weight.
    """
    if file.architecture not in SUPPORTED:
        raise JoshiError(
            f"{file.path}: architecture {file.architecture!r} cannot be trained; {' and '.join(SUPPORTED)} can"
        )
    config = _config(file)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    wanted = dict(model.state_dict())
    state: dict[str, torch.Tensor] = {}
    for tensor in file.reader.tensors:
        target = target_of(tensor.name, file)
        if target is None:
            continue
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise JoshiError(f"{file.path}: tensor {tensor.name} holds NaN or infinite weights; get the file again")
        if target.heads:
            values = to_rope_halves(values, target.heads)
        expected = wanted.get(target.name)
        if expected is None or tuple(expected.shape) != values.shape:
            shape = None if expected is None else tuple(expected.shape)
            raise JoshiError(f"{file.path}: tensor {tensor.name} has shape {values.shape}, the model needs {shape}")
        state[target.name] = torch.from_numpy(np.array(values, order="C"))  # a copy: the file is mapped read-only
    missing = set(wanted) - set(state) - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    if missing:
        raise JoshiError(f"{file.path} lacks {len(missing)} tensors, among them {min(missing)}; get the file again")
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    # Buffers (rope frequencies) are computed, not stored: make them on the CPU.
    with torch.device("cpu"):
        model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model


def _config(file: GgufFile) -> LlamaConfig | Phi3Config:
    architecture = file.architecture
    names = {tensor.name for tensor in file.reader.tensors}
    heads = int(file.need(f"{architecture}.attention.head_count"))
    common = {
        "vocab_size": len(file.need("tokenizer.ggml.tokens")),
        "hidden_size": int(file.need(f"{architecture}.embedding_length")),
        "intermediate_size": int(file.need(f"{architecture}.feed_forward_length")),
        "num_hidden_layers": int(file.need(f"{architecture}.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(file.value(f"{architecture}.attention.head_count_kv", heads)),
        "max_position_embeddings": int(file.need(f"{architecture}.context_length")),
        "rms_norm_eps": float(file.need(f"{architecture}.attention.layer_norm_rms_epsilon")),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(file.value(f"{architecture}.rope.freq_base", 10_000.0)),
        },
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
    }
    if any(name.startswith("rope_") for name in names):
        raise JoshiError(f"{file.path}: scaled rope (long-context factors) is not supported yet; use a 4k or 16k base")
    if architecture == "llama":
        return LlamaConfig(**common)
    window = file.value("phi3.attention.sliding_window")
    return Phi3Config(
        **common,
        original_max_position_embeddings=int(
            file.value("phi3.rope.scaling.original_context_length", common["max_position_embeddings"])
        ),
        sliding_window=int(window) if window else None,
    )
