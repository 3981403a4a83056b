"""What each layer of the tuned model sees of real text; memory holds one layer at a time, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer, Phi3RotaryEmbedding

from joshi.base.gguf_file import GgufFile, Tensor
from joshi.base.lora import Adapter
from joshi.base.rope import rotary
from joshi.base.tensors import layer_of, target_of, to_rope_halves
from joshi.base.weights import config_of
from joshi.errors import JoshiError
from joshi.export.rounding import Sight, Window

WINDOW = 4096  # inputs that correct each other: bounds memory and time where a layer has more
TORCH_BYTES = 400_000_000
FACTORS_IN_FP64 = 5  # of a window: H, H in order, its Cholesky factor, its inverse, the inverse's factor
LONGEST_TEXT = 4096  # tokens that go through a layer at one time
_CLASSES = {"llama": (LlamaDecoderLayer, LlamaRotaryEmbedding), "phi3": (Phi3DecoderLayer, Phi3RotaryEmbedding)}
# These read what the other reads.
_SAME_INPUT = {"attn_k": "attn_q", "attn_v": "attn_q", "ffn_up": "ffn_gate"}


def memory_bytes(file: GgufFile, n_tokens: int) -> int:
    """About what a calibration holds: a layer's weights, what merging makes of them, H, GPTQ's factors, the states."""
    layer = [tensor for tensor in file.tensors if layer_of(tensor.name) == 0]
    inputs = [tensor.shape[-1] for tensor in layer if len(tensor.shape) == 2]
    squares = sum(size * min(size, WINDOW) for size in set(inputs)) + 2 * min(inputs) * min(*inputs, WINDOW)
    factors = FACTORS_IN_FP64 * 8 * min(max(inputs), WINDOW) ** 2
    hidden = int(file.need(f"{file.architecture}.embedding_length"))
    states = n_tokens * 2 * hidden + LONGEST_TEXT * 3 * max(inputs)
    return TORCH_BYTES + 4 * (2 * sum(tensor.n_elements for tensor in layer) + squares + states) + factors


class Calibration:
    """The merged model, unquantised, reading `texts` (token ids), from its first layer to its last.

    `window` is as in joshi.base.weights.load_model.
    """

    def __init__(
        self, file: GgufFile, adapter: Adapter | None, texts: Sequence[Sequence[int]], window: int = 0
    ) -> None:
        self._file, self._adapter = file, adapter
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        config = config_of(file)
        config._attn_implementation = "sdpa"
        layer, turning = _CLASSES[file.architecture]
        with torch.device("meta"):
            self._layer = layer(config, 0).eval()
        self._rotary = rotary(file, turning, config, window).to(self._device)
        self._states = self._embedded(texts)
        self._done = -1  # the last layer that the states have passed
        self._sums: dict[str, list[torch.Tensor]] = {}  # of that layer, X^T X by windows of each input
        self._sights: dict[str, Sight] = {}

    def sight(self, tensor: Tensor) -> Sight:
        """What a linear layer of the decoder saw; layers are asked for in rising order.

        Raises:
            JoshiError: a tensor of the layer is missing or damaged.
            ValueError: a layer that lies behind is asked for.
        """
        layer = layer_of(tensor.name)
        if layer is None or layer < self._done:
            raise ValueError(f"{tensor.name} comes after layer {self._done}")
        while self._done < layer:
            self._pass(self._done + 1)
        name = tensor.name.split(".")[2]
        name = name if name in self._sums else _SAME_INPUT[name]
        if name not in self._sights:
            self._sights[name] = Sight([Window.of(k * WINDOW, h) for k, h in enumerate(self._sums[name])])
        return self._sights[name]

    def _embedded(self, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        table = next(one for one in self._file.tensors if one.name == "token_embd.weight")
        used = sorted({token for text in texts for token in text})
        rows = np.concatenate([self._file.weights(table, slice(token, token + 1)) for token in used])
        known = {token: row for row, token in enumerate(used)}
        found = torch.from_numpy(rows).to(self._device)
        return [found[[known[token] for token in text]][None] for text in texts]

    @torch.no_grad()
    def _pass(self, number: int) -> None:
        """Run the states through a layer, adding up X^T X of each input."""
        self._sights, self._sums = {}, {}  # the memory of the layer before is free before this one's is taken
        state, linear = self._weights(number)
        self._layer.load_state_dict(state, assign=True)
        hooks: list[torch.utils.hooks.RemovableHandle] = []

        def seen(name: str) -> None:
            def add(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
                x = given[0].reshape(-1, given[0].shape[-1])
                parts = torch.split(x, WINDOW, dim=1)
                here = self._sums.setdefault(name, [x.new_zeros(part.shape[1], part.shape[1]) for part in parts])
                for part, total in zip(parts, here, strict=True):
                    total.addmm_(part.T, part)

            hooks.append(self._layer.get_submodule(linear[name]).register_forward_pre_hook(add))

        for name in linear:
            if name not in _SAME_INPUT or _SAME_INPUT[name] not in linear:
                seen(name)
        for i, state_of_text in enumerate(self._states):
            positions = torch.arange(state_of_text.shape[1], device=self._device)[None]
            turned = self._rotary(state_of_text, positions)
            self._states[i] = self._layer(state_of_text, position_ids=positions, position_embeddings=turned)
        for hook in hooks:
            hook.remove()
        self._done = number

    def _weights(self, number: int) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """A layer's merged weights by parameter, and its linear modules by GGUF name."""
        prefix = f"model.layers.{number}."
        state: dict[str, torch.Tensor] = {}
        linear: dict[str, str] = {}
        for tensor in self._file.tensors:
            target = target_of(tensor.name, self._file)
            if target is None or not target.name.startswith(prefix):
                continue
            values = self._file.weights(tensor).reshape(tensor.shape)
            delta = self._adapter.delta(target, tensor.shape) if self._adapter else None
            if delta is not None:
                values += delta
            if target.heads:
                values = to_rope_halves(values, target.heads)
            name = target.name.removeprefix(prefix)
            state[name] = torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
            if len(tensor.shape) == 2:
                linear[tensor.name.split(".")[2]] = name.removesuffix(".weight")
        if missing := set(self._layer.state_dict()) - set(state):
            raise JoshiError(f"{self._file.path} lacks {min(missing)} of layer {number}; get the file again")
        return state, linear
