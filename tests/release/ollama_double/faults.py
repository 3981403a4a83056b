"""What may go wrong with a server: one of these at a time, put into `server.fault` while it runs.

`route` is how a request begins, "POST /api/chat" or "POST /api/blobs"; an empty one is every request. Requests are
counted from the moment that the fault was set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Hangs:
    """The request is read and never answered, until the fault is taken away or the server ends."""

    route: str = ""


@dataclass(frozen=True)
class Fails:
    """The nth request gets an error in place of its answer; 0: each does."""

    route: str = ""
    nth: int = 0
    status: int = 500
    message: str = "llama runner process has terminated: signal: killed"


@dataclass(frozen=True)
class Mute:
    """The model ends its turn with its first token."""


@dataclass(frozen=True)
class Drops:
    """The connection is reset after so many bytes of the request's or the reply's body."""

    route: str = ""
    after_bytes: int = 0
    of: Literal["request", "reply"] = "reply"


@dataclass(frozen=True)
class Drips:
    """The reply's body comes in pieces of so many bytes, each so many seconds after the last."""

    route: str = ""
    n_bytes: int = 16
    seconds: float = 0.05


@dataclass(frozen=True)
class LosesBlob:
    """An upload is answered with 201, and the blob is gone."""


@dataclass(frozen=True)
class LosesModel:
    """Before the last word of the answer is sent, somebody deletes a model behind the client's back."""

    name: str
    route: str = "POST /api/create"


def subtly_other(prompt: str) -> str:
    """A template that is nearly right: Phi-4's turns as ChatML's, or ChatML's without the line break that ends them."""
    if "<|im_sep|>" in prompt:
        return prompt.replace("<|im_sep|>", "\n")
    return prompt.replace("<|im_end|>\n", "<|im_end|>")


@dataclass(frozen=True)
class Misrenders:
    """The model reads another prompt than the template makes; /api/show tells the right template."""

    change: Callable[[str], str] = subtly_other


@dataclass(frozen=True)
class DiskFull:
    """So many more bytes can be written, for blobs and manifests together."""

    after_bytes: int = 0


@dataclass(frozen=True)
class ShowsOther:
    """/api/show tells another value of a parameter than the model has; none: it leaves the parameter out."""

    parameter: str
    value: Any = None


Fault = Hangs | Fails | Mute | Drops | Drips | LosesBlob | LosesModel | Misrenders | DiskFull | ShowsOther
