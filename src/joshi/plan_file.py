"""Reading a plan: file, environment and flags together, where each value came from, and every wrong key at once."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joshi.errors import PlanError
from joshi.plan import EndpointSection, Plan
from joshi.plan_gates import Gate


@dataclass(frozen=True)
class LoadedPlan:
    plan: Plan
    sources: dict[str, str]  # dotted key: flag, environment JOSHI_…, the file's name, or default


def load_plan(
    path: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> LoadedPlan:
    """Read a plan; a flag beats the environment, which beats the file, which beats the default.

    Environment variables are JOSHI_SECTION__KEY (JOSHI_SFT__RANK=32); flags are dotted keys.

    Raises:
        PlanError: no such file, no TOML, or any wrong key; every wrong key is told at once.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(
            f"{path} does not exist; run 'joshi init' to make one, or name a workspace with --workspace DIR"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is not a TOML file: {error}; mend that place and run again") from None
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}; check the path and its permissions") from None
    sources = dict.fromkeys(_dotted(values), path.name)
    for name, text in sorted((environment if environment is not None else os.environ).items()):
        key = _environment_key(name)
        if key is not None:
            _put(values, key, _parse(text))
            sources[key] = f"environment {name}"
    for key, value in (flags or {}).items():
        _put(values, key, _parse(value) if isinstance(value, str) else value)
        sources[key] = "flag"
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise PlanError("\n".join(_explain(path.name, problem) for problem in error.errors())) from None
    return LoadedPlan(plan, {key: _source(key, sources) for key in _dotted(plan.model_dump())})


def _source(key: str, sources: Mapping[str, str]) -> str:
    """Where a key's value comes from; `leak_rate = 0.1` is the source of `leak_rate.bound`."""
    return sources.get(key) or sources.get(key.removesuffix(".bound")) or "default"


def _environment_key(name: str) -> str | None:
    if not name.startswith("JOSHI_"):
        return None
    parts = name.removeprefix("JOSHI_").lower().split("__")
    fields = Plan.model_fields
    if len(parts) in (2, 3, 4) and parts[0] in fields:
        return ".".join(parts)
    return parts[0] if len(parts) == 1 and parts[0] in ("seed", "threads") else None


def _parse(text: str) -> Any:
    """A flag or variable as TOML would read it; text that is no TOML value is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        if not isinstance(inner, dict):  # a gate given as a number is its bound
            inner = {} if inner is None else {"bound": inner}
        values[parent] = inner
        values = inner
    before = values.get(name)
    # A gate that the file gives as a table keeps the rest of it.
    values[name] = before | {"bound": value} if isinstance(before, dict) and not isinstance(value, dict) else value


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        keys += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def _explain(file: str, problem: Any) -> str:
    """One pydantic error as one sentence: key, what was found, what is allowed, the nearest valid name."""
    *parents, key = [str(part) for part in problem["loc"]] or ["the file"]
    shown = ".".join([*parents[1:], key])
    section = f"[{parents[0]}] " if parents else ""
    model: Any = Plan.model_fields[parents[0]].annotation if parents and parents[0] in Plan.model_fields else Plan
    inner: dict[str, Any] = {"gates": Gate, "endpoints": EndpointSection, "judge": EndpointSection}
    model = inner.get("".join(parents[1:2]), model)
    known = list(getattr(model, "model_fields", {}))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, 1) or difflib.get_close_matches(key, list(Plan.model_fields), 1)
        hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(known)}"
        return f"{file}: {section}{shown} is unknown; {hint}"
    secret = key in (
        "key",
        "url",
        "token",
        "webhook",
        "smtp_login",
    )  # whoever wrote a key or a password there would find it in a log
    found = "" if secret or isinstance(problem.get("input"), dict) else f", found {problem.get('input')!r}"
    field = getattr(model, "model_fields", {}).get(key)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch" and meaning:  # the meaning says it in words
        message = "not of the expected form"
    told = f"{file}: {section}{shown}: {message[0].lower()}{message[1:]}{found}{meaning}"
    return told if told.endswith("?") else f"{told}; change it and run again"
