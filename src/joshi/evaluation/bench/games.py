"""Games: negotiations of several turns against scripted suppliers who concede, hold, rage, lie or keep silent.

The script is a program: it reads what the reply offers or accepts (`moves`) and answers with lines written for the
game, so that the same replies always meet the same supplier.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Literal

from pydantic import Field, model_validator

from joshi.errors import JoshiError
from joshi.evaluation.bench.moves import read
from joshi.prompt import INSTRUCTION
from joshi.rubric import Rubric, failed
from joshi.schema import BENCHMARK_CANARY, Context, HistoryTurn, Provenance, Record, Sample, read_records

FOLDER = Path(__file__).with_name("games")
Temper = Literal["conceding", "stubborn", "angry", "deceptive", "silent"]
TEMPERS: tuple[Temper, ...] = ("conceding", "stubborn", "angry", "deceptive", "silent")
SLOTS = ("price", "claim", "offer")

# Share of the way from its price to its floor that a supplier goes at a time.
_STEP = {"conceding": 0.4, "stubborn": 0.25, "angry": 0.4, "deceptive": 0.25, "silent": 0.35}
# What it takes at first, as a share of the way from its floor to its opening; each offer that moves lowers its hope.
_HOPE = {"conceding": 0.35, "stubborn": 0.7, "angry": 0.45, "deceptive": 0.5, "silent": 0.4}
_LESS_HOPE = 0.6  # is left of it after an offer above the last one
_CLAIMING_TURNS = (1, 3)  # in which the deceptive supplier says what was never agreed


class Lines(Record):
    """What the supplier says; {price} is its price now, {offer} the buyer's last figure, {claim} a lie."""

    opens: str
    holds: list[str] = Field(min_length=3, description="it stays at its price")
    concedes: list[str] = Field(min_length=3, description="it comes down to {price}")
    presses: list[str] = Field(min_length=2, description="the reply named nothing, or took nothing up")
    accepts: list[str] = Field(min_length=1, description="it takes {offer}")
    claims: list[str] = Field(default_factory=list, description="deceptive ones only: {claim} as if it were agreed")

    @model_validator(mode="after")
    def slots(self) -> Lines:
        for line in [self.opens, *self.holds, *self.concedes, *self.presses, *self.accepts, *self.claims]:
            for _, name, _, _ in Formatter().parse(line):
                if name is not None and name not in SLOTS:
                    raise ValueError(f"unknown slot {{{name}}}; expected one of {', '.join(SLOTS)}")
        if any("{price}" not in line for line in [self.opens, *self.concedes]):
            raise ValueError("opens and every line of concedes must say {price}")
        if any("{claim}" not in line for line in self.claims):
            raise ValueError("every line of claims must say {claim}")
        return self


class Game(Record):
    """One negotiation over the price of one unit. The buyer wants it low: floor < limit < opening."""

    id: str = Field(pattern=r"^[a-z]+-\d{2}$")
    supplier: Temper
    canary: str
    item: str
    currency: str = Field(description='before the figure ("€") or, with a leading space, after it (" kr")')
    unit: str = Field(description='"a tonne", "each"')
    opening: float = Field(gt=0)
    floor: float = Field(gt=0, description="the supplier's lowest price")
    limit: float = Field(gt=0, description="the buyer's highest, told in its notes")
    target: float = Field(gt=0)
    turns: int = Field(ge=4, le=8)
    facts: list[str] = Field(default_factory=list)
    lines: Lines
    hidden: bool = False

    @model_validator(mode="after")
    def sound(self) -> Game:
        if self.canary != BENCHMARK_CANARY:
            raise ValueError("canary is not the benchmark's; copy it from another game")
        if not self.id.startswith(f"{self.supplier}-"):
            raise ValueError(f"the id must be {self.supplier}-NN")
        if not self.floor < self.limit < self.opening or not self.target < self.limit:
            raise ValueError("expected floor < limit < opening and target < limit")
        if (self.supplier == "deceptive") != bool(self.lines.claims):
            raise ValueError("a deceptive supplier has lines.claims, and no other has")
        return self

    def written(self, price: float) -> str:
        figure = f"{price:,.2f}".removesuffix(".00")
        money = f"{figure}{self.currency}" if self.currency.startswith(" ") else f"{self.currency}{figure}"
        return f"{money} {self.unit}"


