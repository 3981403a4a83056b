"""Numbers as pages, cards and tables show them."""

from __future__ import annotations

from typing import Any

MINUS = "\N{MINUS SIGN}"
IN_NATS = ("general_loss", "quantization_kl")  # gates whose figures are no shares
SYMBOLS = {"pass": "✓", "fail": "✗", "insufficient": "?"}


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}".replace("-", MINUS)


def tokens(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", MINUS)


def score(value: float | None) -> str:
    """At most one decimal, none that is zero."""
    return "–" if value is None else f"{value:.1f}".removesuffix(".0").replace("-", MINUS)


def gate_row(gate: dict[str, Any]) -> dict[str, Any]:
    """A gate with its numbers as text: shares (fractions within -1..1) in percent, all else as it is."""
    numbers = [gate[key] for key in ("measured", "bound", "low", "high") if gate[key] is not None]
    fractions = all(-1 <= number <= 1 for number in numbers) and any(isinstance(n, float) for n in numbers)
    form = nats if gate["name"] in IN_NATS else share if fractions else score
    return gate | {
        "measured": form(gate["measured"]),
        "bound": f"{gate['direction']} {form(gate['bound'])}",
        "interval": "–" if gate["low"] is None else f"{form(gate['low'])} to {form(gate['high'])}",
    }
