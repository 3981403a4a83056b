"""The drift report as one HTML page: no scripts, nothing fetched, every text escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joshi.monitoring.drift.plots import SUM_NAMES, rules_plot, score_plot, sums_plot
from joshi.monitoring.drift.sentences import WHERE, chance, number, points
from joshi.pages import clean, templates
from joshi.pages.numbers import MINUS
from joshi.rubric import RULES
from joshi.workspace import write_text

HEADLINES = {"ok": "No drift", "drift": "Drift", "insufficient data": "Insufficient data"}
TONES = {"ok": "pass", "drift": "fail", "insufficient data": "insufficient"}
SYMBOLS = {"pass": "✓", "fail": "✗", "insufficient": "?"}
NAMES = {
    "score": "empathy score", "tokens": "length, in tokens", "meaning": "what is said",
    "kernel": "what is said, second opinion",
}  # fmt: skip


def write_page(report: dict[str, Any], target: Path) -> None:
    """Write the page of what report.json holds (`report.assemble`); the same report gives the same bytes.

    Raises:
        JoshiError: `target` cannot be written.
    """
    shown = clean(report)
    environment = templates("monitoring/drift")
    environment.filters["score"] = number
    days = shown["history"]
    seen = any(day["scores"] for day in days)
    page = environment.get_template("drift.html.j2").render(
        report=shown,
        headline=HEADLINES[shown["verdict"]],
        tone=TONES[shown["verdict"]],
        symbols=SYMBOLS,
        sources={source: where.capitalize() for source, where in WHERE.items()},
        rows=[row(test, shown["settings"]["level"]) for test in shown["tests"]],
        sums=[sum_row(one, shown["settings"]) for one in shown["sums"]],
        score_plot=score_plot(days) if seen else None,
        sums_plot=sums_plot(days) if seen else None,
        rules_plot=rules_plot(days) if seen else None,
    )
    write_text(target, page)


def row(test: dict[str, Any], level: float) -> dict[str, Any]:
    """A test with its numbers as text: shares in percent, differences of shares in points, tokens whole."""
    moved = test["moved"] or {}
    form = share if test["name"] in RULES else whole if test["name"] == "tokens" else number
    differ = points if test["name"] in RULES else signed_whole if test["name"] == "tokens" else signed
    return {
        "name": NAMES.get(test["name"], test["name"].replace("_", " ")),
        "source": test["source"],
        "before": form(moved["before"]) if moved else "50%" if test["name"] == "meaning" else "–",
        "today": form(moved["today"]) if moved else share(test["statistic"]) if test["name"] == "meaning" else "–",
        "change": differ(moved["change"]) if moved else "–",
        "interval": f"{differ(moved['low'])} to {differ(moved['high'])}" if moved else "–",
        "p": bare(test["p"]),
        "adjusted": "told only" if test["adjusted"] is None else bare(test["adjusted"]),
        "stands_out": test["adjusted"] is not None and test["adjusted"] <= level,
        "n": f"{test['answers']} / {test['answers_before']}",
        "sentence": test["sentence"],
    }  # fmt: skip


def sum_row(one: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    of = (
        f"each day's fall beyond {settings['score_reference'] * settings['threshold']:.0%} of the release's score, in "
        "standard errors"
        if one["stream"] != "tests"
        else f"each day's smallest corrected p as a normal score, less {settings['tests_reference']:g}"
    )
    return {
        "name": SUM_NAMES[one["stream"]],
        "of": of,
        "increment": "–" if one["increment"] is None else signed(one["increment"]),
        "total": number(one["total"]),
        "limit": number(one["limit"]),
        "tone": "fail" if one["total"] > one["limit"] else "pass",
    }


def bare(p: float) -> str:
    return chance(p).removeprefix("p ").removeprefix("= ")


def share(value: float) -> str:
    return f"{value:.0%}"


def whole(value: float) -> str:
    return number(value, 0)


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def signed_whole(value: float) -> str:
    return f"{round(value):+d}".replace("-", MINUS)
