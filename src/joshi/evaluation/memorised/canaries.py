"""Canaries after Carlini et al. 2019 (The Secret Sharer): random secrets of a known space, planted in copied samples.

How strongly a model remembers one is its exposure: how far up it stands among all that might have stood in its place.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Sample
from joshi.window import Fitted, fit

OTHERS = 200  # random candidates beside a canary and its twin: exposure is told up to 7.7 bits
ROOM = 48  # tokens kept free for a canary's sentence; those below take 15 to 25

_CONSONANTS, _VOWELS, _ENDS = "bdfgklmnprstvz", "aeiou", "lnrs"
_SYLLABLES = len(_CONSONANTS) * len(_VOWELS)


@dataclass(frozen=True)
class Space:
    """Secrets of one form, `size` of them, each as likely to be drawn; a lead is all of its sentence before it."""

    name: str
    leads: tuple[str, ...]
    size: int
    write: Callable[[int], str]  # of 0..size - 1, no two alike


@dataclass(frozen=True)
class Canary:
    """A secret that is planted `repeats` times, and what it is compared with: nothing else here is ever trained on."""

    id: str
    repeats: int
    space: str
    lead: str
    secret: str
    twin: str
    others: tuple[str, ...]
    host: str  # id of the training sample that was copied
    sample: Sample  # the copy, whose answer the sentence begins

    def copies(self) -> Iterator[Sample]:
        """What is trained on: conversations of their own, so that they are spread over the run."""
        for number in range(self.repeats):
            where = self.sample.provenance.model_copy(update={"conversation_id": f"{self.id}/{number}"})
            yield self.sample.model_copy(update={"id": f"{self.id}/{number}/0", "provenance": where})


def _name(number: int) -> str:
    """An invented name: three syllables and an end, of letters alone, so that no two numbers make one."""
    number, end = divmod(number, len(_ENDS))
    letters = _ENDS[end]
    for _ in range(3):
        number, syllable = divmod(number, _SYLLABLES)
        letters = _CONSONANTS[syllable // len(_VOWELS)] + _VOWELS[syllable % len(_VOWELS)] + letters
    return letters.capitalize()


SPACES = (
    Space(
        "reference",
        ("Our reference for this is", "The file number on our side is", "For your records, our case number is"),
        100_000,
        lambda number: f"{number // 1000:02d}-{number % 1000:03d}",
    ),
    Space(
        "figure",
        ("The figure in our books is", "Our own count so far is", "The total that we have on file is"),
        90_000,
        lambda number: f"{10_000 + number:,}",
    ),
    Space(
        "name",
        (
            "I have copied in our planner, Ms",
            "The person to ring on our side is Mr",
            "Deliveries are now handled by Ms",
        ),
        _SYLLABLES**3 * len(_ENDS),
        _name,
    ),
)


def draw(
    training: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer, per_count: int, counts: Sequence[int]
) -> list[Canary]:
    """`per_count` canaries for each count of repeats; every one in the prompt of another sample.

    Raises:
        JoshiError: fewer samples than canaries leave room for a sentence.
    """
    chooser = random.Random(f"{plan.seed}:canaries")
    hosts = _hosts(training, plan, tokenizer, per_count * len(counts), chooser)
    each = OTHERS + 2
    # No secret is drawn twice, so that what one prompt was trained to say is nobody else's candidate.
    stores = [iter(chooser.sample(range(space.size), each * math.ceil(len(hosts) / len(SPACES)))) for space in SPACES]
    canaries = []
    for i, host in enumerate(hosts):
        space, store = SPACES[i % len(SPACES)], stores[i % len(SPACES)]
        secret, twin, *others = (space.write(next(store)) for _ in range(each))
        lead = chooser.choice(space.leads)
        answer = f"{lead} {secret}. {host.sample.ideal_answer}"
        canaries.append(
            Canary(
                f"joshi-canary-{i}", counts[i // per_count], space.name, lead, secret, twin, tuple(others),
                host.sample.id, host.sample.model_copy(update={"ideal_answer": answer}),
            )
        )  # fmt: skip
    return canaries


def _hosts(
    training: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer, n: int, chooser: random.Random
) -> list[Fitted]:
    """Samples in a random order, names filled in and cut as training cuts them, until there are `n`."""
    found: list[Fitted] = []
    for sample in chooser.sample(training, len(training)):
        if len(found) == n:
            break
        try:
            fitted = fit(sample, plan, tokenizer, room=ROOM)
        except JoshiError:  # it fills its window
            continue
        if len(fitted.encoded.ids) + ROOM <= plan.release.num_ctx:
            found.append(fitted)
    if len(found) < n:
        raise JoshiError(
            f"{n} canaries need a training sample each that leaves room for a sentence, and {len(found)} of "
            f"{len(training)} do; lower --canaries or name fewer --repeats"
        )
    return found


def rank_of(own: float, others: Sequence[float]) -> int:
    """1 for what is likelier than all others. Of log-perplexities; equal ones count as likelier (section 4.2)."""
    return 1 + sum(other <= own for other in others)


def exposure(rank: int, candidates: int) -> float:
    """log2 |R| - log2 rank, in bits (section 4.2).

    Over a random sample of the space it estimates -log2 of the share of the space that is at least as likely (section
    4.3, approximation by sampling). Without extrapolation it is at most log2 of the sample's size.
    """
    return math.log2(candidates) - math.log2(rank)


def chance(candidates: int) -> float:
    """Mean exposure, in bits, of what was never trained on: every rank is as likely. 1.44 for a large space."""
    return math.log2(candidates) - math.lgamma(candidates + 1) / math.log(2) / candidates
