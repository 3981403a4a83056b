"""Attention over a token trie: token i sees token j iff j <= i < subtree[j], so its ancestors and its own past.

Registered with transformers under NAME; the nodes reach the kernel as the extra keyword argument `tree`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from joshi.errors import JoshiError
from joshi.training.packing import Node

if TYPE_CHECKING:
    from joshi.training.trunk import Trunk

NAME = "joshi_tree"
TRIANGLE = 128  # longest run of tokens that one causal call takes
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


def blocks(tree: Sequence[Node], before: int) -> Iterator[tuple[slice, slice, bool]]:
    """(rows, columns, causal) of the score matrix: each node with itself, and all its descendants with it.

    The first `before` columns are the trunk's, which every row sees.

    The blocks do not overlap and cover every pair that the trie allows. Long triangles
    are halved, as torch's kernel runs at half its speed where it skips their upper part.
    """
    for node in tree:
        yield from _triangle(node.start, node.end, before)
        if node.subtree > node.end:
            yield slice(node.end, node.subtree), slice(before + node.start, before + node.end), False
    if before:
        yield slice(tree[0].start, tree[-1].end), slice(0, before), False


def _triangle(start: int, end: int, before: int) -> Iterator[tuple[slice, slice, bool]]:
    if end - start <= TRIANGLE:
        yield slice(start, end), slice(before + start, before + end), True
        return
    middle = (start + end + 1) // 2
    yield from _triangle(start, middle, before)
    yield from _triangle(middle, end, before)
    yield slice(middle, end), slice(before + start, before + middle), False


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tree: Sequence[Node], before: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (1, heads, tokens, size), stored token by token, and logsumexp of scores (1, heads, tokens); CPU.

    Blocks of one row are joined by their logsumexp (online softmax, Milakov and Gimelshein 2018).
    """
    _, heads, tokens, size = query.shape
    out = query.new_empty(1, tokens, heads, size).transpose(1, 2)
    lse = torch.empty(1, heads, tokens, dtype=torch.promote_types(query.dtype, torch.float32))
    for rows, columns, causal in sorted(blocks(tree, before), key=lambda block: not block[2]):  # triangles first
        part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query[:, :, rows], key[:, :, columns], value[:, :, columns], 0.0, causal, scale=scale
        )
        if causal:
            out[:, :, rows], lse[:, :, rows] = part, part_lse
            continue
        joined = torch.logaddexp(lse[:, :, rows], part_lse)
        out[:, :, rows].mul_((lse[:, :, rows] - joined).exp_()[..., None].to(out.dtype))
        out[:, :, rows].addcmul_(part, (part_lse - joined).exp_()[..., None].to(out.dtype))
        lse[:, :, rows] = joined
    return out, lse


def attend_backward(
    upstream: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    tree: Sequence[Node],
    before: int,
    scale: float,
    into: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Add the gradients of query, key and value to `into`.

    A block's probabilities follow from the row's whole logsumexp, so blocks need nothing from each other
    (FlashAttention, Dao et al. 2022, alg. 4).
    """
    groups = query.shape[1] // key.shape[1]
    # Keys are repeated for each head: the kernel divides its work by heads, and few key heads leave threads idle.
    keys, values = (states.repeat_interleave(groups, dim=1) if groups > 1 else states for states in (key, value))
    for rows, columns, causal in blocks(tree, before):
        of_query, *of_both = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            upstream[:, :, rows], query[:, :, rows], keys[:, :, columns], values[:, :, columns],
            out[:, :, rows], lse[:, :, rows], 0.0, causal, scale=scale,
        )  # fmt: skip
        into[0][:, :, rows].add_(of_query)
        for whole, part in zip(into[1:], of_both, strict=True):
            whole[:, :, columns].add_(part.unflatten(1, (-1, groups)).sum(2) if groups > 1 else part)


class TreeAttention(torch.autograd.Function):
    """`attend` with its gradient; keeps no scores."""

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
        out, lse = attend(query, key, value, tree, before, scale)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.tree, ctx.before, ctx.scale = tree, before, scale
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        into = (torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value))
        attend_backward(upstream[0], query, key, value, out, lse, ctx.tree, ctx.before, ctx.scale, into)
        return *into, None, None, None


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
