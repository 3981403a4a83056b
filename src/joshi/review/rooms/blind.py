"""The blind room: answers of what ships beside a baseline's, unmarked, until the reviewer has finished.

Which side is which is computed from a secret of the session and kept in no page, address, order or event.
"""

from __future__ import annotations

import hmac
import json
import math
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from joshi.errors import JoshiError
from joshi.export import shipped_file
from joshi.plan import Plan
from joshi.review import log, queue
from joshi.review.blind.judgement import Judgement
from joshi.review.log import BLIND_ROOM, Event, Who, moment
from joshi.review.queue import Item, Row
from joshi.review.standing import live
from joshi.review.store import BLIND, EVENTS, ITEMS, Store
from joshi.workspace import Workspace, sha256_file, sha256_json

REPEATED = 0.1  # share of the items that the same reviewer judges twice
QUALITIES = ("tone", "grounding", "next_step")
SYSTEMS = ("shipped", "baseline")
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Session:
    session: str
    at: str
    baseline: str
    model_sha256: str
    secret: str
    closed_at: str | None


@dataclass(frozen=True)
class Task:
    """What a reviewer is shown: the situation and two answers."""

    item: Item
    context: str
    instruction: str
    left: str
    right: str


@dataclass(frozen=True)
class Verdict:
    """A reviewer's judgement by sides: scores are 1 to 5."""

    preferred: Literal["left", "right", "tie"]
    scores: dict[Side, dict[str, int]]
    mentions: dict[Side, bool]


def start(store: Store, plan: Plan, workspace: Workspace, baseline: str, at: datetime) -> dict[str, int]:
    """Begin a session on the last evaluation's answers, drawn with the plan's seed; how many items, and repeats.

    Raises:
        JoshiError: a session is open, the evaluation has not run, judged another model, or knows no such baseline.
    """
    answers, model = _evaluated(workspace, plan, baseline)
    drawn = random.Random(f"{plan.seed}:blind")
    chosen = drawn.sample(answers, min(plan.review.blind_samples, len(answers)))
    session = secrets.token_hex(4)
    with store.writing() as connection:
        last = newest(connection)
        if last is not None and last.closed_at is None:
            raise JoshiError(
                f"the blind review begun on {last.at[:10]} is still open; finish it, or end it with "
                "'joshi review blind --close'"
            )
        values = {"session": session, "at": moment(at), "baseline": baseline, "model_sha256": model}
        connection.execute(insert(BLIND).values(**values, secret=secrets.token_hex(32)))
        rows = _laid_out(chosen, baseline, session, drawn)
        queue.sync(connection, BLIND_ROOM, rows, plan)
    return {"items": len(chosen), "repeats": len(rows) - len(chosen), "wanted": plan.review.blind_samples}


