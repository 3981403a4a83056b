"""Does a model answer as its callers need it? Their own questions, then ten replies that the rubric reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binom

from joshi.errors import Unavailable
from joshi.generate import loops
from joshi.plan import Plan
from joshi.prompt import INSTRUCTION, ChatTokenizer, messages_for
from joshi.release.chat import Ask, Question, Reply
from joshi.rubric import Rubric, failed
from joshi.schema import Context, Message, Provenance, Record, Sample, read_records

STATES = Path(__file__).with_name("smoke.jsonl")
CHAT_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>")
JSON_TOKENS = 256  # longest JSON answer
UNLIKELY = 0.05  # a model that the gates let through fails the replies less often than this
SUPPLIER_TEXT = (
    "Thanks for the RFQ. For 500 pump housings we can offer EUR 42.50 per unit, delivered in 21 days. "
    "This is our final price. Minimum order is 100 units, payment net 30."
)
# The prompts of ProcWise's Supplier Interaction and Negotiation agents.
ANALYSIS_SYSTEM = (
    "You analyse supplier RFQ responses. Return strict JSON with keys: price (number or null), "
    "lead_time_days (number or null), summary (string)."
)
EXTRACTION_PROMPT = "Extract JSON with keys: tone, finality_hint, moq, payment_terms_hint.\nText:\n"
ANALYSIS_KEYS: dict[str, list[str]] = {
    "price": ["number", "null"],
    "lead_time_days": ["number", "null"],
    "summary": ["string"],
}
EXTRACTION_KEYS: dict[str, list[str]] = {
    "tone": ["string"],
    "finality_hint": ["boolean", "null"],
    "moq": ["integer", "null"],
    "payment_terms_hint": ["string", "null"],
}


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    detail: str
    seconds: float
    tokens_per_second: float


_OURS = Provenance(source="joshi", conversation_id="smoke", turn=0, tool_version="")


class State(Record):
    """Where a negotiation stands; the reply to its last message is asked for."""

    id: str
    context: Context


def smoke(ask: Ask, plan: Plan, tokenizer: ChatTokenizer) -> list[Check]:
    """The agents' questions and the replies; a check that fails does not stop the others."""
    asked = states()
    checks = []
    if "supplier_interaction" in plan.release.agents:
        checks.append(_check("supplier interaction", lambda: ask(analysis(plan)), json_fault(ANALYSIS_KEYS)))
    if "negotiation" in plan.release.agents:
        checks.append(_check("negotiation extraction", lambda: ask(extraction(plan)), json_fault(EXTRACTION_KEYS)))
    checks.append(_check("negotiation reply", lambda: ask(reply_to(asked[0], plan)), reply_fault))
    return [*checks, _replies(ask, asked, plan, tokenizer)]


def states() -> list[Sample]:
    """Ten negotiations, each waiting for a reply."""
    return [
        Sample(id=state.id, instruction=INSTRUCTION, context=state.context, ideal_answer="", provenance=_OURS)
        for state in read_records(STATES, State)
    ]


def parity_messages(system: str) -> list[Message]:
    """A chat of three turns, by which two renderings of it are told apart."""
    return [
        Message(role="system", content=system),
        Message(role="user", content=SUPPLIER_TEXT),
        Message(role="assistant", content="Thank you for the quick offer. Could you confirm the delivery date?"),
        Message(role="user", content="The parts leave our plant on Tuesday."),
    ]


def reply_to(state: Sample, plan: Plan) -> Question:
    """The reply from a state, with the plan's own system prompt and the release's sampling."""
    return Question(tuple(messages_for(state, plan.model.system_prompt)), plan.evaluation.max_tokens, plan.seed)


def reply_fault(reply: Reply) -> str | None:
    """What makes an answer unusable whatever it says, or None."""
    if not re.search(r"\w", reply.text):
        return f"the answer is empty ({reply.text[:40]!r})"
    if reply.finish != "stop":
        return f"the answer was cut off (finish {reply.finish!r})"
    if loops(reply.text):
        return f"the answer goes round in circles: {reply.text[-80:]!r}"
    token = CHAT_TOKEN.search(reply.text)
    return f"the answer holds the chat token {token.group()}: the template is wrong" if token else None


