"""Base GGUF + LoRA -> one GGUF, tensor by tensor: dequantise, add, quantise, write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter, dequantize
from numpy.typing import NDArray

from joshi.base.gguf_file import GgufFile, shape_of
from joshi.base.lora import Adapter
from joshi.base.tensors import target_of
from joshi.errors import GateRefused
from joshi.export.quantize import FILE_TYPES, FINER, quantize, type_of
from joshi.workspace import atomic_path, make_folder, require_space

LEAST_KEPT = 0.9  # share of the fine-tune that must survive quantisation; below it users would ship the base


@dataclass(frozen=True)
class Kept:
    """How much of the fine-tune one written tensor holds: regression slope of what was written on what was meant."""

    tensor: str
    kind: str
    raised: bool  # a finer type than llama.cpp's rule gives, so that the fine-tune survives
    slope: float
    noise: float  # root mean square of the error, relative to the delta's
    power: float  # sum of squares of the delta


def merge(
    file: GgufFile, adapter: Adapter | None, quantization: str, name: str, path: Path, advance: Callable[[int], None]
) -> list[Kept]:
    """Write the merged model; returns what each touched tensor kept. `advance` is called twice a tensor.

    Raises:
        JoshiError: the adapter does not fit the base, or the file cannot be written.
        GateRefused: quantisation rounds the fine-tune away.
        After either, an earlier file at `path` is as it was.
    """
    kinds, kept = choose_types(file, adapter, quantization, advance)
    if adapter is not None:
        adapter.require_all(len(kept))
    least = min(kept, key=lambda one: one.slope, default=None)
    if least is not None and least.slope < LEAST_KEPT:
        raise GateRefused(
            f"{quantization} keeps {overall(kept):.2f} of the fine-tune, {LEAST_KEPT} is needed (least: "
            f"{least.slope:.2f} of {least.tensor}); train longer or at a higher rate, or set [export] quantization "
            'to "Q8_0" or "F16"'
        )
    size = sum(math.prod(_raw_shape(shape_of(tensor), kinds[tensor.name])) for tensor in file.reader.tensors)
    require_space(make_folder(path.parent), size, path.name)
    with atomic_path(path) as beside:
        writer = GGUFWriter(beside, arch=file.architecture)
        copy_metadata(file, writer, {"general.name": name, "general.file_type": FILE_TYPES[quantization]})
        for tensor in file.reader.tensors:
            blank = np.empty(_raw_shape(shape_of(tensor), kinds[tensor.name]), dtype=np.uint8)
            writer.add_tensor_info(tensor.name, blank.shape, blank.dtype, blank.nbytes, raw_dtype=kinds[tensor.name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, values, _ in merged_tensors(file, adapter):
            writer.write_tensor_data(quantize(values.reshape(-1, values.shape[-1]), kinds[tensor.name]))
            advance(1)
        writer.close()
    return kept


def choose_types(
    file: GgufFile, adapter: Adapter | None, quantization: str, advance: Callable[[int], None]
) -> tuple[dict[str, GGMLQuantizationType], list[Kept]]:
    """llama.cpp's type for every tensor, or a finer one where that would round the fine-tune away.

    A base whose weights lie on a 4-bit grid finds the same grid again when it is quantised to 4 bits, and a small
    delta is gone. Such a tensor takes the smallest type that keeps LEAST_KEPT of its delta.
    """
    n_layers = int(file.need(f"{file.architecture}.block_count"))
    tied = all(tensor.name != "output.weight" for tensor in file.reader.tensors)
    kinds: dict[str, GGMLQuantizationType] = {}
    kept: list[Kept] = []
    for tensor, values, delta in merged_tensors(file, adapter):
        wanted = type_of(tensor.name, values.shape, quantization, n_layers, tied)
        kinds[tensor.name] = wanted
        if delta is not None:
            for kind in (wanted, *FINER.get(wanted, ())):
                found = _kept(tensor.name, values, delta, quantize(values, kind), kind, raised=kind != wanted)
                kinds[tensor.name] = kind
                if found.slope >= LEAST_KEPT:
                    break
            kept.append(found)
        advance(1)
    return kinds, kept


def merged_tensors(
    file: GgufFile, adapter: Adapter | None
) -> Iterator[tuple[Any, NDArray[np.float32], NDArray[np.float32] | None]]:
    """Each tensor of the base, one at a time in memory, with what the adapter adds already added."""
    for tensor in file.reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        target = target_of(tensor.name, file)
        delta = adapter.delta(target, values.shape) if adapter and target else None
        yield tensor, (values if delta is None else values + delta), delta


def copy_metadata(file: GgufFile, writer: GGUFWriter, changed: dict[str, Any]) -> None:
    """All key-values of the base, in order, with some values replaced."""
    for name, field in file.reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind, *sub = field.types
        value = changed.get(name, field.contents())
        writer.add_key_value(name, value, kind, sub[-1] if kind == GGUFValueType.ARRAY and sub else None)
    present = {name for name in changed if name in file.reader.fields}
    for name in changed.keys() - present:
        kind = GGUFValueType.STRING if isinstance(changed[name], str) else GGUFValueType.UINT32
        writer.add_key_value(name, changed[name], kind)


def _raw_shape(shape: tuple[int, ...], kind: GGMLQuantizationType) -> tuple[int, ...]:
    block, size = GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // block * size)


def _kept(
    name: str,
    meant: NDArray[np.float32],
    delta: NDArray[np.float32],
    raw: NDArray[np.uint8],
    kind: GGMLQuantizationType,
    raised: bool,
) -> Kept:
    written = dequantize(raw, kind).astype(np.float64).reshape(meant.shape)
    change = delta.astype(np.float64)
    power = float((change**2).sum())
    if power == 0:
        return Kept(name, kind.name, raised, 1.0, 0.0, 0.0)
    error = written - meant
    slope = 1 + float((error * change).sum()) / power
    return Kept(name, kind.name, raised, slope, math.sqrt(float((error**2).sum()) / power), power)


def overall(kept: list[Kept]) -> float:
    """Share of the whole fine-tune that was written: slopes weighted by their deltas; 1 without an adapter."""
    power = sum(one.power for one in kept)
    return sum(one.slope * one.power for one in kept) / power if power else 1.0
