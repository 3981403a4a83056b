"""Attention over a token trie: token i sees token j iff j <= i < subtree[j], so its ancestors and its own past.

Registered with transformers under NAME; the nodes reach the kernel as the extra keyword argument `tree`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from joshi.errors import JoshiError
from joshi.training.packing import Node
from joshi.training.row_blocks import attend, attend_backward

if TYPE_CHECKING:
    from joshi.training.trunk import Trunk

NAME = "joshi_tree"
BLOCK = 128  # tokens a side of a block of FlexAttention's mask


def tree_attention(
    module: Any,
    query: torch.Tensor,  # (1, heads, tokens, size)
    key: torch.Tensor,  # (1, key heads, tokens, size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    tree: Sequence[Node] = (),
    trunk: Trunk | None = None,
    record: bool = False,
    mask: BlockMask | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Exact softmax attention of every node; returns (1, tokens, heads, size). A GPU takes `block_mask` too.

    Raises:
        ValueError: no tree was passed; without one, branches would see each other.
        JoshiError: a sequence is longer than the model's sliding window.
    """
    if not tree:
        raise ValueError(f"attention {NAME} needs the pack's nodes as the keyword argument tree")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    before = 0
    if trunk is not None and record:
        trunk.keep(module.layer_idx, key, value)
    elif trunk is not None:
        before = trunk.tokens
        ahead = trunk.states(module.layer_idx)
        key, value = (torch.cat(both, dim=2) for both in zip(ahead, (key, value), strict=True))
    check_window(tree, before, sliding_window)
    if query.device.type == "cpu":
        out: torch.Tensor = TreeAttention.apply(query, key, value, tree, before, scale)  # type: ignore[no-untyped-call]
    elif mask is not None:
        out = by_mask(query, key, value, mask, scale)
    else:
        out = per_node(query, key, value, tree, before, scale)
    return out.transpose(1, 2).contiguous(), None


def check_window(tree: Sequence[Node], before: int, sliding_window: int | None) -> None:
    """Attention here is over the whole past; a model that sees only a window of it would be trained wrongly."""
    longest = before + max(sum(end - start for start, end in node.whole_path) for node in tree)
    if sliding_window is not None and longest > sliding_window:
        raise JoshiError(
            f"a sequence of {longest} tokens is longer than this base's sliding window of {sliding_window}; set "
            f"[sft] max_length = {sliding_window} or lower"
        )


class TreeAttention(torch.autograd.Function):
    """`attend` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        tree: Sequence[Node],
        before: int,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.tree, ctx.before, ctx.scale = tuple(tree), before, scale
        return attend(query, key, value, ctx.tree, before, scale)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        of_states = attend_backward(upstream[0], query, key, value, ctx.tree, ctx.before, ctx.scale)
        return *of_states, None, None, None


def by_mask(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: BlockMask, scale: float) -> torch.Tensor:
    """The same as one FlexAttention call (Dong et al. 2024); compiled on a GPU."""
    on_gpu = query.device.type == "cuda"
    call: Any = _compiled() if on_gpu else flex_attention
    out: torch.Tensor = call(
        query, key, value, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1],
        # Left to itself, torch takes its decoding kernel for fewer than 128 rows, and finds none for these shapes.
        kernel_options={"BACKEND": "TRITON"} if on_gpu else None,
    )  # fmt: skip
    return out


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def block_mask(tree: Sequence[Node], before: int, device: torch.device) -> BlockMask:
    """What each row sees, for FlexAttention: which blocks it visits, and in which of them every pair is seen.

    Made of the nodes, so that no mask of tokens x tokens ever exists. Row i is token i of the pack, at column
    before + i; the first `before` columns are the trunk's.
    """
    tokens = tree[-1].end
    total = before + tokens
    n_rows, n_columns = -(-tokens // BLOCK), -(-total // BLOCK)
    ends = torch.zeros(n_columns * BLOCK, dtype=torch.int32)  # one past the last row that sees a column, as a column
    ends[:before] = total
    for node in tree:
        ends[before + node.start : before + node.end] = before + node.subtree
    column_of = torch.arange(before, before + n_rows * BLOCK, dtype=torch.int32)
    highest, lowest = (pick(ends.view(-1, BLOCK), dim=1) for pick in (torch.amax, torch.amin))
    first, last = column_of[::BLOCK, None], column_of[BLOCK - 1 :: BLOCK, None]
    begins = torch.arange(0, n_columns * BLOCK, BLOCK)
    whole = (begins + BLOCK - 1 <= first) & (last < lowest)
    partly = (begins <= last) & (first < highest) & ~whole
    ends, column_of = ends.to(device), column_of.to(device)

    def seen(batch: Any, head: Any, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        at = column_of[row]
        return (column <= at) & (at < ends[column])

    return BlockMask.from_kv_blocks(
        *_listed(partly, device), *_listed(whole, device), BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(tokens, total)
    )


def _listed(blocks: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How many blocks of each row of blocks are true, (1, 1, rows), and which, in front, (1, 1, rows, columns)."""
    order = torch.argsort((~blocks).int(), dim=1, stable=True)
    return blocks.sum(1).int()[None, None].to(device), order.int()[None, None].to(device)


def per_node(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tree: Sequence[Node], before: int, scale: float
) -> torch.Tensor:
    """The same with one masked scaled_dot_product_attention a node, over the ranges of its ancestors; any device."""
    outputs = []
    for node in tree:
        pieces = [slice(0, before), *(slice(before + start, before + end) for start, end in node.whole_path)]
        keys = torch.cat([key[:, :, piece] for piece in pieces], dim=2)
        values = torch.cat([value[:, :, piece] for piece in pieces], dim=2)
        length, total = node.end - node.start, keys.shape[2]
        mask = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(total - length)
        outputs.append(
            F.scaled_dot_product_attention(
                query[:, :, node.start : node.end],
                keys,
                values,
                attn_mask=mask if total > length else None,
                is_causal=total == length,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, dim=2)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
