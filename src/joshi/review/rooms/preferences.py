"""The preferences room: two answers to one prompt, sides shuffled; one is chosen, with why, or a better one written.

The pairs are those that models' own answers gave (joshi.curation.pairs). What a person chose takes the place of the
sampled pair when pairs are made again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.review import log, queue
from joshi.review.log import PREFERENCES, Event, Who, moment
from joshi.review.queue import Item, Row
from joshi.review.spans import ONE_AT_A_TIME
from joshi.review.standing import standing
from joshi.review.store import ITEMS, Store, secret
from joshi.review.wording import refuse_clear_note, refuse_clear_text
from joshi.rubric import RULES, Rubric
from joshi.schema import Finding, Preference, Review, Sample
from joshi.surrogates import fill
from joshi.workspace import sha256_json, sha256_text

Choice = Literal["left", "right", "better", "equal"]


@dataclass(frozen=True)
class Task:
    """Two answers to a prompt, without a word on whose they are. `left` and `right` are fixed for a reviewer."""

    item: Item
    sample: Sample  # with the invented names and figures that both answers speak of
    left: str
    right: str


def sync(
    store: Store, pairs: Iterable[Preference], samples: Mapping[str, Sample], plan: Plan, anew: bool = False
) -> None:
    """Bring the queue up to the newest version's sampled pairs. `samples` are that version's, by id."""
    with store.writing() as connection:
        secret(connection, "sides")
        queue.sync(connection, PREFERENCES, _rows(pairs, samples, plan), plan, anew)


def _rows(pairs: Iterable[Preference], samples: Mapping[str, Sample], plan: Plan) -> Iterator[Row]:
    for pair in pairs:
        if pair.origin == "sampled" and pair.sample_id in samples:
            both = {"sample": pair.sample_id, "prompt": [m.model_dump() for m in pair.prompt]}
            both |= {"chosen": pair.chosen, "rejected": pair.rejected}
            sha256 = sha256_json(both)
            shown = fill(samples[pair.sample_id], plan.seed).model_dump(exclude={"ideal_answer", "review"})
            payload = json.dumps(both | {"shown": shown}, ensure_ascii=False)
            yield Row(f"{pair.id}/{sha256[:12]}", pair.sample_id, sha256, payload)


def task(connection: Connection, item: Item, who: Who) -> Task:
    pair = json.loads(item.payload)
    left, right = (pair[name] for name in _sides(connection, item.item, who.name))
    return Task(item, Sample.model_validate(pair["shown"] | {"ideal_answer": ""}), left, right)


def check(text: str, sample: Sample, rubric: Rubric) -> list[Finding]:
    """The rubric's findings on a better answer as it is typed."""
    with ONE_AT_A_TIME:
        return rubric.check(text, sample)


def _sides(connection: Connection, item: str, reviewer: str) -> tuple[str, str]:
    drawn = hmac.digest(secret(connection, "sides").encode(), f"{item}\0{reviewer}".encode(), hashlib.sha256)
    return ("chosen", "rejected") if drawn[0] & 1 else ("rejected", "chosen")


