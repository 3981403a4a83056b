"""The plots of the blind review's page."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from joshi.pages.drawing import COLOURS, INK, SOFT, WIDE, Plot, both_widths, new_axes, new_figure, note, shorten
from joshi.review.blind.judgement import SCORES

SHIPPED, BASELINE, TIE = COLOURS["shipped"], COLOURS["base_with_rules"], COLOURS["base"]
SCORE_NAMES = {"tone": "Tone", "grounding": "Grounding", "next_step": "Actionable next step"}
ROW = 44  # px for one interval


def preference_plot(report: dict[str, Any]) -> Plot:
    """How many samples each system won, and the share of wins with its intervals."""
    label = "A bar of the samples won by either system and tied; below it the share of wins, three ways, with intervals"
    return both_widths("preference", label, lambda width: _preference(report, width))


def scores_plot(report: dict[str, Any]) -> Plot:
    """How often each system was given each score."""
    label = "Bars: how often the answers of either system were given each score from 1 to 5"
    return both_widths("scores", label, lambda width: _scores(report, width))


def power_plot(power: dict[str, Any]) -> Plot:
    """The chance of finding a preference, over the true win rate."""
    label = "Lines: the chance that a review of this size finds a preference, over the true win rate"
    return both_widths("power", label, lambda width: _power(power, width))


def _preference(report: dict[str, Any], width: int) -> Figure:
    decided = report["decided"]
    rows = [
        ("decided, by conversation", decided["clustered"], decided["n"]),
        ("decided, as if independent", decided["exact"], decided["n"]),
        ("ties as half (the gate)", report["win_rate"], report["win_rate"]["n"]),
    ]
    left, above = (216, 0) if width == WIDE else (10, 22)  # px; a narrow page has a row's name above it
    head, bar, gap, foot = 30, 26, 26, 44
    inner = len(rows) * (ROW + above)
    figure = new_figure(width, head + bar + gap + inner + foot)
    across = width - left - (64 if width == WIDE else 58)
    top = new_axes(figure, left, head, across, bar)
    _stacked(top, report, width)
    axes = new_axes(figure, left, head + bar + gap, across, inner)
    axes.set_xlim(0, 1)
    axes.set_ylim(inner, 0)
    for place, (name, rate, n) in enumerate(rows):
        y = place * (ROW + above) + above + ROW / 2
        axes.plot(
            [0.5, 0.5],
            [y - (ROW / 2 if width == WIDE else 9), y + ROW / 2],
            color=SOFT,
            linewidth=1.3,
            linestyle=(0, (5, 3)),
        )
        axes.plot([rate["low"], rate["high"]], [y, y], color=SHIPPED, linewidth=5, solid_capstyle="butt", alpha=0.45)
        if n:
            axes.plot([rate["rate"]], [y], marker="o", markersize=9, color=SHIPPED, clip_on=False)
        at = inner - y
        note(axes, 1, at, f"{rate['rate']:.0%}" if n else "–", va="center_baseline", ha="left", shift=12)
        if width == WIDE:
            note(axes, 0, at, name, va="center_baseline", shift=-left)
        else:
            note(axes, 0, at + 18, name, color=SOFT, va="center_baseline")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of wins of the shipped model")
    axes.grid(axis="x", linewidth=1)
    return figure


def _stacked(axes: Axes, report: dict[str, Any], width: int) -> None:
    """One bar of all samples, and above it what its parts are."""
    samples = report["samples"]
    baseline = shorten(report["baseline_label"], 40 if width == WIDE else 14, lines=1)
    parts = [
        (f"shipped {samples['shipped']}", samples["shipped"], SHIPPED),
        (f"tie {samples['tie']}", samples["tie"], TIE),
        (f"{baseline} {samples['baseline']}", samples["baseline"], BASELINE),
    ]
    so_far = 0
    for name, count, colour in parts:
        axes.barh(0, count, left=so_far, height=1, color=colour, label=name)
        so_far += count
    axes.set_xlim(0, max(so_far, 1))
    axes.set_ylim(-0.5, 0.5)
    axes.axis("off")
    if width == WIDE:
        note(axes, 0, 13, "samples preferred", va="center_baseline", shift=-216)
    at = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderpad": 0, "borderaxespad": 0.4}
    axes.legend(ncols=3, columnspacing=1.2, handlelength=0.9, handleheight=0.9, handletextpad=0.5, **at)


def _scores(report: dict[str, Any], width: int) -> Figure:
    columns = 3 if width == WIDE else 1
    left, gap, head, inner, foot, legend = 34, 44, 34, 150, 30, 24
    panel = (width - left - gap * (columns - 1) - 4) / columns
    figure = new_figure(width, legend + math.ceil(len(SCORES) / columns) * (head + inner + foot) + 12)
    tallest = max(
        [1, *(n for s in SCORES for system in ("shipped", "baseline") for n in report["scores"][s][system]["counts"])]
    )
    for index, score in enumerate(SCORES):
        row, column = divmod(index, columns)
        top = legend + head + row * (head + inner + foot)
        axes = new_axes(figure, left + column * (panel + gap), top, panel, inner)
        for shift, system, colour in ((-0.2, "baseline", BASELINE), (0.2, "shipped", SHIPPED)):
            name = system if system == "shipped" else shorten(report["baseline_label"], 28, lines=1)
            counts = report["scores"][score][system]["counts"]
            axes.bar([value + shift for value in range(1, 6)], counts, width=0.38, color=colour, label=name)
        axes.set_title(SCORE_NAMES[score], x=-left / panel, pad=8)
        axes.set_xticks(range(1, 6))
        axes.set_xlim(0.45, 5.55)
        axes.set_ylim(0, tallest * 1.05)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.grid(axis="y", linewidth=1)
        axes.spines["left"].set_visible(False)
    lines, labels = axes.get_legend_handles_labels()
    at = {"loc": "upper left", "bbox_to_anchor": (2 / width, 1), "borderpad": 0, "borderaxespad": 0}
    figure.legend(lines[::-1], labels[::-1], ncols=2, columnspacing=1.4, handlelength=0.9, handleheight=0.9, **at)
    return figure


def _power(power: dict[str, Any], width: int) -> Figure:
    left, head, inner, foot = 52, 30, 230, 50
    figure = new_figure(width, head + inner + foot)
    axes = new_axes(figure, left, head, width - left - 22, inner)
    curve = power["curve"]
    axes.plot(curve["rate"], curve["power"], color=SHIPPED, linewidth=2.4)
    axes.axhline(power["wanted"], color=SOFT, linewidth=1.3, linestyle=(0, (5, 3)))
    found = power["detectable"]
    if found is not None:
        axes.plot([found, found], [0, power["wanted"]], color=INK, linewidth=1.3, linestyle=(0, (2, 2)))
        axes.plot([found], [power["wanted"]], marker="o", markersize=8, color=INK)
        side, shift = ("right", -8) if found > 0.7 else ("left", 8)
        axes.annotate(
            f"{found:.0%}", (found, 0), (shift, 8), "data", "offset points", ha=side, color=INK, fontweight="bold"
        )
    note(axes, 0, inner * power["wanted"] / 1.02 + 5, f"{power['wanted']:.0%} power", color=SOFT, shift=4)
    axes.set_xlim(0.5, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="x", pad=9)
    axes.set_xlabel("true share of wins among decided samples")
    axes.set_title(f"{power['pairs']} decided samples", x=-left / (width - left - 22), pad=12)
    axes.grid(linewidth=1)
    return figure
