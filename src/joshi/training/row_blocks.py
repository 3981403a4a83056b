"""Attention over a token trie on a CPU: blocks of rows, each against every column that one of its rows sees.

A block is a product, a softmax and a product for each key head, with the query heads that share the key as further
rows. Scores are made again in the backward pass, so none is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from joshi.training.packing import Node
from joshi.training.products import product

ROWS = 128  # most rows of a block: its scores, with three query heads and a thousand columns, stay in a core's cache
CALLS = 8_000  # pairs of a row and a column that take as long as the calls for one more block

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Block:
    """Consecutive rows, and the columns that any of them sees; the first columns are the trunk's."""

    rows: slice
    columns: Ranges  # half-open, in order, none adjacent
    hidden: torch.Tensor  # (rows, 1, last columns): minus infinity where the row does not see the column; else 0


@lru_cache(maxsize=8)  # every layer asks, forward and backward
def row_blocks(tree: tuple[Node, ...], before: int) -> tuple[Block, ...]:
    """Blocks that cover every row once. Row i is token i of the pack; its own column is before + i.

    Neighbouring short nodes are taken together while what they would compute in vain costs less than another block.
    """
    ends = torch.full((before + tree[-1].end,), tree[-1].end)  # one past the last row that sees a column
    for node in tree:
        ends[before + node.start : before + node.end] = node.subtree
    found = []
    start, end, seen = 0, 0, torch.zeros(len(ends), dtype=torch.bool)
    for piece_start, piece_end, columns in _pieces(tree, before):
        alone = torch.zeros_like(seen)
        for first, last in columns:
            alone[first:last] = True
        both = seen | alone
        rows = piece_end - start
        apart = (end - start) * int(seen.sum()) + (piece_end - piece_start) * int(alone.sum()) + CALLS
        if end > start and (rows > ROWS or rows * int(both.sum()) > apart):
            found.append(_block(start, end, seen, ends, before))
            start, both = piece_start, alone
        end, seen = piece_end, both
    return (*found, _block(start, end, seen, ends, before))


def _pieces(tree: Sequence[Node], before: int) -> Iterator[tuple[int, int, Ranges]]:
    """Runs of at most ROWS rows of one node, with the columns that they see."""
    for node in tree:
        length = node.end - node.start
        count = -(-length // ROWS)
        for part in range(count):
            start, end = (node.start + length * p // count for p in (part, part + 1))
            path = tuple((before + first, before + last) for first, last in node.path)
            yield start, end, ((0, before), *path, (before + node.start, before + end))


def _block(start: int, end: int, seen: torch.Tensor, ends: torch.Tensor, before: int) -> Block:
    places = seen.nonzero().squeeze(1)
    breaks = (places.diff() > 1).nonzero().squeeze(1) + 1
    columns = tuple((int(run[0]), int(run[-1]) + 1) for run in torch.tensor_split(places, breaks))
    row = torch.arange(start, end)[:, None]
    visible = (places - before <= row) & (row < ends[places])
    by_all = visible.all(0)
    whole = len(places) if bool(by_all.all()) else int(by_all.int().argmin())  # columns in front that all rows see
    hidden = torch.zeros(end - start, 1, len(places) - whole).masked_fill_(~visible[:, None, whole:], -torch.inf)
    return Block(slice(start, end), columns, hidden)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tree: tuple[Node, ...], before: int, scale: float
) -> torch.Tensor:
    """Outputs, (1, heads, tokens, size), stored token by token.

    Args:
        query: (1, heads, tokens, size)
        key, value: (1, key heads, before + tokens, size)
    """
    _, heads, tokens, size = query.shape
    out = query.new_empty(tokens, heads, size)
    for own, keys, values in _by_key_head(heads, key, value, scale):
        for block in row_blocks(tree, before):
            chances = _chances(_stacked(query, own, block), _picked(keys, block.columns), block)
            mixed = product(chances, _picked(values, block.columns))
            out[block.rows, own] = mixed.view(-1, own.stop - own.start, size)
    return out.transpose(0, 1)[None]


def attend_backward(
    upstream: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: tuple[Node, ...],
    before: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value, in their shapes and stored token by token."""
    _, heads, tokens, size = query.shape
    of_query = query.new_empty(tokens, heads, size)
    of_key, of_value = (states.new_zeros(states.shape[1], size, states.shape[2]) for states in (key, value))
    for number, (own, keys, values) in enumerate(_by_key_head(heads, key, value, scale)):
        for block in row_blocks(tree, before):
            stacked, picked = _stacked(query, own, block), _picked(keys, block.columns)
            chances = _chances(stacked, picked, block)
            of_mixed = _stacked(upstream, own, block)
            of_chances = product(of_mixed, _picked(values, block.columns).T)
            of_scores = torch.ops.aten._softmax_backward_data(of_chances, chances, -1, chances.dtype)
            of_query[block.rows, own] = product(of_scores, picked).view(-1, own.stop - own.start, size)
            for whole, left, right in ((of_key, stacked, of_scores), (of_value, of_mixed, chances)):
                _add(product(left.T, right), whole[number], block.columns)
    of_key.mul_(scale)
    of_key, of_value = (part.permute(2, 0, 1).contiguous() for part in (of_key, of_value))
    return of_query.transpose(0, 1)[None], of_key.transpose(0, 1)[None], of_value.transpose(0, 1)[None]


def _by_key_head(
    heads: int, key: torch.Tensor, value: torch.Tensor, scale: float
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """The query heads of each key head, with its keys times `scale` and its values, (columns, size)."""
    groups = heads // key.shape[1]
    scaled = key[0].contiguous() * scale
    for number, (keys, values) in enumerate(zip(scaled, value[0].contiguous(), strict=True)):
        yield slice(number * groups, (number + 1) * groups), keys, values


def _chances(stacked: torch.Tensor, keys: torch.Tensor, block: Block) -> torch.Tensor:
    """Softmax of stacked queries' scores over the block's columns, (rows * heads, columns)."""
    scores = product(stacked, keys.T)
    if last := block.hidden.shape[-1]:
        scores.view(len(block.hidden), -1, scores.shape[1])[..., -last:].add_(block.hidden)
    return torch.softmax(scores, -1)


def _stacked(states: torch.Tensor, own: slice, block: Block) -> torch.Tensor:
    """(1, heads, tokens, size) -> (rows * own heads, size) of the block."""
    return states[0, own, block.rows].transpose(0, 1).reshape(-1, states.shape[-1])


def _picked(states: torch.Tensor, columns: Ranges) -> torch.Tensor:
    parts = [states[start:end] for start, end in columns]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _add(gradient: torch.Tensor, to: torch.Tensor, columns: Ranges) -> None:
    """Add (size, the block's columns) to where they belong in (size, columns)."""
    at = 0
    for start, end in columns:
        to[:, start:end].add_(gradient[:, at : at + end - start])
        at += end - start
