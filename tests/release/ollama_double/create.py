"""POST /api/create: a model made of blobs or of another model (server/create.go, server/model.go)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tests.release.ollama_double import gguf_header, known, names
from tests.release.ollama_double.behaviour import Behaviour
from tests.release.ollama_double.gguf_header import Header
from tests.release.ollama_double.go_template import TemplateError
from tests.release.ollama_double.go_text import Refused, human_number, to_json, told
from tests.release.ollama_double.names import Name
from tests.release.ollama_double.prompts import compiled
from tests.release.ollama_double.store import (
    ADAPTER,
    CONFIG,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMS,
    SYSTEM,
    TEMPLATE,
    Config,
    Layer,
    Manifest,
    Store,
)  # fmt: skip

Status = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A layer of the model to be, with its header if it is a GGUF. What was `sent` may be rewritten."""

    layer: Layer
    header: Header | None = None
    sent: bool = False


def create(store: Store, how: Behaviour, body: dict[str, Any]) -> Iterator[Status]:
    """The statuses, up to `success`.

    A consumer that goes away stops this where it stands, as a server's goroutine waits for ever at its channel.

    Raises:
        Refused: with a status, which a client sees only if nothing was sent before it.
    """
    _check(body)
    name = names.existing(names.parse(body.get("model") or body.get("name") or ""), store.manifests())
    if not name.valid:
        raise Refused("invalid model name", 400)
    try:
        old: Manifest | None = store.manifest(name)
    except (FileNotFoundError, Refused):
        old = None
    config = Config()
    if body.get("from"):
        parts = yield from _from_model(store, str(body["from"]), config)
    elif body.get("files") is not None:
        parts = yield from _from_files(store, how, body["files"], adapter=False)
    else:
        raise Refused("neither 'from' or 'files' was specified", 400)
    if body.get("adapters") and how.adapters != "ignored":
        if how.adapters == "refused":
            raise Refused("adapters are not supported", 400)
        parts += yield from _from_files(store, how, body["adapters"], adapter=True)
    try:
        yield from _write(store, how, name, parts, config, body)
    except OSError as error:
        raise Refused(told(error)) from error
    if old:
        store.remove_unused(old.all_layers)
    yield {"status": "success"}


def _check(body: dict[str, Any]) -> None:
    for path in body.get("files") or {}:
        parts = PurePosixPath(path).parts
        # fs.ValidPath: no root, no empty, "." or ".." element
        if not path or path.startswith("/") or path != "/".join(parts) or {".", ".."} & set(path.split("/")):
            raise Refused("file path must be relative", 400)
    for digest in [*(body.get("files") or {}).values(), *(body.get("adapters") or {}).values()]:
        if not digest:
            raise Refused("invalid digest format", 400)


def _from_model(store: Store, text: str, config: Config) -> Generator[Status, None, list[Part]]:
    """Every layer of a model that is here. One that is not is looked for in the registry, which has none."""
    name = names.parse(text.strip())
    if not name.valid:
        raise Refused("invalid model name", 400)
    try:
        manifest = store.manifest(name)
    except FileNotFoundError:
        yield {"status": "pulling manifest"}
        raise Refused("pull model manifest: file does not exist") from None
    parts = []
    try:
        for layer in manifest.layers:
            header = gguf_header.read(store.blob(layer.digest)) if layer.media_type in (MODEL, ADAPTER) else None
            parts.append(Part(store.layer_of(layer.digest, layer.media_type, name.shortest), header))
        base = Config.of(store.json(manifest.config))
        config.model_format = base.model_format
    except OSError as error:
        raise Refused(told(error)) from error
    return parts


def _from_files(
    store: Store, how: Behaviour, files: dict[str, str], adapter: bool
) -> Generator[Status, None, list[Part]]:
    """GGUFs that were sent before. Safetensors, which Ollama converts, this double does not take."""
    kind = _kind(store, files)
    if kind == "safetensors":
        raise Refused("this double of Ollama converts no safetensors", 501)
    if kind != "gguf":
        raise Refused("unknown type", 400)
    if adapter and len(files) > 1:
        raise Refused("only one adapter is currently supported", 400)
    refusal = 400 if adapter else 500
    parts: list[Part] = []
    for path in sorted(files):
        yield {"status": "parsing GGUF"}
        blob = store.blob(files[path])
        try:
            with blob.open("rb") as file:
                magic = file.read(4)
            if magic != gguf_header.MAGIC:
                raise Refused("supplied file was not in GGUF format", 400)
            header = gguf_header.read(blob)
        except OSError as error:
            raise Refused(told(error), refusal) from error
        media_type = ADAPTER if header.kind == "adapter" else MODEL
        origin = path if how.rewrites else str(blob)
        parts.append(Part(store.layer_of(files[path], media_type, origin), header, sent=True))
    return parts + [part for one in parts if one.header for part in _guess(store, one.header)]


