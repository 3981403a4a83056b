"""Each rule on plain cases, and all of them on the labelled answers of the example."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.rubric import RULES, WEIGHTS, Rubric, failed, rules_text
from joshi.rubric.text import all_figures, figures, sentences
from joshi.schema import Sample

from .labels import agreement

Make = Callable[..., Sample]
GOOD = (
    "Steel jumping twice in a quarter is hard on any mill. £12,450 from 14 March is workable for us on the terms you "
    "named. Could you confirm the mill certificate for that lot?"
)
MESSAGE = "Steel has gone up twice and we must ask £12,450 from 14 March. Mill certificate comes with the lot."


def broken(rubric: Rubric, make: Make, answer: str, **context: object) -> list[str]:
    return failed(rubric.check(answer, make(answer, MESSAGE, **context)))


def test_a_good_answer_passes_every_rule(rubric: Rubric, make_sample: Make) -> None:
    assert broken(rubric, make_sample, GOOD) == []
    assert rubric.score(GOOD, make_sample(GOOD, MESSAGE)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("acknowledgement", "Please confirm the mill certificate."),
        ("acknowledgement", "Our position is £12,450. Could you confirm the certificate?"),
        ("acknowledgement", "Thank you for your email. Could you confirm the certificate?"),
        ("no_boilerplate", f"Dear Anna, {GOOD}"),
        ("no_boilerplate", f"{GOOD} Please do not hesitate to contact us."),
        ("no_boilerplate", f"{GOOD}\n\nKind regards,\nOlu"),
        ("one_next_step", "Steel jumping twice is hard. £12,450 is workable for us."),
        ("one_next_step", f"{GOOD} Please also send the drawing."),
        ("one_next_step", "Steel jumping twice is hard. Could you send the certificate and confirm the date?"),
        ("no_internals", f"{GOOD} Anything higher must be approved by our finance director."),
        ("no_internals", f"{GOOD} Our target price is lower."),
        ("no_internals", f"{GOOD} Our comparison tool flagged this."),
        ("grounded", GOOD.replace("£12,450", "£11,900")),
        ("grounded", GOOD.replace("14 March", "21 April")),
        ("grounded", GOOD.replace("the mill certificate", "the [PERSON_1] certificate")),
        ("length", GOOD + " The lot is fine." * 60),
        ("professional", f"That is ridiculous. {GOOD}"),
    ],
)
def test_each_rule_catches_its_breach(rubric: Rubric, make_sample: Make, rule: str, answer: str) -> None:
    assert rule in broken(rubric, make_sample, answer)


@pytest.mark.parametrize(
    "ordinary",
    [
        "Your analysis of the score marks on the casting is clear to follow.",
        "Your policy on returns is fair to both sides.",
        "Your board needing to approve the date is understandable.",
    ],
)
def test_ordinary_words_are_no_leak(rubric: Rubric, make_sample: Make, ordinary: str) -> None:
    answer = f"{ordinary} Could you confirm the mill certificate?"
    message = "Our board must approve the date. " + MESSAGE
    assert "no_internals" not in failed(rubric.check(answer, make_sample(answer, message)))


def test_what_only_the_notes_say_is_a_leak(rubric: Rubric, make_sample: Make) -> None:
    notes = "Target is £11,200. Quote from Brackendale at £11,750. Policy PP-114."
    for secret in ("£11,200", "Brackendale"):
        answer = GOOD.replace("£12,450", f"£12,450 against {secret}")
        assert "no_internals" in broken(rubric, make_sample, answer, notes=notes)
    assert broken(rubric, make_sample, GOOD, notes=notes) == []


def test_spans_point_at_what_is_wrong(rubric: Rubric, make_sample: Make) -> None:
    answer = GOOD.replace("£12,450", "£11,900")
    finding = next(f for f in rubric.check(answer, make_sample(answer, MESSAGE)) if f.rule == "grounded")
    assert finding.span is not None
    assert answer[slice(*finding.span)] == "11,900"


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=80)
def test_any_text_gets_a_finding_of_every_rule(rubric: Rubric, make_sample: Make, answer: str) -> None:
    findings = rubric.check(answer, make_sample(answer, MESSAGE))
    assert tuple(finding.rule for finding in findings) == RULES
    assert 0 <= rubric.score(answer, make_sample(answer, MESSAGE)) <= 1
    for finding in findings:
        if finding.span:
            assert 0 <= finding.span[0] <= finding.span[1] <= len(answer)


def test_weights_are_shares_of_one() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert set(WEIGHTS) == set(RULES)


def test_the_rules_as_a_prompt_take_the_plans_numbers(rubric: Rubric) -> None:
    text = rules_text(rubric.plan)
    assert "20 tokens" in text
    assert "180 tokens" in text


PARTS = ["No", "Ltd", "e.g", "A", "ab", "5", ".", ".", "!", "…", " ", " ", "\n", '"']


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_sentences_end_where_looking_at_all_of_the_text_says(text: str) -> None:
    ends = [0]
    for mark in re.finditer(r"[.!?…]+[\"'’”)]*(?=\s|$)|\n+", text):
        so_far, after = text[ends[-1] : mark.end()].rstrip(), text[mark.end() :].lstrip()
        short = re.search(r"(?:\b(?:No|Ltd|e\.g)|\b[A-Z])\.$", so_far)
        if not (mark.group().startswith(".") and (short or after[:1].islower())):
            ends.append(mark.end())
    pieces = [text[a:b].strip() for a, b in pairwise([*ends, len(text)])]
    expected = [piece for piece in pieces if any(letter.isalnum() for letter in piece)]
    assert [text[slice(*span)] for span in sentences(text)] == expected


def test_sentences_do_not_end_at_abbreviations() -> None:
    text = "Item No. 5 costs Rs. 8 e.g. in lots. The rest (approx. 40) waits! Is it fine?"
    assert [text[slice(*span)][:4] for span in sentences(text)] == ["Item", "The ", "Is i"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("£12,450", 12450), ("1.250,00 €", 1250), ("CHF 1'250", 1250), ("Rs 4,50,000", 450000), ("8,90 €", 8.9),
        ("12.5k", 12500), ("twelve thousand five hundred", 12500), ("forty-five", 45), ("0.125", 0.125),
    ],
)  # fmt: skip
def test_figures_in_every_notation(text: str, value: float) -> None:
    assert value in all_figures(text)


def test_figures_come_with_their_place() -> None:
    text = "take 300 at £4.10, or 0.2285 a kWh"
    told = [(value, text[slice(*span)]) for value, span in figures(text)]
    assert told == [(300, "300"), (4.1, "4.10"), (0.2285, "0.2285")]


def test_rules_agree_with_the_labels_of_the_example(rubric: Rubric) -> None:
    """The rules were tuned on these labels, so this guards against getting worse; docs/rubric.md has the table."""
    rows = agreement(rubric)
    assert len(rows) > 500
    clean = [found for labels, found in rows if not labels]
    assert sum(not found for found in clean) / len(clean) > 0.78
    for rule in RULES:
        wrong = [found for labels, found in rows if rule in labels]
        assert sum(rule in found for found in wrong) / len(wrong) > 0.6, rule
    dirty = [found for labels, found in rows if labels]
    assert sum(bool(found) for found in dirty) / len(dirty) > 0.95


@pytest.mark.parametrize("part", ["1 ", "one hundred and ", "if aa, ", "\n", "£1 ", "Aa "], ids=repr)
def test_an_answer_made_to_stall_a_rule_is_judged(rubric: Rubric, make_sample: Make, part: str) -> None:
    """It is far too long, and looking at all of it would take minutes."""
    answer = part * (60_000 // len(part))
    assert "length" in broken(rubric, make_sample, answer)


@pytest.mark.parametrize("digits", [30, 400], ids=["long", "beyond a float"])
def test_a_row_of_digits_that_nobody_gave_is_a_figure_that_nobody_gave(
    rubric: Rubric, make_sample: Make, digits: int
) -> None:
    answer = GOOD.replace("£12,450", "£" + "9" * digits)
    assert not rubric.judge("grounded", answer, make_sample(answer, MESSAGE)).passed
