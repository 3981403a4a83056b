"""The evaluation report as one HTML page: no scripts, nothing fetched, every text of a model escaped."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from joshi.evaluation.plots import curves_plot, lengths_plot, present, rules_plot, words
from joshi.pages import clean, templates
from joshi.pages.numbers import MINUS, SYMBOLS, gate_row, nats, score, share, tokens
from joshi.rubric import RULES
from joshi.workspace import write_text

HEADLINES = {"pass": "Pass", "fail": "Fail", "insufficient": "Insufficient data"}
SECRETS = {
    "walk_away": "highest price", "target": "target price", "other_quote": "other quote", "policy": "policy",
    "tool": "tool", "approver": "approver", "escalation": "escalation", "prompt": "prompt",
}  # fmt: skip
SHADES = 4  # of the heat map, besides none
ENDINGS = {"stop": "ended by itself", "length": "cut off", "empty": "empty", "loop": "looping"}


def write_page(report: dict[str, Any], target: Path) -> None:
    """Write the page of an evaluation report; the same report gives the same bytes.

    `report` holds what report.json holds, with the curves and the answers to show; `target` is the HTML file.

    Raises:
        JoshiError: `target` cannot be written.
    """
    shown = clean(report)
    environment = templates("evaluation")
    environment.filters |= {
        "words": words, "share": share, "tokens": tokens, "score": score, "nats": nats, "complement": complement,
    }  # fmt: skip
    page = environment.get_template("page.html.j2").render(
        report=shown,
        systems={name: shown["systems"][name] for name in dict.fromkeys([*present(shown), *shown["systems"]])},
        broken_rules=broken_rules(shown["answers"]),
        quantisation=quantisation_told(shown["quantisation"]),
        gates=[gate_row(gate) for gate in shown["gates"]],
        headline=HEADLINES[shown["verdict"]],
        reason=reason(shown),
        symbols=SYMBOLS,
        endings=ENDINGS,
        unreviewed=shown["reviewed"].lower().startswith("not"),
        rules_plot=rules_plot(shown),
        lengths_plot=lengths_plot(shown),
        curves_plot=curves_plot(shown),
        attacks=attack_rows(shown["redteam"]),
        secrets=SECRETS,
        rules_caption=rules_caption(shown),
        lengths_caption=lengths_caption(shown),
        curves_caption=curves_caption(shown["curves"]),
    )
    write_text(target, page)


def reason(report: dict[str, Any]) -> str:
    """Why the verdict is what it is, in one sentence."""
    required = [gate for gate in report["gates"] if gate["required"]]
    if report["verdict"] == "pass":
        return f"Every required gate passed, on {report['systems']['shipped']['n']} held-out answers."
    named = [gate["text"] for gate in required if gate["verdict"] == report["verdict"]]
    told = f"{len(named)} of {len(required)} required gates "
    told += "failed" if report["verdict"] == "fail" else "could not be decided with so few answers"
    return f"{told}: {'; '.join(named)}."


def attack_rows(redteam: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the heat map for each family: what got out, in how many attacks, and how dark that is shown."""
    rows = []
    for family, found in redteam["families"].items():
        leaked = redteam["secrets"][family]
        cells = [
            {"n": leaked.get(kind, 0), "shade": math.ceil(SHADES * leaked.get(kind, 0) / found["n"])}
            for kind in SECRETS
        ]
        rows.append(found | {"family": family, "cells": cells})
    return rows


def complement(rate: dict[str, Any]) -> dict[str, Any]:
    """The share of the others, with its interval."""
    return {"rate": 1 - rate["rate"], "low": 1 - rate["high"], "high": 1 - rate["low"]}


def broken_rules(answers: list[dict[str, Any]]) -> dict[str, int]:
    """How many of the answers that are shown break each rule, of what ships; rules that none breaks are left out."""
    found = Counter(rule for item in answers for rule in item["answers"]["shipped"]["failed"])
    return {rule: found[rule] for rule in RULES if found[rule]}


def quantisation_told(found: dict[str, Any]) -> str:
    """What became of the model when it was quantised, in words."""
    kl, agreement, rules = found["kl"], found["agreement"], found["rules"]
    return (
        f"Against the same model in F16, along {found['tokens']} tokens that the latter wrote: the shipped file finds "
        f"the same next token likeliest in {share(agreement['mean'])}, and its distribution differs by "
        f"{kl['mean']:.3f} nats ({kl['low']:.3f} to {kl['high']:.3f}, mean KL divergence); {found['same_answers']} of "
        f"{found['answers']} answers are the same, and the share that follows every rule changes "
        f"by {points(rules['rate'])} points ({points(rules['low'])} to {points(rules['high'])})."
    )


def points(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", MINUS)


def rules_caption(report: dict[str, Any]) -> str:
    rates = [
        f"{share(system['all_rules']['rate'])} of the answers of “{system['label']}”"
        for system in (report["systems"][name] for name in reversed(present(report)))
    ]
    return f"Every rule at once is followed by {', '.join(rates[:-1])} and {rates[-1]}."


def lengths_caption(report: dict[str, Any]) -> str:
    shipped, base = report["systems"]["shipped"], report["systems"]["base"]
    p90 = tokens(shipped["tokens"]["p90"])
    return (
        f"Nine in ten answers of “{shipped['label']}” have at most {p90} tokens (P90), "
        f"of “{base['label']}” at most {tokens(base['tokens']['p90'])}; the gate asks for fewer than "
        f"{report['p90_limit']}, and one answer may have {report['length_limit']}."
    )


def curves_caption(curves: dict[str, Any]) -> str:
    sft, preference = curves["sft"], curves["preference"]
    parts = [_course("SFT training loss", sft["loss"]), _course("development loss", sft["heldout_loss"])]
    if preference:
        parts.append(_course("preference accuracy", preference["accuracy"]))
    told = "; ".join(part for part in parts if part)
    ending = ""
    if any(curve["answers"]["step"] for curve in (sft, preference) if curve):
        ending = (
            " Answers were sampled on development conversations, which are neither trained on nor judged by the gates; "
            "the dotted line is the step whose weights were kept."
        )
    ending += "" if preference else " The plan has no preference training."
    return f"{told[:1].upper()}{told[1:]}.{ending}" if told else f"No step was recorded.{ending}"


def _course(what: str, values: list[float]) -> str:
    """From where to where a curve went; empty if it has no points."""
    if not values:
        return ""
    first, last = values[0], values[-1]
    if len(values) == 1:
        return f"{what} was {last:.2f} at the one step recorded"
    verb = "fell" if last < first else "rose" if last > first else "stayed"
    return f"{what} {verb} from {first:.2f} to {last:.2f}"
