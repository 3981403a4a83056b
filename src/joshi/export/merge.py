"""Base GGUF + LoRA -> one GGUF in one streaming pass: a run of rows is read, dequantised, added to, quantised, written.

Memory holds CHUNK_WEIGHTS weights a thread, whatever the model's size; tensors that the adapter leaves alone, and all
metadata, are copied byte for byte. With a calibration the 4-bit tensors are rounded by what their layers see.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGMLQuantizationType
from numpy.typing import NDArray

from joshi.base.ggml import dequantize, quantize
from joshi.base.gguf_file import GgufFile, Tensor, chunks_of
from joshi.base.gguf_write import GgufOut, entries_of, row_bytes
from joshi.base.lora import Adapter, Weights
from joshi.base.tensors import layer_of, target_of
from joshi.errors import GateRefused
from joshi.export.types import FILE_TYPES, FINER, FOUR_BIT, PLAIN, type_of
from joshi.workspace import atomic, make_folder, require_space

if TYPE_CHECKING:  # they need torch, which an export without calibration does not
    from joshi.export.calibrate import Calibration
    from joshi.export.rounding import Sight

LEAST_KEPT = 0.9  # share of the fine-tune that must survive quantisation; below it users would ship the base
PROBES, PROBE_ROWS = 8, 32  # runs of rows, spread over a tensor, that its type and gain are chosen on


@dataclass(frozen=True)
class Kept:
    """How much of the fine-tune one written tensor holds: regression slope of what was written on what was meant."""

    tensor: str
    kind: str
    raised: bool  # a finer type than the rule gives, so that the fine-tune survives
    slope: float  # of the weights
    noise: float  # root mean square of the error, relative to the delta's
    power: float  # sum of squares of the delta
    outputs: float | None = None  # slope of the layer's outputs on the calibration texts, where there are any
    gain: float = 1.0  # the multiple of the delta that was aimed at

    @property
    def share(self) -> float:
        """What counts: a layer's outputs are what the model does; weights stand for them where they are not known."""
        return self.slope if self.outputs is None else self.outputs


@dataclass(frozen=True)
class Way:
    """How a touched tensor is written."""

    kind: GGMLQuantizationType
    sight: Sight | None = None
    gain: float = 1.0

    def write(self, base: Weights, delta: Weights) -> NDArray[np.uint8]:
        meant = base + np.float32(self.gain) * delta
        return self.sight.rounded(meant, self.kind) if self.sight else quantize(meant, self.kind)


def merge(
    file: GgufFile, adapter: Adapter | None, quantization: str, name: str, path: Path, advance: Callable[[int], None],
    calibration: Calibration | None = None, least: float = LEAST_KEPT,
) -> list[Kept]:  # fmt: skip
    """Write the merged model; returns what each touched tensor kept. `advance` is called once a tensor.

    A base whose weights lie on a 4-bit grid finds the same grid again when it is quantised to 4 bits, and a small
    delta is gone. Such a tensor is rounded with what its layer sees in mind, if there is a calibration, or takes the
    smallest type that keeps `least` of its delta.

    Raises:
        JoshiError: the adapter does not fit the base, or the file cannot be written.
        GateRefused: no type keeps enough of the fine-tune.
        After either, an earlier file at `path` is as it was.
    """
    # Factors are read here, to find a wrong one before anything is written, and again when their tensor is written.
    touched = {tensor.name for tensor in file.tensors if _factors(file, tensor, adapter)}
    if adapter is not None:
        adapter.require_all(len(touched))
    kinds = wanted_types(file, quantization, touched)
    require_space(make_folder(path.parent), size_of(file, kinds), path.name)
    changed: dict[str, Any] = {"general.name": name}
    if quantization in FILE_TYPES:
        changed["general.file_type"] = FILE_TYPES[quantization]
    tensors = file.tensors if calibration is None else sorted(file.tensors, key=_layer)
    kept: list[Kept] = []
    with atomic(path, "wb+") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        model = GgufOut(
            out, entries_of(file, changed), [(tensor.name, tensor.shape) for tensor in tensors], file.header.alignment
        )
        for tensor in tensors:
            found, wanted = _factors(file, tensor, adapter), kinds[tensor.name]
            if found is None:
                model.write(tensor.name, wanted, _copied(file, tensor, wanted))
            else:
                sight = calibration.sight(tensor) if calibration and wanted in FOUR_BIT else None
                kept.append(_touched(model, pool, file, tensor, found, wanted, sight, least))
            advance(1)
        model.close()
    return kept


