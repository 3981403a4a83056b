"""Exact and near duplicates: answers whose word 3-grams overlap by the plan's Jaccard share or more.

Answers are compared only where MinHash (Broder, On the resemblance and containment of documents, 1997) with banding
(Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3) says that they may be alike; what counts is the exact
share. MinHash is numpy of our own: 0.2 ms for an answer, where redaction takes 9, and every platform gives the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joshi.rubric.text import words
from joshi.schema import Sample, read_records

MISS = 1e-6  # most probability that a pair at the plan's very share is not compared; far less above it
MOST_HASHES = 256
MOST_ROWS = 16
SHINGLE_WORDS = 3
_TOGETHER = 4096  # 3-grams that are hashed at once; bounds memory for a huge text

Keys = NDArray[np.uint64]


class Frozen(NamedTuple):
    """An answer of an earlier dataset version."""

    id: str
    version: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.id} of v{self.version}"


def duplicates(
    samples: Sequence[Sample], jaccard: float, frozen: Sequence[Frozen] = (), packed: bytes | bytearray | None = None
) -> dict[str, str]:
    """Id of each duplicate to what it repeats: the id of another sample, with the version if that is frozen.

    The first of a kind is kept, in the order given; what is kept is all that others are compared with. A sample that
    is frozen itself (its id is) comes before all others, so that a version does not lose it to a new one, and is
    compared only with its equals; every other one is compared with all frozen answers too. A pair at or above the
    share is missed with a probability of MISS at most, over the choice of hash functions. `packed` are the samples'
    `keys` one after another, where they are known already.
    """
    bands = banding(jaccard)[0]
    if packed is None:
        packed = b"".join(keys(sample.ideal_answer, jaccard) for sample in samples)
    packed_frozen = b"".join(keys(answer.text, jaccard) for answer in frozen)
    table = np.frombuffer(b"".join((packed, packed_frozen)), np.uint64).reshape(-1, bands)
    shared = _shared(table)
    suspects = {row: samples[row].id for row in np.flatnonzero(shared[: len(samples)].any(axis=1)).tolist()}
    ids = {answer.id for answer in frozen}
    kept = _Kept(jaccard)
    repeated: dict[str, str] = {}

    def take(rows: Iterable[int]) -> None:
        for row in rows:
            text, its_keys = samples[row].ideal_answer, table[row][shared[row]]
            twin = kept.twin(text, its_keys)
            if twin is None:
                kept.add(suspects[row], text, its_keys)
            else:
                repeated[suspects[row]] = twin

    take(row for row, name in suspects.items() if name in ids)
    for row, answer in enumerate(frozen, len(samples)):
        kept.add(answer.name, answer.text, table[row][shared[row]])
    take(row for row, name in suspects.items() if name not in ids)
    return repeated


def frozen_answers(folder: Path) -> list[Frozen]:
    """The answers of every version that is frozen in a dataset's folder, oldest first, each text of an id once."""
    found: dict[tuple[str, str], Frozen] = {}
    # A version without a manifest was never frozen; one without samples was withdrawn.
    manifests = (re.fullmatch(r"manifest_v(\d+)\.json", path.name) for path in folder.glob("manifest_v*.json"))
    for version in sorted(int(name[1]) for name in manifests if name):
        path = folder / f"sft_v{version}.jsonl"
        for sample in read_records(path, Sample) if path.exists() else ():
            found.setdefault((sample.id, sample.ideal_answer), Frozen(sample.id, version, sample.ideal_answer))
    return list(found.values())


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Word 3-grams; of fewer words all together, and of a text without words (a figure, a smile) the text itself."""
    tokens = words(text) or [" ".join(text.split())]
    return frozenset(tuple(tokens[i : i + SHINGLE_WORDS]) for i in range(max(1, len(tokens) - SHINGLE_WORDS + 1)))


@cache
def banding(jaccard: float) -> tuple[int, int]:
    """Bands and rows: two answers alike by J share no band with probability (1 − J^rows)^bands, MISS at most.

    Of the rows the most that MOST_HASHES allow: the more there are, the fewer unlike answers are compared.
    """
    for rows in range(MOST_ROWS, 0, -1):
        together = jaccard**rows
        bands = 1 if together == 1 else math.ceil(math.log(MISS) / math.log1p(-together))
        if bands * rows <= MOST_HASHES:
            break
    return bands, rows


def keys(text: str, jaccard: float) -> bytes:
    """One 64-bit key for each band; answers that share none are not compared."""
    bands, rows = banding(jaccard)
    factors, offsets, places = _functions(bands * rows)
    grams = _hashed(text)
    lowest = np.full(bands * rows, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(grams), _TOGETHER):
        some = factors[:, None] * grams[None, start : start + _TOGETHER] + offsets[:, None]  # (hashes, 3-grams)
        np.minimum(lowest, some.min(axis=1), out=lowest)
    # Each hash with its place in the signature, so that a key belongs to one band.
    return _mixed(_mixed(lowest ^ places).reshape(bands, rows).sum(axis=1, dtype=np.uint64)).tobytes()


def _hashed(text: str) -> Keys:
    """64-bit hashes of `shingles`, with repetitions."""
    tokens = words(text) or [" ".join(text.split())]
    hashes = np.array([_hash(word) for word in tokens], np.uint64)
    size = min(SHINGLE_WORDS, len(tokens))
    _, _, places = _functions(SHINGLE_WORDS)
    n = len(tokens) - size + 1
    return _mixed(sum((_mixed(hashes[i : i + n] ^ places[i]) for i in range(size)), np.zeros(n, np.uint64)))


@lru_cache(maxsize=2**16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


@cache
def _functions(n: int) -> tuple[Keys, Keys, Keys]:
    """Factors (odd) and offsets of n hash functions x·a + b modulo 2^64, and a mark for each; the same everywhere."""
    drawn = _mixed(np.arange(1, 3 * n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).reshape(3, n)
    return drawn[0] | np.uint64(1), drawn[1], drawn[2]


def _mixed(x: Keys) -> Keys:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _shared(table: Keys) -> NDArray[np.bool_]:
    """Which keys of (answers, bands) another answer has too: 7 s for a million answers."""
    shared = np.zeros(table.shape, np.bool_)
    for band in range(table.shape[1]):
        column = np.ascontiguousarray(table[:, band])
        order = np.argsort(column)
        same = column[order[1:]] == column[order[:-1]]
        shared[order[1:][same], band] = shared[order[:-1][same], band] = True
    return shared


class _Kept:
    """Answers that were kept, found by those of their keys that any other answer has."""

    def __init__(self, jaccard: float) -> None:
        self._jaccard = jaccard
        self._answers: list[tuple[str, str]] = []  # name, text
        self._holders: dict[int, list[int]] = {}
        self._shingles = lru_cache(maxsize=1024)(shingles)  # one answer is compared with several

    def add(self, name: str, text: str, its_keys: Keys) -> None:
        for key in its_keys.tolist():
            self._holders.setdefault(key, []).append(len(self._answers))
        self._answers.append((name, text))

    def twin(self, text: str, its_keys: Keys) -> str | None:
        """The first that was kept of those that this one repeats."""
        near = {place for key in its_keys.tolist() for place in self._holders.get(key, ())}
        alike = (name for name, other in map(self._answers.__getitem__, sorted(near)) if self._repeats(text, other))
        return next(alike, None)

    def _repeats(self, text: str, other: str) -> bool:
        a, b = self._shingles(text), self._shingles(other)
        shared = len(a & b)
        return shared / (len(a) + len(b) - shared) >= self._jaccard
