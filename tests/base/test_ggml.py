"""llama.cpp's kernels give the weights that transformers would, bit for bit."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.base.ggml import _ROWS, dequantize, quantize


@pytest.mark.parametrize("kind", _ROWS)
@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_any_bytes_are_read_as_the_gguf_package_reads_them(kind: Type, seed: int) -> None:
    """Also scales that no quantiser writes: hostile files hold any."""
    raw = np.random.default_rng(seed).integers(0, 256, (3, 4 * GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(raw, kind).astype(np.float32)
    np.testing.assert_array_equal(dequantize(raw, kind), expected)  # NaN where NaN is


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16, Type.IQ4_NL])
def test_other_types_are_read_too(kind: Type) -> None:
    rows = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)
    raw = gguf.quants.quantize(rows, kind) if kind != Type.IQ4_NL else quantize(rows, kind)
    assert np.abs(dequantize(np.ascontiguousarray(raw).view(np.uint8), kind) - rows).max() < 0.2


def test_rows_that_are_no_whole_blocks_never_reach_the_kernel() -> None:
    with pytest.raises(ValueError, match="multiple of 144 bytes"):
        dequantize(np.zeros((2, 100), np.uint8), Type.Q4_K)
    with pytest.raises(ValueError, match="256 columns"):
        quantize(np.zeros((2, 256), np.float32), Type.Q4_K, np.zeros(128, np.float32))
