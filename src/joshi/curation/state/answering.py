"""Which of the open asks a turn answers: by their words, by what a bare answer looks like, else by meaning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joshi import embedding


@dataclass(frozen=True)
class Ask:
    """`words` are the stems that an answer may take up; `wants` says what a bare answer to it looks like."""

    text: str
    role: str
    words: frozenset[str]
    wants: frozenset[str] = frozenset()
    passed_by: int = 0  # replies of the other side that said nothing on it


QUESTION = re.compile(r"\?[\"'”’) ]*$")
_STOP = frozenset(
    "a an the and or but if so as of to in on at by for from with without about into over per than then that this these those there here it its is are was were be "
    "been being do does did done has have had having can could would will shall should may might must not no nor yes we us our ours you your yours i me my he she "
    "they them their his her what which who whom whose when where why how whether please kindly also just only still now soon again let know tell send confirm give "
    "get got provide share need needs want like would any some one all both each other more most much many very someone somebody anyone anybody there too well ok okay thanks thank dear hello sure fine "
    "asap pls ur im until till before after".split()
)  # fmt: skip
_TOKEN = re.compile(r"\[[A-Z]+_\d+\]|\d[\d.,]*|[^\W\d_]+")
_SUFFIX = re.compile(r"(?:ations?|ments?|ings?|ed|es|s|ly|e|y)$")


def stems(text: str) -> set[str]:
    found = set()
    for token in _TOKEN.findall(text.lower().replace("’", "'")):
        if token[0].isdigit():
            found.add(token.rstrip(".,"))
        elif token not in _STOP and len(token) > 1:
            found.add(_SUFFIX.sub("", token)[:6] if len(token) > 4 else token.rstrip("s"))
    return found


_DATE = re.compile(
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b|\b\d{1,2}(?:st|nd|rd|th)\b|"
    r"\b(?:today|tomorrow|tonight|week|month|noon|days?|hours?|minutes?|annually|quarterly|monthly|immediately|now)\b|\b\d{1,2}[:.]\d{2}\b",
    re.I,
)
_FIGURE = re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|half|none|nothing|free)\b", re.I)
_WHO = re.compile(r"^[A-Z][a-z]+ [A-Z]|\[[A-Z]+_\d+\]|(?<!^)(?<![.!?] )\b[A-Z][a-z]+\b|\b(?:i|we|our \w+|his|her)\b")
_YES_NO = re.compile(
    r"^(?:yes|no|sure|of course|certainly|absolutely|fine|agreed|done|deal|ok|okay|gladly|understood|attached|enclosed|not|never|saw it|exactly|correct|good idea|great|perfect|will do|sorry|barely)\b|"
    r"\b(?:agreed|accepted?|fine|works|okay|possible|doable|attached|enclosed|included|cannot|can[’']t|can do|can be|they can|we can|i can|won[’']t|not something|fair|too (?:long|much|early|late|high|low)|no problem|will do|lose money|below|dropped|need|is yours|cleared|done)\b",
    re.I,
)
_SHOWN = re.compile(
    r"\b(?:attached|enclosed|sent|herewith|here (?:is|are|it)|see|in your inbox|on its way|shared|follow(?:ed)? today)\b",
    re.I,
)
DEFERRED = re.compile(
    r"\b(?:will|[’']ll|shall|have to|must|need to|must first|going to|let me) (?:first )?(?:ask|check|talk|speak|look|revert|come back|get back|be back|consult|sleep|clarify|discuss|think|send|follow|forward)\b|"
    r"\b(?:i[’']?m|we[’']?re|i am|we are|is|are) (?:still |being )?(?:check|look|clarif|wait(?!ing for your)|discuss|ask|working on|prepar)\w*\b|\bfollows? (?:tomorrow|later|soon|shortly|separately|next|on|by|in|when|this|today)\b|\bfollows?[.!]?$|\b(?:is on it|am on it|are on it|being (?:check|prepar|clarif)\w*)\b|"
    r"\b(?:i|we)(?:[’']ve| have) (?:asked|forwarded|passed)\b|\bdepends on\b|\b(?:is|are) (?:still )?(?:with (?:our|the|my)|open|missing|not (?:yet )?(?:here|ready|clear|decided))\b",
    re.I,
)
_PROMISED = re.compile(r"\b(?:understood|will do|in your inbox|no problem|from now on|goes? out|go out)\b", re.I)


@dataclass(frozen=True)
class Said:
    """A sentence of a turn, with what an answer is known by."""

    text: str
    words: frozenset[str]
    shapes: frozenset[str]
    deferred: bool
    asks: bool

    @classmethod
    def of(cls, text: str) -> Said:
        shapes = {
            name
            for name, pattern in (
                ("date", _DATE),
                ("figure", _FIGURE),
                ("who", _WHO),
                ("yes", _YES_NO),
                ("thing", _SHOWN),
            )
            if pattern.search(text)
        }
        deferred = bool(DEFERRED.search(text)) and not _PROMISED.search(text)
        return cls(text, frozenset(stems(text)), frozenset(shapes), deferred, bool(QUESTION.search(text)))


_WANTS = (
    ("date", re.compile(r"\b(?:when|how (?:soon|long|quickly)|what (?:date|day|time)|which (?:date|day|week)|dates?|lead time|by when|deadline)\b", re.I)),
    ("figure", re.compile(r"\b(?:how (?:many|much)|price|cost|rate|share|weight|number|quantity|volume|charge|fee|percent\w*|quote|limit|height|width|size|hours|temperature|voltage|volume|reading|stock|at \d)\b|\d", re.I)),
    ("who", re.compile(r"\b(?:who|whom|whose|name|contact)\b", re.I)),
    ("yes", re.compile(r"^(?:[\w ]{0,20}, )?(?:and |so |but |or |also |then )?(?:could|can|would|will|may|shall|should|is|are|do|does|did|has|have|if|provided)\b", re.I)),
    ("thing", re.compile(r"\b(?:send|share|provide|forward|need|please|require|attach|let us have|receive|confirm)\b", re.I)),
)  # fmt: skip


def wants_of(clause: str, sentence: str) -> frozenset[str]:
    request = not QUESTION.search(sentence)
    wants = {name for name, pattern in _WANTS if pattern.search(sentence if request and name == "thing" else clause)}
    return frozenset(wants | ({"yes"} if request else set()))


ENOUGH = 0.5  # of evidence, in the words
LIKE = 0.5  # cosine from which a sentence is about the ask
_COMMON = 0.3  # what a word counts that several open asks share


def answered(asks: Sequence[Ask], said: Sequence[Said]) -> set[Ask]:
    """Those that some sentence takes up and does not put off: by their words, else by their meaning."""
    counts = Counter(word for ask in asks for word in ask.words)
    common = frozenset(word for word, n in counts.items() if n > 1)
    verdicts = {ask: _by_words(ask, said, common, alone=len(asks) == 1) for ask in asks}
    told = [one.text for one in said if not one.deferred and not one.asks]
    unclear = [ask for ask, verdict in verdicts.items() if verdict is None]
    closed = {ask for ask, verdict in verdicts.items() if verdict}
    if unclear and told:
        embedding.warm([ask.text for ask in unclear] + told)
        meanings = np.stack([embedding.vector(text) for text in told])
        closed |= {ask for ask in unclear if (meanings @ embedding.vector(ask.text)).max() >= LIKE}
    return closed


def _by_words(ask: Ask, said: Sequence[Said], common: frozenset[str], alone: bool) -> bool | None:
    """Answered, put off, or (None) neither that words could tell.

    `common` are words of several open asks, which tell little; `alone`: the other side waits for nothing else.
    """
    best = 0.0
    own = ask.words - common
    whole = sum(_COMMON if word in common else 1.0 for word in ask.words)
    for number, one in enumerate(said):
        shared = len(own & one.words) + _COMMON * len(ask.words & common & one.words)
        if one.deferred and (shared or alone):
            if shared >= 1:
                return False
            continue
        fits = bool(ask.wants & one.shapes)
        score = shared / max(1.0, min(whole, 4.0)) + 0.3 * fits + (0.1 + 0.1 * (number == 0)) * (alone and fits)
        if len(ask.words) <= 1 and ask.wants & one.shapes & {"date", "figure", "who"}:
            score += 0.2
        if "thing" in ask.wants and _PROMISED.search(one.text):
            score += 0.5
        best = max(best, score - 0.3 * one.asks)
    return True if best >= ENOUGH else None
