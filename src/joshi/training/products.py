"""Matrix products on a CPU.

oneDNN writes its code for the CPU that it finds. MKL, which torch takes for fp32, keeps to AVX2 on CPUs that are not
Intel's: on an AMD EPYC with AVX-512 it does a layer's products at 105 GFLOP/s a core where oneDNN does them at 235.
"""

from __future__ import annotations

import torch


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
    return (
        a.device.type == "cpu" and a.dtype == b.dtype == torch.float32 and torch.backends.mkldnn.is_available()
        and a.numel() > 0 and b.numel() > 0
    )  # fmt: skip


def _whole(matrix: torch.Tensor) -> torch.Tensor:
    """Stored by rows or by columns without gaps: of a part of a wider matrix oneDNN multiplies a thousand times slower."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()
