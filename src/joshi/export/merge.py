"""Base GGUF + LoRA -> one GGUF, tensor by tensor: dequantise, add, quantise, write."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter, dequantize
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import Target, target_of, to_rope_pairs
from joshi.errors import GateRefused, JoshiError
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


@dataclass(frozen=True)
class Adapter:
    """A PEFT LoRA: delta W = scale * B @ A, in transformers' order of rows."""

    weights: dict[str, NDArray[np.float32]]
    scale: float

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        try:
            config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            with safe_open(folder / "adapter_model.safetensors", framework="numpy") as file:
                weights = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as error:
            raise JoshiError(f"{folder} holds no readable adapter ({error}); train it again") from error
        if config.get("use_dora"):
            raise JoshiError(f"{folder} is a DoRA adapter, which cannot be merged here; train a LoRA adapter")
        rank, alpha = config["r"], config["lora_alpha"]
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        return cls({name.removeprefix("base_model.model."): value for name, value in weights.items()}, scale)

    def delta(self, target: Target, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """What to add to a tensor, in the GGUF's order of rows; None if the adapter does not touch it."""
        stem = target.name.removesuffix(".weight")
        a = self.weights.get(f"{stem}.lora_A.weight")
        b = self.weights.get(f"{stem}.lora_B.weight")
        if a is None or b is None:
            return None
        if (b.shape[0], a.shape[1]) != tuple(shape):
            raise JoshiError(
                f"the adapter's {stem} is {b.shape[0]}x{a.shape[1]}, the base's is {shape[0]}x{shape[1]}: it "
                "belongs to another base; train again on this one"
            )
        delta = (b @ a) * np.float32(self.scale)
        if not np.isfinite(delta).all():
            raise JoshiError(f"the adapter's {stem} holds NaN or infinite values; train again")
        return to_rope_pairs(delta, target.heads) if target.heads else delta

    @property
    def touched(self) -> int:
        return sum(name.endswith("lora_A.weight") for name in self.weights)


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
    if adapter is not None and len(kept) != adapter.touched:
        raise JoshiError(
            f"the adapter changes {adapter.touched} layers, the base has {len(kept)} of them; train again on this base"
        )
    least = min(kept, key=lambda one: one.slope, default=None)
    if least is not None and least.slope < LEAST_KEPT:
        raise GateRefused(
            f"{quantization} keeps {overall(kept):.2f} of the fine-tune, {LEAST_KEPT} is needed (least: "
            f"{least.slope:.2f} of {least.tensor}); train longer or at a higher rate, or set [export] quantization "
            'to "Q8_0" or "F16"'
        )
    size = sum(math.prod(_raw_shape(_shape(tensor), kinds[tensor.name])) for tensor in file.reader.tensors)
    require_space(make_folder(path.parent), size, path.name)
    with atomic_path(path) as beside:
        writer = GGUFWriter(beside, arch=file.architecture)
        copy_metadata(file, writer, {"general.name": name, "general.file_type": FILE_TYPES[quantization]})
        for tensor in file.reader.tensors:
            blank = np.empty(_raw_shape(_shape(tensor), kinds[tensor.name]), dtype=np.uint8)
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


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in reversed(tensor.shape))


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
