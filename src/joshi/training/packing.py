"""Tree packing: sequences that share prefixes become one token trie, laid out depth first as one sequence.

A shared prefix (system prompt, history, the prompt of both answers of a pair) is computed once, forward and
backward, and nothing is padded. Token i of a node sees exactly its ancestors and its own past. What all packs of a step
begin with is in none of them: it is computed once for the step (joshi.training.trunk).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from joshi.prompt import Encoded

PACK_TOKENS = 64  # another pack costs about as much as so many tokens: its matrix products are smaller
SHORTEST_TRUNK = 32  # tokens; sharing fewer between packs is not worth a pass of its own


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
    `members` maps the pack's sequences to the caller's indices. `trunk` are the ids before the trie's root, which all
    packs made together share and nothing is predicted from; positions count from its end.
    """

    input_ids: torch.Tensor  # (tokens,)
    position_ids: torch.Tensor  # (tokens,) depth in the trie
    nodes: tuple[Node, ...]
    source: torch.Tensor  # (targets,)
    target: torch.Tensor  # (targets,)
    sequence: torch.Tensor  # (targets,)
    members: tuple[int, ...]
    trunk: torch.Tensor  # (tokens before the root,)

    @property
    def n_tokens(self) -> int:
        return int(self.input_ids.numel())


def build(sequences: Sequence[Encoded], members: Sequence[int], trunk: int = 0) -> Pack:
    """The trie of the given sequences after their first `trunk` tokens; `members[i]` is what the caller calls each."""
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].ids)
    ids: list[int] = []
    depths: list[int] = []
    spans: list[tuple[int, int, tuple[tuple[int, int], ...], int]] = []  # start, end, path, parent's place here
    paths: dict[int, tuple[tuple[int, int], ...]] = {}

    # Groups are runs of the sorted order, so a prefix shared by first and last is shared by all.
    pending: list[tuple[list[int], int, tuple[tuple[int, int], ...], int]] = [(order, trunk, (), -1)] if order else []
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
        for k in range(trunk + 1, len(encoded.ids)):
            if encoded.trained[k]:
                source.append(where[k - 1 - trunk])
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
        trunk=torch.tensor(sequences[0].ids[:trunk] if sequences else [], dtype=torch.long),
    )


def pack(units: Sequence[Sequence[Encoded]], token_budget: int, trunk: bool = True) -> list[Pack]:
    """Fill packs of at most `token_budget` trie tokens; a unit (one sample, or a pair's two answers) is never split.

    Units are sorted, so that neighbours share the longest prefixes, and cut into packs where little is shared. A unit
    longer than the budget gets a pack of its own. Sequence j of unit i is member `i * len(unit) + j`. Where there is
    more than one pack, what all sequences begin with becomes their trunk; it counts against every budget, as it stays
    in memory. Without `trunk` every pack computes it.
    """
    packs = _fill(units, token_budget, 0)
    if trunk and len(packs) > 1 and (shared := _trunk(units)) >= SHORTEST_TRUNK:
        return _fill(units, token_budget - shared, shared)
    return packs


def trie_tokens(packs: Sequence[Pack]) -> int:
    """Tokens that are computed for packs made together."""
    return sum(one.n_tokens for one in packs) + (packs[0].trunk.numel() if packs else 0)


def _trunk(units: Sequence[Sequence[Encoded]]) -> int:
    """How many tokens all sequences begin with, up to before the first position that predicts something."""
    sequences = [encoded for unit in units for encoded in unit]
    first, last = (choose(sequences, key=lambda one: one.ids) for choose in (min, max))
    shared = common_prefix(first.ids, last.ids)
    return min(shared, *(one.trained.index(True) - 1 for one in sequences))


def _fill(units: Sequence[Sequence[Encoded]], token_budget: int, trunk: int) -> list[Pack]:
    width = len(units[0]) if units else 1
    order = sorted(range(len(units)), key=lambda i: units[i][0].ids)
    alone = [_tokens_after(None, units[i], trunk) for i in order]
    behind = [0, *(_tokens_after(units[i], units[j], trunk) for i, j in pairwise(order))]
    packs = []
    for start, end in cuts(alone, behind, token_budget):
        chosen = order[start:end]
        sequences = [encoded for i in chosen for encoded in units[i]]
        packs.append(build(sequences, [i * width + j for i in chosen for j in range(width)], trunk))
    return packs


def cuts(alone: Sequence[int], behind: Sequence[int], token_budget: int) -> list[tuple[int, int]]:
    """Half-open ranges of sorted units, one a pack, that together take the fewest tokens, by dynamic programming.

    Cutting between conversations repeats little, cutting inside one repeats its history.

    Args:
        alone: trie tokens of each unit at the head of a pack.
        behind: trie tokens that each unit adds behind the one before it.
        token_budget: most tokens of a pack; a unit that has more is a pack of its own.
    """
    best = [0.0]  # of all units before here
    starts: list[int] = []  # where the last pack of that best begins
    for end in range(1, len(alone) + 1):
        cost, begin = best[end - 1] + alone[end - 1] + PACK_TOKENS, end - 1
        added = 0
        for start in range(end - 2, -1, -1):
            added += behind[start + 1]
            tokens = alone[start] + added
            if added > token_budget:  # and so for all starts before
                break
            if tokens <= token_budget and best[start] + tokens + PACK_TOKENS < cost:
                cost, begin = best[start] + tokens + PACK_TOKENS, start
        best.append(cost)
        starts.append(begin)
    found: list[tuple[int, int]] = []
    end = len(alone)
    while end:
        found.append((starts[end - 1], end))
        end = starts[end - 1]
    return found[::-1]


def _tokens_after(before: Sequence[Encoded] | None, unit: Sequence[Encoded], trunk: int) -> int:
    """Trie tokens that a unit adds behind its neighbour in sorted order (an upper bound for pairs)."""
    first = unit[0].ids
    total = len(first) - (common_prefix(before[0].ids, first) if before else trunk)
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
