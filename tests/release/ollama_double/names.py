"""Model names, as types/model/name.go reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

MISSING = "!MISSING!"  # a part that a separator promised; never valid
_PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}


@dataclass(frozen=True)
class Name:
    """host/namespace/model:tag. It may be invalid; `valid` says so."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def valid(self) -> bool:
        return all(pattern.fullmatch(getattr(self, part)) for part, pattern in _PARTS.items())

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.host, self.namespace, self.model, self.tag)

    @property
    def shortest(self) -> str:
        """As lists show it: without the default host and namespace, always with the tag."""
        if self.host.lower() != "registry.ollama.ai":
            return str(self)
        if self.namespace.lower() != "library":
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"


def parse(text: str) -> Name:
    """The name with its defaults: registry.ollama.ai, library, latest."""
    tag = namespace = host = ""
    if text.rfind(":") > text.rfind("/"):
        text, tag = _cut(text, ":")
    if "/" in text:
        text, model = _cut(text, "/")
        if "/" in text:
            text, namespace = _cut(text, "/")
            host = text.partition("://")[2] if "://" in text else text
        else:
            namespace = text
    else:
        model = text
    return Name(host or "registry.ollama.ai", namespace or "library", model, tag or "latest")


def existing(name: Name, there: Iterable[Name]) -> Name:
    """The name as models that are there spell it, whatever the case (getExistingName in routes.go).

    Each part is looked at by itself, so its spelling may come from a model that has nothing else in common.
    """
    for other in there:
        for part in ("host", "namespace", "model", "tag"):
            if getattr(other, part).lower() == getattr(name, part).lower():
                name = replace(name, **{part: getattr(other, part)})
    return name


def _cut(text: str, separator: str) -> tuple[str, str]:
    before, _, after = text.rpartition(separator)
    return before or MISSING, after or MISSING
