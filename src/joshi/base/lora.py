"""A LoRA in the base's own terms: PEFT's weights by GGUF tensor, what they add to it, and the adapter as a GGUF."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from joshi.base.ggml import quantize
from joshi.base.gguf_file import GgufFile
from joshi.base.gguf_write import GgufOut, entry
from joshi.base.tensors import Target, target_of, to_rope_pairs
from joshi.errors import JoshiError
from joshi.workspace import atomic

Weights = NDArray[np.float32]
_GGUF_NAMES = ("lora_a", "lora_b")  # after the name of the tensor that they change
_PEFT = "base_model.model."  # before every name that PEFT writes
UNFIT = "joshi_unfit"  # key of the reason why an adapter may not ship: in its config, and in its weights' header


class Stored(Mapping[str, Weights]):
    """Weights of a file, each read when it is asked for: those of a 14B model take most of a gigabyte."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or SafetensorError if it cannot be read."""
        self._file: Any = safe_open(path, framework="numpy")
        self._names = {name.removeprefix(_PEFT): name for name in self._file.keys()}  # type: ignore[no-untyped-call]  # noqa: SIM118
        self.unfit: str = (self._file.metadata() or {}).get(UNFIT, "")  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> Weights:
        found: Weights = self._file.get_tensor(self._names[name]).astype(np.float32, copy=False)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class Adapter:
    """A PEFT LoRA: delta W = scale * B @ A, in transformers' order of rows."""

    weights: Mapping[str, Weights]
    scale: float

    @classmethod
    def of(cls, weights: Mapping[str, Weights], scale: float) -> Adapter:
        """Of PEFT's state dict, names as in adapter_model.safetensors."""
        return cls({name.removeprefix(_PEFT): value for name, value in weights.items()}, scale)

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read a saved adapter.

        Raises:
            JoshiError: no readable adapter there, one that may not ship, or a DoRA, which cannot be merged as a LoRA.
        """
        try:
            config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            weights = Stored(folder / "adapter_model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise JoshiError(f"{folder} holds no readable adapter ({error}); train it again") from error
        require_fit(folder)
        if config.get("use_dora"):
            raise JoshiError(f"{folder} is a DoRA adapter, which cannot be merged here; train a LoRA adapter")
        rank, alpha = config["r"], config["lora_alpha"]
        return cls(weights, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))

    def factors(self, target: Target, shape: tuple[int, ...]) -> tuple[Weights, Weights] | None:
        """A, (rank, inputs), and B, (outputs, rank), B in the GGUF's order of rows; None if the tensor is untouched.

        Raises:
            JoshiError: the tensor has another shape, or a factor holds NaN.
        """
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
        if a.shape[0] != b.shape[1]:
            raise JoshiError(f"the adapter's {stem} has ranks {a.shape[0]} and {b.shape[1]}; train it again")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise JoshiError(f"the adapter's {stem} holds NaN or infinite values; train again")
        return a, to_rope_pairs(b, target.heads) if target.heads else b

    def delta(self, target: Target, shape: tuple[int, ...]) -> Weights | None:
        """What to add to a tensor, (outputs, inputs), in the GGUF's order of rows; None if it is untouched."""
        found = self.factors(target, shape)
        return None if found is None else (found[1] @ found[0]) * np.float32(self.scale)

    @property
    def touched(self) -> int:
        return sum(name.endswith("lora_A.weight") for name in self.weights)

    def require_all(self, n_found: int) -> None:
        """Raises JoshiError unless every layer that the adapter changes was found in the base."""
        if n_found != self.touched:
            raise JoshiError(
                f"the adapter changes {self.touched} layers, the base has {n_found} of them; train again on this base"
            )


def require_fit(folder: Path) -> None:
    """Refuse an adapter that was made to be measured: its config, or the weights' own header, says why.

    Raises:
        JoshiError: it is marked so. One that cannot be read is left to whoever reads it next.
    """
    reasons = []
    with contextlib.suppress(OSError, ValueError):
        reasons.append(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get(UNFIT))
    with contextlib.suppress(OSError, SafetensorError):
        reasons.append(Stored(folder / "adapter_model.safetensors").unfit)
    if why := next(filter(None, reasons), None):
        raise JoshiError(f"{folder} may not ship: {why}; run 'joshi train sft' to train the adapter that may")


def require_base(folder: Path, base_sha256: str) -> None:
    """Refuse an adapter that was trained on other bytes; one without run.json, made elsewhere, is judged by its shapes.

    Raises:
        JoshiError: its run.json is damaged or names another base.
    """
    path = folder / "run.json"
    if not path.is_file():
        return
    try:
        trained_on = json.loads(path.read_text(encoding="utf-8"))["base_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JoshiError(f"{path} does not say which base the adapter belongs to ({error}); train it again") from error
    if trained_on != base_sha256:
        raise JoshiError(
            f"{folder} was trained on a base with sha256 {str(trained_on)[:16]}…, that of [model] base is "
            f"{base_sha256[:16]}…; name that base again, or train on this one"
        )


def write_adapter(file: GgufFile, adapter: Adapter, path: Path) -> int:
    """The adapter as a GGUF in fp16 that llama.cpp loads beside the untouched base; returns its bytes.

    Layout as llama.cpp's llama-adapter.cpp reads it: TENSOR.lora_a, (rank, inputs), TENSOR.lora_b, (outputs, rank).

    Raises:
        JoshiError: the adapter belongs to another base, or the file cannot be written.
    """
    found: dict[str, tuple[Target, tuple[int, ...]]] = {}
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for tensor in file.tensors:
        target = target_of(tensor.name, file)
        pair = adapter.factors(target, tensor.shape) if target else None
        if target and pair:
            found[tensor.name] = target, tensor.shape
            shapes += [(f"{tensor.name}.{factor}", one.shape) for factor, one in zip(_GGUF_NAMES, pair, strict=True)]
    adapter.require_all(len(found))
    rank = shapes[0][1][0] if shapes else 1
    entries = [
        entry("general.architecture", file.architecture),
        entry("general.type", "adapter"),
        entry("adapter.type", "lora"),
        entry("adapter.lora.alpha", adapter.scale * rank),  # llama.cpp scales by alpha / rank
    ]
    with atomic(path, "wb+") as out:
        model = GgufOut(out, entries, shapes)
        for name, (target, shape) in found.items():
            for factor, values in zip(_GGUF_NAMES, adapter.factors(target, shape) or (), strict=True):
                model.write(f"{name}.{factor}", GGMLQuantizationType.F16, [quantize(values, GGMLQuantizationType.F16)])
        model.close()
    return path.stat().st_size
