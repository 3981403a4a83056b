"""Does the released model answer as its callers need it? Asked over HTTP, in their own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joshi.errors import JoshiError, Unavailable
from joshi.llama import running
from joshi.plan import Plan
from joshi.prompt import context_text
from joshi.release.chat import Reply, ask
from joshi.release.releases import current, verified_gguf
from joshi.schema import Context, HistoryTurn, Message
from joshi.workspace import Workspace

CHAT_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>")
JSON_TOKENS = 256  # longest JSON answer
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
INSTRUCTION = "Write the buyer's reply to the supplier's last message."


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    detail: str
    seconds: float
    tokens_per_second: float


def smoke(plan: Plan, workspace: Workspace) -> list[Check]:
    """Try the release in use with the agents' calls; a check that fails does not stop the others.

    Raises:
        JoshiError: nothing is deployed, or the release cannot be loaded.
    """
    release = current(workspace)
    if release is None:
        raise JoshiError("nothing is deployed; run 'joshi deploy' first")
    with running(verified_gguf(workspace, release), plan) as url:
        return [
            _check("supplier interaction", lambda: _analysis(url, plan), _json_fault(ANALYSIS_KEYS)),
            _check("negotiation extraction", lambda: _extraction(url, plan), _json_fault(EXTRACTION_KEYS)),
            _check("reply to a supplier", lambda: plain_reply(url, plan, plan.evaluation.max_tokens), reply_fault),
        ]


def plain_reply(url: str, plan: Plan, max_tokens: int) -> Reply:
    """An answer to a supplier with the plan's own system prompt and sampling."""
    context = Context(
        round=1,
        supplier_sentiment="firm",
        outstanding_asks=["confirmed delivery date"],
        item="500 pump housings",
        current_offer="EUR 42.50 per unit",
        history=[HistoryTurn(role="supplier", text=SUPPLIER_TEXT)],
    )
    messages = [
        Message(role="system", content=plan.model.system_prompt),
        Message(role="user", content=f"{context_text(context)}\n\n{INSTRUCTION}"),
    ]
    return ask(
        url,
        messages,
        temperature=plan.release.temperature,
        top_p=plan.release.top_p,
        max_tokens=max_tokens,
        seed=plan.seed,
    )


def reply_fault(reply: Reply) -> str | None:
    """What is wrong with a plain answer, or None."""
    if not reply.text.strip():
        return "the answer is empty"
    if reply.finish != "stop":
        return f"the answer was cut off (finish {reply.finish!r})"
    token = CHAT_TOKEN.search(reply.text)
    return f"the answer holds the chat token {token.group()}: the template is wrong" if token else None


def _analysis(url: str, plan: Plan) -> Reply:
    draft = {"rfq_id": "RFQ-1042", "supplier_id": "SUP-17", "subject": "RFQ-1042 pump housings"}
    question = {**draft, "subject": "Re: RFQ-1042 pump housings", "message": SUPPLIER_TEXT, "drafts": [draft]}
    messages = [
        Message(role="system", content=ANALYSIS_SYSTEM),
        Message(role="user", content=json.dumps(question)),
    ]
    return _ask_json(url, plan, messages, ANALYSIS_KEYS, temperature=0.2)


def _extraction(url: str, plan: Plan) -> Reply:
    messages = [Message(role="user", content=EXTRACTION_PROMPT + SUPPLIER_TEXT)]
    return _ask_json(url, plan, messages, EXTRACTION_KEYS, temperature=0.1)


def _ask_json(url: str, plan: Plan, messages: list[Message], keys: dict[str, list[str]], temperature: float) -> Reply:
    properties: dict[str, Any] = {
        key: {"type": types, **({"maxLength": 200} if "string" in types else {})} for key, types in keys.items()
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(keys),
        "additionalProperties": False,
    }
    return ask(
        url,
        messages,
        temperature=temperature,
        top_p=plan.release.top_p,
        max_tokens=JSON_TOKENS,
        seed=plan.seed,
        schema=schema,
    )


def _json_fault(keys: dict[str, list[str]]) -> Callable[[Reply], str | None]:
    def fault(reply: Reply) -> str | None:
        try:
            answer = json.loads(reply.text)
        except ValueError:
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
