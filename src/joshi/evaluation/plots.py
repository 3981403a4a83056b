"""The plots of the evaluation page: SVG text that inherits the page's font and its light or dark colours."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from joshi.pages.drawing import (
    CARD,
    COLOURS,
    INK,
    SOFT,
    SYSTEMS,
    WIDE,
    Plot,
    both_widths,
    new_axes,
    new_figure,
    note,
    shorten,
)

BAR, ROW = 21, 62  # px for one system in a group of bars, and in the histograms
PERCENT = 1.37  # where the figures end that stand in a column right of the bars; 1 is 100%
BINS = 48  # most histogram bins over the whole axis

Series = tuple[str, list[float], list[float], str, str]  # label, steps, values, colour, marker


def present(report: dict[str, Any]) -> list[str]:
    """The systems of this report in the order of every plot and table."""
    return [name for name in SYSTEMS if name in report["systems"]]


def words(rule: str) -> str:
    return rule.replace("_", " ")


def rules_plot(report: dict[str, Any]) -> Plot:
    """For each rule one bar per system: the share of answers that follow it, with its 95% interval."""
    label = "Bars: the share of answers that follow each rule, for each system, with 95% intervals"
    return both_widths("rules", label, lambda width: _rules(report, width))


def lengths_plot(report: dict[str, Any]) -> Plot:
    """For each system a histogram of answer lengths in tokens, with the gate and the limit as lines."""
    label = "Histograms: answer length in tokens for each system, with the P90 gate and the length limit"
    return both_widths("lengths", label, lambda width: _lengths(report, width))


def curves_plot(report: dict[str, Any]) -> Plot:
    """Losses over the optimizer steps, and the answers sampled on the way; of preferences also accuracy and margin."""
    label = "Lines: training loss over the optimizer steps, and the answers sampled on the way" + (
        "; the same, accuracy and margin of preference training" if report["curves"]["preference"] else ""
    )
    return both_widths("curves", label, lambda width: _curves(report["curves"], width))


def _rules(report: dict[str, Any], width: int) -> Figure:
    systems = present(report)
    rules = [*report["systems"][systems[0]]["rules"], "all_rules"]
    columns = 4 if width == WIDE else 1
    rows = math.ceil(len(rules) / columns)
    (names, gap) = (188, 18) if width == WIDE else (166, 0)
    head, foot = 32, 26
    panel = (width - names - gap * (columns - 1)) / columns
    inner = BAR * len(systems) + 4
    figure = new_figure(width, rows * (head + inner) + foot)
    labels = [shorten(report["systems"][name]["label"], 26, lines=1) for name in systems]
    for index, rule in enumerate(rules):
        row, column = divmod(index, columns)
        axes = new_axes(figure, names + column * (panel + gap), head + row * (head + inner), panel, inner)
        axes.set_title("every rule at once" if rule == "all_rules" else words(rule), pad=7)
        for place, name in enumerate(systems):
            values = report["systems"][name]
            rate = values["all_rules"] if rule == "all_rules" else values["rules"][rule]
            _bar(axes, place, rate, COLOURS[name])
        axes.set_yticks(range(len(systems)), labels, color=INK, fontsize=11.5)
        axes.tick_params(axis="y", labelleft=column == 0)
        axes.set_ylim(len(systems) - 0.45, -0.55)
        axes.set_xlim(0, PERCENT)
        axes.set_xticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", linewidth=1)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", labelbottom=index + columns >= len(rules))
    return figure


def _bar(axes: Axes, place: int, rate: dict[str, Any], colour: str) -> None:
    if rate["rate"] is None:
        axes.text(PERCENT, place, "no data", ha="right", va="center_baseline", color=SOFT)
        return
    axes.barh(place, rate["rate"], height=0.68, color=colour)
    # A halo in the card's colour keeps the interval visible on a dark bar.
    halo = [withStroke(linewidth=4, foreground=CARD)]
    axes.plot([rate["low"], rate["high"]], [place, place], color=INK, linewidth=1.6, path_effects=halo)
    axes.text(PERCENT, place, f"{rate['rate']:.0%}", ha="right", va="center_baseline")


def _lengths(report: dict[str, Any], width: int) -> Figure:
    systems = present(report)
    marks = [
        ("P90 gate", report["p90_limit"], (0, (5, 3))),
        ("limit of one answer", report["length_limit"], (0, (1.5, 2))),
    ]
    lengths = [value for name in systems for value in report["systems"][name]["tokens"]["values"]]
    longest = max([*lengths, *(1.05 * value for _, value, _ in marks)])
    step = _bin_tokens(longest)
    end = (int(longest) // step + 1) * step
    edges = [step * index for index in range(end // step + 1)]
    left, head, foot, title = (206, 22, 46, 12) if width == WIDE else (22, 16, 46, 34)
    figure = new_figure(width, head + len(systems) * (ROW + title) + foot)
    panels: list[Axes] = []
    for place, name in enumerate(systems):
        tokens, label = report["systems"][name]["tokens"], report["systems"][name]["label"]
        top = head + title + place * (ROW + title)
        axes = new_axes(figure, left, top, width - left - 14, ROW)
        axes.hist(tokens["values"], bins=edges, color=COLOURS[name], rwidth=0.88)
        if tokens["p90"] is not None:
            axes.plot(tokens["p90"], 0, marker="^", markersize=8, color=INK, clip_on=False, zorder=5)
        text = f"P50 {_tokens(tokens['p50'])}, P90 {_tokens(tokens['p90'])}"
        if width == WIDE:
            name = shorten(label, 21)
            note(axes, 0, ROW - 4, name, fontweight="bold", va="top", shift=-left)
            note(axes, 0, ROW - 23 - 16 * name.count("\n"), text, color=SOFT, va="top", shift=-left)
        else:
            name = shorten(label, 25, lines=1)
            note(axes, 0, ROW + 5, name, fontweight="bold", va="bottom", shift=-left)
            note(axes, 1, ROW + 5, text, color=SOFT, va="bottom", ha="right")
        axes.set_xlim(0, end)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(8 if width == WIDE else 4))
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True, min_n_ticks=1))
        axes.tick_params(axis="x", labelbottom=place == len(systems) - 1, pad=9)
        axes.tick_params(axis="y", labelsize=11)
        panels.append(axes)
    panels[-1].set_xlabel("tokens in one answer")
    tallest = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, tallest)
        for label, value, dashes in marks:
            axes.axvline(value, color=INK, linewidth=1.4, linestyle=dashes, label=f"{label}: {value}")
    lines, labels = panels[0].get_legend_handles_labels()
    at = {
        "loc": "upper left",
        "bbox_to_anchor": ((left if width == WIDE else 2) / width, 1),
        "borderpad": 0,
        "borderaxespad": 0,
    }
    figure.legend(lines, labels, ncols=2, columnspacing=1.4, handlelength=1.8, **at)
    return figure


def _curves(curves: dict[str, Any], width: int) -> Figure:
    panels = [panel for stage, curve in curves.items() if curve for panel in _panels(stage, curve)]
    columns = min(2, len(panels)) if width == WIDE else 1
    left, gap, head, inner, foot = 52, 66, 36, 170, 48
    panel = (width - left - gap * (columns - 1) - 10) / columns
    figure = new_figure(width, math.ceil(len(panels) / columns) * (head + inner + foot))
    for index, (title, series, kept) in enumerate(panels):
        row, column = divmod(index, columns)
        axes = new_axes(figure, left + column * (panel + gap), head + row * (head + inner + foot), panel, inner)
        _lines(axes, series)
        axes.set_title(title, x=-left / panel, pad=12)
        axes.set_xlabel("optimizer step")
        if kept is not None:
            axes.axvline(kept, color=INK, linewidth=1.3, linestyle=(0, (2, 2)))
            axes.annotate(
                "kept", (kept, 1), (-4, 2), ("data", "axes fraction"), "offset points", ha="right", color=SOFT
            )
        if title.endswith(("accuracy", "every rule")):
            axes.set_ylim(0, 1.04)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if title.endswith("accuracy"):
            axes.axhline(0.5, color=SOFT, linewidth=1.3, linestyle=(0, (5, 3)))
            note(axes, 1, inner * 0.5 / 1.04 - 3, "guessing", color=SOFT, ha="right", va="top")
    return figure


def _panels(stage: str, curve: dict[str, Any]) -> list[tuple[str, list[Series], float | None]]:
    """Title, lines and the step whose weights were kept, for each panel of one stage of training."""
    dark, light = COLOURS["shipped"], COLOURS["base_with_rules"]
    name = "SFT" if stage == "sft" else "Preference"
    losses: list[Series] = [("training", curve["step"], curve["loss"], dark, "o")]
    if stage == "sft":
        losses.append(("development", curve["heldout_step"], curve["heldout_loss"], light, "s"))
    panels: list[tuple[str, list[Series], float | None]] = [(f"{name}: loss", losses, None)]
    answers = curve["answers"]
    if answers["step"]:
        for key, title in (
            ("pass_rate", "answers that pass every rule"),
            ("answer_tokens_p90", "P90 of answer tokens"),
        ):
            panels.append(
                (f"{name}: {title}", [("sampled", answers["step"], answers[key], dark, "o")], answers["kept"])
            )
    for key in ("accuracy", "margin"):
        if key in curve:
            panels.append((f"{name}: {key}", [("pairs", curve["heldout_step"], curve[key], dark, "o")], None))
    return panels


def _lines(axes: Axes, series: list[Series]) -> None:
    drawn = [line for line in series if line[1]]
    for label, steps, values, colour, marker in drawn:
        shown = marker if len(steps) <= 30 else ""  # more markers than that would hide the line
        axes.plot(steps, values, label=label, color=colour, linewidth=2, marker=shown, markersize=5)
    if not drawn:
        axes.text(0.5, 0.5, "nothing was recorded", transform=axes.transAxes, ha="center", color=SOFT)
    if len(drawn) > 1:
        at = {"loc": "lower right", "bbox_to_anchor": (1, 1.02), "borderpad": 0, "borderaxespad": 0.2}
        axes.legend(ncols=2, columnspacing=1, handlelength=1.6, **at)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", linewidth=1)


def _bin_tokens(longest: float) -> int:
    """The smallest bin width of 5, 10, 20, 40, … tokens with which `longest` needs at most BINS bins."""
    size = 5
    while longest / size > BINS:
        size *= 2
    return size


def _tokens(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
