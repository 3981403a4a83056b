"""Base GGUF + LoRA -> one GGUF in one streaming pass: a run of rows is read, dequantised, added to, quantised, written.

Memory holds CHUNK_WEIGHTS weights a thread, whatever the model's size; tensors that the adapter leaves alone, and all
metadata, are copied byte for byte.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, dequantize
from numpy.typing import NDArray

from joshi.base.gguf_file import GgufFile, Tensor, chunks_of
from joshi.base.gguf_write import GgufOut, entries_of, row_bytes
from joshi.base.lora import Adapter, Weights
from joshi.base.tensors import target_of
from joshi.errors import GateRefused
from joshi.export.quantize import FILE_TYPES, FINER, PLAIN, quantize, type_of
from joshi.workspace import atomic, make_folder, require_space

LEAST_KEPT = 0.9  # share of the fine-tune that must survive quantisation; below it users would ship the base


@dataclass(frozen=True)
class Kept:
    """How much of the fine-tune one written tensor holds: regression slope of what was written on what was meant."""

    tensor: str
    kind: str
    raised: bool  # a finer type than the rule gives, so that the fine-tune survives
    slope: float
    noise: float  # root mean square of the error, relative to the delta's
    power: float  # sum of squares of the delta


def merge(
    file: GgufFile, adapter: Adapter | None, quantization: str, name: str, path: Path, advance: Callable[[int], None]
) -> list[Kept]:
    """Write the merged model; returns what each touched tensor kept. `advance` is called once a tensor.

    A base whose weights lie on a 4-bit grid finds the same grid again when it is quantised to 4 bits, and a small
    delta is gone. Such a tensor takes the smallest type that keeps LEAST_KEPT of its delta.

    Raises:
        JoshiError: the adapter does not fit the base, or the file cannot be written.
        GateRefused: no type keeps enough of the fine-tune.
        After either, an earlier file at `path` is as it was.
    """
    factors = {tensor.name: _factors(file, tensor, adapter) for tensor in file.tensors}
    if adapter is not None:
        adapter.require_all(sum(found is not None for found in factors.values()))
    kinds = wanted_types(file, quantization, {name for name, found in factors.items() if found is not None})
    require_space(make_folder(path.parent), size_of(file, kinds), path.name)
    changed: dict[str, Any] = {"general.name": name}
    if quantization in FILE_TYPES:
        changed["general.file_type"] = FILE_TYPES[quantization]
    kept: list[Kept] = []
    with atomic(path, "wb+") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        model = GgufOut(
            out, entries_of(file, changed), [(tensor.name, tensor.shape) for tensor in file.tensors],
            file.header.alignment,
        )  # fmt: skip
        for tensor in file.tensors:
            found = factors[tensor.name]
            if found is None:
                model.write(tensor.name, kinds[tensor.name], _copied(file, tensor, kinds[tensor.name]))
            else:
                kept.append(_touched(model, pool, file, tensor, found, kinds[tensor.name]))
            advance(1)
        model.close()
    return kept


def wanted_types(file: GgufFile, quantization: str, touched: set[str]) -> dict[str, GGMLQuantizationType]:
    """The target's rule for each touched tensor and for each that is not quantised yet; the others stay as they are."""
    n_layers = int(file.need(f"{file.architecture}.block_count"))
    tied = all(tensor.name != "output.weight" for tensor in file.tensors)
    return {
        tensor.name: tensor.kind
        if quantization == "base" or (tensor.name not in touched and tensor.kind not in PLAIN)
        else type_of(tensor.name, tensor.shape, quantization, n_layers, tied)
        for tensor in file.tensors
    }


def size_of(file: GgufFile, kinds: dict[str, GGMLQuantizationType]) -> int:
    """Bytes of the tensors in their new types, before any of them takes a finer one."""
    return sum(tensor.n_rows * row_bytes(tensor.shape[-1], kinds[tensor.name]) for tensor in file.tensors)


def _factors(file: GgufFile, tensor: Tensor, adapter: Adapter | None) -> tuple[Weights, Weights] | None:
    """A and B times the adapter's scale, so that the delta of some rows is B[rows] A; None for an untouched tensor."""
    target = target_of(tensor.name, file)
    found = adapter.factors(target, tensor.shape) if adapter and target else None
    return None if adapter is None or found is None else (found[0], found[1] * np.float32(adapter.scale))


def _copied(file: GgufFile, tensor: Tensor, kind: GGMLQuantizationType) -> Iterator[NDArray[np.uint8]]:
    for rows in chunks_of(tensor):
        yield file.raw(tensor, rows) if kind == tensor.kind else quantize(file.weights(tensor, rows), kind)


def _touched(
    model: GgufOut, pool: ThreadPoolExecutor, file: GgufFile, tensor: Tensor, factors: tuple[Weights, Weights],
    wanted: GGMLQuantizationType,
) -> Kept:  # fmt: skip
    """Write a tensor in the wanted type, or again in a finer one until enough is kept."""
    for kind in (wanted, *FINER.get(wanted, ())):
        sums = np.zeros(3)  # of delta squared, error times delta, and error squared

        def chunks(kind: GGMLQuantizationType = kind, sums: NDArray[np.float64] = sums) -> Iterator[NDArray[np.uint8]]:
            # As many chunks at a time as there are threads: the pool itself would read the whole tensor ahead.
            every, at_once = list(chunks_of(tensor)), os.cpu_count() or 1
            for start in range(0, len(every), at_once):
                some = every[start : start + at_once]
                for raw, found in pool.map(lambda rows: _merged(file, tensor, rows, factors, kind), some):
                    np.add(sums, found, out=sums)
                    yield raw

        model.write(tensor.name, kind, chunks())
        kept = _kept(tensor.name, kind, kind != wanted, sums)
        if kept.slope >= LEAST_KEPT:
            return kept
    raise GateRefused(
        f"{kept.kind} keeps {kept.slope:.2f} of the fine-tune in {tensor.name}, {LEAST_KEPT} is needed; train longer "
        'or at a higher rate, or set [export] quantization to "Q8_0" or "F16"'
    )


def _merged(
    file: GgufFile, tensor: Tensor, rows: slice, factors: tuple[Weights, Weights], kind: GGMLQuantizationType
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Some rows in their new type, and what they add to the sums behind `Kept`."""
    down, up = factors
    delta = up[rows] @ down
    meant = file.weights(tensor, rows) + delta
    raw = quantize(meant, kind)
    error = dequantize(raw, kind).astype(np.float32, copy=False).reshape(meant.shape) - meant
    sums = [np.vdot(one, other) for one, other in ((delta, delta), (error, delta), (error, error))]
    return raw, np.array(sums, dtype=np.float64)


def _kept(name: str, kind: GGMLQuantizationType, raised: bool, sums: NDArray[np.float64]) -> Kept:
    power, along, noise = map(float, sums)
    if power == 0:
        return Kept(name, kind.name, raised, 1.0, 0.0, 0.0)
    return Kept(name, kind.name, raised, 1 + along / power, math.sqrt(noise / power), power)


def overall(kept: Sequence[Kept]) -> float:
    """Share of the whole fine-tune that was written: slopes weighted by their deltas; 1 without an adapter."""
    power = sum(one.power for one in kept)
    return sum(one.slope * one.power for one in kept) / power if power else 1.0
