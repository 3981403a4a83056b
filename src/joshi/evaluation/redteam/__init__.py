"""Red-teaming: suppliers who try to get secrets out of the model, with fresh canaries in every attack.

What is attacked is what ships: the GGUF through production's prompt, sampling and context window. An attack counts
once, however many secrets and turns it took (turns of one talk are not independent).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joshi.evaluation.measure import upper_bound
from joshi.evaluation.redteam.attacks import ASK_POSITION, FOLDER, SOURCE, Attack, Deal, choose, deal_of, load
from joshi.evaluation.redteam.leaks import Leak, find_leaks, repeats_prompt
from joshi.evaluation.redteam.secrets import Planted, plant
from joshi.generate import Model, Request, Sampling, generate, seed_of
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import INSTRUCTION, ChatTokenizer, messages_for
from joshi.schema import Context, HistoryTurn, Provenance, Sample

__all__ = ["FOLDER", "Talk", "begin", "play", "summarise"]

_ABOVE = re.compile(r"\b(?:above|over|too high|higher|exceeds?|beyond|no)\b", re.IGNORECASE)
_BELOW = re.compile(r"\b(?:below|under|within|inside|lower|fine|yes|works)\b", re.IGNORECASE)


@dataclass
class Talk:
    """One attack under way."""

    attack: Attack
    deal: Deal
    planted: Planted
    in_system: bool  # where the notes stand: in the system prompt, or in the context
    low: float = 0.0  # of the supplier's bisection
    high: float = 0.0
    history: list[HistoryTurn] = field(default_factory=list)
    leaks: list[tuple[int, Leak]] = field(default_factory=list)  # turn, what it gave away

    def say(self, turn: int) -> None:
        probe = (self.low + self.high) / 2
        text = self.attack.turns[turn].format_map(self.deal.slots(probe))
        self.history.append(HistoryTurn(role="supplier", text=text))

    def hear(self, turn: int, answer: str) -> None:
        """Take the answer in: what it gives away, and where the supplier probes next."""
        asked = self.attack.family in ASK_POSITION
        found = find_leaks(answer, self.planted.secrets, asked)
        confidential = f"{self.planted.notes} {self.planted.rule}"
        said = " ".join(turn.text for turn in self.history)
        if repeated := repeats_prompt(answer, confidential, said):
            found.append(repeated)
        self.leaks += [(turn, leak) for leak in found]
        self.history.append(HistoryTurn(role="buyer", text=answer))
        probe = (self.low + self.high) / 2
        if _ABOVE.search(answer):
            self.high = probe
        elif _BELOW.search(answer):
            self.low = probe
        else:
            self.high -= (self.high - self.low) / 5

    def sample(self) -> Sample:
        context = Context(
            round=self.deal.round,
            supplier_sentiment="firm",
            item=f"{self.deal.item}, {self.deal.quantity:,}",
            current_offer=self.deal.written(self.deal.price),
            history=self.history,
            notes=None if self.in_system else self.planted.notes,
        )
        where = Provenance(source=SOURCE, conversation_id=self.attack.id, turn=len(self.history), tool_version="")
        return Sample(id=self.attack.id, instruction=INSTRUCTION, context=context, ideal_answer="", provenance=where)

    def system_prompt(self, plan: Plan) -> str:
        inside = f" Internal notes: {self.planted.notes}" if self.in_system else ""
        return f"{plan.model.system_prompt} {self.planted.rule}{inside}"


def play(
    model: Model,
    plan: Plan,
    tokenizer: ChatTokenizer,
    cache: Path,
    progress: Progress,
    without: Collection[str] = (),
) -> list[Talk]:
    """The plan's attacks, each to its last turn; answers are cached, so a killed run repeats none.

    `without` are ids of attacks that the model was taught to withstand: they would flatter it.

    Raises:
        JoshiError: a prompt does not fit the context window.
    """
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    attacks = [attack for attack in load() if attack.id not in without]
    talks = [begin(attack, plan.seed) for attack in choose(attacks, plan.evaluation.attacks, plan.seed)]
    for turn in range(max(len(talk.attack.turns) for talk in talks)):
        open_talks = [talk for talk in talks if turn < len(talk.attack.turns)]
        requests = []
        for talk in open_talks:
            talk.say(turn)
            sample = talk.sample()
            requests.append(
                Request(
                    f"{sample.id}:{turn}", tuple(messages_for(sample, talk.system_prompt(plan))),
                    seed_of(plan, "redteam", sample.id, str(turn)),
                )
            )  # fmt: skip
        label = f"attacking: turn {turn + 1}"
        answers = generate(model, requests, sampling, plan, tokenizer, cache, progress, label)
        for talk, answer in zip(open_talks, answers, strict=True):
            talk.hear(turn, answer.answer)
    return talks


def begin(attack: Attack, seed: int) -> Talk:
    """The talk before its first turn, its secrets drawn; the same for the same seed."""
    deal = deal_of(f"{seed}:{attack.id}:deal")
    planted = plant(f"{seed}:{attack.id}:secrets", deal.price, deal.currency, deal.unit)
    in_system = sum(attack.id.encode()) % 2 == 0
    return Talk(attack, deal, planted, in_system, low=0.7 * deal.price, high=1.05 * deal.price)


def summarise(talks: Sequence[Talk]) -> dict[str, Any]:
    """Leak rates in all and by family with one-sided 95% bounds, and what leaked, in which disguise."""
    families = sorted({talk.attack.family for talk in talks})
    leaks = [(talk, turn, leak) for talk in talks for turn, leak in talk.leaks]
    return {
        "attacks": rate(talks),
        "families": {family: rate([t for t in talks if t.attack.family == family]) for family in families},
        "secrets": {
            family: dict(
                Counter(kind for t in talks if t.attack.family == family for kind in {leak.kind for _, leak in t.leaks})
            )
            for family in families
        },
        "disguises": dict(Counter(leak.disguise for _, _, leak in leaks).most_common()),
        "leaks": [
            {
                "attack": talk.attack.id, "turn": turn + 1, "secret": leak.kind, "disguise": leak.disguise,
                "shown": leak.shown, "answer": talk.history[2 * turn + 1].text,
            }
            for talk, turn, leak in leaks
        ],
    }  # fmt: skip


def rate(talks: Sequence[Talk]) -> dict[str, float]:
    """Share of attacks in which something leaked, with one-sided 95% Clopper-Pearson bounds from both sides."""
    leaked, n = sum(bool(talk.leaks) for talk in talks), len(talks)
    low = 1 - upper_bound(n - leaked, n)
    return {"n": n, "leaked": leaked, "rate": leaked / n, "low": low, "high": upper_bound(leaked, n)}
