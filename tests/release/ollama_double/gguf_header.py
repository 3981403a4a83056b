"""GGUF as a server reads it (fs/ggml/gguf.go), and as llama-quantize writes it anew; on its own, apart from Joshi's."""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from tests.release.ollama_double.go_text import Refused

MAGIC = b"GGUF"
UINT32, STRING, ARRAY = 4, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MOST_DIMENSIONS = 4


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # innermost first, as in the file
    kind: int
    offset: int  # from the beginning of the data
    n_bytes: int


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any]
    entries: dict[str, bytes]  # each key-value as it stands in the file
    tensors: list[Tensor]
    data: int  # where the tensors' data begins
    alignment: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def kind(self) -> str:
        return str(self.metadata.get("general.type", "unknown"))

    @property
    def chat_template(self) -> str:
        return str(self.metadata.get("tokenizer.chat_template", ""))

    @property
    def trained_context(self) -> int:
        return int(self.metadata.get(f"{self.architecture}.context_length", 0))

    @property
    def n_parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def file_type(self) -> str:
        """details.quantization_level; a file of type 0, all in F32, is told as unknown (KV.FileType)."""
        number = self.metadata.get("general.file_type", 0)
        try:
            return LlamaFileType(number).name.removeprefix("MOSTLY_") if number else "unknown"
        except ValueError:
            return "unknown"


def read(path: Path) -> Header:
    """Raises: FileNotFoundError; Refused: with the text that Ollama's decoder has for it."""
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


def rewrite(path: Path) -> Iterator[bytes]:
    """The file as `llama-quantize … COPY` writes it: the same weights in other bytes.

    Setting a key takes it out and appends it (llama.cpp, ggml/src/gguf.cpp), which happens to the quantization version
    and the file type (src/llama-quant.cpp); tensors are sorted by layer, then by name (src/llama-model-loader.h).
    """
    header = read(path)
    version = _string("general.quantization_version") + struct.pack("<II", UINT32, 2)
    entries = {"general.quantization_version": version, **header.entries}
    for key in ("general.quantization_version", "general.file_type"):
        if key in entries:
            entries[key] = entries.pop(key)
    tensors = sorted(header.tensors, key=lambda tensor: (_layer(tensor.name), tensor.name.encode()))
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries.values())
    place = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += _string(tensor.name) + shape + struct.pack("<IQ", tensor.kind, place)
        place += tensor.n_bytes + -tensor.n_bytes % header.alignment
    yield head + bytes(-len(head) % header.alignment)
    with path.open("rb") as file:
        for tensor in tensors:
            file.seek(header.data + tensor.offset)
            yield file.read(tensor.n_bytes) + bytes(-tensor.n_bytes % header.alignment)


@functools.lru_cache(maxsize=16)
def _read(path: Path, size: int, changed: int) -> Header:
    with path.open("rb") as file:
        try:
            return _header(file, size)
        except (struct.error, EOFError) as error:
            raise Refused("unexpected EOF") from error


def _header(file: IO[bytes], size: int) -> Header:
    if file.read(4) != MAGIC:
        raise Refused("invalid file magic")
    _, n_tensors, n_entries = _unpack(file, "<IQQ")
    metadata: dict[str, Any] = {}
    entries: dict[str, bytes] = {}
    for _ in range(n_entries):
        start = file.tell()
        key = _text(file, size)
        (kind,) = _unpack(file, "<I")
        metadata[key] = _value(file, kind, size)
        end = file.tell()
        file.seek(start)
        entries[key] = file.read(end - start)
    alignment = int(metadata.get("general.alignment", 32))
    if alignment == 0:
        raise Refused("invalid GGUF alignment: 0")
    tensors = [_tensor(file, size) for _ in range(n_tensors)]
    data = file.tell() + -file.tell() % alignment
    for tensor in tensors:
        end = data + tensor.offset + tensor.n_bytes
        if end > size:
            raise Refused(f'tensor "{tensor.name}" offset+size ({end}) exceeds file size ({size})')
    return Header(metadata, entries, tensors, data, alignment)


def _tensor(file: IO[bytes], size: int) -> Tensor:
    name = _text(file, size)
    (n_dimensions,) = _unpack(file, "<I")
    if n_dimensions > MOST_DIMENSIONS:
        raise Refused(f'tensor "{name}" dimensions {n_dimensions} exceeds maximum {MOST_DIMENSIONS}')
    shape = _unpack(file, f"<{n_dimensions}Q")
    kind, offset = _unpack(file, "<IQ")
    if kind not in set(GGMLQuantizationType):
        raise Refused(f'tensor "{name}" has the unknown type {kind}')
    block, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    return Tensor(name, tuple(shape), kind, offset, math.prod(shape) // block * n_bytes)


def _value(file: IO[bytes], kind: int, size: int) -> Any:
    if kind == STRING:
        return _text(file, size)
    if kind == ARRAY:
        of, count = _unpack(file, "<IQ")
        if of in SCALARS:
            code = "<" + SCALARS[of]
            return np.frombuffer(_exactly(file, count * struct.calcsize(code), size), code).tolist()
        return [_value(file, of, size) for _ in range(count)]
    if kind not in SCALARS:
        raise Refused(f"invalid type: {kind}")
    (value,) = _unpack(file, "<" + SCALARS[kind])
    # A float32 is told with as few digits as tell it apart from other float32.
    return float(str(np.float32(value))) if SCALARS[kind] == "f" else value


def _text(file: IO[bytes], size: int) -> str:
    (length,) = _unpack(file, "<Q")
    return _exactly(file, length, size).decode("utf-8", "replace")


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _unpack(file: IO[bytes], code: str) -> tuple[Any, ...]:
    return struct.unpack(code, file.read(struct.calcsize(code)))


def _exactly(file: IO[bytes], n_bytes: int, size: int) -> bytes:
    data = file.read(n_bytes) if n_bytes <= size else b""
    if len(data) < n_bytes:
        raise EOFError
    return data


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1
