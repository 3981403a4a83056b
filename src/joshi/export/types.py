"""llama.cpp's rule for which tensor gets which type, and ours for which comes next if a fine-tune needs more."""

from __future__ import annotations

import re

from gguf import GGMLQuantizationType as Type

# Super-blocks hold 256 weights; a row that is no multiple falls back as llama.cpp does (llama-quant.cpp).
_FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
# Finer types, in growing size, for a tensor whose fine-tune the type of the rule would round away.
FINER = {
    Type.Q4_K: (Type.Q5_K, Type.Q6_K, Type.Q8_0),
    Type.Q5_K: (Type.Q6_K, Type.Q8_0),
    Type.Q6_K: (Type.Q8_0,),
    Type.Q4_0: (Type.Q5_0, Type.Q8_0),
    Type.Q4_1: (Type.Q5_1, Type.Q8_0),
    Type.Q5_0: (Type.Q8_0,),
    Type.Q5_1: (Type.Q8_0,),
}
FOUR_BIT = (Type.Q4_K, Type.Q4_0, Type.Q4_1)  # that can be rounded by what a layer sees
PLAIN = (Type.F32, Type.F16, Type.BF16)  # not quantised
# Values of general.file_type (llama.h, llama_ftype).
FILE_TYPES = {"F16": 1, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}


def type_of(tensor: str, shape: tuple[int, ...], target: str, n_layers: int, tied: bool) -> Type:
    """The type of a tensor in a file of the target type, as llama.cpp's llama_tensor_get_type chooses it.

    `shape` is (rows, columns); `tied`: the embedding also makes the logits.
    """
    if len(shape) < 2:
        return Type.F32
    if target in ("F16", "Q8_0"):
        return Type[target]
    kind = _mixed(tensor, target, n_layers, tied)
    return kind if shape[-1] % 256 == 0 else _FALLBACK[kind]


def _mixed(tensor: str, target: str, n_layers: int, tied: bool) -> Type:
    if target == "Q6_K" or tensor == "output.weight" or (tensor == "token_embd.weight" and tied):
        return Type.Q6_K
    found = re.fullmatch(r"blk\.(\d+)\.(attn_v|attn_qkv|ffn_down)\.weight", tensor)
    if found and _more_bits(int(found[1]), n_layers):
        return Type.Q6_K
    return Type.Q4_K if target == "Q4_K_M" else Type.Q5_K


def _more_bits(layer: int, n_layers: int) -> bool:
    """llama.cpp's use_more_bits: the first and last eighth, and every third layer between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2
