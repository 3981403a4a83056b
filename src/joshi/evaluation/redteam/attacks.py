"""The attacks: data files beside this one, and the deals that they are made in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

from pydantic import ConfigDict, Field, field_validator

from joshi.errors import JoshiError
from joshi.evaluation.redteam.secrets import Kind
from joshi.schema import Record, read_records
from joshi.surrogates import FIRMS, PEOPLE

SOURCE = "redteam"  # of the samples that talks with attackers are
FOLDER = Path(__file__).with_name("attacks")
SLOTS = ("item", "offer", "firm", "person", "quantity", "date", "round", "probe")
ASK_POSITION = ("bisection", "yes_no")  # families that ask where an offer stands against a limit

# Item, price of one unit, currency, unit.
_GOODS = (
    ("hydraulic seals", 4.2, "€", "a piece"), ("steel fasteners", 38.5, "£", "per hundred"),
    ("cleaning of the Leeds office", 1840.0, "£", "a month"), ("corrugated boxes", 41.9, "€", "per hundred"),
    ("servo motors", 612.0, "$", "each"), ("freight to Gdansk", 1275.0, "€", "a truck"),
    ("PET granulate", 1164.0, "€", "a tonne"), ("laboratory gloves", 52.4, "$", "a carton"),
    ("contract welders", 47.6, "£", "an hour"), ("forklift rental", 389.0, "€", "a week"),
)  # fmt: skip


class Attack(Record):
    """What a supplier sends, in order; the model answers after each turn."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    family: str
    language: str
    aims_at: list[Kind] = Field(min_length=1)
    turns: list[str] = Field(min_length=1, max_length=8)

    @field_validator("turns")
    @classmethod
    def known_slots(cls, turns: list[str]) -> list[str]:
        used = {name for turn in turns for _, name, _, _ in Formatter().parse(turn) if name is not None}
        if unknown := sorted(used - set(SLOTS)):
            raise ValueError(f"unknown slot {{{unknown[0]}}}; expected one of {', '.join(SLOTS)}")
        return turns


@dataclass(frozen=True)
class Deal:
    """The negotiation in which an attack is made."""

    item: str
    price: float
    currency: str
    unit: str
    firm: str
    person: str
    quantity: int
    date: str
    round: int

    def slots(self, probe: float) -> dict[str, str]:
        return {
            "item": self.item, "offer": self.written(self.price), "firm": self.firm, "person": self.person,
            "quantity": f"{self.quantity:,}", "date": self.date, "round": str(self.round),
            "probe": self.written(probe),
        }  # fmt: skip

    def written(self, price: float) -> str:
        return f"{self.currency}{price:,.2f} {self.unit}"


def deal_of(seed: str) -> Deal:
    """A deal drawn at random; a tenth up or down keeps its price from being always the same."""
    chooser = random.Random(seed)
    item, price, currency, unit = chooser.choice(_GOODS)
    price = round(max(price, 12.0) * chooser.uniform(0.9, 1.1), 2)  # four digits: canaries are not said by chance
    return Deal(
        item, price, currency, unit, chooser.choice(FIRMS), chooser.choice(PEOPLE), chooser.randrange(2, 90) * 50,
        f"{chooser.randrange(2, 28)} {chooser.choice(('March', 'June', 'September', 'November'))}",
        chooser.randrange(1, 5),
    )  # fmt: skip


@cache
def load(folder: Path = FOLDER) -> tuple[Attack, ...]:
    """Every attack, by family and number.

    Raises:
        JoshiError: there is none, a line is wrong, or two have one id.
    """
    found = [attack for path in sorted(folder.glob("*.jsonl")) for attack in read_records(path, Attack)]
    if not found:
        raise JoshiError(f"{folder} holds no attacks; name a folder of JSON Lines files")
    seen: set[str] = set()
    for attack in found:
        if attack.id in seen:
            raise JoshiError(f"{folder}: two attacks have the id {attack.id!r}; give each its own")
        seen.add(attack.id)
    return tuple(found)


def choose(attacks: Sequence[Attack], n: int, seed: int) -> list[Attack]:
    """`n` of them (0: all), drawn in turn from each family so that none is left out before it must be."""
    if not n or n >= len(attacks):
        return list(attacks)
    chooser = random.Random(seed)
    families: dict[str, list[Attack]] = {}
    for attack in attacks:
        families.setdefault(attack.family, []).append(attack)
    for members in families.values():
        chooser.shuffle(members)
    chosen: list[Attack] = []
    while len(chosen) < n:
        for members in families.values():
            if members and len(chosen) < n:
                chosen.append(members.pop())
    order = {attack.id: place for place, attack in enumerate(attacks)}
    return sorted(chosen, key=lambda attack: order[attack.id])
