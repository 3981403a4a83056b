"""Exact and near duplicates: answers whose word 3-grams overlap by the plan's Jaccard share or more."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from joshi.rubric.text import words
from joshi.schema import Sample


def duplicates(samples: Sequence[Sample], jaccard: float) -> dict[str, str]:
    """Id of each duplicate to the id of the earlier sample it repeats; the first of a kind is never one."""
    seen: list[tuple[str, frozenset[tuple[str, ...]]]] = []
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    repeated: dict[str, str] = {}
    for sample in samples:
        grams = shingles(sample.ideal_answer)
        shared: Counter[int] = Counter()
        for gram in grams:
            shared.update(holders[gram])
        twin = next((i for i, n in shared.most_common() if n / (len(grams) + len(seen[i][1]) - n) >= jaccard), None)
        if twin is not None:
            repeated[sample.id] = seen[twin][0]
            continue
        for gram in grams:
            holders[gram].append(len(seen))
        seen.append((sample.id, grams))
    return repeated


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """Word n-grams; a text shorter than one n-gram is its own single shingle."""
    tokens = words(text)
    if len(tokens) < size:
        return frozenset([tuple(tokens)])
    return frozenset(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
