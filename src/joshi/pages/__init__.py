"""What Joshi's pages share: one style, escaping, numbers as text, plots. They fetch nothing and run no script."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # terminal titles and links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|\x1b[ -/]*[0-~]"
)
HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # control characters other than tab and newline
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # these would reorder the text around them
    r"|[\u200b\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # invisible
    r"|[\ud800-\udfff\ufffe\uffff]"  # no characters: neither UTF-8 nor SVG can hold them
)


def templates(folder: str) -> Environment:
    """The templates of a folder of the package joshi, and style.css.j2 of this one; every text is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader("joshi", folder), PackageLoader("joshi", "pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def clean(value: Any) -> Any:
    """The same value with every text freed of terminal escapes, control and invisible characters."""
    if isinstance(value, str):
        return HIDDEN.sub("", ESCAPES.sub("", value.replace("\r\n", "\n")))
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value