def _kind(store: Store, files: dict[str, str]) -> str:
    """By the names; by its first bytes where a name says nothing, so that a lost blob is then an unknown type."""
    for path, digest in files.items():
        if path.endswith((".safetensors", ".gguf")):
            return path.rpartition(".")[2]
        try:
            with store.blob(digest).open("rb") as file:
                if file.read(4) == gguf_header.MAGIC:
                    return "gguf"
        except (OSError, Refused):
            return ""
    return ""


def _guess(store: Store, header: Header) -> list[Part]:
    """A template and its stop texts, where the GGUF's own template is near one that Ollama knows."""
    found = known.guessed(header.chat_template) if header.chat_template else None
    if not found:
        return []
    template = store.new_layer([found.template.encode()], TEMPLATE)
    status = f"using autodetected template {found.name}"
    stop = store.new_layer([_line({"stop": list(found.stop)})], PARAMS)
    return [Part(Layer(template.media_type, template.digest, template.size, status=status)), Part(stop)]


def _write(
    store: Store, how: Behaviour, name: Name, parts: list[Part], config: Config, body: dict[str, Any]
) -> Iterator[Status]:  # fmt: skip
    if body.get("quantize") or body.get("quantization"):
        raise Refused("this double of Ollama does not quantise", 501)
    layers = []
    for part in parts:
        layer = part.layer
        if part.header and layer.media_type == MODEL:
            if part.sent and how.rewrites:
                size = layer.size
                yield {"status": "validating GGUF model", "digest": "0" * 19, "total": size, "completed": size}
                rewritten = store.new_layer(gguf_header.rewrite(store.blob(layer.digest)), MODEL)
                yield {"status": "verifying conversion"}
                layer = rewritten
            config.model_format = config.model_format or "gguf"
            config.model_family = config.model_family or part.header.architecture
            config.model_type = config.model_type or human_number(part.header.n_parameters)
            config.file_type = config.file_type or part.header.file_type
            config.model_families.append(part.header.architecture)
        layers.append(layer)
    layers = _with_texts(store, layers, body)
    layers = _with_parameters(store, layers, body.get("parameters") or {})
    if body.get("messages"):
        messages = [{"role": m.get("role", ""), "content": m.get("content", "")} for m in body["messages"]]
        layers = [*_without(store, layers, MESSAGES), store.new_layer([_line(messages)], MESSAGES)]
    config_layer = store.new_layer([_line(config.json())], CONFIG)
    yield from ({"status": layer.status} for layer in layers if layer.status)
    yield {"status": "writing manifest"}
    store.write_manifest(name, config_layer, layers)


def _with_texts(store: Store, layers: list[Layer], body: dict[str, Any]) -> list[Layer]:
    """An empty text is no text: a system prompt that came with `from` cannot be taken away by one."""
    if template := body.get("template"):
        layers = _without(store, layers, TEMPLATE)
        try:
            compiled(template)
        except TemplateError as error:
            raise Refused(f"template error: {error}", 400) from error
        layers = [*layers, store.new_layer([template.encode()], TEMPLATE)]
    if system := body.get("system"):
        layers = [*_without(store, layers, SYSTEM), store.new_layer([system.encode()], SYSTEM)]
    licence = body.get("license") or []
    for text in [licence] if isinstance(licence, str) else licence:
        layers = [*layers, store.new_layer([str(text).encode()], LICENSE)]
    return layers


def _with_parameters(store: Store, layers: list[Layer], given: dict[str, Any]) -> list[Layer]:
    """Those given, and those of the base or of a guessed template that are not given again. None is checked here."""
    parameters = dict(given)
    for layer in layers:
        if layer.media_type == PARAMS:
            parameters = {**store.json(layer), **parameters}
    if not parameters:
        return layers
    in_order = {key: parameters[key] for key in sorted(parameters)}
    return [*_without(store, layers, PARAMS), store.new_layer([_line(in_order)], PARAMS)]


def _without(store: Store, layers: list[Layer], media_type: str) -> list[Layer]:
    store.remove_unused(layer for layer in layers if layer.media_type == media_type)
    return [layer for layer in layers if layer.media_type != media_type]


def _line(value: Any) -> bytes:
    return (to_json(value) + "\n").encode()
