"""Reading a GGUF's header: architecture, tokenizer, template. Weights are read where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from joshi.errors import JoshiError


@dataclass(frozen=True)
class GgufFile:
    path: Path

    @cached_property
    def reader(self) -> Any:
        """The memory-mapped reader.

        Raises:
            JoshiError: no such file, not a GGUF, cut short, or tensors that point outside the file.
        """
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise JoshiError(f"{self.path}: {error.strerror}; check [model] base in the plan") from error
        if magic != b"GGUF":
            raise JoshiError(f"{self.path} is no GGUF file (it starts with {magic!r}); name a GGUF in [model] base")
        try:
            reader = GGUFReader(self.path)
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
            raise JoshiError(f"{self.path} is damaged: {error}; get the file again") from error
        for tensor in reader.tensors:
            if tensor.data_offset + tensor.n_bytes > size:
                raise JoshiError(f"{self.path} ends inside tensor {tensor.name}; get the file again")
        return reader

    def value(self, key: str, default: Any = None) -> Any:
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    @property
    def architecture(self) -> str:
        return str(self.value("general.architecture", ""))

    def need(self, key: str) -> Any:
        value = self.value(key)
        if value is None:
            raise JoshiError(f"{self.path} lacks {key}, which is needed to use it as a base; choose another base")
        return value

    @property
    def parameters(self) -> int:
        return sum(int(tensor.n_elements) for tensor in self.reader.tensors)

    @property
    def types(self) -> dict[str, int]:
        """Tensor types with the number of tensors of each."""
        counts: dict[str, int] = {}
        for tensor in self.reader.tensors:
            counts[tensor.tensor_type.name] = counts.get(tensor.tensor_type.name, 0) + 1
        return dict(sorted(counts.items()))


def shape_of(tensor: Any) -> tuple[int, ...]:
    """(rows, columns) of a tensor: GGUF writes the fastest dimension first."""
    return tuple(int(n) for n in reversed(tensor.shape))
