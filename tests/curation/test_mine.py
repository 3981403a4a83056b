"""What is inferred of a moment: marked as inferred, about as right as measured, and done with in the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from joshi.curation.mine import mine
from joshi.curation.state import measure
from joshi.curation.state.asks import MOST_ASKS, outstanding
from joshi.curation.state.learn import fit, labelled
from joshi.curation.state.sentiment import HEAD, SENTIMENTS, sentiment
from joshi.schema import Conversation, State, Turn
from joshi.workspace import sha256_file

LABELS = Path(__file__).parents[1] / "data" / "mining"
HUNDRED_KB = 100_000


def turn(role: str, text: str, **state: object) -> Turn:
    return Turn(speaker=role, role=role, text=text, state=State.model_validate(state) if state else None)  # type: ignore[arg-type]


def talk(*turns: Turn) -> Conversation:
    return Conversation(id="c", source="s", turns=list(turns))


def test_what_no_source_states_is_inferred_and_marked() -> None:
    [sample] = mine(
        talk(
            turn("supplier", "I'm so sorry, the kiln broke down. Could you send us the pallet height limit?"),
            turn("buyer", "Our limit is 1.80 m."),
        ),
        10,
        {},
    )
    assert sample.context.supplier_sentiment == "worried"
    assert sample.context.outstanding_asks == ["pallet height limit"]
    assert sample.provenance.inferred == ["supplier_sentiment", "outstanding_asks"]


def test_what_the_source_states_is_kept_and_not_marked() -> None:
    stated = {"supplier_sentiment": "warm", "outstanding_asks": ["mill certificate"], "current_offer": "£9"}
    [sample] = mine(
        talk(turn("supplier", "Unacceptable. Could you send the order?", **stated), turn("buyer", "Yes.")), 10, {}
    )
    assert sample.context.supplier_sentiment == "warm"
    assert sample.context.outstanding_asks == ["mill certificate"]
    assert sample.provenance.inferred == []


def test_nothing_open_is_not_marked() -> None:
    [sample] = mine(talk(turn("supplier", "Attached is the order confirmation."), turn("buyer", "Good.")), 10, {})
    assert sample.context.outstanding_asks == []
    assert "outstanding_asks" not in sample.provenance.inferred


def test_asks_stay_open_until_they_are_answered() -> None:
    opening = turn("supplier", "Please send the VAT number. Which colour do you want on the doors?")
    assert outstanding([opening]) == ["VAT number", "which colour do you want on the doors"]
    reply = turn("buyer", "The doors in grey, please. What is the lead time?")
    assert "VAT number" in outstanding([opening, reply])
    assert not any("colour" in ask for ask in outstanding([opening, reply]))
    last = turn("supplier", "Lead time is six weeks.")
    assert not any("lead time" in ask for ask in outstanding([opening, reply, last]))


def test_an_answer_that_is_put_off_leaves_the_ask_open() -> None:
    asked = turn("buyer", "Could you hold the price until December?")
    assert outstanding([asked, turn("supplier", "I have to ask my director about December.")]) == [
        "hold the price until December"
    ]


def test_asks_are_few_distinct_and_oldest_first() -> None:
    things = "drawing invoice certificate sample forecast address manifest".split()
    text = " ".join(f"Please send the {thing}." for thing in [*things, *things])
    assert outstanding([turn("supplier", text)]) == things[-MOST_ASKS:]


def test_placeholders_and_ranges_change_no_mood() -> None:
    text = "[PERSON_1], £12k–£13k is our last word. We will not go any lower, take it or leave it."
    assert sentiment(text) == sentiment(text.replace("[PERSON_1]", "Peter").replace("£12k–£13k", "£12,450")) == "firm"


def test_the_sets_are_balanced_and_share_no_text() -> None:
    own, unseen = (labelled(LABELS / f"sentiment_{part}.jsonl") for part in ("development", "unseen"))
    assert len(own) >= 300
    assert len(unseen) >= 150
    assert {label for _, label in unseen} == set(SENTIMENTS)
    assert not {text for text, _ in own} & {text for text, _ in unseen}


def test_moods_are_told_as_measured_on_unseen_messages() -> None:
    unseen = labelled(LABELS / "sentiment_unseen.jsonl")
    head, words = measure.judged(unseen, sentiment), measure.judged(unseen, measure.by_words)
    assert head.accuracy >= 0.64
    assert head.macro_f1 >= 0.64
    assert head.accuracy > words.accuracy + 0.3


@pytest.mark.parametrize(("part", "precision", "recall"), [("development", 0.96, 0.94), ("unseen", 0.79, 0.79)])
def test_asks_are_found_as_measured(part: str, precision: float, recall: float) -> None:
    found = measure.asks(LABELS / f"asks_{part}.jsonl")
    assert found.states >= 60
    assert found.precision >= precision
    assert found.recall >= recall


def test_the_head_was_made_from_the_labels_that_lie_here() -> None:
    with safe_open(HEAD, "numpy") as file:
        made_from = json.loads(file.metadata()["labels"])
        assert file.get_tensor("sentiment").shape[1] == len(SENTIMENTS)
    assert made_from == {"sentiment_development.jsonl": sha256_file(LABELS / "sentiment_development.jsonl")}


def test_learning_twice_gives_the_same_weights() -> None:
    rows = labelled(LABELS / "sentiment_development.jsonl")[::6]
    first, second = (fit(rows, [1.0] * len(rows)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "piece",
    [
        "please ",
        "if you ",
        "? ",
        "and the, ",
        "could you ",
        "we need the ",
        "a.",
        "\n\n",
        "[PERSON_1] ",
        "1,",
        "please send the ",
        "x",
    ],
)
def test_a_hostile_message_comes_to_an_end(piece: str) -> None:
    """Patterns that go back and forth would take hours here."""
    text = piece * (HUNDRED_KB // len(piece))
    [first, second] = mine(
        talk(turn("supplier", text), turn("buyer", text), turn("supplier", text), turn("buyer", "Yes.")), 10, {}
    )
    assert len(second.context.outstanding_asks) <= MOST_ASKS
    assert first.context.supplier_sentiment in SENTIMENTS