def fewest(n: int, rate: float) -> int:
    """The least k of n that must pass, so that a model whose answers pass at `rate` fails with P < UNLIKELY."""
    return next(k for k in range(n + 1) if binom.cdf(k, n, rate) >= UNLIKELY)


def _replies(ask: Ask, asked: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer) -> Check:
    """All replies, read by the rubric; no fewer may pass than the gate on all rules makes likely."""
    rubric = Rubric(plan, tokenizer)
    replies: list[Reply] = []
    try:
        for state in asked:
            replies.append(ask(reply_to(state, plan)))
    except Unavailable as error:
        return Check("replies by the rubric", False, str(error), 0.0, 0.0)
    broken = [failed(rubric.check(reply.text, state)) for reply, state in zip(replies, asked, strict=True)]
    good, least = sum(not rules for rules in broken), fewest(len(asked), plan.evaluation.gates["all_rules"].bound)
    counts = {rule: sum(rule in rules for rules in broken) for rules in broken for rule in rules}
    most = ", ".join(f"{rule} {n}" for rule, n in sorted(counts.items(), key=lambda item: -item[1])[:3])
    detail = f"{good} of {len(asked)} follow every rule, at least {least} must" + (f"; broken: {most}" if most else "")
    seconds = [reply.seconds for reply in replies]
    speed = sum(reply.tokens_per_second for reply in replies) / len(replies)
    return Check("replies by the rubric", good >= least, detail, round(sum(seconds), 3), round(speed, 1))


def analysis(plan: Plan) -> Question:
    """As the Supplier Interaction agent asks: a chat at temperature 0.2."""
    draft = {"rfq_id": "RFQ-1042", "supplier_id": "SUP-17", "subject": "RFQ-1042 pump housings"}
    told = {**draft, "subject": "Re: RFQ-1042 pump housings", "message": SUPPLIER_TEXT, "drafts": [draft]}
    messages = (
        Message(role="system", content=ANALYSIS_SYSTEM),
        Message(role="user", content=json.dumps(told)),
    )
    return Question(messages, JSON_TOKENS, plan.seed, temperature=0.2, schema=_schema(ANALYSIS_KEYS, plan))


def extraction(plan: Plan) -> Question:
    """As the Negotiation agent asks: one prompt at temperature 0.1."""
    messages = (Message(role="user", content=EXTRACTION_PROMPT + SUPPLIER_TEXT),)
    schema = _schema(EXTRACTION_KEYS, plan)
    return Question(messages, JSON_TOKENS, plan.seed, temperature=0.1, schema=schema, as_prompt=True)


def _schema(keys: dict[str, list[str]], plan: Plan) -> dict[str, Any] | None:
    if plan.release.agents_json == "free":
        return None
    properties: dict[str, Any] = {
        key: {"type": types, **({"maxLength": 200} if "string" in types else {})} for key, types in keys.items()
    }
    return {"type": "object", "properties": properties, "required": list(keys), "additionalProperties": False}


def json_fault(keys: dict[str, list[str]]) -> Callable[[Reply], str | None]:
    """A judge of JSON answers: which key is missing or of another type, or None."""

    def fault(reply: Reply) -> str | None:
        try:
            answer = json.loads(reply.text)
        except (ValueError, RecursionError):
            return f"the answer is not JSON: {reply.text[:120]!r}"
        if not isinstance(answer, dict) or set(answer) != set(keys):
            return f"expected an object with the keys {', '.join(keys)}, found {reply.text[:120]!r}"
        for key, types in keys.items():
            if _json_type(answer[key]) not in types and not (
                "number" in types and _json_type(answer[key]) == "integer"
            ):
                return f"{key} should be {' or '.join(types)}, found {answer[key]!r}"
        return None

    return fault


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "object")


def _check(name: str, question: Callable[[], Reply], fault: Callable[[Reply], str | None]) -> Check:
    try:
        reply = question()
    except Unavailable as error:
        return Check(name, False, str(error), 0.0, 0.0)
    found = fault(reply)
    return Check(name, found is None, found or reply.text.strip(), reply.seconds, reply.tokens_per_second)


def refusal(checks: Sequence[Check]) -> str | None:
    """Which checks failed and how, or None."""
    bad = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    return f"the smoke test failed: {'; '.join(bad)}" if bad else None
