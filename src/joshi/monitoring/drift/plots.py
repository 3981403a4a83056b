"""The plots of the drift page: the score with its limits, the sums over days, the rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from joshi.monitoring.drift.answers import SOURCES
from joshi.pages.drawing import (
    COLOURS,
    INK,
    SOFT,
    WIDE,
    Plot,
    both_widths,
    new_axes,
    new_figure,
)
from joshi.rubric import RULES

SOURCE_COLOURS = {"probes": COLOURS["shipped"], "production": COLOURS["base_with_rules"]}
SUM_COLOURS = SOURCE_COLOURS | {"tests": COLOURS["sft"]}
SUM_NAMES = {"probes": "score on the probes", "production": "score in production", "tests": "all tests"}
MARKERS = {"probes": "o", "production": "s", "tests": "^"}
FEW = 31  # days up to which each has a marker
LEFT, RIGHT, HEAD, FOOT = 52, 14, 62, 34  # px around the axes of one panel

Day = dict[str, Any]  # one of the report's history


def score_plot(days: Sequence[Day]) -> Plot:
    """For each source the daily empathy score with its interval, the release's, the threshold and the alarm's limit."""
    return both_widths(
        "score",
        "Lines: the empathy score day by day with 95% intervals, the score at release, the threshold, and the score "
        "below which a single day is an alarm",
        lambda width: _scores(days, width),
    )


def sums_plot(days: Sequence[Day]) -> Plot:
    """The sums over days as shares of their limits."""
    return both_widths(
        "sums",
        "Lines: the sums over days as shares of their limits; above 1 is an alarm",
        lambda width: _sums(days, width),
    )


def rules_plot(days: Sequence[Day]) -> Plot:
    """For each rule the share of answers that keep it, day by day, and at release."""
    return both_widths(
        "rules",
        "Lines: the share of answers that keep each rule day by day; dashed, at release",
        lambda width: _rules(days, width),
    )


def _scores(days: Sequence[Day], width: int) -> Figure:
    sources = [source for source in SOURCES if any(source in day["scores"] for day in days)]
    columns = len(sources) if width == WIDE else 1
    inner = 220
    panel = (width - columns * (LEFT + RIGHT)) / max(columns, 1)
    figure = new_figure(width, max(1, -(-len(sources) // max(columns, 1))) * (HEAD + inner + FOOT))
    for place, source in enumerate(sources):
        row, column = divmod(place, columns)
        left, top = LEFT + column * (panel + LEFT + RIGHT), HEAD + row * (HEAD + inner + FOOT)
        axes = new_axes(figure, left, top, panel, inner)
        known = [day for day in days if source in day["scores"]]
        dates = _numbers(known)
        values = {key: [day["scores"][source][key] for day in known] for key in known[0]["scores"][source]}
        axes.vlines(dates, values["low"], values["high"], color=SOURCE_COLOURS[source], linewidth=1.4, alpha=0.55)
        _line(axes, dates, values["today"], source, "that day, 95% interval")
        for key, dashes, label in (
            ("before", (0, (6, 3)), "at release"),
            ("threshold", (0, (1.5, 2)), "threshold"),
        ):
            axes.plot(dates, values[key], color=INK, linewidth=1.3, linestyle=dashes, label=label)
        axes.plot(
            dates, values["alarm_below"], color=SOFT, linewidth=1.3, label="alarm on one day", drawstyle="steps-mid"
        )
        axes.set_title("Probes" if source == "probes" else "Production", x=-LEFT / panel, pad=40)
        _legend(axes, columns=2)
        _dates(axes, dates, panel)
    return figure


def _sums(days: Sequence[Day], width: int) -> Figure:
    inner, panel = 200, width - LEFT - RIGHT
    figure = new_figure(width, HEAD + inner + FOOT)
    axes = new_axes(figure, LEFT, HEAD, panel, inner)
    dates = _numbers(days)
    for stream, label in SUM_NAMES.items():
        _line(axes, dates, [day["sums"][stream] for day in days], stream, label)
    axes.axhline(1, color=INK, linewidth=1.3, linestyle=(0, (6, 3)), label="limit")
    axes.set_ylim(-0.06, max(1.25, *(value * 1.1 for day in days for value in day["sums"].values())))
    axes.set_title("Sums, as shares of their limits", x=-LEFT / panel, pad=40)
    _legend(axes, columns=4 if width == WIDE else 2)
    _dates(axes, dates, panel)
    return figure


def _rules(days: Sequence[Day], width: int) -> Figure:
    columns = 4 if width == WIDE else 1
    rows, inner, head = -(-len(RULES) // columns), 96, 34
    panel = (width - columns * (LEFT + RIGHT)) / columns
    figure = new_figure(width, 24 + rows * (head + inner + FOOT))
    sources = [source for source in SOURCES if any(source in day["rules"] for day in days)]
    for place, rule in enumerate(RULES):
        row, column = divmod(place, columns)
        left, top = LEFT + column * (panel + LEFT + RIGHT), 24 + head + row * (head + inner + FOOT)
        axes = new_axes(figure, left, top, panel, inner)
        least, dates = 1.0, []
        for source in sources:
            known = [day for day in days if source in day["rules"]]
            dates = _numbers(known)
            rates = [day["rules"][source][rule]["today"] for day in known]
            release = [day["rules"][source][rule]["before"] for day in known]
            axes.plot(dates, release, color=SOURCE_COLOURS[source], linewidth=1.2, linestyle=(0, (6, 3)))
            _line(axes, dates, rates, source, source)
            least = min([least, *rates, *release])
        axes.set_ylim(min(0.75, least - 0.05), 1.02)
        axes.set_title(rule.replace("_", " "), x=-LEFT / panel, pad=9)
        _dates(axes, dates, panel)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))  # so that 100% is a tick
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if not place and sources:
            figure.legend(*axes.get_legend_handles_labels(), loc="upper left", ncols=2, borderaxespad=0, borderpad=0)
    return figure


def _numbers(days: Sequence[Day]) -> list[float]:
    """The dates as matplotlib counts days."""
    return [float(date2num(date.fromisoformat(day["day"]))) for day in days]


def _line(axes: Axes, dates: Sequence[float], values: Sequence[float], name: str, label: str) -> None:
    shown = MARKERS[name] if len(dates) <= FEW else ""
    axes.plot(dates, values, color=SUM_COLOURS[name], linewidth=2, marker=shown, markersize=4.5, label=label)


def _legend(axes: Axes, columns: int) -> None:
    at = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderpad": 0, "borderaxespad": 0.1}
    axes.legend(ncols=columns, columnspacing=1.2, handlelength=1.8, fontsize=11, labelspacing=0.25, **at)


def _dates(axes: Axes, dates: Sequence[float], panel: float) -> None:
    """Ticks for so many px; a single day gets a day's room to either side."""
    locator = AutoDateLocator(minticks=1, maxticks=max(2, int(panel / 80)))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    if len(set(dates)) == 1:
        axes.set_xlim(dates[0] - 1, dates[0] + 1)
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    axes.grid(axis="y", linewidth=1)
