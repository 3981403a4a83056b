"""What a server tells of its models: /api/show, /api/tags and the details in both (server/routes.go, images.go)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.release.ollama_double import gguf_header, names
from tests.release.ollama_double.behaviour import Behaviour
from tests.release.ollama_double.go_template import TemplateError, parse
from tests.release.ollama_double.go_template import names as mentioned
from tests.release.ollama_double.go_text import Refused, moment, shown
from tests.release.ollama_double.names import Name
from tests.release.ollama_double.prompts import DEFAULT
from tests.release.ollama_double.store import (
    ADAPTER,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMS,
    SYSTEM,
    TEMPLATE,
    Config,
    Manifest,
    Store,
)  # fmt: skip


@dataclass
class Model:
    """A model as requests meet it. `path` is the GGUF's blob, which need not be there any more."""

    name: Name
    manifest: Manifest
    config: Config
    path: Path | None = None
    parent: str = ""
    adapters: list[Path] = field(default_factory=list)
    template: str = DEFAULT
    has_template: bool = False
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)

    @property
    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": self.config.model_format,
            "family": self.config.model_family,
            "families": self.config.model_families or None,
            "parameter_size": self.config.model_type,
            "quantization_level": self.config.file_type,
        }


def find(store: Store, name: Name) -> Model:
    """Raises: FileNotFoundError: there is no such model, or a text of it was lost; Refused: it is damaged."""
    manifest = store.manifest(name)
    model = Model(name, manifest, Config.of(store.json(manifest.config)))
    for layer in manifest.layers:
        match layer.media_type:
            case media_type if media_type == MODEL:
                model.path, model.parent = store.blob(layer.digest), layer.origin
            case media_type if media_type == ADAPTER:
                model.adapters.append(store.blob(layer.digest))
            case media_type if media_type == TEMPLATE:
                model.template, model.has_template = store.text(layer), True
            case media_type if media_type == SYSTEM:
                model.system = store.text(layer)
            case media_type if media_type == PARAMS:
                model.options = store.json(layer)
            case media_type if media_type == MESSAGES:
                model.messages = store.json(layer)
            case media_type if media_type == LICENSE:
                model.licences.append(store.text(layer))
    return model


def uses_own_template(model: Model, how: Behaviour) -> bool:
    """Whether prompts are made by the GGUF's Jinja template rather than by TEMPLATE (chatModeForModel)."""
    if not how.native_templates:
        return False
    if not model.has_template:
        return True
    jinja = _chat_template(model)
    of_jinja, of_go = _jinja_can(jinja), _go_can(model.template)
    if len(of_jinja) > len(of_go):
        return not _go_answers_tools(model.template) or _jinja_answers_tools(jinja)
    both = of_jinja == of_go and "tools" in of_jinja
    return both and _jinja_answers_tools(jinja) and not _go_answers_tools(model.template)


def capabilities(model: Model, how: Behaviour) -> list[str]:
    if model.path is None or not model.path.exists():
        return []
    header = gguf_header.read(model.path)
    own = uses_own_template(model, how)
    can = _jinja_can(header.chat_template) if own and how.native_templates else []
    pooled = f"{header.architecture}.pooling_type" in header.metadata
    can = [*can, "embedding" if pooled else "completion"]
    return can + [one for one in _go_can(model.template) if one not in can and not (own and model.has_template)]


def show(store: Store, how: Behaviour, body: dict[str, Any]) -> dict[str, Any]:
    """Raises: Refused."""
    wanted = body.get("model") or body.get("name")
    if not wanted:
        raise Refused("model is required", 400)
    name = names.existing(names.parse(wanted), store.manifests())
    if not name.valid:
        raise Refused("invalid model name", 400)
    try:
        model = find(store, name)
        if model.path is None:
            raise Refused("open : no such file or directory")
        header = gguf_header.read(model.path)
    except FileNotFoundError:
        raise Refused(f"model '{name.shortest}' not found", 404) from None
    system = body.get("system") or model.system
    info = {key: None if isinstance(value, list) else value for key, value in header.metadata.items()}
    if body.get("verbose"):
        info = dict(header.metadata)
    for key in ("general.name", "tokenizer.chat_template"):
        info.pop(key, None)
    info["general.parameter_count"] = header.n_parameters
    info = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in info.items()
    }
    own = uses_own_template(model, how) and header.chat_template
    reply = {
        "license": "\n".join(model.licences),
        "modelfile": _modelfile(model, system),
        "parameters": "\n".join(
            f"{key:<30} {shown(one, quoted=True)}" for key, value in _unordered(model.options) for one in _each(value)
        ),
        "template": header.chat_template if own else model.template,
        "system": system,
        "messages": model.messages,
        "capabilities": capabilities(model, how),
    }
    return {
        **{key: value for key, value in reply.items() if value},
        "details": {**model.details, "parent_model": model.parent},
        "model_info": dict(sorted(info.items())),
        "modified_at": moment(model.manifest.modified),
    }


