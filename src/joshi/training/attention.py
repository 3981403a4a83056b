"""Attention over a token trie: each node attends to its ancestors' ranges and, causally, to itself.

Registered with transformers under NAME; the nodes reach the kernel as the extra keyword argument `tree`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from joshi.training.packing import Node

NAME = "joshi_tree"


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, heads, tokens, size)
    key: torch.Tensor,  # (1, key heads, tokens, size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Sequence[Node] = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Exact softmax attention of every node; returns (1, tokens, heads, size).

    Raises:
        ValueError: no tree was passed; without one, branches would see each other.
    """
    if not tree:
        raise ValueError(f"attention {NAME} needs the pack's nodes as the keyword argument tree")
    outputs = []
    for node in tree:
        ranges = node.whole_path
        keys = _gather(key, ranges)
        values = _gather(value, ranges)
        length = node.end - node.start
        outputs.append(
            F.scaled_dot_product_attention(
                query[:, :, node.start : node.end],
                keys,
                values,
                attn_mask=_mask(length, keys.shape[2], query.device) if node.path else None,
                is_causal=not node.path,
                scale=scaling,
                dropout_p=dropout if module.training else 0.0,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _gather(states: torch.Tensor, ranges: Sequence[tuple[int, int]]) -> torch.Tensor:
    pieces = [states[:, :, start:end] for start, end in ranges]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


@lru_cache(maxsize=512)
def _mask(length: int, total: int, device: torch.device) -> torch.Tensor:
    """(length, total): the last `length` columns are causal, those before are ancestors, seen by all."""
    return torch.ones(length, total, dtype=torch.bool, device=device).tril(total - length)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
