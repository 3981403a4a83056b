"""Decoder layers with LoRA as two autograd functions each, for full-precision training on a CPU.

The update is merged into each matrix once a step (M = W + s B A), so a token costs 4 (N + n) multiply-adds forward and
backward, with N frozen and n LoRA weights, where PEFT's form costs 4 N + 6 n; matrices that read the same input are
multiplied as one; and what is cheap to make again (norms, the gated activation) is not kept. 6.2k numbers a token and
layer remain at SmolLM2's size, 0.75 MB a token in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear

from joshi.base.shard import is_sharded
from joshi.training import products
from joshi.training.attention import check_window
from joshi.training.packing import Node
from joshi.training.products import add_product, product
from joshi.training.row_blocks import attend, attend_backward
from joshi.training.trunk import Trunk

ADAPTER = "default"


class Projection:
    """LoRA linear layers that read the same input, side by side: y = x M^T with M = W + s B A, (outputs, inputs)."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._weights = [layer.get_base_layer().weight for layer in layers]
        self.down = [layer.lora_A[ADAPTER].weight for layer in layers]  # A, (rank, inputs)
        self.up = [layer.lora_B[ADAPTER].weight for layer in layers]  # B, (outputs, rank)
        self._scale = float(layers[0].scaling[ADAPTER])
        self._rows = [weight.shape[0] for weight in self._weights]
        self._ranks = [down.shape[0] for down in self.down]
        self.matrix = torch.empty(sum(self._rows), self._weights[0].shape[1], dtype=self._weights[0].dtype)
        self._made_from: list[torch.Tensor] = []

    @property
    def parameters(self) -> list[torch.Tensor]:
        return [*self.down, *self.up]

    def merged(self) -> torch.Tensor:
        """`matrix`, made anew if a LoRA weight has changed. Version counters do not tell: fused AdamW leaves them."""
        if not self._made_from or not all(map(torch.equal, self.parameters, self._made_from)):
            self._made_from = [p.detach().clone() for p in self.parameters]
            rows = torch.split(self.matrix, self._rows)
            for part, weight, down, up in zip(rows, self._weights, self.down, self.up, strict=True):
                torch.add(weight, product(up, down), alpha=self._scale, out=part)
        return self.matrix

    def inner(self, x: torch.Tensor) -> torch.Tensor:
        """x A^T of all layers, (tokens, ranks); kept for the gradient of B."""
        return product(x, torch.cat(self.down).T)

    def gradients(self, upstream: torch.Tensor, x: torch.Tensor, inner: torch.Tensor) -> list[torch.Tensor]:
        """Of `parameters`, from the gradient of y, (tokens, outputs)."""
        outward, of_up = [], []  # dy B, and the gradients of B
        for dy, u, up in zip(
            torch.split(upstream, self._rows, 1), torch.split(inner, self._ranks, 1), self.up, strict=True
        ):
            outward.append(product(dy, up))
            of_up.append(product(u.T, dy).T.mul(self._scale))  # the narrower matrix first is faster
        of_down = product(torch.cat(outward, 1).T, x).mul_(self._scale)
        return [*torch.split(of_down, self._ranks), *of_up]


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm (Zhang and Sennrich 2019) of (tokens, size), and 1 / RMS, (tokens, 1)."""
    inverse = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.shape[-1] + eps).rsqrt_()
    return (x * inverse).mul_(weight), inverse


def _norm_backward(
    upstream: torch.Tensor, x: torch.Tensor, normed: torch.Tensor, inverse: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Gradient of x; `upstream` is overwritten."""
    along = (upstream * normed).sum(-1, keepdim=True).mul_(inverse / x.shape[-1])
    return upstream.mul_(weight).addcmul_(x, along, value=-1).mul_(inverse)


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotary embedding (Su et al. 2021) in place, of (1, heads, tokens, size) by angles of (tokens, rotated)."""
    half = cos.shape[-1] // 2
    one, two = states[..., :half], states[..., half : 2 * half]
    c, s = cos[:, :half], sin[:, :half]
    rotated = one * c - two * s
    two.mul_(c).addcmul_(one, s)
    one.copy_(rotated)


class AttentionHalf(torch.autograd.Function):
    """x + out(attention(rotary(qkv(norm(x))))), (tokens, size); with a recording trunk also the keys and values.

    Of the last layer only `rows` are wanted: those that predict a trained token.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: FusedLayer, cos: torch.Tensor, sin: torch.Tensor,
                tree: tuple[Node, ...], record: bool, learning: bool, before_key: torch.Tensor | None,
                before_value: torch.Tensor | None, rows: torch.Tensor | None, *_: torch.Tensor,
                ) -> torch.Tensor | tuple[torch.Tensor, ...]:  # fmt: skip
        normed, inverse = _norm(x, layer.first_norm, layer.eps)
        states = product(normed, layer.qkv.merged().T)
        query, key, value = map(_to_sdpa, layer.heads_of(states))
        _rotate(query, cos, sin)
        _rotate(key, cos, sin)
        keys, values = _after(before_key, key), _after(before_value, value)
        out = attend(query, keys, values, tree, keys.shape[2] - len(x), layer.scale)
        flat = out.transpose(1, 2).reshape(len(x), -1)
        passed, wanted = (x, flat) if rows is None else (x[rows], flat[rows])
        inner = (layer.qkv.inner(normed), layer.out.inner(wanted)) if learning else (None, None)
        ctx.save_for_backward(x, inverse, states, flat, cos, sin, *inner, before_key, before_value, rows)
        ctx.layer, ctx.tree = layer, tree
        result = add_product(passed, wanted, layer.out.merged().T)
        return (result, key.clone(), value.clone()) if record else result

    @staticmethod
    def backward(ctx: Any, *upstreams: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inverse, states, flat, cos, sin, inner_qkv, inner_out, before_key, before_value, rows = ctx.saved_tensors
        layer, upstream = ctx.layer, upstreams[0].contiguous()
        of_out = layer.out.gradients(upstream, flat if rows is None else flat[rows], inner_out)
        of_flat = product(upstream, layer.out.matrix)
        if rows is not None:
            of_flat = torch.zeros_like(flat).index_copy_(0, rows, of_flat)
        of_flat = of_flat.view(len(x), -1, layer.size)
        query, key, value = map(_to_sdpa, layer.heads_of(states))
        keys, values = _after(before_key, key), _after(before_value, value)
        before = keys.shape[2] - len(x)
        of_query, of_keys, of_values = attend_backward(
            _to_sdpa(of_flat), query, keys, values, ctx.tree, before, layer.scale
        )
        of_key, of_value = of_keys[:, :, before:], of_values[:, :, before:]
        if len(upstreams) == 3:  # a recorded trunk: what the packs add
            of_key.add_(upstreams[1])
            of_value.add_(upstreams[2])
        _rotate(of_query, cos, -sin)  # the transpose of a rotation turns back
        _rotate(of_key, cos, -sin)
        of_states = torch.cat([part[0].transpose(0, 1).flatten(1) for part in (of_query, of_key, of_value)], dim=1)
        normed = (x * inverse).mul_(layer.first_norm)
        of_qkv = layer.qkv.gradients(of_states, normed, inner_qkv)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _norm_backward(product(of_states, layer.qkv.matrix), x, normed, inverse, layer.first_norm)
            of_x = of_x.add_(upstream) if rows is None else of_x.index_add_(0, rows, upstream)
        of_before = (of_keys[:, :, :before], of_values[:, :, :before]) if before else (None, None)
        return of_x, None, None, None, None, None, None, *of_before, None, *of_qkv, *of_out


def _after(before: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    return states if before is None else torch.cat((before, states), dim=2)


class MlpHalf(torch.autograd.Function):
    """x + down(silu(gate(norm(x))) * up(norm(x))), (tokens, size) (SwiGLU, Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: FusedLayer, learning: bool, *_: torch.Tensor) -> torch.Tensor:
        normed, inverse = _norm(x, layer.second_norm, layer.eps)
        states = product(normed, layer.gate_up.merged().T)
        gate, up = states.chunk(2, dim=1)
        active = F.silu(gate).mul_(up)
        inner = (layer.gate_up.inner(normed), layer.down.inner(active)) if learning else (None, None)
        ctx.save_for_backward(x, inverse, states, *inner)
        ctx.layer = layer
        return add_product(x, active, layer.down.merged().T)

    @staticmethod
    def backward(ctx: Any, *upstreams: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inverse, states, inner_gate_up, inner_down = ctx.saved_tensors
        layer, upstream = ctx.layer, upstreams[0].contiguous()
        gate, up = states.chunk(2, dim=1)
        active = F.silu(gate)
        of_states = torch.empty_like(states)
        of_gate, of_up = of_states.chunk(2, dim=1)
        of_active = product(upstream, layer.down.matrix)
        torch.mul(of_active, active, out=of_up)
        torch.ops.aten.silu_backward.grad_input(of_active.mul_(up), gate, grad_input=of_gate)
        of_down = layer.down.gradients(upstream, active.mul_(up), inner_down)
        del of_active, active
        normed = (x * inverse).mul_(layer.second_norm)
        of_gate_up = layer.gate_up.gradients(of_states, normed, inner_gate_up)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product(of_states, layer.gate_up.matrix)
            of_x = _norm_backward(of_x, x, normed, inverse, layer.second_norm).add_(upstream)
        return of_x, None, None, *of_gate_up, *of_down


class FusedLayer:
    """What both halves of one decoder layer of a Llama or Phi-3 model need."""

    def __init__(self, layer: Any, last: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        split = hasattr(attention, "q_proj")  # Phi-3 has q, k, v and gate, up in one matrix each
        names = ("q_proj", "k_proj", "v_proj") if split else ("qkv_proj",)
        self.qkv = Projection([getattr(attention, name) for name in names])
        self.out = Projection([attention.o_proj])
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj] if split else [mlp.gate_up_proj])
        self.down = Projection([mlp.down_proj])
        self.first_norm = layer.input_layernorm.weight
        self.second_norm = layer.post_attention_layernorm.weight
        self.eps = float(layer.input_layernorm.variance_epsilon)
        self.size = int(attention.head_dim)
        self.scale = float(attention.scaling)
        config = attention.config
        self._heads, self._key_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self._index = int(attention.layer_idx)
        self._window = getattr(config, "sliding_window", None)
        self._last = last

    def heads_of(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values as views, (tokens, heads, size) each."""
        heads = states.view(len(states), -1, self.size)
        query, key, value = torch.split(heads, [self._heads, self._key_heads, self._key_heads], dim=1)
        return query, key, value

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, tree: Sequence[Node], trunk: Trunk | None,
        record: bool, rows: torch.Tensor | None,
    ) -> torch.Tensor:  # fmt: skip
        ahead = (None, None) if trunk is None or record else trunk.states(self._index)
        check_window(tree, 0 if trunk is None or record else trunk.tokens, self._window)
        wanted = rows if self._last else None
        learning = torch.is_grad_enabled()
        arguments = (
            cos,
            sin,
            tuple(tree),
            record,
            learning,
            *ahead,
            wanted,
            *self.qkv.parameters,
            *self.out.parameters,
        )
        middle = AttentionHalf.apply(x, self, *arguments)  # type: ignore[no-untyped-call]
        if trunk is not None and record:
            middle, key, value = middle
            trunk.keep(self._index, key, value)
        result: torch.Tensor = MlpHalf.apply(middle, self, learning, *self.gate_up.parameters, *self.down.parameters)  # type: ignore[no-untyped-call]
        return result


def _to_sdpa(states: torch.Tensor) -> torch.Tensor:
    """(tokens, heads, size) as a view of (1, heads, tokens, size)."""
    return states.transpose(0, 1)[None]


def fits(model: Any) -> bool:
    """Whether every layer of a PEFT model can be fused: whole on a CPU, no dropout, LoRA on plain linear layers."""
    config = model.config
    dropouts = [getattr(config, name, 0.0) for name in ("attention_dropout", "resid_pdrop", "embd_pdrop")]
    if next(model.parameters()).device.type != "cpu" or config.hidden_act != "silu" or any(dropouts):
        return False
    if is_sharded(model):
        return False
    for layer in model.get_base_model().model.layers:
        linear = [m for name, m in layer.named_modules() if name.endswith("_proj")]
        for module in linear:
            if type(module) is not LoraLinear or list(module.lora_A) != [ADAPTER] or module.use_dora[ADAPTER]:
                return False
            if type(module.get_base_layer()) is not torch.nn.Linear or module.get_base_layer().bias is not None:
                return False
            if not isinstance(module.lora_dropout[ADAPTER], torch.nn.Identity):
                return False
    return True


def install(model: Any) -> bool:
    """Give the decoder layers of a PEFT model the fused forward where that is exact; says whether it did.

    Where it is not, PEFT's layers stay, with the same matrix products.
    """
    if not fits(model):
        products.install(model)
        return False
    layers = model.get_base_model().model.layers
    for layer in layers:
        layer.joshi_fused = FusedLayer(layer, last=layer is layers[-1])
        layer.forward = MethodType(_layer_forward, layer)
    return True


def _layer_forward(
    self: Any,
    hidden_states: torch.Tensor,  # (1, tokens, size)
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    tree: Sequence[Node] = (),
    trunk: Trunk | None = None,
    record: bool = False,
    rows: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """The last layer returns `rows` alone."""
    cos, sin = (part[0] for part in position_embeddings)
    fused: FusedLayer = self.joshi_fused
    if self.gradient_checkpointing and self.training:
        again: torch.Tensor = self._gradient_checkpointing_func(
            fused.forward, hidden_states[0], cos, sin, tree, trunk, record, rows
        )
        return again[None]
    return fused.forward(hidden_states[0], cos, sin, tree, trunk, record, rows)[None]
