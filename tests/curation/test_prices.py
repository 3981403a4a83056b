"""Prices become ranges that hold them; every other number stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.curation.redaction import Redactor
from joshi.curation.redaction.prices import find_prices
from joshi.curation.redaction.ranges import as_range
from joshi.plan import Plan
from joshi.surrogates import PRICE_RANGE, amount


@pytest.mark.parametrize(
    ("text", "unit", "values"),
    [
        ("we ask £12,450 for it", "£", (12450,)),
        ("about $1.2k", "$", (1200,)),
        ("12.5k EUR", "€", (12500,)),
        ("1.250,00 € netto", "€", (1250,)),
        ("twelve thousand pounds", "£", (12000,)),
        ("£8–9 a unit", "£", (8, 9)),
        ("Rs 4,50,000 in all", "₹", (450000,)),
        ("CHF 1'250 each", "CHF ", (1250,)),
        ("EUR 8.90/unit", "€", (8.9,)),
        ("12p a sheet", "£", (0.12,)),
        ("Unit 6 £11,200", "£", (11200,)),
        ("€ 0.2285 a kWh", "€", (0.2285,)),
        ("fixed at USD 1.0632", "$", (1.0632,)),
        ("0,0049 € a click", "€", (0.0049,)),
        ("46c each at volume", "$", (0.46,)),
        ("EUR/m3 84.50 delivered", "€", (84.5,)),
    ],
)
def test_notations(text: str, unit: str, values: tuple[float, ...]) -> None:
    prices = find_prices(text)
    assert [(p.unit, p.values) for p in prices] == [(unit, values)]


@pytest.mark.parametrize(
    "text",
    [
        "net 45 days",
        "No. 5 valve",
        "2.5% off",
        "500 units by 14 March 2026",
        "lead time 6-8 weeks",
        "at 7 p.m.",
        "ISO 9001",
        "prices in NZD/m3, net",
        "700c wheels, 4c print",
        "breaker C16 3P",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert find_prices(text) == ()


@pytest.mark.parametrize("measure", ["kg", "mm", "m²", "kWh", "°C"])
def test_a_number_that_measures_a_thing_is_no_price(measure: str) -> None:
    assert priced("You asked £12.50 a piece.", f"At 12.50 {measure} a piece I take 600.") == ["£12.50"]


def priced(*texts: str) -> list[str]:
    redactor = Redactor(Plan(), [], texts)
    return [text[a:b] for text in texts for a, b, kind, _ in redactor.spans(text) if kind == "PRICE"]


def test_a_bare_number_is_a_price_when_the_talk_shows_it() -> None:
    talk = ["We quoted £8.20 a unit.", "Our last order was at £7.95, 600 kg."]
    assert priced(*talk, "Can you do 7.95?") == ["£8.20", "£7.95", "7.95"]
    assert priced(*talk, "We need 600 kg at once, net 45, in week 12.") == ["£8.20", "£7.95"]


def test_a_text_that_is_no_message_is_read_in_the_light_of_the_talk() -> None:
    redactor = Redactor(Plan(), [], ["We quoted £8.20 a unit.", "Could you do £7.95?"])
    assert [kind for *_, kind, _ in redactor.spans("They offered 7.95 a unit.")] == ["PRICE"]


@pytest.mark.parametrize("text", ["GH₵45 each", "RWF 5.4m", "QR 1,090", "UAH 300", "5 400 CFA", "₽ 400"])
def test_rarer_currencies_are_prices(text: str) -> None:
    (price,) = find_prices(text)
    unit = price.unit
    assert PRICE_RANGE.fullmatch(as_range(price.values[0], unit, 0.1, 7))


@pytest.mark.parametrize("text", ["ALL 40 boxes", "the TOP 5", "2 CUP measures", "pandas 3"])
def test_words_in_capitals_are_no_currencies(text: str) -> None:
    assert find_prices(text) == ()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("EUR/t 1.180", (1180,)),
        ("Rs. 84/- each", (84,)),
        ("£1.4m in all", (1_400_000,)),
        ("twelve and a half grand", (12_500,)),
        ("between 7.80 and 8.10 euros", (7.8, 8.1)),
        ("43 cents", (0.43,)),
        ("a fiver", (5,)),
        ("15 000 kr", (15_000,)),
        ("3.2 lakh", (320_000,)),
        ("RM16.40", (16.4,)),
        ("six quid fifty", (6.5,)),
        ("12-14k EUR", (12_000, 14_000)),
    ],
)
def test_more_notations(text: str, values: tuple[float, ...]) -> None:
    assert [p.values for p in find_prices(text)] == [values]


@given(
    st.floats(0.01, 1e8).map(lambda value: float(f"{value:.5g}")),
    st.sampled_from([0.05, 0.1, 0.3, 0.5]),
    st.sampled_from(["£", "€", "CHF "]),
    st.integers(0, 2),
)
def test_the_value_lies_inside_its_range(value: float, band: float, unit: str, finer: int) -> None:
    text = as_range(value, unit, band, 7, finer)
    found = PRICE_RANGE.fullmatch(text)
    assert found is not None
    low, high = amount(found["low"], found["lowk"]), amount(found["high"], found["highk"])
    assert low - 1e-9 * value <= value <= high + 1e-9 * value
    assert low < high
    assert text == as_range(value, unit, band, 7, finer)


def test_the_place_inside_differs_from_value_to_value() -> None:
    places = set()
    for value in (10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0):
        found = PRICE_RANGE.fullmatch(as_range(value, "£", 0.1, 7, 1))
        assert found is not None
        low, high = amount(found["low"], found["lowk"]), amount(found["high"], found["highk"])
        places.add(round((value - low) / (high - low), 2))
    assert len(places) >= 4
