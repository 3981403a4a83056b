"""ProcWise e-mail histories: EmailHistoryEntry objects, one conversation for each thread with a supplier."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from joshi.schema import Conversation, ConversationState, Participant, State, Turn
from joshi.transcripts.addresses import SET_BUYER_DOMAINS, Address, parse_address
from joshi.transcripts.amounts import money
from joshi.transcripts.bodies import html_body, plain_body
from joshi.transcripts.chat import ROLES
from joshi.transcripts.documents import LARGEST_RECORD, parse
from joshi.transcripts.fields import Fields
from joshi.transcripts.replies import own_words
from joshi.transcripts.unread import Refused, printable, quarantined, rejected

Role = Literal["buyer", "supplier"]
T = TypeVar("T")

_DIRECTIONS: dict[str, Role] = {"inbound": "supplier", "outbound": "buyer"}
_FROM_SUPPLIER = re.compile("supplier|response|reply|inbound")
# Who speaks and what they say in an entry of ProcWise's conversation memory, the likeliest key first.
_SPEAKER = ("speaker", "from_address", "role")
_MESSAGE = ("message_body", "message", "negotiation_message", "summary")
_TEXTS = (
    *_MESSAGE,
    "body_text",
    "body",
    "response_text",
    "content",
    "text",
)  # where an agent's output quotes a message
_PRICES = {
    "target_price": "Target price",
    "walkaway_price": "Walk-away price",
    "market_floor_price": "Market floor price",
}


@dataclass(frozen=True, slots=True)
class Thread:
    """What the e-mails of one conversation have in common; empty where the source does not say."""

    workflow: str
    supplier: str


@dataclass(frozen=True)
class Entry:
    """One e-mail, every value checked for its type."""

    thread: Thread
    sent_at: str | None
    round: int | None
    text: str
    sender: Address
    direction: str
    supplier: Participant
    buyer: Participant
    received: State  # what the buyer's system made of the supplier's message
    rationale: str | None
    state: ConversationState
    prices: str | None


def is_entry(value: dict[str, Any]) -> bool:
    """Whether an object is one e-mail, in any of the forms in which ProcWise keeps them."""
    keys = value.keys()
    return (
        not keys.isdisjoint(("email_id", "response_text", "response_body"))
        or {"direction", "body"} <= keys
        or {"from_address", "body"} <= keys
        or {"message_type", "content"} <= keys
        or (not keys.isdisjoint(("sender", "role")) and not keys.isdisjoint(("body_text", "body_html")))
        or (not keys.isdisjoint(_SPEAKER) and not keys.isdisjoint(_MESSAGE))
    )


def read_entry(value: Any) -> Entry:
    """One e-mail of a history.

    Raises:
        Refused: quarantined; not an object, or a value of the wrong type. Rejected; an agent's output, no message.
    """
    if not isinstance(value, dict):
        raise quarantined("not an e-mail: expected an object")
    entry = Fields(_named_as_in_a_history(value))
    metadata, negotiation = entry.inner("metadata"), entry.inner("negotiation_context")
    thread = entry.inner("thread_headers").identifier("thread_id") or entry.identifier("thread_id")
    workflow = metadata.identifier("workflow_id") or thread
    rationale = entry.inner("decision").values.get("rationale")
    return Entry(
        thread=Thread(workflow or "", entry.identifier("supplier_id") or ""),
        sent_at=entry.moment("sent_at"),
        round=entry.whole("round_number"),
        text=plain_body(entry.text("body_text") or "") or html_body(entry.text("body_html") or ""),
        sender=parse_address(entry.text("sender") or ""),
        direction=(metadata.text("direction") or "").strip().casefold(),
        supplier=Participant(
            role="supplier",
            firm=entry.text("supplier_name"),
            person=metadata.text("supplier_contact"),
            email=metadata.text("supplier_email"),
            phone=metadata.text("supplier_phone"),
        ),
        buyer=Participant(role="buyer", firm=metadata.text("buyer_name"), person=metadata.text("buyer_contact")),
        received=State(
            supplier_sentiment=negotiation.text("supplier_sentiment"),
            outstanding_asks=negotiation.texts("outstanding_asks"),
            current_offer=_price(negotiation, "current_offer"),
            brief=None,
        ),
        rationale=rationale if isinstance(rationale, str) else None,
        state=ConversationState(
            item=negotiation.text("item") or metadata.text("item"),
            family=metadata.text("family"),
            facts=negotiation.texts("facts"),
            notes=negotiation.text("notes"),
        ),
        prices=_prices(negotiation),
    )


def _named_as_in_a_history(value: dict[str, Any]) -> dict[str, Any]:
    """Any form of an e-mail under the names that an e-mail history uses.

    The JSON columns of tables are text in SQLite.

    Raises:
        Refused: quarantined; such a column holds no JSON. Rejected; an agent's output, no message.
    """
    metadata = value.get("metadata")
    metadata = parse(metadata.encode()) if isinstance(metadata, str) and metadata.strip() else metadata
    if not isinstance(metadata, dict | None):
        return value  # whoever reads it says what is wrong
    entry = Fields(value)
    known = {key: value[key] for key in ("workflow_id", "direction", "supplier_email") if value.get(key) is not None}
    named: dict[str, Any] = {}
    if "response_text" in value or "response_body" in value:  # proc.supplier_response
        known["direction"] = "inbound"
        named = {
            "body_text": own_words(str(value.get("response_text") or "")),
            "body_html": value.get("response_body"),
            "sender": value.get("response_from") or value.get("supplier_email"),
            "sent_at": value.get("response_date"),
        }
    elif "message_type" in value:  # a message of an EmailThread
        kind = (entry.text("message_type") or "").casefold()
        known["direction"] = "inbound" if _FROM_SUPPLIER.search(kind) else "outbound"
        named = {"body_text": _said(entry, ("content",)), "sent_at": value.get("timestamp")}
    elif "body" in value:  # proc.supplier_interaction; or an EmailResponse, which says from whom it came, not where to
        known.setdefault("direction", "inbound" if "from_address" in value else None)
        named = {
            "body_text": _said(entry, ("body",)),
            "sender": value.get("from_address"),
            "sent_at": value.get("received_at") or value.get("created_at"),
        }
    elif not value.keys().isdisjoint(_SPEAKER):  # conversation memory, or a thread in Redis
        speaker = next((text for key in _SPEAKER if (text := entry.text(key))), "")
        role = ROLES.get(speaker.strip().casefold())
        known.setdefault("direction", {"supplier": "inbound", "buyer": "outbound"}.get(role or ""))
        decision = entry.inner("negotiation_output").values
        prices = {key: decision.get(key) for key in (*_PRICES, "currency")}
        named = {
            "body_text": _said(entry, _MESSAGE),
            "sender": value.get("from_address") or (None if role else speaker),
            "sent_at": value.get("timestamp"),
            "decision": decision,
            "negotiation_context": {"current_offer": entry.inner("supplier_output").values.get("price"), **prices},
            "supplier_id": value.get("unique_id"),  # Redis has a list for each, and no other name for the supplier
        }
    metadata = {**known, **(metadata or {})}
    rounds = (value.get("negotiation_round"), value.get("round"), metadata.get("round"))
    named["round_number"] = next((one for one in rounds if one is not None), None)
    return {**named, **{key: one for key, one in value.items() if one is not None}, "metadata": metadata}


def _said(entry: Fields, keys: Sequence[str]) -> str:
    """What a person wrote, under the first of these keys that holds anything; empty if none does.

    Raises:
        Refused: rejected; an agent's output that quotes no message. Quarantined; neither text nor that.
    """
    key = next((key for key in keys if entry.values.get(key)), None)
    if key is None:
        return ""
    value = _parsed(entry.values[key])
    if isinstance(value, dict):
        value = next((text for name in _TEXTS if isinstance(text := value.get(name), str) and text.strip()), None)
        if value is None:
            raise rejected("an agent's output, not a chat")
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    return own_words(Fields({key: value}).text(key) or "")


def _parsed(value: Any) -> Any:
    """What JSON text says, if it is an object; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(Refused):
            return parse(value.encode())
    return value


