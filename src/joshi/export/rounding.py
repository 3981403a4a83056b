"""4-bit rounding that knows what a layer sees, so that a small change survives on the grid its base lies on.

Rounding each weight to its nearest level minimises the error of the weights; what matters is the error of the layer's
outputs on real text, tr(E H E^T) with E = written - meant and H = X^T X over the layer's inputs X. GPTQ (Frantar et al.
2022, algorithm 1) rounds column by column, those that see most first, and corrects the columns not yet rounded for each
error. The scales of the blocks are llama.cpp's, searched with the diagonal of H as importance. Ours is the gain: on the
base's own grid rounding pulls a change towards nothing, also here, so the change is aimed at GAIN times itself, the
gain being the least that keeps what is wanted of it in the layer's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi.base.ggml import dequantize, quantize

BLOCK = 32  # weights that share a scale and an offset
GROUP = 128  # columns whose corrections are gathered before they reach the columns after them
DAMPING = 0.01  # of the mean of H's diagonal, added to it (GPTQ, section 3.3)
AIM = 0.95  # share of the change to keep in the layer's outputs; above the least, as it is found on some rows
GAINS = (1.0, 3.0)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """Inputs that correct each other, from `start` on."""

    start: int
    h: torch.Tensor  # (inputs, inputs), fp32
    order: torch.Tensor  # inputs by falling diagonal of h
    factor: torch.Tensor  # upper Cholesky factor of the inverse of h so ordered

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + len(self.h))

    @classmethod
    def of(cls, start: int, h: torch.Tensor) -> Window:
        """Of H, symmetric and positive semi-definite."""
        wide = h.double()
        damping = DAMPING * float(wide.diagonal().mean()) or 1.0  # inputs that are always zero: anything will do
        order = wide.diagonal().argsort(descending=True, stable=True)
        ordered = wide[order][:, order] + damping * torch.eye(len(h), dtype=wide.dtype, device=h.device)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        return cls(start, h, order, torch.linalg.cholesky(inverse, upper=True).to(h))


@dataclass(frozen=True)
class Sight:
    """What a layer saw of real text: H by windows of its inputs."""

    windows: Sequence[Window]

    def product(self, a: Matrix, b: Matrix) -> float:
        """tr(A H B^T) of two changes of some rows, (rows, inputs): their product in the layer's outputs."""
        return sum(
            float(((_tensor(a, one)[:, one.columns] @ one.h) * _tensor(b, one)[:, one.columns]).sum())
            for one in self.windows
        )

    def gain(self, base: Matrix, delta: Matrix, kind: Type) -> float:
        """The least gain that keeps AIM of delta in the outputs of these rows, to 0.02; the highest if none does."""
        power = self.product(delta, delta)

        def kept(gain: float) -> float:
            error = dequantize(self.rounded(base + np.float32(gain) * delta, kind), kind) - base - delta
            return 1 + self.product(error, delta) / power

        low, high = GAINS
        if power == 0 or kept(low) >= AIM:
            return low
        while high - low > 0.02:
            middle = (low + high) / 2
            low, high = (low, middle) if kept(middle) >= AIM else (middle, high)
        return high

    def rounded(self, meant: Matrix, kind: Type) -> NDArray[np.uint8]:
        """Rows in a 4-bit type, (rows, bytes a row): GPTQ on the blocks' scales as llama.cpp searches them."""
        importance = np.concatenate([window.h.diagonal().cpu().numpy() for window in self.windows])
        raw = quantize(meant, kind, importance)
        levels = np.empty(meant.shape, dtype=np.uint8)
        weights, scale, offset = (_tensor(one, self.windows[0]) for one in (meant, *grid_of(raw, kind)))
        for one in self.windows:
            columns = one.start + one.order
            found = _levels(weights[:, columns], scale[:, columns // BLOCK], offset[:, columns // BLOCK], one.factor)
            levels[:, columns.cpu().numpy()] = found.cpu().numpy()
        return with_levels(raw, levels, kind)


def _tensor(values: Matrix, like: Window) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.h.device)


def _levels(weights: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """GPTQ's columns from first to last; all (rows, columns), factor (columns, columns)."""
    # A column as one run of memory; a block of zeros has the scale 0, and any level is right.
    weights, offset = weights.T.contiguous(), offset.T.contiguous()
    scale = torch.where(scale == 0, torch.finfo(scale.dtype).tiny, scale).T.contiguous()
    levels = torch.empty(weights.shape, dtype=torch.uint8, device=weights.device)
    for start in range(0, len(weights), GROUP):
        end = min(start + GROUP, len(weights))
        errors = torch.empty_like(weights[start:end])
        for j in range(start, end):
            level = ((weights[j] - offset[j]) / scale[j]).round_().clamp_(0, 15)
            levels[j] = level.to(torch.uint8)
            errors[j - start] = (weights[j] - level * scale[j] - offset[j]) / factor[j, j]
            weights[j + 1 : end].addr_(factor[j, j + 1 : end], errors[j - start], alpha=-1)
        weights[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return levels.T


def grid_of(raw: NDArray[np.uint8], kind: Type) -> tuple[Matrix, Matrix]:
    """Scale and offset of each block, both (rows, blocks): a weight is scale * level + offset (ggml-common.h)."""
    if kind == Type.Q4_K:
        blocks = raw.reshape(len(raw), -1, 144)
        d, least, packed = _half(blocks[..., 0:2]), _half(blocks[..., 2:4]), blocks[..., 4:16]
        first, second, third = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
        scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=-1)
        offsets = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=-1)
        return (d * scales).reshape(len(raw), -1), (-least * offsets).reshape(len(raw), -1)
    if kind == Type.Q4_1:
        blocks = raw.reshape(len(raw), -1, 20)
        return _half(blocks[..., 0:2])[..., 0], _half(blocks[..., 2:4])[..., 0]
    scale = _half(raw.reshape(len(raw), -1, 18)[..., 0:2])[..., 0]
    return scale, -8 * scale


def with_levels(raw: NDArray[np.uint8], levels: NDArray[np.uint8], kind: Type) -> NDArray[np.uint8]:
    """The same blocks with other levels, (rows, columns), 0 to 15: two runs of 32 share bytes, or a block's halves."""
    size, run = (144, 32) if kind == Type.Q4_K else (20 if kind == Type.Q4_1 else 18, 16)
    blocks = raw.reshape(len(raw), -1, size).copy()
    halves = levels.reshape(len(raw), blocks.shape[1], -1, 2, run)
    n_bytes = halves.shape[2] * run
    blocks[..., size - n_bytes :] = (halves[..., 0, :] | halves[..., 1, :] << 4).reshape(*blocks.shape[:2], n_bytes)
    return blocks.reshape(raw.shape)


def _half(two_bytes: NDArray[np.uint8]) -> Matrix:
    return np.ascontiguousarray(two_bytes).view(np.float16).astype(np.float32)
