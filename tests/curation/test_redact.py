"""Direct identifiers go, consistently; what the talk is about stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.curation.redaction import Redactor, redact_conversation, redact_text
from joshi.curation.redaction.tokens import MOST_CHARACTERS, pieces
from joshi.plan import Plan
from joshi.schema import Conversation, ConversationState, Participant, Sample, Turn
from joshi.surrogates import PLACEHOLDER, PRICE_RANGE, fill

PLAN = Plan()
TALK = Conversation(
    id="t",
    source="test",
    participants=[
        Participant(
            role="supplier", firm="Pellworth Films Ltd", person="Gareth Pugh", email="g.pugh@pellworth.example"
        ),
        Participant(role="buyer", firm="Osterby Bakeries", person="Helen Marchbank"),
    ],
    turns=[
        Turn(
            speaker="s",
            role="supplier",
            text="Morning Helen, GARETH here from Pellworth Films. £1,795/t under PO 4500817, account HR-20774. "
            "Call 01632 960417, pay to GB29 NWBK 6016 1331 9268 19. Mr Ansell at Pellworth agrees; net 45, 48 tonnes.",
        ),
        Turn(speaker="b", role="buyer", text="Gareth's figure of 1,795 on 4500817 is clear. Could Mr Ansell confirm?"),
    ],
    state=ConversationState(notes="Target £1,690/t; approver Derek Ansell.", item="48 tonnes of film"),
)


def test_identifiers_and_prices_are_gone_everywhere() -> None:
    redacted, redactor = redact_conversation(TALK, PLAN)
    text = redacted.model_dump_json()
    secrets = [
        "Helen",
        "Gareth",
        "GARETH",
        "Pellworth",
        "Ansell",
        "4500817",
        "HR-20774",
        "960417",
        "NWBK",
        "1,795",
        "1,690",
    ]
    assert [secret for secret in secrets if secret in text] == []
    assert "net 45" in text
    assert "48 tonnes" in text
    assert redactor.counts["PERSON"] >= 4


def test_one_identifier_has_one_placeholder() -> None:
    redacted, _ = redact_conversation(TALK, PLAN)
    first, second = (turn.text for turn in redacted.turns)
    ansell = next(p.group() for p in PLACEHOLDER.finditer(first.split("Mr ")[1]))
    assert f"Mr {ansell}" in second
    order = first.split("PO ")[1].split(",")[0]
    assert order in second
    price = PRICE_RANGE.search(first)
    assert price is not None
    assert price.group() in second


def test_two_prices_never_share_a_range() -> None:
    talk = TALK.model_copy(
        update={"turns": [Turn(speaker="s", role="supplier", text="£7.95 or £8.05 or £7.90 or £8.00")]}
    )
    redacted, _ = redact_conversation(talk, PLAN)
    ranges = [m.group() for m in PRICE_RANGE.finditer(redacted.turns[0].text)]
    assert len(set(ranges)) == 4


def redacted_talk(*texts: str, participants: tuple[Participant, ...] = ()) -> list[str]:
    talk = Conversation(
        id="t",
        source="test",
        participants=list(participants),
        turns=[
            Turn(speaker="s", role="supplier" if n % 2 == 0 else "buyer", text=text) for n, text in enumerate(texts)
        ],
    )
    return [turn.text for turn in redact_conversation(talk, PLAN)[0].turns]


PUGH = Participant(role="supplier", firm="Pellworth Films Ltd", person="Gareth Pugh", email="g.pugh@pellworth.example")


@given(st.sampled_from(["Gareth", "GARETH", "gareth", "Pugh", "pugh", "Gareth Pugh", "Pellworth", "PELLWORTH FILMS"]),
       st.sampled_from(["{}", "{}'s", "{}’s", "({})", "{},", "{}."]),
       st.sampled_from(["we spoke to {} today", "{} said so", "ask {} again", "as per {} yesterday"]))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_known_name_goes_in_any_case_and_with_any_ending(name: str, ending: str, sentence: str) -> None:
    (text,) = redacted_talk(sentence.format(ending.format(name)), participants=(PUGH,))
    assert not {"gareth", "pugh", "pellworth"} & set(text.casefold().replace("'", " ").replace("’", " ").split())


def test_a_name_found_once_is_masked_everywhere_and_alike() -> None:
    first, second = redacted_talk("Regards,\nYusra Demirtas\nKorvex Ltd", "thanks yusra, korvex it is")
    (person,) = [p.group() for p in PLACEHOLDER.finditer(first) if "PERSON" in p.group()]
    assert person in second
    assert "yusra" not in second
    assert "korvex" not in second.casefold()


def test_figures_of_a_name_are_no_name() -> None:
    """'CCF-118' may be taken for a name; the 118 in '£118,227' is none for that."""
    anna = Participant(role="supplier", person="Anna Bell-118")
    talk = redacted_talk("Anna Bell-118 asks £118,227.50 for 118 units.", participants=(anna,))
    assert talk == [talk[0]] and "118 units" in talk[0] and "£110k–£120k" in talk[0]


def test_small_words_of_a_name_are_no_name() -> None:
    people = (Participant(role="supplier", person="Jan van der Berg"), Participant(role="buyer", person="Rao and Sons"))
    assert redacted_talk("The van and the crane go to Mr van der Berg.", participants=people) == [
        "The van and the crane go to Mr [PERSON_1]."
    ]


def test_codes_of_articles_stay_and_references_go_wherever_they_stand() -> None:
    table = "item\tdesc\tqty\tEUR\nPD-9015\tvalve\t40\t57.40\nPD-9022\tgasket\t80\t12.10"
    talk = redacted_talk(
        table, "PD-9015 is fine. Please quote our reference AN-33109 in your reply.", "On AN-33109: agreed."
    )
    assert "PD-9015" in talk[0] and "PD-9022" in talk[0] and "PD-9015" in talk[1]
    assert "AN-33109" not in "".join(talk)


def test_a_table_with_a_desk_holds_no_telephone_number() -> None:
    text = "Sit-stand desk 58 465 26,970"
    assert all(kind != "PHONE" for _, _, kind, _ in Redactor(Plan(), [], [text]).spans(text))
    assert "[PHONE_1]" in redacted_talk("my desk 020 7946 0123")[0]


def test_ordinary_words_that_are_names_too_stay_small() -> None:
    rose = Participant(role="supplier", person="Rose Price")
    (text,) = redacted_talk("Rose here. The price rose again; may we ship in May?", participants=(rose,))
    assert "The price rose again; may we ship in May?" in text
    assert text.startswith("[PERSON_1] here.")


def test_an_address_gives_its_owner_away() -> None:
    (text,) = redacted_talk("write to anya.petrova@korvex-films.example, anya will answer for korvex films")
    assert {"anya", "petrova", "korvex"} & set(text.casefold().split()) == set()


def test_who_was_masked_is_told_to_the_caller() -> None:
    _, redactor = redact_conversation(TALK, PLAN)
    assert {"Gareth Pugh", "GARETH", "g.pugh@pellworth.example", "Helen Marchbank"} <= redactor.people


def test_text_without_a_conversation() -> None:
    text, counts = redact_text("Mail anna@firm.example about £12,450 by 14 March.", PLAN)
    assert "anna@" not in text
    assert "12,450" not in text
    assert "14 March" in text
    assert counts == {"EMAIL": 1, "PRICE": 1}


@given(st.text(max_size=120))
@settings(deadline=None, max_examples=40)
def test_any_text_is_redacted_without_failing(text: str) -> None:
    redacted, _ = redact_text(text, PLAN)
    assert isinstance(redacted, str)


def test_surrogates_are_the_same_throughout_a_sample(make_sample: Callable[..., Sample]) -> None:
    sample = make_sample(
        "[PERSON_1]'s £12k–£13k is fair. Could [PERSON_1] confirm?",
        "[PERSON_1] here: £12k–£13k for [SUPPLIER_1], or £9.00–£9.90 a unit.",
        notes="Target £11k–£12k.",
    )
    filled = fill(sample, 7)
    text = filled.ideal_answer + filled.context.model_dump_json()
    assert PLACEHOLDER.search(text) is None
    assert PRICE_RANGE.search(text) is None
    name = filled.ideal_answer.split("'s")[0]
    figure = filled.ideal_answer.split("'s ")[1].split(" ")[0]
    assert filled.ideal_answer.count(name) == 2
    assert f"{name} here: {figure}" in filled.context.history[-1].text
    assert 12_000 <= float(figure[1:].replace(",", "")) <= 13_000
    assert fill(sample, 7) == filled
    assert fill(sample, 8) != filled


@given(st.lists(st.sampled_from(["word ", "\n", "x" * 700, "12,450 ", "Ünïcode "]), max_size=60).map("".join))
@settings(deadline=None, max_examples=40)
def test_pieces_are_the_text(text: str) -> None:
    found = list(pieces(text))
    assert "".join(piece for _, piece in found) == text
    assert all(text[start:].startswith(piece) and len(piece) <= MOST_CHARACTERS for start, piece in found)


HOSTILE = (
    "one hundred and ",
    "ABC-",
    "Aa-",
    "1.",
    "£1",
    "Unit 1, ",
    "12 Aa, ",
    "Mr Aa ",
    "a@",
    "\n",
    "VAT no. ",
    "Aa & ",
)


@pytest.mark.parametrize("part", HOSTILE, ids=repr)
def test_a_text_made_to_stall_a_pattern_comes_to_an_end(part: str) -> None:
    """Backtracking would take minutes here, or years."""
    text = part * (12_000 // len(part))
    redacted, _ = redact_text(text, PLAN)
    assert isinstance(redacted, str)


def test_what_stands_far_into_a_long_text_is_found() -> None:
    text, counts = redact_text("We ship on Monday. " * 300 + "Write to anna@firm.example about £12,450.", PLAN)
    assert "anna@" not in text
    assert counts["PRICE"] == 1