def read_conversation(
    entries: Iterable[Entry], default_id: str, source: str, buyer_domains: Sequence[str]
) -> Conversation:
    """The e-mails of one thread as a conversation, in the order in which they were sent.

    Where no record names the supplier, whoever writes to a buyer and is none is one.

    Raises:
        Refused: rejected if the buyer cannot be told from the supplier; quarantined if all is too large.
    """
    mails = _in_order(_bounded(entries))
    thread = mails[0].thread
    known = {mail.supplier.email.casefold() for mail in mails if mail.supplier.email}
    if not known and any(mail.sender.within(buyer_domains) for mail in mails):
        strangers = [mail.sender.email for mail in mails if not mail.sender.within(buyer_domains)]
        known = {address.casefold() for address in strangers if address}
    sent = [(mail, _role(mail, known, buyer_domains)) for mail in mails]
    return Conversation(
        id=":".join(part for part in (thread.workflow or default_id, thread.supplier) if part),
        source=source,
        participants=[
            *_participants("supplier", [mail.supplier for mail in mails], _senders(sent, "supplier")),
            *_participants("buyer", [mail.buyer for mail in mails], _senders(sent, "buyer")),
        ],
        turns=[_turn(mail, role) for mail, role in sent if mail.text],
        state=ConversationState(
            item=_first(mail.state.item for mail in mails),
            family=_first(mail.state.family for mail in mails),
            facts=_distinct(fact for mail in mails for fact in mail.state.facts),
            notes=" ".join(_distinct(note for mail in mails for note in (mail.state.notes, mail.prices))) or None,
        ),
    )


