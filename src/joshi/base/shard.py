"""A base split over all processes (FSDP2): each holds its rows of every frozen matrix and gathers a layer at a time.

LoRA weights are put on afterwards and stay whole in every process: they are small, and checkpoints, adapters and
resuming then do not depend on how many processes there are.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard


def shard(causal: Any) -> Any:
    """Split a transformers causal model that was made on the meta device, layer by layer; its weights come later."""
    causal.requires_grad_(False)
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (dist.get_world_size(),))
    for layer in causal.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(causal, mesh=mesh)


def is_sharded(model: Any) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def own_rows(whole: torch.Tensor, like: DTensor) -> DTensor:
    """This process's part of a tensor that every process has read; nothing is sent."""
    rank, count = like.device_mesh.get_local_rank(), like.device_mesh.size()
    parts = torch.chunk(whole, count, dim=0)
    own = parts[rank] if rank < len(parts) else whole[:0]
    return DTensor.from_local(
        own.to(like.device_mesh.device_type, copy=True), like.device_mesh, [Shard(0)], run_check=False,
        shape=like.shape, stride=like.stride(),
    )  # fmt: skip