@dataclass
class Play:
    """One game under way."""

    game: Game
    price: float  # the supplier's, now
    history: list[HistoryTurn] = field(default_factory=list)
    offers: list[float] = field(default_factory=list)  # the buyer's, each above the one before
    broken: list[list[str]] = field(default_factory=list)  # rules broken by each reply
    agreed: float | None = None
    _claimed: float | None = None  # what the last message said was agreed
    _said: Counter[str] = field(default_factory=Counter)  # how many lines of each kind

    @property
    def over(self) -> bool:
        return self.agreed is not None or len(self.broken) >= self.game.turns

    @property
    def success(self) -> bool:
        return self.agreed is not None and self.agreed <= self.game.limit

    @property
    def gain(self) -> float:
        """Share, 0..1, of what there was to win between the buyer's limit and the supplier's floor."""
        if not self.success or self.agreed is None:
            return 0.0
        return min(1.0, (self.game.limit - self.agreed) / (self.game.limit - self.game.floor))

    def sample(self) -> Sample:
        """What the model answers now."""
        game = self.game
        context = Context(
            round=len(self.broken) + 1,
            supplier_sentiment={"angry": "angry", "stubborn": "firm", "silent": "cold"}.get(game.supplier, "neutral"),
            item=game.item,
            current_offer=game.written(self.price),
            facts=game.facts,
            history=self.history,
            notes=f"Target {game.written(game.target)}, walk away above {game.written(game.limit)}.",
        )
        where = Provenance(source="joshi-bench", conversation_id=game.id, turn=len(self.history), tool_version="")
        return Sample(id=game.id, instruction=INSTRUCTION, context=context, ideal_answer="", provenance=where)

    def hear(self, answer: str, rubric: Rubric) -> None:
        """Take the buyer's reply in; unless that ends the game, the supplier answers."""
        findings = rubric.check(answer, self.sample())
        self.broken.append(failed(findings))
        standing = self._claimed or self.price
        move = read(answer, standing)
        self.history.append(HistoryTurn(role="buyer", text=answer))
        offer = max(move.offers, default=None)
        moved = offer is not None and offer > max(self.offers, default=0.0)
        if moved and offer is not None:
            self.offers.append(offer)
        if move.accepts:
            self.agreed = standing
        elif offer is not None and offer >= min(self._takes(), self.price):
            self.agreed = min(offer, standing)
        if self.agreed is not None:
            self._say("accepts", offer=self.agreed)
        elif not self.over:
            civil = not {"acknowledgement", "professional"} & set(self.broken[-1])
            self._answer(moved, named=offer is not None, civil=civil, asks="?" in answer)

    def _takes(self) -> float:
        """The least that the supplier takes now: who repeats a figure waits for nothing."""
        game = self.game
        hope = _HOPE[game.supplier] * _LESS_HOPE ** max(len(self.offers) - 1, 0)
        return game.floor + hope * (game.opening - game.floor)

    def _answer(self, moved: bool, named: bool, civil: bool, asks: bool) -> None:
        """The supplier's next message.

        Args:
            moved: the buyer offered more than before.
            named: it offered something.
            civil: it took up what the supplier said, in a decent tone.
            asks: it asked something.
        """
        game, turn = self.game, len(self.broken)
        if game.supplier == "deceptive" and turn in _CLAIMING_TURNS and self.price > game.limit:
            self._claimed = round((game.limit + self.price) / 2, 2)
            self._say("claims")
            return
        self._claimed = None
        comes_down = {
            "conceding": moved or (asks and not named),
            "stubborn": moved and len(self.offers) >= 2,
            "angry": civil and (moved or not named),
            "deceptive": moved,
            "silent": moved,
        }[game.supplier]
        if comes_down:
            self.price = round(self.price - _STEP[game.supplier] * (self.price - game.floor), 2)
            self._say("concedes")
        else:
            self._say("holds" if named and (civil or game.supplier != "angry") else "presses")

    def _say(self, kind: str, offer: float | None = None) -> None:
        lines: list[str] = getattr(self.game.lines, kind)
        text = lines[self._said[kind] % len(lines)].format(
            price=self.game.written(self.price),
            claim=self.game.written(self._claimed or self.price),
            offer=self.game.written(offer or (self.offers[-1] if self.offers else self.price)),
        )
        self._said[kind] += 1
        self.history.append(HistoryTurn(role="supplier", text=text))


def begin(game: Game) -> Play:
    play = Play(game, game.opening)
    play.history.append(HistoryTurn(role="supplier", text=game.lines.opens.format(price=game.written(game.opening))))
    return play


@cache
def load(folder: Path = FOLDER) -> tuple[Game, ...]:
    """Every game, by supplier and number.

    Raises:
        JoshiError: there is none, a line is wrong, or two games have one id.
    """
    found = [game for path in sorted(folder.glob("*.jsonl")) for game in read_records(path, Game)]
    if not found:
        raise JoshiError(f"{folder} holds no games; name a folder of JSON Lines files")
    twice = [identity for identity, n in Counter(game.id for game in found).items() if n > 1]
    if twice:
        raise JoshiError(f"{folder}: two games have the id {twice[0]!r}; give each its own")
    return tuple(found)
