"""How the pages' plots are drawn: SVG text that inherits the page's font and its light or dark colours."""

from __future__ import annotations

import io
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SYSTEMS = ("base", "base_with_rules", "sft", "shipped")  # the order in every plot and table

# matplotlib draws in these colours; each becomes a CSS variable of the page, light or dark.
INK, SOFT, LINE, CARD = "#010101", "#010102", "#010103", "#010104"
COLOURS = dict(zip(SYSTEMS, ("#010105", "#010106", "#010107", "#010108"), strict=True))
CSS = {INK: "--ink", SOFT: "--soft", LINE: "--line", CARD: "--card"} | {
    colour: f"--{name.replace('_', '-')}" for name, colour in COLOURS.items()
}

WIDE, NARROW = 960, 336  # px; the page shows one of the two, so letters stay readable on a telephone

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "joshi",
    "text.parse_math": False,  # a price such as $5 in a label is no formula
    "font.family": ["DejaVu Sans"],  # inside matplotlib: the same measurements on every machine
    "font.size": 12.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Plot:
    """The same picture drawn twice: for a page at least 860 px wide, and for a telephone."""

    wide: Markup
    narrow: Markup


def both_widths(name: str, label: str, draw: Callable[[int], Figure]) -> Plot:
    """What `draw` makes of either width in px; `name` is unique on its page, `label` is read to who cannot see it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc changes no report
        matplotlib.rcParams.update(STYLE)
        wide, narrow = (_svg(draw(width), f"{name}-{width}", label) for width in (WIDE, NARROW))
    return Plot(wide, narrow)


def new_figure(width: int, height: float) -> Figure:
    """A figure of so many px."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")  # at 72 dpi a point is a pixel


def new_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place counted in px from the upper left corner, as a page counts."""
    across, down = figure.get_size_inches() * 72
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def note(axes: Axes, x: float, y: float, text: str, shift: float = 0, **style: Any) -> None:
    """Text at a share `x` of the axes' width moved by `shift` px, and `y` px above the axes' foot."""
    axes.annotate(text, (x, 0), (shift, y), "axes fraction", "offset points", annotation_clip=False, **style)


def shorten(label: str, letters: int, lines: int = 2) -> str:
    """The label in so many lines of so many letters, the rest as an ellipsis."""
    wrapped = textwrap.wrap(label, letters, break_on_hyphens=False)
    if len(wrapped) > lines:
        rest = " ".join(wrapped[lines - 1 :])
        wrapped[lines - 1 :] = [rest[: letters - 1].rstrip() + "…"]
    return "\n".join(wrapped)


def _svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an inline <svg>: no metadata, no namespaces, its own ids, the page's font and colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if element.tag == "g":
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _attribute(key, value, name) for key, value in attributes.items()})
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": label})
    return Markup(ET.tostring(root, encoding="unicode"))  # ElementTree has escaped every label


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        return re.sub(r"#[0-9a-f]{6}", lambda match: f"var({CSS[match[0]]})", value)
    return value