def _evaluated(workspace: Workspace, plan: Plan, baseline: str) -> tuple[list[dict[str, Any]], str]:
    folder = workspace.evaluation_report
    try:
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        model = str(json.loads((folder / "report.json").read_text(encoding="utf-8"))["model_sha256"])
        systems = sorted(set.intersection(*(set(one["answers"]) for one in answers)) - {"shipped"})
    except FileNotFoundError as error:
        raise JoshiError(f"{error.filename} does not exist; run 'joshi evaluate' first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JoshiError(f"{folder} cannot be read ({error}); run 'joshi evaluate' again") from error
    if baseline not in systems:
        raise JoshiError(f"the evaluation has no answers of {baseline!r}; --baseline may be {', '.join(systems)}")
    shipped = shipped_file(plan, workspace)
    if shipped.exists() and sha256_file(shipped) != model:
        raise JoshiError(f"the evaluation judged another file than {shipped} now is; run 'joshi evaluate' again")
    return answers, model


def _laid_out(chosen: list[dict[str, Any]], baseline: str, session: str, drawn: random.Random) -> list[Row]:
    """The items in order; some of the first half come again in the second, at chance places."""
    first = [_row(answer, baseline, f"{session}/{number}") for number, answer in enumerate(chosen)]
    half = max(1, len(first) // 2)
    again = drawn.sample(range(half), min(half, math.ceil(REPEATED * len(first))))
    rows = list(first)
    for number in again:
        answer = _row(chosen[number], baseline, f"{session}/{number}/again", repeats=first[number].item)
        rows.insert(drawn.randint(max(half, number + 2), len(rows)), answer)
    return rows


def _row(answer: dict[str, Any], baseline: str, item: str, repeats: str | None = None) -> Row:
    texts = {"shipped": answer["answers"]["shipped"]["text"], "baseline": answer["answers"][baseline]["text"]}
    payload = {name: answer[name] for name in ("id", "context", "instruction")} | {"texts": texts}
    return Row(
        item, answer["id"], sha256_json(payload), json.dumps(payload, ensure_ascii=False), repeats=repeats
    )  # fmt: skip


def newest(connection: Connection) -> Session | None:
    row = connection.execute(select(BLIND).order_by(BLIND.c.at.desc()).limit(1)).one_or_none()
    return None if row is None else Session(**row._mapping)


def take_next(connection: Connection, who: Who, plan: Plan, at: datetime) -> Item | None:
    """The next comparison; none once the reviewer has finished, as he or she then knows the sides."""
    session = newest(connection)
    if session is None or session.closed_at or has_finished(connection, session, who.name):
        return None
    return queue.take_next(connection, BLIND_ROOM, who, plan, at)


def task(connection: Connection, item: Item, who: Who) -> Task:
    shown = json.loads(item.payload)
    left, right = (shown["texts"][system] for system in _sides(connection, item.item, who.name))
    return Task(item, shown["context"], shown["instruction"], left, right)


def _sides(connection: Connection, item: str, reviewer: str) -> tuple[str, str]:
    """Which system is on the left and which on the right, for this reviewer and item."""
    session = item.partition("/")[0]
    key = connection.scalar(select(BLIND.c.secret).where(BLIND.c.session == session))
    drawn = hmac.digest(str(key).encode(), f"{item}\0{reviewer}".encode(), "sha256")
    return ("shipped", "baseline") if drawn[0] & 1 else ("baseline", "shipped")


def judge(store: Store, key: str, who: Who, verdict: Verdict, seen: int, plan: Plan, at: datetime) -> None:
    """Take a judgement.

    Raises:
        Taken: somebody else judged the item meanwhile, or has it now.
        JoshiError: the reviewer has finished, or a score is not 1 to 5.
    """
    scores = [verdict.scores[side][quality] for side in ("left", "right") for quality in QUALITIES]
    if not all(1 <= score <= 5 for score in scores):
        raise JoshiError("a score is a whole number from 1 to 5; choose one in every row")
    with store.writing() as connection:
        item = queue.unchanged(connection, key, seen, BLIND_ROOM)
        session = _session(connection, item.item)
        if session.closed_at or has_finished(connection, session, who.name):
            raise JoshiError("your blind review is finished and the sides were shown; it takes no more judgements")
        queue.hold(connection, item, who, plan, at)
        body: dict[str, Any] = {"status": "judged", "preferred": verdict.preferred, "scores": verdict.scores}
        body["mentions_internals"] = verdict.mentions
        event = Event(BLIND_ROOM, item.item, who.name, "decided", moment(at), who.login, item.item_sha256, body=body)
        queue.record(connection, item, event, plan)


def undo(store: Store, who: Who, plan: Plan, at: datetime) -> Item | None:
    """Take back this log-in's newest judgement or skip, unless the reviewer has finished. None: nothing is left."""
    with store.writing() as connection:
        session = newest(connection)
        if session is None or session.closed_at:
            return None
        found = queue.undo(connection, BLIND_ROOM, who, plan, at)
        if found is None:
            return None
        item, event = found
        if event.kind == "decided":
            queue.save_draft(connection, item, who, _form(event.body), at)
        return item


def _form(body: dict[str, Any]) -> dict[str, str]:
    """A judgement as the fields of the form."""
    form = {f"{side}_{quality}": str(n) for side, by in body["scores"].items() for quality, n in by.items()}
    form |= {f"{side}_internals": "yes" if said else "no" for side, said in body["mentions_internals"].items()}
    return form | {"preferred": body["preferred"]}


def _session(connection: Connection, item: str) -> Session:
    row = connection.execute(select(BLIND).where(BLIND.c.session == item.partition("/")[0])).one()
    return Session(**row._mapping)


def has_finished(connection: Connection, session: Session, reviewer: str) -> bool:
    query = select(EVENTS.c.number).where(
        EVENTS.c.room == BLIND_ROOM, EVENTS.c.item == session.session, EVENTS.c.reviewer == reviewer,
        EVENTS.c.kind == "finished",
    )  # fmt: skip
    return connection.execute(query.limit(1)).first() is not None


def finish(store: Store, who: Who, plan: Plan, workspace: Workspace, at: datetime) -> bool:
    """Unseal a reviewer's judgements, for good; with the last one's the session ends and its report is written.

    Returns: whether the session ended.

    Raises:
        JoshiError: something is still to be judged, or nothing was.
    """
    with store.writing() as connection:
        session = newest(connection)
        if session is None:
            raise JoshiError("no blind review was begun; 'joshi review blind' begins one")
        if not has_finished(connection, session, who.name):
            _refuse_to_finish(connection, session, who, at)
            log.append(
                connection, Event(BLIND_ROOM, session.session, who.name, "finished", moment(at), who.login)
            )  # fmt: skip
        still = select(ITEMS.c.key).where(queue.open_items(BLIND_ROOM)).limit(1)
        judges = {reviewer for _, reviewer, _ in _judged(connection, session)}
        ended = connection.execute(still).first() is None and all(
            has_finished(connection, session, one) for one in judges
        )
        if ended and session.closed_at is None:
            connection.execute(_closing(session, at))
    if ended:
        write_report(store, plan, workspace)
    return ended


def _refuse_to_finish(connection: Connection, session: Session, who: Who, at: datetime) -> None:
    if queue.is_left(connection, BLIND_ROOM, who, at):
        raise JoshiError("comparisons are still to be judged; the sides are shown after the last one")
    if not any(reviewer == who.name for _, reviewer, _ in _judged(connection, session)):
        raise JoshiError("you judged nothing in this blind review, so there is nothing to unseal")


def _closing(session: Session, at: datetime) -> Any:
    return update(BLIND).where(BLIND.c.session == session.session).values(closed_at=moment(at))


def close(store: Store, plan: Plan, workspace: Workspace, at: datetime) -> int:
    """End the newest session as it stands, and write its report; how many judgements it has.

    Raises:
        JoshiError: no session was begun.
    """
    with store.writing() as connection:
        session = newest(connection)
        if session is None:
            raise JoshiError("no blind review was begun; 'joshi review blind' begins one")
        if session.closed_at is None:
            connection.execute(_closing(session, at))
    return write_report(store, plan, workspace)


def write_report(store: Store, plan: Plan, workspace: Workspace) -> int:
    """Hand the newest session's judgements to the statistics; how many they are."""
    from joshi.review.blind.report import write  # brings matplotlib, which takes a second

    with store.reading() as connection:
        session = newest(connection)
        assert session is not None  # whoever calls has closed it
        found = judgements(connection, session)
    write(found, plan, workspace, model_sha256=session.model_sha256, baseline=session.baseline)
    return len(found)


def judgements(connection: Connection, session: Session, reviewer: str | None = None) -> list[Judgement]:
    """What was judged, with the sides named: of one reviewer, or of all. Only for who may know."""
    found = []
    for item, name, event in _judged(connection, session):
        if reviewer is not None and name != reviewer:
            continue
        sides = dict(zip(("left", "right"), _sides(connection, item.item, name), strict=True))
        body, sample = event.body, json.loads(item.payload)["id"]
        found.append(
            Judgement(
                item=sample,
                conversation=sample.rpartition("/")[0],
                reviewer=name,
                at=event.at,
                repeat=item.repeats is not None,
                preferred=sides.get(body["preferred"], body["preferred"]),
                scores={sides[side]: scores for side, scores in body["scores"].items()},
                mentions_internals={sides[side]: said for side, said in body["mentions_internals"].items()},
            )
        )
    return found


def _judged(connection: Connection, session: Session) -> Iterator[tuple[Item, str, Event]]:
    """Items with who judged them and how, each reviewer's newest judgement."""
    happened = log.of_room(connection, BLIND_ROOM)
    columns = [ITEMS.c[name] for name in Item.__dataclass_fields__]
    query = select(*columns).where(ITEMS.c.room == BLIND_ROOM, ITEMS.c.item.startswith(f"{session.session}/"))
    for row in connection.execute(query.order_by(ITEMS.c.position)).all():
        item = Item(**row._mapping)
        latest = {event.reviewer: event for event in live(happened.get(item.item, []), item.item_sha256)}
        for name, event in sorted(latest.items()):
            yield item, name, event


def unsealed(connection: Connection, event: dict[str, Any]) -> dict[str, Any]:
    """An event for the log's export: a judgement says which side was which once its reviewer has finished."""
    if event["room"] != BLIND_ROOM or event["kind"] != "decided":
        return event
    session = _session(connection, event["item"])
    if not session.closed_at and not has_finished(connection, session, event["reviewer"]):
        return event | {"sealed": True}
    left, right = _sides(connection, event["item"], event["reviewer"])
    return event | {"sides": {"left": left, "right": right}}
