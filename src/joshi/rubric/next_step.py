"""Exactly one actionable next step: one thing asked of the supplier or, where nothing is asked, one thing promised."""

from __future__ import annotations

import re

from joshi.rubric.text import sentences
from joshi.schema import Finding

RULE = "one_next_step"

_VERBS = (
    "accept|add|advise|agree|amend|answer|arrange|ask|attach|book|break|bring|call|cancel|change|check|come back|"
    "commit|confirm|consider|copy|correct|credit|deliver|describe|draft|drop|email|explain|extend|find out|fix|forward|"
    "get|give|go ahead|hold|include|indicate|invoice|issue|itemise|itemize|join|keep|lay out|let me know|let us know|"
    "list|look into|look at|lower|make|mark|match|meet|move|name|offer|outline|pass|pencil|pick|point|post|prepare|"
    "propose|provide|put|quote|raise|rebill|record|reduce|reissue|release|remove|renew|repeat|replace|reply|rerun|"
    "resend|reserve|return|revise|rework|ring|rule|run|say|schedule|send|separate|set|share|ship|show|sign|split|spell|"
    "start|state|submit|suggest|supply|take|tell|turn|update|upload|use|waive|walk|withdraw|work|write"
)
_POLITE = (
    r"note|be advised|be assured|find|do not|don[’']t|feel free|never|disregard|accept (?:our|my)|"
    r"(?:pass|give) (?:on )?(?:our|my|him|her|them)"
)
# "Please send", "Could you confirm", "Would Harrow & Keel renew", "Can the line hold"
_REQUEST = re.compile(
    rf"\b(?:please|kindly)\b(?! (?:{_POLITE})\b)|"
    r"\b(?:could|can|would|will|might|may) (?:you|we|i|the|your|[A-Z][\w&’'-]+|it|one|someone|they)\b(?=[^.?!]*\?)|"
    r"\b(?:let (?:me|us) know|(?:we|i)[’']d (?:also )?(?:like|need|want) you to|(?:we|i)[’']d also (?:like|need|want)|"
    r"(?:i am|i[’']m|we are|we[’']re) asking (?:you|for)|we (?:would )?(?:need|ask|require) you to|"
    r"all (?:we|i) need (?:now )?is|what (?:we|i) need (?:now )?is|the (?:one|only) thing (?:we|i) (?:still )?need)\b",
    re.IGNORECASE,
)
_IMPERATIVE = re.compile(
    rf"^(?:(?:then|and|so|also|just|now|next|instead|otherwise|still|anyway),? )*(?:{_VERBS})\b"
    r"(?! (?:is|are|was|were|has|will|would|of|to)\b)",
    re.IGNORECASE,
)
# A second verb after "and": "send the quote and confirm the date".
_COORDINATED = re.compile(
    rf"(?:,| and| as well as|;| then| and also| plus)\s+(?:also |then |please |kindly |to |could you |can you |would you )*"
    rf"(?P<verb>{_VERBS})\b (?:(?:me|us|the|a|an|your|our|it|its|that|this|those|these|whether|when|how|which|what|if|by|"
    rf"over|back|on|one|any|all|both|full|two|three|in|from|to|up|out|off|at|his|her|their|every|each)\b|[A-Z\d£$€])",
    re.IGNORECASE,
)
# A second question: "Which battery is fitted, and can you come?", "tell us when it ships and how it is packed".
_SECOND_QUESTION = re.compile(
    r"(?:,| and|, and)\s+(?:also )?(?:what|when|how|which|whether|who|where|why|(?:can|could|would|will) you)\b",
    re.IGNORECASE,
)
# Three things asked for in one breath: "the hour, the weights and the phone number".
_LIST = re.compile(r"(?:, [^,.?!]{3,40}){1,4},? and [^,.?!]{3,60}[.?!]*$", re.IGNORECASE)
_LIST_VERB = re.compile(
    r"\b(?:confirm|send|share|provide|include|give|supply)\b (?:(?:me|us) )?(?:the|a|an|your|both)\b",
    re.IGNORECASE,
)
_PROMISE = re.compile(
    r"\b(?:i[’']ll|we[’']ll|i will|we will|i am going to|we are going to|let me)\s+(?!be (?:happy|glad|fine|able)|need|not\b|"
    r"have to|want)\w+",
    re.IGNORECASE,
)


def steps(answer: str) -> list[tuple[int, int]]:
    """Character ranges of the things asked; where nothing is asked, of the things promised."""
    asked: list[tuple[int, int]] = []
    promised: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(sentences(answer)):
        sentence = answer[start:end]
        question = sentence.rstrip("\"'”’ )").endswith("?")
        request = _REQUEST.search(sentence)
        # An opening like 'Credit to Mr Luo' or 'Tell Lola' is an acknowledgement, not an order.
        imperative = number > 0 and _IMPERATIVE.search(sentence.lstrip("\"'“‘-•* "))
        if question or request or imperative:
            asked.append((start, end))
            rest = request.end() if request else 0
            seconds = [found.start("verb") for found in _COORDINATED.finditer(sentence, rest)]
            seconds += [found.start() for found in _SECOND_QUESTION.finditer(sentence, rest)]
            if (
                not seconds
                and _LIST_VERB.search(sentence, max(rest - 8, 0))
                and (found := _LIST.search(sentence, rest))
            ):
                seconds = [found.start()]
            asked += [(start + second, end) for second in sorted(set(seconds))]
        elif found := _PROMISE.search(sentence):
            promised.append((start + found.start(), end))
    return asked or promised


def check(answer: str, wanted: int) -> Finding:
    found = steps(answer)
    if len(found) == wanted:
        return Finding(rule=RULE, passed=True, message=f"{wanted} next step", span=found[0])
    if not found:
        return Finding(rule=RULE, passed=False, message="no next step: nothing is asked or promised")
    return Finding(
        rule=RULE,
        passed=False,
        message=f"{len(found)} next steps, {wanted} wanted",
        span=(found[0][0], found[-1][1]),
    )