def _bounded(entries: Iterable[Entry]) -> list[Entry]:
    mails: list[Entry] = []
    characters = 0
    for entry in entries:
        characters += len(entry.text)
        if characters > LARGEST_RECORD:
            raise quarantined(f"the thread is over {LARGEST_RECORD // 2**20} MB; split it")
        mails.append(entry)
    return mails


def _in_order(mails: list[Entry]) -> list[Entry]:
    """By date; as they stand in the source if one has no ISO date, since half an order is none."""
    dates = [_date(mail.sent_at) for mail in mails]
    if any(date is None for date in dates):
        return mails
    return [mails[place] for place in sorted(range(len(mails)), key=lambda place: (dates[place], place))]


def _date(text: str | None) -> datetime | None:
    try:
        date = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _role(mail: Entry, supplier_emails: set[str], buyer_domains: Sequence[str]) -> Role:
    if mail.direction in _DIRECTIONS:
        return _DIRECTIONS[mail.direction]
    if mail.sender.email and mail.sender.email.casefold() in supplier_emails:
        return "supplier"
    if mail.sender.within(buyer_domains):
        return "buyer"
    sender = printable(str(mail.sender), 80)
    raise rejected(f"{sender} can be told neither as buyer nor as supplier; {SET_BUYER_DOMAINS}")


def _turn(mail: Entry, role: Role) -> Turn:
    state = mail.received if role == "supplier" else State(brief=mail.rationale)
    named = mail.supplier if role == "supplier" else mail.buyer
    known_sender = mail.sender.name or named.person or mail.sender.email
    return Turn(
        speaker=known_sender or role,
        role=role,
        text=mail.text,
        at=mail.sent_at,
        round=mail.round,
        state=state if state != State(brief=None) else None,
    )


def _senders(sent: list[tuple[Entry, Role]], role: Role) -> list[Address]:
    return list(dict.fromkeys(mail.sender for mail, sender_role in sent if sender_role == role))


def _participants(role: Role, named: list[Participant], senders: list[Address]) -> list[Participant]:
    """Everyone on one side: first the one whom the metadata names, then whoever else wrote.

    No name is lost, because redaction knows a person by this list.
    """
    main = Participant(
        role=role,
        firm=_first(entry.firm for entry in named),
        person=_first([*(entry.person for entry in named), *(sender.name for sender in senders)]),
        email=_first([*(sender.email for sender in senders), *(entry.email for entry in named)]),
        phone=_first(entry.phone for entry in named),
    )
    others = [
        *(Participant(role=role, firm=main.firm, person=one.name, email=one.email) for one in senders),
        *named,
    ]
    distinct = {one.model_dump_json(): one for one in others if not _covers(main, one)}
    people = [main, *distinct.values()]
    return [one for one in people if one != Participant(role=role)]


def _covers(person: Participant, other: Participant) -> bool:
    """Whether `other` says nothing that `person` does not."""
    known = person.model_dump()
    return all(value in (None, known[key]) for key, value in other.model_dump().items())


def _price(negotiation: Fields, key: str) -> str | None:
    value = negotiation.amount(key)
    return money(value, negotiation.text("currency")) or None if value is not None else None


def _prices(negotiation: Fields) -> str | None:
    """ "Target price £11,900; walk-away price £12,600." from those of the three prices that are known."""
    parts = [f"{name} {price}" for key, name in _PRICES.items() if (price := _price(negotiation, key))]
    if not parts:
        return None
    return "; ".join([parts[0], *(part[0].lower() + part[1:] for part in parts[1:])]) + "."


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value and value.strip()), None)


def _distinct(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values if value and value.strip()))
