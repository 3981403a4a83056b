"""How a GGUF's tensors map onto the parameters of transformers' Llama and Phi-3 models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError

_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
SUPPORTED = ("llama", "phi3")
LINEAR = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
}


@dataclass(frozen=True)
class Target:
    """A parameter's name in transformers; `heads` if its rows are interleaved for llama.cpp's rope."""

    name: str
    heads: int = 0


def target_of(tensor: str, file: GgufFile) -> Target | None:
    """Where a GGUF tensor goes; None for tensors that models compute themselves (rope factors)."""
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", tensor):
        layer, name, kind = found.groups()
        mapped = "mlp.gate_up_proj" if file.architecture == "phi3" and name == "ffn_up" else _LAYER.get(name)
        if mapped is None:
            raise JoshiError(f"{file.path}: tensor {tensor} is not known in a {file.architecture} model")
        heads = 0
        if file.architecture == "llama" and name in ("attn_q", "attn_k"):
            heads = int(file.need("llama.attention.head_count" + ("_kv" if name == "attn_k" else "")))
        return Target(f"model.layers.{layer}.{mapped}.{kind}", heads)
    stem, _, kind = tensor.rpartition(".")
    if stem in _TOP:
        return Target(f"{_TOP[stem]}.{kind}")
    if stem.startswith("rope_"):
        return None
    raise JoshiError(f"{file.path}: tensor {tensor} is not known in a {file.architecture} model")


def layer_of(tensor: str) -> int | None:
    """The number of the layer that a GGUF tensor belongs to; None for those outside."""
    found = re.match(r"blk\.(\d+)\.", tensor)
    return int(found[1]) if found else None


def gguf_name(stem: str, architecture: str) -> str | None:
    """The inverse of `target_of`, of names without their .weight; None for one that is not known."""
    if found := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem):
        names = {mapped: name for name, mapped in _LAYER.items()}
        if architecture == "phi3":
            names["mlp.gate_up_proj"] = "ffn_up"
        name = names.get(found[2])
        return f"blk.{found[1]}.{name}" if name else None
    return {mapped: name for name, mapped in _TOP.items()}.get(stem)


def to_rope_halves(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """llama.cpp pairs neighbouring rows for rope, transformers pairs halves: GGUF order to transformers'."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_rope_pairs(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """The inverse of `to_rope_halves`."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(rows.shape)
