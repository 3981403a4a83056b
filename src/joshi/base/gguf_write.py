"""Writing a GGUF in one pass: metadata, then each tensor as its rows come; the list of tensors is filled in last."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from joshi.base.gguf_file import ALIGNMENT, ARRAY, BOOL, FLOAT32, FORMATS, INT32, MAGIC, STRING, UINT32, GgufFile

VERSION = 3


def entry(key: str, value: str | bool | int | float | Sequence[str]) -> bytes:
    """A key-value as it stands in a file; integers as uint32, numbers with a point as float32."""
    match value:
        case str():
            return _text(key) + struct.pack("<I", STRING) + _text(value)
        case bool():
            return _text(key) + struct.pack("<I?", BOOL, value)
        case int():
            return _text(key) + struct.pack("<I" + FORMATS[UINT32], UINT32, value)
        case float():
            return _text(key) + struct.pack("<I" + FORMATS[FLOAT32], FLOAT32, value)
    return _text(key) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_text, value))


def integers(key: str, values: Sequence[int]) -> bytes:
    """An array of int32 as it stands in a file."""
    return _text(key) + struct.pack(f"<IIQ{len(values)}i", ARRAY, INT32, len(values), *values)


def entries_of(file: GgufFile, changed: dict[str, Any]) -> list[bytes]:
    """Every key-value of a file, byte for byte and in its order, but for those that are changed or added."""
    kept = [
        entry(key, changed[key]) if key in changed else file.text_of(key) for key in file.header.metadata
    ]  # fmt: skip
    return kept + [entry(key, value) for key, value in changed.items() if key not in file.header.metadata]


def row_bytes(columns: int, kind: GGMLQuantizationType) -> int:
    block, size = map(int, GGML_QUANT_SIZES[kind])
    return columns // block * size


class GgufOut:
    """A GGUF under way. Tensors are written in the order in which they were announced; `close` completes the file."""

    def __init__(
        self, out: IO[bytes], entries: Sequence[bytes], tensors: Sequence[tuple[str, tuple[int, ...]]],
        alignment: int = ALIGNMENT,
    ) -> None:  # fmt: skip
        self._out, self._alignment = out, alignment
        self._announced = list(tensors)
        self._places: list[tuple[GGMLQuantizationType, int]] = []
        out.write(MAGIC + struct.pack("<IQQ", VERSION, len(self._announced), len(entries)))
        for one in entries:
            out.write(one)
        self._list = out.tell()
        out.write(self._infos())
        self._pad()
        self._data = self._end = out.tell()

    def write(self, name: str, kind: GGMLQuantizationType, chunks: Iterable[NDArray[Any]]) -> None:
        """The next tensor, as runs of its rows in its type; the last one again replaces it.

        Raises:
            ValueError: another tensor is due, or the chunks do not make up this one.
        """
        again = bool(self._places) and self._announced[len(self._places) - 1][0] == name
        if again:
            _, offset = self._places.pop()
            self._end = self._data + offset
            self._out.seek(self._end)
            self._out.truncate()
        due, shape = self._announced[len(self._places)]
        if due != name:
            raise ValueError(f"{due} is due, not {name}")
        written = 0
        for chunk in chunks:
            written += self._out.write(np.ascontiguousarray(chunk).data)
        wanted = math.prod(shape[:-1]) * row_bytes(shape[-1], kind)
        if written != wanted:
            raise ValueError(f"{name} has {wanted} bytes as {kind.name}, {written} were given")
        self._places.append((kind, self._end - self._data))
        self._pad()
        self._end = self._out.tell()

    def leave_out(self, name: str, kind: GGMLQuantizationType) -> None:
        """A hole in place of the next tensor: the file then tells its shapes and sizes, and takes no space for it."""
        due, shape = self._announced[len(self._places)]
        if due != name:
            raise ValueError(f"{due} is due, not {name}")
        self._places.append((kind, self._end - self._data))
        self._out.seek(math.prod(shape[:-1]) * row_bytes(shape[-1], kind), os.SEEK_CUR)
        self._pad()
        self._end = self._out.tell()

    def close(self) -> None:
        """Fill in the tensors' types and places.

        Raises:
            ValueError: tensors are missing.
        """
        if len(self._places) != len(self._announced):
            raise ValueError(f"{self._announced[len(self._places)][0]} was not written")
        self._out.seek(self._list)
        self._out.write(self._infos())
        self._out.seek(self._end)
        self._out.truncate()  # also as long as a hole at its end

    def _infos(self) -> bytes:
        places = self._places or [(GGMLQuantizationType.F32, 0)] * len(self._announced)
        return b"".join(
            _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), int(kind), offset)
            for (name, shape), (kind, offset) in zip(self._announced, places, strict=True)
        )

    def _pad(self) -> None:
        self._out.write(b"\0" * (-self._out.tell() % self._alignment))


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
