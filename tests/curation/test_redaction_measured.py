"""How much redaction masks on labelled messages; the figures of docs/privacy.md come from here."""

from __future__ import annotations

from pathlib import Path

import pytest

from joshi.curation.redaction.measure import Score, count, measure, read_marked
from joshi.errors import JoshiError
from joshi.plan import Plan

DATA = Path(__file__).parents[1] / "data" / "redaction"
# Identifiers masked, prices ranged, other numbers touched: a little worse than what was measured.
TAUGHT = [
    ("development", 0.98, 0.99, 0.01),
    ("development_a", 0.96, 0.99, 0.015),
    ("development_b", 0.97, 0.96, 0.01),
    ("development_c", 0.97, 0.97, 0.015),
    ("development_d", 0.97, 0.94, 0.015),
    ("development_e", 0.95, 0.94, 0.025),
    ("development_f", 0.89, 0.97, 0.015),
    ("development_g", 0.94, 0.98, 0.015),
    ("development_h", 0.92, 0.96, 0.01),
    ("development_i", 0.91, 0.97, 0.02),
    ("development_j", 0.93, 0.97, 0.01),
    ("development_k", 0.94, 0.92, 0.015),
    ("development_l", 0.97, 0.95, 0.03),
    ("development_m", 0.96, 0.97, 0.02),
    ("development_n", 0.85, 0.93, 0.015),
    ("development_o", 0.94, 0.97, 0.015),
    ("development_p", 0.95, 0.95, 0.01),
    ("development_q", 0.94, 0.98, 0.02),
]


def shares(score: Score) -> tuple[float, float, float]:
    identifiers = sum(score.masked.values()) / sum(score.identifiers.values())
    return identifiers, score.ranged / score.prices, score.touched / score.numbers


@pytest.mark.parametrize(("name", "identifiers", "prices", "touched"), TAUGHT, ids=[name for name, *_ in TAUGHT])
def test_messages_that_it_was_taught_with_keep_what_was_measured(
    name: str, identifiers: float, prices: float, touched: float
) -> None:
    masked, ranged, wrongly = shares(measure(DATA / f"{name}.jsonl", Plan()))
    assert masked >= identifiers
    assert ranged >= prices
    assert wrongly < touched


def test_unseen_messages_reach_the_goals() -> None:
    """95% of identifiers masked, 97% of prices ranged, under 2% of other numbers touched; all four files together."""
    found = [measure(DATA / f"{name}.jsonl", Plan()) for name in ("unseen", "unseen_b", "unseen_c", "unseen_d")]
    identifiers = sum(sum(one.identifiers.values()) for one in found)
    assert sum(sum(one.masked.values()) for one in found) / identifiers >= 0.95
    assert sum(one.ranged for one in found) / sum(one.prices for one in found) >= 0.97
    assert sum(one.touched for one in found) / sum(one.numbers for one in found) < 0.02


def test_a_span_counts_as_masked_only_when_all_of_it_is() -> None:
    text, marked = read_marked("Ask ⟦PERSON:Anya Petrova⟧ at ⟦FIRM:Korvex Ltd⟧ for ⟦PRICE:£12,450⟧, 48 t.")
    assert text == "Ask Anya Petrova at Korvex Ltd for £12,450, 48 t."
    score = Score()
    name, firm, price = (text.index(part) for part in ("Anya", "Korvex", "£"))
    count(score, text, marked, [(name, name + 4, "PERSON"), (firm, firm + 6, "FIRM"), (price, price + 7, "PRICE")])
    assert (score.masked["PERSON"], score.masked["FIRM"], score.ranged) == (0, 1, 1)  # 'Ltd' alone names nobody
    assert (score.touched, score.numbers) == (0, 1)


def test_a_price_masked_as_something_else_is_no_range() -> None:
    text, marked = read_marked("⟦PRICE:£12,450⟧")
    score = Score()
    count(score, text, marked, [(0, len(text), "PO")])
    assert (score.prices, score.ranged) == (1, 0)


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "marked.jsonl"
    path.write_text('{"messages": [{"text": "ok"}]}\n{"nothing": 1}\n', encoding="utf-8")
    with pytest.raises(JoshiError, match=r"marked\.jsonl:2: "):
        measure(path, Plan())
