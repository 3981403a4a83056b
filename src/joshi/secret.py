"""Secrets come from the environment: a plan names the variable, and no file or message ever holds its value."""

from __future__ import annotations

from collections.abc import Mapping

from joshi.errors import PlanError


def api_key(reference: str, of: str, environment: Mapping[str, str]) -> str:
    """The key in the variable that "env:NAME" names; `of` says in messages whose key it is.

    Raises:
        PlanError: the variable is not set, or holds what no HTTP header can.
    """
    name = reference.removeprefix("env:")
    key = environment.get(name, "").strip()  # a file's last line break would be an error that shows the key
    if not key:
        raise PlanError(f"{of} takes its key from {name}, which is not set; export it")
    if not (key.isascii() and key.isprintable()):
        raise PlanError(f"{name} holds characters that no API key has; export it again")
    return key
