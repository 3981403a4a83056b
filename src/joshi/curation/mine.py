"""Every buyer turn that answers a supplier turn becomes a sample, with the state at that moment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from joshi import __version__
from joshi.curation.redaction.prices import find_prices
from joshi.schema import Context, Conversation, HistoryTurn, Provenance, Sample, State, Turn
from joshi.surrogates import PRICE_RANGE

INSTRUCTION = "Reply to the supplier's latest message."

_MOODS = (
    ("frustrated", re.compile(r"\b(frustrat|annoy|unacceptable|fed up|ridiculous|disappoint|not happy|third time|angry)", re.I)),
    ("worried", re.compile(r"\b(worr|afraid|difficult|sorry|unfortunately|regret|struggl|pressure|can[’']t keep|concern)", re.I)),
    ("firm", re.compile(r"\b(final|best (?:we|i) can|cannot (?:go|move)|no further|not negotiable|last offer|rock bottom|must)", re.I)),
    ("warm", re.compile(r"\b(glad|happy|pleasure|great|thank|appreciate|delighted|wonderful|lovely)", re.I)),
)  # fmt: skip


def mine(
    conversation: Conversation,
    history_turns: int,
    redactions: Mapping[str, int],
    people: Sequence[str] = (),
    supplier: str | None = None,
) -> Iterator[Sample]:
    """Candidates of one (redacted) conversation; `history_turns` newest turns are kept before each answer."""
    turns = [turn for turn in merge_runs(conversation.turns) if turn.role != "system"]
    state = conversation.state
    rounds = 0
    offer: str | None = None
    for number, turn in enumerate(turns):
        if turn.role == "supplier":
            rounds += 1
            offer = _offer(turn) or offer
            continue
        if number == 0:
            continue
        asked = turns[number - 1]
        known = asked.state or State()
        inferred = []
        if known.supplier_sentiment is None:
            inferred.append("supplier_sentiment")
        if known.current_offer is None and offer:
            inferred.append("current_offer")
        brief = turn.state.brief if turn.state else None
        yield Sample(
            id=f"{conversation.id}/{number}",
            instruction=f"{INSTRUCTION} {brief.rstrip('.')}." if brief else INSTRUCTION,
            context=Context(
                round=asked.round or rounds,
                supplier_sentiment=known.supplier_sentiment or mood(asked.text),
                outstanding_asks=known.outstanding_asks,
                item=state.item,
                current_offer=known.current_offer or offer,
                facts=state.facts,
                history=[
                    HistoryTurn(role="buyer" if t.role == "buyer" else "supplier", text=t.text)
                    for t in turns[max(0, number - history_turns) : number]
                ],
                notes=state.notes,
            ),
            ideal_answer=turn.text,
            provenance=Provenance(
                source=conversation.source,
                conversation_id=conversation.id,
                turn=number,
                family=state.family,
                inferred=inferred,
                redactions=dict(sorted(redactions.items())),
                people=list(people),
                supplier=supplier,
                tool_version=__version__,
            ),
        )


def merge_runs(turns: list[Turn]) -> list[Turn]:
    """Join messages that one side sent in a row: the answer to 'Hi' + 'can you do £8?' answers both."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            last = merged[-1]
            merged[-1] = last.model_copy(
                update={
                    "text": f"{last.text}\n{turn.text}",
                    "state": turn.state or last.state,
                    "round": turn.round or last.round,
                }
            )
        else:
            merged.append(turn)
    return merged


def mood(text: str) -> str:
    """The supplier's sentiment by plain words; 'neutral' when none of them speaks."""
    return next((name for name, words in _MOODS if words.search(text)), "neutral")


def _offer(turn: Turn) -> str | None:
    """What the source states, or the last price that the supplier named."""
    if turn.state and turn.state.current_offer:
        return turn.state.current_offer
    ranges = [found.group() for found in PRICE_RANGE.finditer(turn.text)]
    if ranges:
        return ranges[-1]
    prices = find_prices(turn.text)
    return turn.text[slice(*prices[-1].span)] if prices else None
