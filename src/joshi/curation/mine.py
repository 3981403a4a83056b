"""Every buyer turn that answers a supplier turn becomes a sample, with the state at that moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from joshi import __version__
from joshi.curation.redaction.prices import find_prices
from joshi.curation.state import asks, sentiment
from joshi.curation.state.answering import Ask
from joshi.prompt import INSTRUCTION
from joshi.schema import Context, Conversation, HistoryTurn, Provenance, Sample, State, Turn
from joshi.surrogates import PRICE_RANGE


def mine(
    conversation: Conversation,
    history_turns: int,
    redactions: Mapping[str, int],
) -> Iterator[Sample]:
    """Candidates of one (redacted) conversation; `history_turns` newest turns are kept before each answer."""
    turns = [turn for turn in merge_runs(conversation.turns) if turn.role != "system"]
    state = conversation.state
    rounds = 0
    offer: str | None = None
    answered = [one for one, following in pairwise(turns) if following.role == "buyer"]
    sentiment.warm(one.text for one in answered if not (one.state and one.state.supplier_sentiment))
    # Nothing is inferred of a talk whose source states it all.
    asks_wanted = any(not (one.state and one.state.outstanding_asks) for one in answered)
    open_asks: list[Ask] = []
    for number, turn in enumerate(turns):
        open_before = open_asks
        if asks_wanted:
            open_asks = asks.after(open_asks, turn)
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
        still_open = known.outstanding_asks
        if not still_open and (still_open := asks.texts(open_before)):
            inferred.append("outstanding_asks")
        if known.current_offer is None and offer:
            inferred.append("current_offer")
        brief = turn.state.brief if turn.state else None
        yield Sample(
            id=f"{conversation.id}/{number}",
            instruction=f"{INSTRUCTION} {brief.rstrip('.')}." if brief else INSTRUCTION,
            context=Context(
                round=asked.round or rounds,
                supplier_sentiment=known.supplier_sentiment or sentiment.sentiment(asked.text),
                outstanding_asks=still_open,
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


def _offer(turn: Turn) -> str | None:
    """What the source states, or the last price that the supplier named."""
    if turn.state and turn.state.current_offer:
        return turn.state.current_offer
    ranges = [found.group() for found in PRICE_RANGE.finditer(turn.text)]
    if ranges:
        return ranges[-1]
    prices = find_prices(turn.text)
    return turn.text[slice(*prices[-1].span)] if prices else None
