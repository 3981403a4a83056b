"""Exactly one actionable next step: one thing asked of the supplier or, where nothing is asked, one thing promised.

What a clause does is judged by a learned head, which is told what patterns see in it; where a second thing begins, by
the patterns.
"""

from __future__ import annotations

import re

from joshi.rubric import learned
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
    "start|state|submit|suggest|supply|take|tell|turn|update|upload|use|waive|walk|withdraw|work|write|leave|try|teach|replace|lower|bring|pack|load|"
    "unload|park|label|wrap|stack|weigh|measure|test|inspect|clean|paint|seal|cut|drill|fit|install|remove|swap|exchange|collect|fetch|drive|wait|stop|"
    "pause|delay|postpone|advance|bill|charge|refund|pay|enclose|translate|print|scan|file|register|enter|note down|count|divide|double|halve|limit|"
    "reserve|order|buy|sell|produce|manufacture|cast|weld|dye|sew|bake|brew|harvest|plant|ask|advise|train|invite|introduce|speak|phone|text|"
    "notify|inform|warn|remind|report|explain|justify|prove|certify|guarantee|insure|swear|visit|see|look|switch|order|aim|assume|plan|treat|place|store"
)
_POLITE = (
    r"note|thank|be advised|be assured|find|do not|don[’']t|feel free|never|disregard|accept (?:our|my)|"
    r"(?:pass|give) (?:on )?(?:our|my|him|her|them)"
)
# "Please send", "Could you confirm", "Would Harrow & Keel renew", "Can the line hold"
_REQUEST = re.compile(
    rf"(?<!would )(?<!to )\b(?:please|kindly)\b(?! (?:{_POLITE})\b)|"
    r"\b(?:could|can|would|will|might|may) (?:you|we|i|the|your|[A-Z][\w&’'-]+|it|one|someone|they)\b(?=(?:[^.?!]|\.(?=\w))*\?)|"
    r"\b(?:let (?:me|us) know|(?:we|i)[’']d (?:also )?(?:like|need|want) you to|(?:we|i)[’']d also (?:like|need|want)|"
    r"(?:i am|i[’']m|we are|we[’']re) asking (?:you|for)|we (?:would )?(?:need|ask|require) you to|"
    r"all (?:we|i) need (?:now )?is|what (?:we|i) need (?:now )?is|the (?:one|only) thing (?:we|i) (?:still )?need)\b",
    re.IGNORECASE,
)
_IMPERATIVE = re.compile(
    rf"^(?:(?:then|and|so|also|just|now|next|instead|otherwise|still|anyway|simply|by all means|in that case),? )*"
    rf"(?:(?:if|since|as|before|until|unless|when|once|after|while|because|should|where|for)\b[^,.;]{{3,90}}, )?"
    rf"(?:then )?(?:(?:don[’']t|do not|do|never|always|kindly|better) )?(?:{_VERBS})\b"
    r"(?! [\w/-]*\d[\w/-]* (?:is|are|was|were|came|has|had|stands?|shows?|covers?|says|names|carries|went|will|should)\b)"
    r"(?! (?:is|are|was|were|has|have|will|would|of|times?|prices?|rates?|costs?|figures?|dates?|lists?|sheets?|marks?|tests?|terms|runs?|in bags|on (?:the|your) \w+ (?:is|are|was))\b)",
    re.IGNORECASE,
)
# 'Consider the complaint closed', 'Take that as settled': said of a thing, nothing to do.
_NO_ORDER = re.compile(
    r"^(?:consider|take|count|call|see|look|say|note|treat)\b.{0,40}\b(?:as (?:settled|read|agreed|a yes|done)|closed|settled|done|agreed)\b",
    re.IGNORECASE,
)
# A wish or a want that asks: 'what I lack is', 'a drawing would settle it', 'the one thing missing is'.
_WANT = re.compile(
    r"\b(?:(?:it )?would (?:really |also |much |greatly )?(?:help|be (?:good|useful|helpful|handy|nice|great|welcome|best|better|ideal))|would (?:settle|close|do|decide|clear|solve|seal|complete)\b|"
    r"(?:(?:all|what|the (?:one|only|last) thing|the (?:missing|last|only|one) \w+)[^.,;?!]{0,40}\b(?:lacks?|need|want|miss\w*|ask|after|left|remains?|open|outstanding)\b[^.?!]{0,25}\bis\b)|"
    r"\bis all (?:we|i) (?:ask|need|want)\b|(?:we|i)(?:[’']d| would) (?:rather|prefer|like|want|love|need|appreciate|be (?:glad|grateful|happy) (?:of|for|if))|"
    r"(?:we|i) (?:\w+ )?(?:still |just |only )?(?:need|require|want|miss|lack|await|expect|ask (?:for|you))\b|"
    r"(?:is|are) (?:still )?(?:missing|required|needed|wanted|outstanding|absent|to be sent|due)\b|^still (?:absent|missing|open)\b|"
    r"what [^.?!]{3,50} (?:after|for|about)\b[^.?!]{0,20}, ?(?:though|however)?,? ?is\b|hop(?:e|ing) (?:you|that you|for)\b|in other words\b|"
    r"(?:that|it) (?:only |just )?(?:leaves|takes|needs)\b|depends? on your|waiting for (?:your|the)|up to you to)\b",
    re.IGNORECASE,
)
_NEED_IN_PAST = re.compile(
    r"\b(?:didn[’']t|did not|don[’']t|do not|no longer|never|not) (?:need|require|want|expect|ask)\b", re.IGNORECASE
)
# Who would say no to that?
_RHETORICAL = re.compile(
    r"^(?:who (?:would|wouldn[’']t|could|can)|what more|why not|isn[’']t (?:it|that)|how could (?:we|i|anyone)|what(?:[’']s| is) not to|where would we|need (?:i|we) say|and why)\b",
    re.IGNORECASE,
)
# A second verb after "and": "send the quote and confirm the date".
_COORDINATED = re.compile(
    rf"(?:,|(?<!\bcome)(?<!\bgo)(?<!\btry)(?<!\bsit down) and| as well as|;| then| and also| plus)\s+(?:also |then |please |kindly |to |could you |can you |would you )*"
    rf"(?P<verb>{_VERBS})\b (?:(?:me|us|the|a|an|your|our|it|its|that|this|those|these|whether|when|how|which|what|if|by|"
    rf"over|back|on|one|any|all|both|full|two|three|in|from|to|up|out|off|at|his|her|their|them|you|us|every|each|some|more|no)\b|[A-Z\d£$€])",
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
_WH = re.compile(r"(?:what|when|how|which|who|where|why)\b", re.IGNORECASE)  # its own list of questions may follow
_BESIDE = re.compile(
    r"\b(?:as well as|besides|in addition to|along with) \w+ing\b|\bwhile you\b|\band (?:also|please)\b", re.IGNORECASE
)
_PROMISE = re.compile(
    r"\b(?:i[’']m|we[’']re|i am|we are) (?:calling|ringing|sending|checking|asking|booking|writing)\b(?! you\b)|"
    r"\b(?:i[’']ll|we[’']ll|i will|we will|i am going to|we are going to|let me)\s+(?!be (?:happy|glad|fine|able)|need|not\b|have to|want|see\b|live\b|miss\b)\w+|"
    r"\byou(?:[’']ll| will) (?:have|get|hear|receive|find)\b|\bwill be (?:in your|with you|sent|on its way|at your|back)\b|"
    r"\b(?:our|my) [^.,;]{3,40}? (?:signs|sends|calls|visits|collects|decides|answers|checks|rings|writes|comes)\b[^.]{0,60}\b(?:on|by|at|before|tomorrow|today|"
    r"tonight|this|next|within)\b",
    re.IGNORECASE,
)

_YOU = re.compile(r"\byour?\b", re.IGNORECASE)
_WE = re.compile(r"\b(?:we|I|our|my)\b")
_WILL = re.compile(r"\bwill\b|[’']ll\b", re.IGNORECASE)
_DEADLINE = re.compile(r"\b(?:by|before|until) (?:mon|tue|wed|thu|fri|sat|sun|the|noon|tomorrow|\d)", re.IGNORECASE)
_PAST = re.compile(r"\b(?:had|was|were|did|asked|wanted|has been)\b", re.IGNORECASE)


def steps(answer: str) -> list[tuple[int, int]]:
    """Character ranges of the things asked; where nothing is asked, of the things promised."""
    asked: list[tuple[int, int]] = []
    promised: list[tuple[int, int]] = []
    found = clauses(answer)
    for number, (start, end) in enumerate(found):
        clause = answer[start:end]
        told = cues(clause, number, len(found))
        match learned.step_kind(clause, told):
            case "ask":
                asked.append((start, end))
                if learned.asks_more_than_once(clause, told):
                    asked += [(start + second, end) for second in _seconds_of(clause) or [_middle(clause)]]
            case "promise":
                promised.append((start, end))
    return asked or promised


def plainly_asks(clause: str, number: int) -> bool:
    """Whether a pattern of asking matches: a question, a request, an order that does not open the answer."""
    bare = clause.lstrip("\"'“‘-•* ")
    order = number > 0 and _IMPERATIVE.search(bare) and not _NO_ORDER.search(bare)
    return bool((_is_question(clause) and not _RHETORICAL.search(bare)) or _REQUEST.search(clause) or order)


def cues(clause: str, number: int, count: int) -> list[float]:
    """What patterns say of the clause that stands at `number` of `count`; the head weighs it."""
    bare = clause.lstrip("\"'“‘-•* ")
    imperative = _IMPERATIVE.search(bare) is not None
    seconds = len(_seconds_of(clause))
    flags = (
        _is_question(clause), _REQUEST.search(clause), imperative and number, imperative and not number,
        *(pattern.search(bare) for pattern in (_WANT, _PROMISE, _NEED_IN_PAST, _NO_ORDER, _RHETORICAL)),
        number == 0, number == count - 1, seconds >= 1, seconds >= 2, " and " in clause,
        *(pattern.search(clause) for pattern in (_YOU, _WE, _WILL, _DEADLINE, _PAST)),
    )  # fmt: skip
    return [*(float(bool(flag)) for flag in flags), min(len(clause.split()), 40) / 20, clause.count(",") / 3]


def clauses(answer: str) -> list[tuple[int, int]]:
    """Character ranges of sentences, and of what a semicolon parts of them."""
    parts: list[tuple[int, int]] = []
    for start, end in sentences(answer):
        at = start
        for mark in re.finditer(r";\s+", answer[start:end]):
            parts.append((at, start + mark.start()))
            at = start + mark.end()
        parts.append((at, end))
    return parts


def _is_question(clause: str) -> bool:
    return clause.rstrip("\"'”’ )").endswith("?")


def _middle(clause: str) -> int:
    """Where the second thing begins, if no pattern knows: at the last 'and' or comma."""
    return max(clause.rfind(" and ") + 1, clause.rfind(", ") + 1, 0)


def _seconds_of(sentence: str) -> list[int]:
    """Where patterns see further things asked for in the same breath."""
    request, question = _REQUEST.search(sentence), _is_question(sentence)
    rest = request.end() if request else 0
    found = {match.start("verb") for match in _COORDINATED.finditer(sentence, rest)}
    found |= {
        match.start() for match in _SECOND_QUESTION.finditer(sentence, 3 if _WH.match(sentence) and question else rest)
    }
    found |= {match.start() for match in _BESIDE.finditer(sentence, rest)}
    if not found and _LIST_VERB.search(sentence, max(rest - 8, 0)) and (row := _LIST.search(sentence, rest)):
        found = {row.start()}
    apart: list[int] = []
    for start in sorted(found):  # ', and can you send' is one thing, whichever patterns see it
        if not apart or start - apart[-1] > len(", and can you "):
            apart.append(start)
    return apart


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