def _layer(tensor: Tensor) -> int:
    """Layers in their order, before them what lies in none."""
    return layer if (layer := layer_of(tensor.name)) is not None else -1


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
    wanted: GGMLQuantizationType, sight: Sight | None, least: float,
) -> Kept:  # fmt: skip
    """Write a tensor in the wanted type, or again in a finer one until enough is kept."""
    kinds = (wanted, *FINER.get(wanted, ()))
    probe = Way(wanted)
    if sight is not None:
        probe = Way(wanted, sight, sight.gain(*_sample(file, tensor, factors), wanted))
    elif len(kinds) > 1:
        probe = _cheapest(file, tensor, factors, kinds, least)
    for way in (probe, *(Way(kind) for kind in kinds[kinds.index(probe.kind) + 1 :])):
        sums = np.zeros(5)

        def chunks(way: Way = way, sums: NDArray[np.float64] = sums) -> Iterator[NDArray[np.uint8]]:
            # As many chunks at a time as there are threads: the pool itself would read the whole tensor ahead.
            every, at_once = list(chunks_of(tensor)), os.cpu_count() or 1
            for start in range(0, len(every), at_once):
                some = every[start : start + at_once]
                for raw, found in pool.map(lambda rows: _merged(*_parts(file, tensor, factors, rows), way), some):
                    np.add(sums, found, out=sums)
                    yield raw

        model.write(tensor.name, way.kind, chunks())
        kept = _kept(tensor.name, way, way.kind != wanted, sums)
        if kept.share >= least:
            return kept
    raise GateRefused(
        f"{kept.kind} keeps {kept.share:.2f} of the fine-tune in {tensor.name}, {least} is needed; train longer "
        'or at a higher rate, or set [export] quantization to "Q8_0" or "F16"'
    )


def _cheapest(
    file: GgufFile, tensor: Tensor, factors: tuple[Weights, Weights], kinds: Sequence[GGMLQuantizationType],
    least: float,
) -> Way:  # fmt: skip
    """The smallest type that keeps enough of a sample: writing a whole tensor to find out takes far longer."""
    sample = _sample(file, tensor, factors)
    ways = [Way(kind) for kind in kinds]
    return next(
        (way for way in ways if _kept(tensor.name, way, False, _merged(*sample, way)[1]).slope >= least), ways[-1]
    )


def _sample(file: GgufFile, tensor: Tensor, factors: tuple[Weights, Weights]) -> tuple[Weights, Weights]:
    """Rows spread over the tensor: the base's and what is added to them; all of a small tensor's."""
    step = -(-tensor.n_rows // PROBES)
    starts = range(0, tensor.n_rows, step)
    parts = [
        _parts(file, tensor, factors, slice(start, min(start + min(step, PROBE_ROWS), tensor.n_rows)))
        for start in starts
    ]
    return np.concatenate([base for base, _ in parts]), np.concatenate([delta for _, delta in parts])


def _parts(file: GgufFile, tensor: Tensor, factors: tuple[Weights, Weights], rows: slice) -> tuple[Weights, Weights]:
    down, up = factors
    return file.weights(tensor, rows), up[rows] @ down


def _merged(base: Weights, delta: Weights, way: Way) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Some rows in their new type, and what they add to the sums behind `Kept`."""
    raw = way.write(base, delta)
    error = dequantize(raw, way.kind) - base
    error -= delta
    sums = [float(np.vdot(one, other)) for one, other in ((delta, delta), (error, delta), (error, error))]
    seen = [way.sight.product(one, delta) for one in (delta, error)] if way.sight else [0.0, 0.0]
    return raw, np.array([*sums, *seen], dtype=np.float64)


def _kept(name: str, way: Way, raised: bool, sums: NDArray[np.float64]) -> Kept:
    power, along, noise, seen_power, seen_along = map(float, sums)
    if power == 0:
        return Kept(name, way.kind.name, raised, 1.0, 0.0, 0.0)
    outputs = 1 + seen_along / seen_power if seen_power else None
    return Kept(name, way.kind.name, raised, 1 + along / power, math.sqrt(noise / power), power, outputs, way.gain)


def overall(kept: Sequence[Kept]) -> float:
    """Share of the whole fine-tune that was written: slopes weighted by their deltas; 1 without an adapter."""
    power = sum(one.power for one in kept)
    return sum(one.share * one.power for one in kept) / power if power else 1.0