def decide(
    store: Store,
    key: str,
    who: Who,
    choice: Choice,
    better: str,
    rationale: str,
    failure_modes: list[str],
    seen: int,
    plan: Plan,
    at: datetime,
) -> None:
    """Take a choice with its reasons: `failure_modes` are rules that the other answer breaks.

    Raises:
        Taken: somebody else decided the item meanwhile, or has it now.
        JoshiError: nothing says why, the better answer is empty or no other, or it names somebody in clear.
    """
    better = better.replace("\r\n", "\n").strip() if choice == "better" else ""
    rationale = rationale.replace("\r\n", "\n").strip()
    if unknown := set(failure_modes) - set(RULES):
        raise JoshiError(f"{min(unknown)!r} is no failure mode; there are {', '.join(RULES)}")
    with store.reading() as connection:
        item = queue.get(connection, key, PREFERENCES)
    pair = json.loads(item.payload)
    known = "\n".join([pair["chosen"], pair["rejected"], *(message["content"] for message in pair["prompt"])])
    if choice == "better":
        refuse_clear_text(better, "", known, plan, "the better answer")
        if better in (pair["chosen"], pair["rejected"]):
            raise JoshiError("the better answer is one of the two; choose that one, or change it")
    if choice != "equal" and not rationale and not failure_modes:
        raise JoshiError("say why: write a rationale, or mark what is wrong with the other answer")
    if rationale:
        refuse_clear_note(rationale, known, plan, "the rationale")
    with store.writing() as connection:
        item = queue.unchanged(connection, key, seen, PREFERENCES)
        queue.hold(connection, item, who, plan, at)
        sides = dict(zip(("left", "right"), _sides(connection, item.item, who.name), strict=True))
        chosen = sides.get(choice, choice)  # chosen, rejected, better or equal
        body: dict[str, object] = {"status": "judged", "choice": chosen, "failure_modes": sorted(failure_modes)}
        if rationale:
            body["rationale_sha256"] = log.keep_text(connection, PREFERENCES, item.item, rationale)
        text = better or pair.get(chosen)
        after = log.keep_text(connection, PREFERENCES, item.item, text) if text else None
        before = log.keep_text(connection, PREFERENCES, item.item, pair["chosen"])
        event = Event(PREFERENCES, item.item, who.name, "decided", moment(at), who.login, item.item_sha256, before,
                      after, body=body)  # fmt: skip
        queue.record(connection, item, event, plan)


def undo(store: Store, who: Who, plan: Plan, at: datetime) -> Item | None:
    """Take back this log-in's newest choice or skip; what was typed stands in the form again. None: nothing is left."""
    with store.writing() as connection:
        found = queue.undo(connection, PREFERENCES, who, plan, at)
        if found is None:
            return None
        item, event = found
        if event.kind == "decided":
            chosen = event.body["choice"]
            sides = dict(zip(_sides(connection, item.item, who.name), ("left", "right"), strict=True))
            rationale = log.text_of(connection, PREFERENCES, item.item, event.body.get("rationale_sha256")) or ""
            after = log.text_of(connection, PREFERENCES, item.item, event.after_sha256) or ""
            form = {"choice": sides.get(chosen, chosen), "rationale": rationale, "better": ""}
            form |= {"failure_modes": event.body["failure_modes"]}
            queue.save_draft(connection, item, who, form | ({"better": after} if chosen == "better" else {}), at)
        return item


def decided(connection: Connection, plan: Plan) -> list[Preference]:
    """The pairs that people's choices make: what they chose against the other, a better answer against the worse.

    "Equal" makes none, nor do two who contradict each other. Pairs whose texts were forgotten are left out.
    """
    items = {row.item: row for row in connection.execute(select(ITEMS).where(ITEMS.c.room == PREFERENCES))}
    found: list[Preference] = []
    for name, happened in sorted(log.of_room(connection, PREFERENCES).items()):
        if name not in items:
            continue
        stands = standing(happened, name, items[name].item_sha256, plan)
        now = stands.decision
        if now is None or stands.status == "disputed" or now.body["choice"] == "equal":
            continue
        pair = json.loads(items[name].payload)
        text = log.text_of(connection, PREFERENCES, name, now.after_sha256)
        rationale = log.text_of(connection, PREFERENCES, name, now.body.get("rationale_sha256"))
        if text is None:
            continue
        modes = now.body["failure_modes"]
        found.append(
            Preference(
                id=f"{pair['sample']}/review",
                sample_id=pair["sample"],
                prompt=pair["prompt"],
                chosen=text,
                rejected=pair["chosen"] if now.body["choice"] == "rejected" else pair["rejected"],
                rationale=rationale or f"A reviewer found that the rejected answer breaks {', '.join(modes)}.",
                failure_modes=modes,
                origin="review",
                review=Review(
                    status="approved", reviewer=now.reviewer, at=now.at, approved_sha256=sha256_text(text),
                    edited=now.body["choice"] == "better",
                ),
            )
        )  # fmt: skip
    return found
