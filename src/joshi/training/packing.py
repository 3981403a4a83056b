"""Tree packing: sequences that share prefixes become one token trie, laid out depth first as one sequence.

A shared prefix (system prompt, history, the prompt of both answers of a pair) is computed once, forward and
backward, and nothing is padded. Token i of a node sees exactly its ancestors and its own past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from joshi.prompt import Encoded


@dataclass(frozen=True)
class Node:
    """A run of tokens without a branch. `path` are the half-open ranges of its ancestors, adjacent ones joined.

    Its descendants follow it, up to `subtree`: token i sees token j of this node iff j <= i < subtree.
    """

    start: int
    end: int
    path: tuple[tuple[int, int], ...]
    subtree: int

    @property
    def whole_path(self) -> tuple[tuple[int, int], ...]:
        return _join(self.path, (self.start, self.end))


@dataclass(frozen=True)
class Pack:
    """One forward pass over `n_tokens` trie tokens; what to predict is listed per sequence.

    `source[k]` is the trie position whose logits predict token `target[k]` of sequence `sequence[k]`;
    `members` maps the pack's sequences to the caller's indices.
    """

    input_ids: torch.Tensor  # (tokens,)
    position_ids: torch.Tensor  # (tokens,) depth in the trie
    nodes: tuple[Node, ...]
    source: torch.Tensor  # (targets,)
    target: torch.Tensor  # (targets,)
    sequence: torch.Tensor  # (targets,)
    members: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        return int(self.input_ids.numel())


def build(sequences: Sequence[Encoded], members: Sequence[int]) -> Pack:
    """The trie of the given sequences; `members[i]` is what the caller calls sequence i."""
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].ids)
    ids: list[int] = []
    depths: list[int] = []
    spans: list[tuple[int, int, tuple[tuple[int, int], ...], int]] = []  # start, end, path, parent's place here
    paths: dict[int, tuple[tuple[int, int], ...]] = {}

    # Groups are runs of the sorted order, so a prefix shared by first and last is shared by all.
    pending: list[tuple[list[int], int, tuple[tuple[int, int], ...], int]] = [(order, 0, (), -1)] if order else []
    while pending:
        group, depth, path, parent = pending.pop()
        first, last = sequences[group[0]].ids, sequences[group[-1]].ids
        end = common_prefix(first, last, depth)
        if end > depth:
            start = len(ids)
            spans.append((start, start + end - depth, path, parent))
            parent = len(spans) - 1
            ids += first[depth:end]
            depths += range(depth, end)
            path = _join(path, (start, len(ids)))
        children: list[list[int]] = []
        for i in group:
            if len(sequences[i].ids) == end:
                paths[i] = path
            elif children and sequences[children[-1][0]].ids[end] == sequences[i].ids[end]:
                children[-1].append(i)
            else:
                children.append([i])
        # Last in, first out: the first child follows its parent, so its path needs no copying.
        pending += [(child, end, path, parent) for child in reversed(children)]

    subtree = [end for _, end, _, _ in spans]
    for i in range(len(spans) - 1, 0, -1):
        parent = spans[i][3]
        if parent >= 0:
            subtree[parent] = max(subtree[parent], subtree[i])
    nodes = tuple(Node(*span[:3], last) for span, last in zip(spans, subtree, strict=True))

    source: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    for i, encoded in enumerate(sequences):
        where = [position for start, stop in paths[i] for position in range(start, stop)]
        for k in range(1, len(encoded.ids)):
            if encoded.trained[k]:
                source.append(where[k - 1])
                target.append(encoded.ids[k])
                owner.append(i)
    return Pack(
        input_ids=torch.tensor(ids),
        position_ids=torch.tensor(depths),
        nodes=nodes,
        source=torch.tensor(source, dtype=torch.long),
        target=torch.tensor(target, dtype=torch.long),
        sequence=torch.tensor(owner, dtype=torch.long),
        members=tuple(members),
    )


def pack(units: Sequence[Sequence[Encoded]], token_budget: int) -> list[Pack]:
    """Fill packs of at most `token_budget` trie tokens; a unit (one sample, or a pair's two answers) is never split.

    Units are sorted, so that neighbours share the longest prefixes, and taken greedily. A unit longer than the
    budget gets a pack of its own. Sequence j of unit i is member `i * len(unit) + j`.
    """
    width = len(units[0]) if units else 1
    order = sorted(range(len(units)), key=lambda i: units[i][0].ids)
    packs: list[Pack] = []
    chosen: list[int] = []
    used = 0
    for i in order:
        alone = _tokens_after(None, units[i])
        added = _tokens_after(units[chosen[-1]] if chosen else None, units[i])
        if chosen and used + added > token_budget:
            packs.append(_build_units(units, chosen, width))
            chosen, used, added = [], 0, alone
        chosen.append(i)
        used += added
    if chosen:
        packs.append(_build_units(units, chosen, width))
    return packs


def _build_units(units: Sequence[Sequence[Encoded]], chosen: Sequence[int], width: int) -> Pack:
    sequences = [encoded for i in chosen for encoded in units[i]]
    return build(sequences, [i * width + j for i in chosen for j in range(width)])


def _tokens_after(before: Sequence[Encoded] | None, unit: Sequence[Encoded]) -> int:
    """Trie tokens that a unit adds behind its neighbour in sorted order (an upper bound for pairs)."""
    first = unit[0].ids
    total = len(first) - (common_prefix(before[0].ids, first) if before else 0)
    return total + sum(len(other.ids) - common_prefix(first, other.ids) for other in unit[1:])


def common_prefix(one: Sequence[int], other: Sequence[int], start: int = 0) -> int:
    """Length of the common prefix of two sequences that agree up to `start`."""
    stop = min(len(one), len(other))
    while start < stop and one[start] == other[start]:
        start += 1
    return start


def _join(path: tuple[tuple[int, int], ...], piece: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    if path and path[-1][1] == piece[0]:
        return (*path[:-1], (path[-1][0], piece[1]))
    return (*path, piece)
