"""What changed from one version of Ollama to another, as far as a release meets it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Adapters = Literal["taken", "refused", "ignored"]


@dataclass(frozen=True)
class Behaviour:
    """Attributes:
    rewrites: an uploaded model is stored as llama-quantize copies it, so under another digest than it was sent by; the
        upload stays beside it, used by nothing (0.30.0, copyLayerWithLlamaQuantize in create.go).
    native_templates: a GGUF's own chat template is used where a model has no TEMPLATE, and also where it has one but
        the GGUF's can do more, such as tools (0.30.0, shouldPreferChatTemplate in images.go).
    halves_long_prompts: of a prompt that does not fit, half a window is kept rather than a whole one (0.31.0).
    listed_details: /api/tags tells capabilities and context length (0.30.0).
    grace: blobs without a model outlive a restart by an hour (0.21.0).
    repeat_penalty: unless the model or the request has one (1.0 since 0.32.10).
    adapters: what `create` does with them. They were removed in 0.34.1, after the source that this double follows, so
        the words of the refusal are its own, and "ignored" is there to be tried as well.
    """

    version: str
    rewrites: bool
    native_templates: bool
    halves_long_prompts: bool
    listed_details: bool
    grace: bool
    repeat_penalty: float
    adapters: Adapters


def behaviour(version: str, rewrites: bool | None = None, adapters: Adapters | None = None) -> Behaviour:
    """As a version does; `rewrites` and `adapters` override it."""

    def since(*other: int) -> bool:
        return number >= other

    number = tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0]))
    return Behaviour(
        version=version,
        rewrites=since(0, 30, 0) if rewrites is None else rewrites,
        native_templates=since(0, 30, 0),
        halves_long_prompts=since(0, 31, 0),
        listed_details=since(0, 30, 0),
        grace=since(0, 21, 0),
        repeat_penalty=1.0 if since(0, 32, 10) else 1.1,
        adapters=adapters or ("refused" if since(0, 34, 1) else "taken"),
    )
