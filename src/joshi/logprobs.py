"""Next-token distributions of a GGUF, by llama.cpp itself: what its server computes but does not hand out.

llama.cpp's C interface takes its parameters as structs that grow from version to version. Here they are opaque and
larger than any version's, which x86-64's and AArch64's calling conventions allow for a last argument; the only fields
set are the context's first ones, once they are found where they have been since 2023.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joshi.base.ggml import library
from joshi.errors import JoshiError, Unavailable
from joshi.llama import Weights

CHUNK = 512  # tokens computed together
_OPAQUE = 4_096  # bytes; the structs of today have less than 200
_FIRST_FIELDS = (512, 2048, 512, 1)  # n_ctx, n_batch, n_ubatch, n_seq_max by default (llama.h)


class _ModelParams(ctypes.Structure):
    _fields_ = [("opaque", ctypes.c_byte * _OPAQUE)]


class _ContextParams(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("opaque", ctypes.c_byte * _OPAQUE),
    ]


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SILENT = _Log(lambda level, text, data: None)


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Scorer:
    """An open model; `vocabulary` is how many tokens it knows."""

    context: int
    n_ctx: int
    vocabulary: int

    def logprobs(self, ids: Sequence[int], first: int) -> NDArray[np.float32]:
        """(len(ids) - first, vocabulary): log-probabilities of what follows ids[:i], for i = first, first + 1, ...

        `first` is at least 1. Row r belongs to the token ids[first + r].

        Raises:
            JoshiError: more tokens than the context window has, or llama.cpp fails.
        """
        rows = np.empty((len(ids) - first, self.vocabulary), np.float32)
        for r, logits in enumerate(self._logits(ids, first)):
            rows[r] = logits - _log_sum_exp(logits)
        return rows

    def nll(self, ids: Sequence[int], first: int = 1) -> NDArray[np.float64]:
        """(len(ids) - first,): nats of each token from `first` on (negative log-likelihood); raises as `logprobs`."""
        rows = zip(ids[first:], self._logits(ids, first), strict=True)
        values = [_log_sum_exp(row) - float(row[i]) for i, row in rows]
        return np.array(values, np.float64)

    def _logits(self, ids: Sequence[int], first: int) -> Iterator[NDArray[np.float32]]:
        """A view of llama.cpp's own memory for each position, good until the next one is asked for."""
        if not 1 <= first < len(ids):
            raise ValueError(f"first = {first} of {len(ids)} tokens; expected 1..{len(ids) - 1}")
        if len(ids) > self.n_ctx:
            raise JoshiError(f"a text has {len(ids)} tokens and the context window {self.n_ctx}; raise num_ctx")
        api = _api()
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        for start in range(0, len(ids) - 1, CHUNK):  # what follows the last token is not asked for
            stop = min(start + CHUNK, len(ids) - 1)
            wanted = [i for i in range(start, stop) if i + 1 >= first]
            self._decode(ids[start:stop], start, {i - start for i in wanted})
            for i in wanted:
                yield np.ctypeslib.as_array(api.llama_get_logits_ith(self.context, i - start), (self.vocabulary,))

    def _decode(self, ids: Sequence[int], start: int, wanted: set[int]) -> None:
        n = len(ids)
        token, position = np.array(ids, np.int32), np.arange(start, start + n, dtype=np.int32)
        one, sequence = np.ones(n, np.int32), np.zeros(1, np.int32)
        sequences = (ctypes.c_void_p * n)(*[sequence.ctypes.data] * n)
        logits = np.array([i in wanted for i in range(n)], np.int8)
        batch = _Batch(
            n, token.ctypes.data, None, position.ctypes.data, one.ctypes.data, ctypes.addressof(sequences),
            logits.ctypes.data,
        )  # fmt: skip
        if code := _api().llama_decode(self.context, batch):
            raise JoshiError(f"llama.cpp could not read {n} tokens (code {code}); is the model whole?")


