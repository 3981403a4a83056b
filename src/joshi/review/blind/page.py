"""The blind review as one HTML page: no scripts, nothing fetched, every name escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joshi.pages import clean, templates
from joshi.pages.numbers import MINUS, SYMBOLS, gate_row, share
from joshi.review.blind.plots import SCORE_NAMES, power_plot, preference_plot, scores_plot
from joshi.workspace import write_text

HEADLINES = {
    "shipped": "The shipped model is preferred",
    "baseline": "The baseline is preferred",
    "undecided": "No preference shown",
    "insufficient": "Insufficient data",
}
TONES = {"shipped": "pass", "baseline": "fail", "undecided": "insufficient", "insufficient": "insufficient"}
RELIABILITY = {
    "reliable": "they can be relied on",
    "tentative": "enough for tentative conclusions",
    "weak": "too little to rely on one reviewer's word",
    "unknown": "agreement is not known",
}


def write_page(report: dict[str, Any], target: Path) -> None:
    """Write the page of what report.json holds; the same report gives the same bytes.

    Raises:
        JoshiError: `target` cannot be written.
    """
    shown = clean(report)
    environment = templates("review/blind")
    environment.filters |= {
        "share": share, "p": p_value, "points": points, "mean": mean, "alpha": coefficient, "counted": counted,
    }  # fmt: skip
    page = environment.get_template("blind.html.j2").render(
        report=shown,
        headline=HEADLINES[shown["verdict"]],
        tone=TONES[shown["verdict"]],
        symbols=SYMBOLS,
        reason=reason(shown),
        limits=limits(shown["power"]),
        gate=gate_row(shown["gate"]),
        score_names=SCORE_NAMES,
        reliability=RELIABILITY,
        preference_plot=preference_plot(shown),
        scores_plot=scores_plot(shown),
        power_plot=power_plot(shown["power"]),
    )
    write_text(target, page)


def reason(report: dict[str, Any]) -> str:
    """Why the verdict is what it is, for who has never heard of an interval."""
    compared, minimum = report["reviewed"]["samples"], report["minimum"]
    if not compared:
        return f"Nothing has been judged yet; the plan asks for {counted(minimum, 'sample')}."
    if report["verdict"] == "insufficient":
        return (
            f"{counted(compared, 'sample')} compared, and the plan asks for at least {minimum}: "
            f"review {minimum - compared} more before reading anything into the figures."
        )
    decided, ties = report["decided"], report["samples"]["tie"]
    if not decided["n"]:
        return f"All {compared} samples were ties: reviewers saw nothing that makes one answer better."
    told = (
        f"People preferred the shipped model in {decided['wins']} of {counted(decided['n'], 'decided sample')} "
        f"({share(decided['clustered']['rate'])}), with {counted(ties, 'tie')}. "
    )
    if report["verdict"] == "undecided":
        return told + (
            f"The true share may be anything from {share(decided['clustered']['low'])} to "
            f"{share(decided['clustered']['high'])}, so neither is shown to be better."
        )
    chance = decided["sign_test"]["p_clustered"]
    return told + f"Were both equally good, so clear a result would turn up in {often(chance)} such reviews."


def often(chance: float) -> str:
    """A small probability as a count of reviews."""
    return "fewer than 1 of 1,000" if chance < 0.001 else f"{round(1000 * chance)} of 1,000"


def limits(power: dict[str, Any]) -> str:
    """What a review of this size can and cannot show, in words."""
    pairs, found = power["pairs"], power["detectable"]
    if found is None:
        return (
            f"With {counted(pairs, 'decided sample')} no result is clear enough: even if all went one way, chance "
            "alone could have done it. At least 6 are needed, and 30 for more than the coarsest difference."
        )
    told = (
        f"{pairs} decided samples call a preference from {power['fewest_wins']} wins on. They find it in 8 of 10 "
        f"reviews only if the shipped model truly wins {share(found)} or more. A smaller lead is easily missed: no "
        "preference shown does not mean that the two are alike."
    )
    worth, at = power["worth_pairs"], power["worth_detectable"]
    if worth >= pairs:
        return told
    then = f"a true share of {share(at)} is needed" if at is not None else "no share is found so often"
    return (
        told + f" As samples of one conversation resemble each other, they are worth {worth} independent ones: {then}."
    )


def counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def points(value: float | None) -> str:
    """A difference of scores."""
    return "–" if value is None else f"{value:+.2f}".replace("-", MINUS)


def mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def coefficient(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", MINUS)
