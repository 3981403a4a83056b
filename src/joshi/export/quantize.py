"""llama.cpp's own quantisation kernels, and its rule for which tensor gets which type."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from functools import cache
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi.errors import JoshiError, Unavailable

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


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("xllamacpp")
    found = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) if spec and spec.origin else []
    if not found:
        raise Unavailable("quantising needs llama.cpp's kernels from the package xllamacpp; install xllamacpp")
    library = ctypes.CDLL(str(found[0]))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    return library


def quantize(rows: NDArray[np.float32], kind: Type, importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Quantise a matrix (rows, columns) with ggml_quantize_chunk; returns (rows, bytes a row).

    `importance`, (columns,), weighs the errors that the search for a block's scales minimises: llama.cpp's imatrix.
    """
    if kind == Type.F32:
        return rows.astype(np.float32).view(np.uint8)
    if kind == Type.F16:
        with np.errstate(over="ignore"):
            half = rows.astype(np.float16)
        if not np.isfinite(half).all():
            raise JoshiError('a merged weight is too large for fp16; set [export] quantization to "Q8_0"')
        return half.view(np.uint8)
    n_rows, n_columns = rows.shape
    block, size = GGML_QUANT_SIZES[kind]
    if n_columns % block:
        raise JoshiError(f"{kind.name} needs rows of a multiple of {block} weights, found {n_columns}")
    source = np.ascontiguousarray(rows, dtype=np.float32)
    target = np.empty((n_rows, n_columns // block * size), dtype=np.uint8)
    weighed = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    library = _library()
    library.ggml_quantize_init(int(kind))
    written = library.ggml_quantize_chunk(
        int(kind), source.ctypes.data, target.ctypes.data, 0, n_rows, n_columns,
        None if weighed is None else weighed.ctypes.data,
    )  # fmt: skip
    if written != target.nbytes:
        raise JoshiError(f"llama.cpp wrote {written} bytes as {kind.name}, {target.nbytes} were expected")
    return target


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