def tags(store: Store, how: Behaviour) -> dict[str, Any]:
    """All models, the latest first; one whose config blob was lost is left out."""
    listed = []
    for name in store.manifests():
        try:
            model = find(store, name)
        except (FileNotFoundError, Refused):
            continue
        details = model.details
        entry: dict[str, Any] = {
            "name": name.shortest,
            "model": name.shortest,
            "modified_at": moment(model.manifest.modified),
            "size": sum(layer.size for layer in model.manifest.all_layers),
            "digest": model.manifest.digest,
            "details": details,
        }
        if how.listed_details and model.path and model.path.exists():
            header = gguf_header.read(model.path)
            details["context_length"] = header.trained_context
            details["embedding_length"] = header.metadata.get(f"{header.architecture}.embedding_length", 0)
            entry["capabilities"] = capabilities(model, how)
        listed.append((model.manifest.modified, entry))
    return {"models": [entry for _, entry in sorted(listed, key=lambda pair: pair[0], reverse=True)]}


def _modelfile(model: Model, system: str) -> str:
    """Here values stand as they are: what a text may not hold in `parameters`, %#v, it may here, %v."""
    lines = [f"FROM {model.path}"]
    lines += [f"ADAPTER {_quoted(str(path))}" for path in model.adapters]
    lines.append(f"TEMPLATE {_quoted(model.template)}")
    lines += [f"SYSTEM {_quoted(system)}"] if system else []
    for key, value in _unordered(model.options):
        lines += [f"PARAMETER {key} {_quoted(shown(one, quoted=False))}" for one in _each(value)]
    lines += [f"LICENSE {_quoted(text)}" for text in model.licences]
    lines += [f"MESSAGE {message['role']} {_quoted(message['content'])}" for message in model.messages]
    head = '# Modelfile generated by "ollama show"\n# To build a new Modelfile based on this, replace FROM with:\n'
    return f"{head}# FROM {model.name.shortest}\n\n" + "\n".join(lines) + "\n"


def _unordered(options: dict[str, Any]) -> list[tuple[str, Any]]:
    """Go walks a map in an order of its own; here it is always the same one, and neither the given nor the sorted."""
    return sorted(options.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _quoted(text: str) -> str:
    if "\n" in text or text.startswith(" ") or text.endswith(" "):
        return f'"""{text}"""' if '"' in text else f'"{text}"'
    return text


def _chat_template(model: Model) -> str:
    return gguf_header.read(model.path).chat_template if model.path and model.path.exists() else ""


def _jinja_can(jinja: str) -> list[str]:
    tools = ["tools"] if "tools" in jinja or "tool_call" in jinja else []
    splits = "content.split('</think>')" in jinja or 'content.split("</think>")' in jinja
    thinks = ("<think>" in jinja and "</think>" in jinja) or (
        splits and "reasoning_content" not in jinja and "<SPECIAL_12>" not in jinja
    )
    return tools + (["thinking"] if thinks else [])


def _jinja_answers_tools(jinja: str) -> bool:
    calls = "tool_calls" in jinja or "assistant_tool_call" in jinja
    by_role = re.search(r"""(role['"]\]|message\.role) == ['"]tool['"]""", jinja)
    answers = by_role or any(text in jinja for text in ("tool_response", "tool_results", "ipython"))
    return bool("tools" in _jinja_can(jinja) and calls and answers)


def _go_can(template: str) -> list[str]:
    found = _mentioned(template)
    return [can for can, field in (("tools", "tools"), ("insert", "suffix")) if field in found]


def _go_answers_tools(template: str) -> bool:
    told = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
    return {"tools", "toolcalls"} <= _mentioned(template) and any(text in template for text in told)


def _mentioned(template: str) -> set[str]:
    try:
        return mentioned(parse(template))
    except TemplateError:
        return set()
