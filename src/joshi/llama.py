"""llama.cpp's own HTTP server (OpenAI-compatible) inside this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from joshi.errors import JoshiError, Unavailable
from joshi.plan import Plan
from joshi.workspace import sha256_file

LOOPBACK = "127.0.0.1"
PROMPT_CACHE_MIB = 512  # llama.cpp would take up to 8 GiB of memory for old prompts


@dataclass(frozen=True)
class Adapted:
    """A base with a LoRA beside it, both GGUF; neither file is changed."""

    base: Path
    adapter: Path


Weights = Path | Adapted  # what llama.cpp runs


def bytes_of(model: Weights) -> str:
    """The sha256 of a model's bytes: of its file, or of base and adapter one after the other."""
    return sha256_file(model) if isinstance(model, Path) else sha256_file(model.base) + sha256_file(model.adapter)


def threads(plan: Plan) -> int:
    """CPU threads: the plan's, or all physical cores that this process may use."""
    return plan.threads or min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))


def start(model: Weights, plan: Plan, host: str = LOOPBACK, port: int = 0, parallel: int = 1) -> Any:
    """A running server; it stops with its last reference. `listening_address` is its base URL.

    Args:
        port: 0 takes a free one.
        parallel: requests answered at the same time, each with the plan's whole context window.

    Raises:
        JoshiError: llama.cpp cannot load the file, or the port is taken.
        Unavailable: the package xllamacpp is missing.
    """
    try:
        import xllamacpp  # loads 100 MB of native code, so only where a model runs
    except ImportError as error:
        raise Unavailable("answering needs the package xllamacpp; install joshi again") from error
    gguf, adapter = (model, None) if isinstance(model, Path) else (model.base, model.adapter)
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    params.model_alias = {plan.model.name}
    params.n_ctx = plan.release.num_ctx * parallel
    params.n_parallel = parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads(plan)
    params.sampling.temp, params.sampling.top_p = plan.release.temperature, plan.release.top_p
    params.warmup, params.verbosity = False, 0
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.hostnames, params.port = [host], port
    # By default any web page open in a browser could use the server, and any client read others' prompts.
    params.cors_origins, params.ui, params.endpoint_slots = "http://localhost", False, False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise JoshiError(
            f"llama.cpp cannot serve {gguf}{f' with {adapter}' if adapter else ''} at {host}:{port}; check that the "
            "port is free and that the file is a whole GGUF of a known architecture"
        ) from error


@contextlib.contextmanager
def running(model: Weights, plan: Plan, parallel: int = 1) -> Iterator[str]:
    """A server on the loopback address for as long as the block lasts; yields its base URL."""
    server = start(model, plan, parallel=parallel)
    try:
        yield str(server.listening_address)
    finally:
        del server
