"""Warmth: how likely a reader finds empathy in an answer."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.rubric.learned import warmth
from joshi.rubric.text import MOST_CHARACTERS

from .empathy import TEXTS, campers, domains, essays, held_out

COLD = "The revised schedule is attached as a spreadsheet."
WARM = "Losing your best driver in the same week is a lot to carry."


def test_warmth_tells_a_reply_with_empathy_from_one_without() -> None:
    assert warmth(WARM) > 0.6 > 0.3 > warmth(COLD)
    assert warmth(f"{COLD} {WARM} {COLD}") == warmth(WARM)
    assert warmth("") == 0


def test_of_an_endless_text_only_the_beginning_is_read() -> None:
    assert warmth(COLD + " " * MOST_CHARACTERS + WARM) == warmth(COLD)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=200))
def test_a_warm_sentence_is_found_beside_anything(text: str) -> None:
    assert 0 <= warmth(text) <= 1
    assert warmth(f"{WARM}\n\n{text}") >= warmth(WARM)


def test_warmth_carries_over_to_domains_that_it_was_not_taught() -> None:
    measured = {name: warm.value for name, warm, _ in held_out(TEXTS)}
    assert set(measured) == set(domains(TEXTS))
    assert min(measured.values()) > 0.70  # docs/rubric.md: 0.73 to 0.93


def test_corpora_are_read_as_they_were_published(tmp_path: Path) -> None:
    csv = tmp_path / "messages.csv"
    csv.write_text('"empathy_bin","essay"\n"1","so sad, ""all"" of them"\n"0","fine"\n', encoding="utf-8")
    assert [(one.text, one.empathic) for one in essays(csv)] == [('so sad, "all" of them', True), ("fine", False)]
    talk = [{"annotations": [["I need wood.", "self-need"], ["Poor you!", "small-talk,showing-empathy"]]}]
    file = tmp_path / "casino.json"
    file.write_text(json.dumps(talk), encoding="utf-8")
    assert [(one.message, one.empathic) for one in campers(file)] == [("", False), ("I need wood.", True)]
