"""Invented names and figures in place of what redaction took out.

A dataset holds `[PERSON_1]` and `£12k–£13k`; a model trained on those would say them. Rendering therefore
puts seeded surrogates in their place, the same everywhere in a sample, so that training, evaluation and
production prompts look alike.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TypeVar

from joshi.schema import Sample

PLACEHOLDER = re.compile(r"\[([A-Z]+)_(\d+)\]")

# A price range as curation/prices.py writes it: "£12k–£13k", "EUR 8.50–EUR 9.40".
_AMOUNT = r"(?P<{0}>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<{0}k>[km]?)"
_UNIT = r"(?:[A-Z]{3} |[£$€₹¥])"
PRICE_RANGE = re.compile(rf"(?P<unit>{_UNIT})" + _AMOUNT.format("low") + r"–(?P=unit)" + _AMOUNT.format("high"))

PEOPLE = (
    "Ines Carvalho", "Tom Ashdown", "Wei Lin", "Sofia Brandt", "Amara Nwosu", "Lukas Reuter", "Nadia Haddad",
    "Peter Lindqvist", "Camila Torres", "Rohan Mehta", "Greta Olsen", "Yusuf Demir", "Elena Popescu",
    "Marcus Webb", "Hana Sato", "Claire Fontaine", "Diego Salas", "Ewa Zielinska", "Owen Pryce", "Leila Karimi",
)  # fmt: skip
FIRMS = (
    "Northgate Supply", "Alder & Finch", "Brightwater Industries", "Corvane Systems", "Delmont Works",
    "Eastholm Trading", "Ferncliff Group", "Greyfield Components", "Harrow Mill", "Ironbridge Materials",
    "Junewood Products", "Kestrel Manufacturing", "Larkhill Partners", "Merrow & Sons", "Oakmere Technics",
)  # fmt: skip


def filler(sample: Sample, seed: int) -> Callable[[str], str]:
    """What replaces every placeholder and price range in a text of the sample's conversation."""
    key = f"{seed}:{sample.provenance.conversation_id}"
    names = Names(key)
    position = random.Random(key).random()  # one place inside every range keeps the order of figures far apart

    def text(value: str) -> str:
        return PRICE_RANGE.sub(
            lambda found: figure(found, position), PLACEHOLDER.sub(lambda found: names[found.group(0)], value)
        )

    return text


def fill(sample: Sample, seed: int) -> Sample:
    """The sample with every placeholder and price range replaced, alike in context and answer."""
    text = filler(sample, seed)
    data = sample.model_dump()
    data["instruction"] = text(sample.instruction)
    data["ideal_answer"] = text(sample.ideal_answer)
    if sample.review.original is not None:
        data["review"]["original"] = text(sample.review.original)
    data["review"]["displaced"] = [text(other) for other in sample.review.displaced]
    data["context"] = _walk(data["context"], text)
    return Sample.model_validate(data)


class Names:
    """Placeholder to surrogate. Each depends on the conversation alone, so its samples share their history."""

    def __init__(self, key: str) -> None:
        chooser = random.Random(f"{key}:names")
        self._key = key
        self._people = chooser.sample(PEOPLE, len(PEOPLE))
        self._firms = chooser.sample(FIRMS, len(FIRMS))

    def __getitem__(self, placeholder: str) -> str:
        return self._choose(placeholder)

    def _choose(self, placeholder: str) -> str:
        found = PLACEHOLDER.fullmatch(placeholder)
        assert found is not None
        kind, number = found.group(1), int(found.group(2)) - 1
        digits = random.Random(f"{self._key}:{placeholder}").randrange(10_000, 99_999)
        match kind:
            case "PERSON":
                return self._people[number % len(self._people)].split()[0]
            case "SUPPLIER" | "BUYER" | "FIRM":
                offset = {"SUPPLIER": 0, "BUYER": 5, "FIRM": 8}[kind]
                return self._firms[(number + offset) % len(self._firms)]
            case "EMAIL":
                person = self._people[number % len(self._people)].split()[0].lower()
                return f"{person}@mail{number + 1}.example"
            case "PHONE":
                return f"+44 1632 960{digits % 1000:03d}"
            case "ADDRESS":
                return f"{2 + digits % 88} Foundry Lane"
            case "IBAN":
                return f"GB00 TEST 0000 {digits}"
            case "URL":
                return f"https://www.firm{number + 1}.example"
            case _:  # order, account and tax numbers: what is around them says what they are
                return str(digits)


T = TypeVar("T")


def _walk(value: T, change) -> T:  # type: ignore[no-untyped-def]
    if isinstance(value, str):
        return change(value)  # type: ignore[no-any-return]
    if isinstance(value, list):
        return [_walk(item, change) for item in value]  # type: ignore[return-value]
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}  # type: ignore[return-value]
    return value


def figure(found: re.Match[str], position: float) -> str:
    """One figure inside a range, written as people write it: £12,430, EUR 8.95."""
    low, high = (amount(found[name], found[name + "k"]) for name in ("low", "high"))
    value = low + (high - low) * (0.15 + 0.7 * position)
    if high < 1:
        return f"{found['unit']}{value:.3g}"
    if high < 100:
        return f"{found['unit']}{value:.2f}"
    step = 10 ** max(0, len(str(int(high))) - 3)
    return f"{found['unit']}{min(max(round(value / step) * step, low), high):,.0f}"


def amount(digits: str, suffix: str) -> float:
    return float(digits.replace(",", "")) * {"": 1, "k": 1_000, "m": 1_000_000}[suffix]
