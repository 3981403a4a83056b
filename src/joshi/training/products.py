"""Matrix products on a CPU.

oneDNN writes its code for the CPU that it finds. MKL, which torch takes for fp32, does a layer's products at
105 GFLOP/s a core on an AMD EPYC with AVX-512, as if with AVX2, where oneDNN does them at 235.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

_HAVE_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b, (rows, columns), of (rows, inner) and (inner, columns)."""
    if not _suits(a, b):
        return a @ b
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(_whole(a), _whole(b).T, None, "none", [], "")
    return found


def add_product(to: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """to + a b as a new matrix."""
    if not _suits(a, b):
        return torch.addmm(to, a, b)
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(_whole(a), to, _whole(b).T, None, "add")
    return found


def _suits(a: torch.Tensor, b: torch.Tensor) -> bool:
    plain = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    return _HAVE_ONEDNN and plain and a.numel() > 0 and b.numel() > 0


def _whole(matrix: torch.Tensor) -> torch.Tensor:
    """Stored by rows or by columns without gaps; a part of a wider matrix oneDNN multiplies a thousand times slower."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


class LinearProduct(torch.autograd.Function):
    """x W^T of any number of rows, with its gradients, as `product` computes them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, weight)
        return product(rows, weight.T).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        of_rows = upstream[0].reshape(-1, len(weight))
        of_x = product(of_rows, weight).view(*upstream[0].shape[:-1], -1) if ctx.needs_input_grad[0] else None
        return of_x, product(of_rows.T, rows) if ctx.needs_input_grad[1] else None


def install(model: torch.nn.Module) -> None:
    """Let the linear layers of a model that is all fp32 on a CPU take `product`; others stay as they are."""
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in model.parameters()):
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None:
            module.forward = MethodType(_linear, module)


def _linear(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = LinearProduct.apply(x, self.weight)  # type: ignore[no-untyped-call]
    return found
