"""GGUFs made out of another: some key-values changed, some tensors left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from joshi.base.gguf_file import GgufFile, Tensor, chunks_of
from joshi.base.gguf_write import GgufOut, entries_of


def rewrite(
    file: GgufFile, path: Path, changed: dict[str, Any], keep: Callable[[Tensor], bool] = lambda tensor: True
) -> GgufFile:
    tensors = [tensor for tensor in file.tensors if keep(tensor)]
    with path.open("wb+") as out:
        model = GgufOut(out, entries_of(file, changed), [(tensor.name, tensor.shape) for tensor in tensors])
        for tensor in tensors:
            model.write(tensor.name, tensor.kind, (file.raw(tensor, rows) for rows in chunks_of(tensor)))
        model.close()
    return GgufFile(path)
