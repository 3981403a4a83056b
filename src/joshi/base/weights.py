"""A GGUF's weights as a transformers model, read tensor by tensor: fp32 on a CPU, bf16 on a GPU, or NF4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from joshi.base.gguf_file import GgufFile, chunks_of
from joshi.base.rope import rotary, rotated_of
from joshi.base.shard import own_rows, shard
from joshi.base.tensors import LINEAR, SUPPORTED, target_of, to_rope_halves
from joshi.errors import JoshiError, Unavailable


def load_model(
    file: GgufFile, attention: str = "sdpa", quantization: str = "none", sharded: bool = False, window: int = 0,
    device: str = "cpu",
) -> Any:  # fmt: skip
    """The base as a trainable LlamaForCausalLM or Phi3ForCausalLM.

    `window` is the context that it will be served with, in tokens: scaled rope may depend on it. On `device` "cuda"
    each tensor goes to the GPU as it is read, in bf16.

    With `quantization = "nf4"`, the linear layers of the decoder are NF4 with double quantisation (QLoRA, Dettmers et
    al. 2023), each made as soon as its tensor is read, so that no more than one is in memory in fp32. `sharded` splits
    the weights over all processes as they are read.

    Raises:
        JoshiError: an architecture other than llama and phi3, a tensor of a wrong shape, or NaN in a weight.
        Unavailable: NF4 is asked for and bitsandbytes is not installed.
    """
    if file.architecture not in SUPPORTED:
        raise JoshiError(
            f"{file.path}: architecture {file.architecture!r} cannot be trained; {' and '.join(SUPPORTED)} can"
        )
    config = config_of(file)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    if sharded:
        shard(model)
    wanted = dict(model.state_dict())
    four_bit = _four_bit(model, file.architecture, device) if quantization == "nf4" else {}
    done: set[str] = set()
    state: dict[str, torch.Tensor] = {}
    for tensor in file.tensors:
        target = target_of(tensor.name, file)
        if target is None:
            continue
        values = np.empty((tensor.n_rows, tensor.shape[-1]), dtype=np.float32)
        for rows in chunks_of(tensor):
            values[rows] = file.weights(tensor, rows)
        values = values.reshape(tensor.shape)
        if target.heads:
            values = to_rope_halves(values, target.heads)
        expected = wanted.get(target.name)
        if expected is None or tuple(expected.shape) != values.shape:
            shape = None if expected is None else tuple(expected.shape)
            raise JoshiError(f"{file.path}: tensor {tensor.name} has shape {values.shape}, the model needs {shape}")
        weight = torch.from_numpy(np.ascontiguousarray(values))
        if target.name in four_bit:
            four_bit[target.name](weight)
            done.add(target.name)
        else:
            state[target.name] = own_rows(weight.to(dtype), expected) if sharded else weight.to(device, dtype)
    missing = set(wanted) - set(state) - done - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    if missing:
        raise JoshiError(f"{file.path} lacks {len(missing)} tensors, among them {min(missing)}; get the file again")
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True, strict=not four_bit)
    model.tie_weights()
    model.is_loaded_in_4bit = bool(four_bit)  # PEFT asks for this
    # Rope's frequencies are computed, not stored in the state.
    model.model.rotary_emb = rotary(file, type(model.model.rotary_emb), config, window).to(device)
    return model


def _four_bit(model: Any, architecture: str, device: str) -> dict[str, Callable[[torch.Tensor], None]]:
    """Replace the decoder's linear layers; by parameter name, what takes each one's weight in fp32."""
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise Unavailable(
            '[sft] quantization = "nf4" needs bitsandbytes; install joshi[nf4], or set quantization = "none"'
        ) from error
    # bf16 products hang or crawl on CPUs; there the arithmetic is fp32 and only the storage is small.
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    takers: dict[str, Callable[[torch.Tensor], None]] = {}
    for name, module in list(model.model.named_modules()):
        parent, _, own = name.rpartition(".")
        if own not in LINEAR[architecture]:
            continue
        with torch.device("meta"):
            small = Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=dtype, compress_statistics=True,
                quant_type="nf4",
            )  # fmt: skip
        setattr(model.model.get_submodule(parent), own, small)

        def take(weight: torch.Tensor, small: Any = small) -> None:
            held = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
            small.weight = held.to(device)

        takers[f"model.{name}.weight"] = take
    return takers


def config_of(file: GgufFile) -> LlamaConfig | Phi3Config:
    """The base's shape as transformers describes it."""
    architecture = file.architecture
    names = {tensor.name for tensor in file.tensors}
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
            "partial_rotary_factor": rotated_of(file) / (int(file.need(f"{architecture}.embedding_length")) // heads),
        },
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
    }
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
