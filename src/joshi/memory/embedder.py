"""What turns texts into vectors for the collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from joshi import embedding


class Embedder(Protocol):
    """Turns texts into vectors of `size` numbers; `encode` is called as sentence-transformers' own."""

    @property
    def size(self) -> int: ...

    def encode(self, texts: list[str], /) -> Sequence[Sequence[float]]: ...


class MiniLM:
    """all-MiniLM-L6-v2 on the CPU; the weights are loaded when the first text is encoded."""

    size = embedding.SIZE

    def encode(self, texts: list[str], /) -> list[list[float]]:
        """Unit vectors, one a text; only a text's first 256 tokens count.

        Raises:
            Unavailable: the package with the weights is not installed.
        """
        vectors: list[list[float]] = embedding.encode(texts).tolist()
        return vectors
