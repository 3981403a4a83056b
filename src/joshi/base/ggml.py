"""llama.cpp's own kernels for its tensor types, from the package that also answers and serves."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi.errors import JoshiError, Unavailable

# ggml-quants.h; the others are rare, and numpy does them.
_ROWS = {
    Type.Q4_0: "q4_0", Type.Q4_1: "q4_1", Type.Q5_0: "q5_0", Type.Q5_1: "q5_1", Type.Q8_0: "q8_0",
    Type.Q2_K: "q2_K", Type.Q3_K: "q3_K", Type.Q4_K: "q4_K", Type.Q5_K: "q5_K", Type.Q6_K: "q6_K",
}  # fmt: skip


@cache
def library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("xllamacpp")
    found = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) if spec and spec.origin else []
    if not found:
        raise Unavailable("reading and writing tensors needs llama.cpp's kernels; install xllamacpp")
    library = ctypes.CDLL(str(found[0]))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    for name in _ROWS.values():
        function = getattr(library, f"dequantize_row_{name}")
        function.restype, function.argtypes = None, [pointer, pointer, count]
    return library


def dequantize(raw: NDArray[np.uint8], kind: Type) -> NDArray[np.float32]:
    """Rows of bytes, (rows, bytes a row), as fp32, (rows, columns); the bits are those of the gguf package's numpy.

    Raises:
        NotImplementedError: neither knows the type.
    """
    if kind not in _ROWS:
        values: NDArray[np.float32] = gguf.dequantize(raw, kind).astype(np.float32, copy=False)
        return values
    block, size = map(int, GGML_QUANT_SIZES[kind])
    if raw.ndim != 2 or raw.shape[1] % size:
        raise ValueError(f"{kind.name} takes rows of a multiple of {size} bytes, found the shape {raw.shape}")
    source = np.ascontiguousarray(raw)
    target = np.empty((len(raw), raw.shape[1] // size * block), dtype=np.float32)
    getattr(library(), f"dequantize_row_{_ROWS[kind]}")(source.ctypes.data, target.ctypes.data, target.size)
    return target


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
            raise JoshiError('a weight is too large for fp16; set [export] quantization to "Q8_0"')
        return half.view(np.uint8)
    n_rows, n_columns = rows.shape
    block, size = map(int, GGML_QUANT_SIZES[kind])
    if n_columns % block:
        raise JoshiError(f"{kind.name} needs rows of a multiple of {block} weights, found {n_columns}")
    if importance is not None and importance.shape != (n_columns,):
        raise ValueError(f"importance has the shape {importance.shape}, the rows have {n_columns} columns")
    source = np.ascontiguousarray(rows, dtype=np.float32)
    target = np.empty((n_rows, n_columns // block * size), dtype=np.uint8)
    weighed = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    llama = library()
    llama.ggml_quantize_init(int(kind))
    written = llama.ggml_quantize_chunk(
        int(kind), source.ctypes.data, target.ctypes.data, 0, n_rows, n_columns,
        None if weighed is None else weighed.ctypes.data,
    )  # fmt: skip
    if written != target.nbytes:
        raise JoshiError(f"llama.cpp wrote {written} bytes as {kind.name}, {target.nbytes} were expected")
    return target
