"""The plots of docs/drift.md, drawn like the reports' and readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from joshi.monitoring.drift.judge import LIMITS
from joshi.monitoring.drift.plots import SUM_COLOURS, SUM_NAMES
from joshi.monitoring.drift.verdict import STREAMS, DayVerdict
from joshi.pages.drawing import COLOURS, INK, WIDE, both_widths, new_axes, new_figure
from joshi.workspace import write_text

Found = Mapping[tuple[str, float], Sequence[int]]  # of a world and a fall, the day of each first alarm
TITLES = {
    "rules": "each rule broken more often",
    "answers": "some answers break all rules",
    "base": "some from the base",
}
LINES = (COLOURS["sft"], COLOURS["shipped"], COLOURS["base_with_rules"])
DAYS = 7
LEFT, GAP, HEAD, INNER, FOOT = 52, 26, 62, 190, 48  # px


def write(quiet: Sequence[Sequence[DayVerdict]], found: Found, folder: Path) -> list[Path]:
    """drift-found.svg and drift-quiet.svg in `folder`."""
    pictures = {
        "drift-found": ("Lines: share of falls found by each day", lambda _: _found(found)),
        "drift-quiet": ("Lines: the three sums of every simulated release without drift", lambda _: _quiet(quiet)),
    }
    written = []
    for name, (label, draw) in pictures.items():
        svg = str(both_widths(name, label, draw).wide)
        write_text(folder / f"{name}.svg", svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
            ">", f"><style>{_colours()} text {{ font-family: system-ui, sans-serif; }}</style>", 1) + "\n")  # fmt: skip
        written.append(folder / f"{name}.svg")
    return written


def _found(found: Found) -> Figure:
    figure = new_figure(WIDE, HEAD + INNER + FOOT)
    panel = (WIDE - LEFT - 2 * GAP - 14) / 3
    days = range(1, DAYS + 1)
    for place, (world, title) in enumerate(TITLES.items()):
        axes = new_axes(figure, LEFT + place * (panel + GAP), HEAD, panel, INNER)
        falls = [fall for one, fall in found if one == world]
        for colour, fall, marker in zip(LINES, falls, "os^", strict=True):
            ends = found[world, fall]
            shares = [sum(end <= day for end in ends) / len(ends) for day in days]
            axes.plot(days, shares, color=colour, marker=marker, linewidth=2, markersize=5, label=f"fall of {fall:.0%}")
        axes.axhline(0.9, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("day after the fall")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(axis="y", labelleft=place == 0)
        axes.xaxis.set_major_locator(MaxNLocator(DAYS, integer=True))
        axes.grid(axis="y", linewidth=1)
        axes.set_title(title, pad=12)
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="upper left", ncols=3, borderpad=0, borderaxespad=0.2)
    return figure


def _quiet(quiet: Sequence[Sequence[DayVerdict]]) -> Figure:
    figure = new_figure(WIDE, HEAD + INNER + FOOT)
    panel = (WIDE - LEFT - 2 * GAP - 14) / 3
    days = range(1, max(map(len, quiet)) + 1)
    for place, stream in enumerate(STREAMS):
        axes = new_axes(figure, LEFT + place * (panel + GAP), HEAD, panel, INNER)
        for run in quiet:
            shares = [one.total / LIMITS[stream] for day in run for one in day.sums if one.stream == stream]
            axes.plot(days[: len(run)], shares, color=SUM_COLOURS[stream], linewidth=1, alpha=0.5)
        axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set_title(SUM_NAMES[stream], pad=12)
        axes.set_ylim(-0.03, 2.05)
        axes.set_xlabel("day")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.tick_params(axis="y", labelleft=place == 0)
        axes.grid(axis="y", linewidth=1)
    figure.text(0, 0.97, "each sum as a share of its limit, while nothing has changed", va="top")
    return figure


def _colours() -> str:
    """The colours of the reports' pages, light and dark: what their style sheet begins with."""
    style = (files("joshi") / "evaluation" / "style.css.j2").read_text(encoding="utf-8")
    return style[: style.index("* {")].replace("@media screen and", "@media")
