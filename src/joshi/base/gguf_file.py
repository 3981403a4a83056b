"""Reading a GGUF: its metadata and tensor list whole, its weights a run of rows at a time.

A model file comes from anywhere. Every count and length in it is checked against what the file can hold before
anything of that size is made, and weights are read by position, never through a mapping that may end early.
Format: ggml/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from joshi.base.ggml import dequantize
from joshi.errors import JoshiError

MAGIC = b"GGUF"
ALIGNMENT = 32  # bytes, where general.alignment says nothing else
STRING, ARRAY, BOOL, UINT32, INT32, FLOAT32 = 8, 9, 7, 4, 5, 6
# struct's letters of the fixed-size value types, by their number in the file.
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}
# Far above what models have: Phi-4 has 243 tensors, 30 keys and 200,000 tokens and merges.
MOST_ENTRIES, MOST_ELEMENTS, MOST_TEXT = 1 << 16, 1 << 24, 1 << 26
CHUNK_WEIGHTS = 1 << 20  # of a tensor that are dequantised at one time: 4 MB in fp32


class DamageError(Exception):
    """What is wrong with the file, as the end of a sentence."""


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # slowest dimension first: (outputs, inputs) of a linear layer
    kind: GGMLQuantizationType
    offset: int  # of its first byte, from the start of the file
    n_bytes: int

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_rows(self) -> int:
        return self.n_elements // self.shape[-1]


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any]
    spans: dict[str, tuple[int, int]]  # where each key-value lies in the file, key and all
    tensors: tuple[Tensor, ...]
    alignment: int


@dataclass(frozen=True)
class GgufFile:
    path: Path

    @cached_property
    def header(self) -> Header:
        """Read once.

        Raises:
            JoshiError: no such file, not a GGUF, cut short, or one that contradicts itself.
        """
        try:
            with self.path.open("rb") as file:
                magic = file.read(4)
                if magic != MAGIC:
                    raise JoshiError(
                        f"{self.path} is no GGUF file (it starts with {magic!r}); name a GGUF in [model] base"
                    )
                return _Parser(file, os.fstat(file.fileno()).st_size).header()
        except OSError as error:
            raise JoshiError(f"{self.path}: {error.strerror}; check [model] base in the plan") from error
        except DamageError as error:
            raise JoshiError(f"{self.path} is damaged: {error}; get the file again") from error

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.header.tensors

    def value(self, key: str, default: Any = None) -> Any:
        return self.header.metadata.get(key, default)

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
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def types(self) -> dict[str, int]:
        """Tensor types with the number of tensors of each."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            counts[tensor.kind.name] = counts.get(tensor.kind.name, 0) + 1
        return dict(sorted(counts.items()))

    def raw(self, tensor: Tensor, rows: slice = slice(None)) -> NDArray[np.uint8]:
        """The bytes of some rows, (rows, bytes a row).

        Raises:
            JoshiError: they cannot be read.
        """
        start, stop, _ = rows.indices(tensor.n_rows)
        width = tensor.n_bytes // tensor.n_rows
        try:
            values = np.fromfile(self.path, np.uint8, (stop - start) * width, offset=tensor.offset + start * width)
        except OSError as error:
            raise JoshiError(f"{self.path}: {error.strerror}; check the disk it lies on") from error
        if values.size != (stop - start) * width:
            raise JoshiError(f"{self.path} ends inside tensor {tensor.name}; get the file again")
        return values.reshape(-1, width)

    def weights(self, tensor: Tensor, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Some rows in fp32, (rows, columns).

        Raises:
            JoshiError: they cannot be read, their type cannot be dequantised, or one is NaN or infinite.
        """
        try:
            values = dequantize(self.raw(tensor, rows), tensor.kind)
        except NotImplementedError as error:
            raise JoshiError(
                f"{self.path}: tensor {tensor.name} has type {tensor.kind.name}, which cannot be dequantised here; "
                "choose a Q4_K_M, Q8_0 or F16 file of the model"
            ) from error
        if not np.isfinite(values).all():
            raise JoshiError(f"{self.path}: tensor {tensor.name} holds NaN or infinite weights; get the file again")
        return values

    def text_of(self, key: str) -> bytes:
        """A key-value as it stands in the file, key and all."""
        start, end = self.header.spans[key]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def chunks_of(tensor: Tensor) -> Iterator[slice]:
    """Runs of rows of about CHUNK_WEIGHTS weights that make up the tensor."""
    step = max(1, CHUNK_WEIGHTS // tensor.shape[-1])
    for start in range(0, tensor.n_rows, step):
        yield slice(start, min(start + step, tensor.n_rows))


class _Parser:
    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size, self._at = file, size, len(MAGIC)
        self._elements = 0

    def header(self) -> Header:
        version, n_tensors, n_entries = self._numbers("IQQ")
        if version not in (2, 3):
            raise DamageError(f"it says it has version {version} of the format, 2 and 3 are known")
        if max(n_tensors, n_entries) > MOST_ENTRIES:
            raise DamageError(
                f"it claims {n_tensors} tensors and {n_entries} metadata entries, at most {MOST_ENTRIES} are read"
            )
        metadata: dict[str, Any] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(n_entries):
            start = self._at
            key = self._name("a key")
            if key in metadata:
                raise DamageError(f"it has the key {key!r} twice")
            (kind,) = self._numbers("I")
            metadata[key] = self._value(kind, key)
            spans[key] = (start, self._at)
        if not str(metadata.get("general.architecture", "")).isprintable():  # keys are made of it
            raise DamageError("its general.architecture holds characters that no name has")
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise DamageError(f"its general.alignment is {str(alignment)[:40]}, a power of two was expected")
        infos = [self._tensor() for _ in range(n_tensors)]
        start = self._at + -self._at % alignment
        return Header(metadata, spans, self._placed(infos, start, alignment), alignment)

    def _placed(
        self, infos: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]], start: int, alignment: int
    ) -> tuple[Tensor, ...]:
        tensors = []
        for name, shape, kind, offset in infos:
            block, size = GGML_QUANT_SIZES[kind]
            if shape[-1] % block:
                raise DamageError(
                    f"tensor {name} has rows of {shape[-1]} weights, {kind.name} needs a multiple of {block}"
                )
            n_bytes = math.prod(shape) // block * size
            if offset % alignment:
                raise DamageError(f"tensor {name} starts at {offset}, which is no multiple of {alignment}")
            if start + offset + n_bytes > self._size:
                raise DamageError(f"it ends inside tensor {name}")
            tensors.append(Tensor(name, shape, kind, start + offset, n_bytes))
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise DamageError("two of its tensors have one name")
        end = start
        for tensor in sorted(tensors, key=lambda one: one.offset):
            if tensor.offset < end:
                raise DamageError(f"tensor {tensor.name} overlaps another")
            end = tensor.offset + tensor.n_bytes
        return tuple(tensors)

    def _tensor(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._name("a tensor's name")
        (n_dimensions,) = self._numbers("I")
        if not 1 <= n_dimensions <= 4:
            raise DamageError(f"tensor {name} has {n_dimensions} dimensions, 1 to 4 are possible")
        shape = self._numbers(f"{n_dimensions}Q")[::-1]
        kind, offset = self._numbers("IQ")
        if min(shape) == 0 or math.prod(shape) > 8 * self._size:  # no type packs more than eight weights into a byte
            raise DamageError(f"tensor {name} has the shape {'x'.join(map(str, shape))}, which the file cannot hold")
        try:
            return name, shape, GGMLQuantizationType(kind), offset
        except ValueError:
            raise DamageError(f"tensor {name} has the unknown type {kind}") from None

    def _value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self._text(key)
        if kind == ARRAY:
            return self._array(key)
        if kind not in FORMATS:
            raise DamageError(f"{key} has the unknown value type {kind}")
        return self._numbers(FORMATS[kind])[0]

    def _array(self, key: str) -> list[Any]:
        kind, n_elements = self._numbers("IQ")
        self._elements += n_elements
        if self._elements > MOST_ELEMENTS:
            raise DamageError(f"{key} claims {n_elements} elements, at most {MOST_ELEMENTS} are read of a file")
        if kind == STRING:
            return [self._text(key) for _ in range(n_elements)]
        if kind not in FORMATS:  # arrays of arrays: no model has any
            raise DamageError(f"{key} is an array of the unknown value type {kind}")
        return list(self._numbers(f"{n_elements}{FORMATS[kind]}"))

    def _name(self, what: str) -> str:
        """A text that messages quote: a line break or a terminal's escapes in it are damage."""
        name = self._text(what)
        if not name.isprintable():
            raise DamageError(f"{what} holds characters that no name has")
        return name

    def _text(self, what: str) -> str:
        (length,) = self._numbers("Q")
        if length > MOST_TEXT:
            raise DamageError(f"{what} claims a text of {length} bytes, at most {MOST_TEXT} are read")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise DamageError(f"{what} holds a text that is not UTF-8") from None

    def _numbers(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _take(self, length: int) -> bytes:
        if length > self._size - self._at:
            raise DamageError("it ends inside its metadata")
        found = self._file.read(length)
        if len(found) != length:
            raise DamageError("it ends inside its metadata")
        self._at += length
        return found
