"""Stage 5: find a base model and make its tokenizer and weights usable."""

from __future__ import annotations

from pathlib import Path

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer
from joshi.stage import Manifest, Stage
from joshi.workspace import Workspace, write_json, write_text

STAGE = Stage("base", ("model",), lambda plan, workspace: [find_base(plan.model.base, workspace.root).path])


def folder(workspace: Workspace) -> Path:
    return workspace.private / "base"


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write the base's tokenizer and chat template; its weights stay in the GGUF."""
    stage = STAGE.begin(plan, workspace)
    file = find_base(plan.model.base, workspace.root)
    chat = chat_tokenizer(file)
    target = folder(workspace)
    write_text(target / "tokenizer.json", chat.tokenizer.to_str())
    write_text(target / "chat_template.jinja", chat.template)
    write_json(target / "chat.json", {"end_token": chat.end_token, "bos_token": chat.bos_token})
    facts = describe(file) | {"sha256": next(iter(stage.hashes.values()))}
    return stage.finish(
        [target / name for name in ("tokenizer.json", "chat_template.jinja", "chat.json")], metrics=facts
    )


def tokenizer(workspace: Workspace) -> ChatTokenizer:
    """The imported base's tokenizer."""
    return ChatTokenizer.load(folder(workspace))


def describe(file: GgufFile) -> dict[str, object]:
    """What a person wants to know of a base before using it."""
    return {
        "architecture": file.architecture,
        "name": file.value("general.name", file.path.stem),
        "parameters": file.parameters,
        "types": file.types,
        "context_tokens": file.value(f"{file.architecture}.context_length"),
        "bytes": file.path.stat().st_size,
        "licence": file.value("general.license"),
    }
