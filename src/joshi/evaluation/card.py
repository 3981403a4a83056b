"""The model card: Hugging Face front matter, and from the evaluation's report what a user must know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from joshi.pages import clean
from joshi.pages.numbers import gate_row, nats, share, tokens
from joshi.plan import Plan
from joshi.workspace import write_text

_CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", ">": "&gt;", "`": "'"})


def write_card(report: dict[str, Any], plan: Plan, target: Path) -> None:
    """Write the card of the model that the report judges; the same report gives the same bytes.

    Raises:
        JoshiError: `target` cannot be written.
    """
    shown = clean(report)
    environment = Environment(  # Markdown: `cell` escapes what a reader would take for markup
        loader=PackageLoader("joshi", "evaluation"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "share": share, "tokens": tokens, "nats": nats}
    text = environment.get_template("card.md.j2").render(
        report=shown,
        plan=plan,
        front_matter=yaml.safe_dump(_metadata(shown, plan), sort_keys=False, allow_unicode=True).strip(),
        gates=[gate_row(gate) for gate in shown["gates"]],
        general=shown["likelihood"]["shipped"]["general_rise"],
    )
    write_text(target, text)


def cell(text: str) -> str:
    """Text of unknown origin as part of a line of Markdown."""
    return text.translate(_CELL)


def _metadata(report: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Front matter as the Hugging Face Hub reads it (model card metadata, model-index)."""
    dataset = report["dataset"]
    metrics = [
        {"type": gate["name"].replace(" ", "_"), "value": gate["measured"], "name": gate["text"]}
        for gate in report["gates"]
        if gate["n"]
    ]
    result = {
        "task": {"type": "text-generation"},
        "dataset": {"name": f"{dataset['name']} v{dataset['version']}", "type": dataset["name"]},
        "metrics": metrics,
    }
    return {
        "language": "en",
        "license": "other",
        "base_model": report["base"],
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["procurement", "negotiation", plan.export.quantization],
        "model-index": [{"name": report["model"], "results": [result]}],
    }