@contextmanager
def scoring(model: Weights, n_ctx: int, threads: int) -> Iterator[Scorer]:
    """A model open for scoring as long as the block lasts.

    Args:
        n_ctx: most tokens of a text.

    Raises:
        JoshiError: llama.cpp cannot load a file.
    """
    api = _api()
    was, what = _Log(), ctypes.c_void_p()
    api.llama_log_get(ctypes.byref(was), ctypes.byref(what))
    api.llama_log_set(_SILENT, None)
    try:
        with _opened(model, n_ctx, threads) as scorer:
            yield scorer
    finally:
        api.llama_log_set(was, what)


@contextmanager
def _opened(weights: Weights, n_ctx: int, threads: int) -> Iterator[Scorer]:
    api = _api()
    gguf, adapter = (weights, None) if isinstance(weights, Path) else (weights.base, weights.adapter)
    model = api.llama_model_load_from_file(str(gguf).encode(), api.llama_model_default_params())
    if not model:
        raise JoshiError(f"llama.cpp cannot load {gguf}; is it a whole GGUF of an architecture that it knows?")
    try:
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, CHUNK, CHUNK
        context = api.llama_init_from_model(model, params)
        if not context:
            raise JoshiError(f"llama.cpp has no memory for {n_ctx} tokens of {gguf}; lower [release] num_ctx")
        try:
            api.llama_set_n_threads(context, threads, threads)
            if adapter is not None:
                _put_beside(context, model, adapter)
            yield Scorer(context, n_ctx, api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        finally:
            api.llama_free(context)
    finally:
        api.llama_model_free(model)


def _put_beside(context: int, model: int, adapter: Path) -> None:
    """Let the context compute with a LoRA at full scale; llama.cpp frees it with the model."""
    api = _api()
    lora = api.llama_adapter_lora_init(model, str(adapter).encode())
    if not lora:
        raise JoshiError(f"llama.cpp cannot put {adapter} beside the base; run 'joshi export --adapter' again")
    if api.llama_set_adapters_lora(context, (ctypes.c_void_p * 1)(lora), 1, (ctypes.c_float * 1)(1.0)):
        raise JoshiError(f"llama.cpp does not apply {adapter}; was it made for this base?")


def _log_sum_exp(row: NDArray[np.float32]) -> float:
    highest = row.max()
    return float(highest + np.log(np.exp(row - highest).sum(dtype=np.float64)))


@cache
def _api() -> Any:
    """llama.cpp's functions with their types.

    Raises:
        Unavailable: xllamacpp is missing, or so new that the context's first fields are others.
    """
    api = library()
    handle, n = ctypes.c_void_p, ctypes.c_int32
    handles = ctypes.POINTER(handle)
    types: dict[str, tuple[Any, list[Any]]] = {
        "llama_backend_init": (None, []),
        "llama_log_get": (None, [ctypes.POINTER(_Log), ctypes.POINTER(handle)]),
        "llama_log_set": (None, [_Log, handle]),
        "llama_model_default_params": (_ModelParams, []),
        "llama_context_default_params": (_ContextParams, []),
        "llama_model_load_from_file": (handle, [ctypes.c_char_p, _ModelParams]),
        "llama_init_from_model": (handle, [handle, _ContextParams]),
        "llama_model_get_vocab": (handle, [handle]),
        "llama_vocab_n_tokens": (n, [handle]),
        "llama_adapter_lora_init": (handle, [handle, ctypes.c_char_p]),
        "llama_set_adapters_lora": (n, [handle, handles, ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)]),
        "llama_set_n_threads": (None, [handle, n, n]),
        "llama_get_memory": (handle, [handle]),
        "llama_memory_clear": (None, [handle, ctypes.c_bool]),
        "llama_decode": (n, [handle, _Batch]),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [handle, n]),
        "llama_free": (None, [handle]),
        "llama_model_free": (None, [handle]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(api, name)
        function.restype, function.argtypes = result, arguments
    found = api.llama_context_default_params()
    if (found.n_ctx, found.n_batch, found.n_ubatch, found.n_seq_max) != _FIRST_FIELDS:
        raise Unavailable("this version of xllamacpp lays its parameters out in another way; install the pinned one")
    api.llama_backend_init()
    return api
