"""What either side has asked for and not been told yet, by rules on sentences.

Asks are carried from turn to turn: a turn first closes what it answers, then opens what it asks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from joshi.rubric import learned
from joshi.rubric.text import sentences
from joshi.schema import Turn

MOST_ASKS = 5  # told in a prompt
MOST_WORDS = 14  # of one ask
_MOST_KEPT = 20  # carried along: bounds the work of a turn
_MOST_CHARACTERS = 8_000  # of a message; what people write is shorter
_MOST_SENTENCES = 60
_LONGEST_SENTENCE = 400  # characters


@dataclass(frozen=True)
class Ask:
    """`words` are the stems that an answer may take up; `wants` says what a bare answer to it looks like."""

    text: str
    role: str
    words: frozenset[str]
    wants: frozenset[str] = frozenset()
    passed_by: int = 0  # replies of the other side that said nothing on it


def outstanding(turns: Sequence[Turn]) -> list[str]:
    """What is open after the last of these turns, oldest first."""
    asks: list[Ask] = []
    for turn in turns:
        asks = after(asks, turn)
    return texts(asks)


def texts(asks: Sequence[Ask]) -> list[str]:
    """The newest few, oldest first."""
    return [ask.text for ask in asks[-MOST_ASKS:]]


def after(asks: Sequence[Ask], turn: Turn) -> list[Ask]:
    """What is open once this turn was written."""
    if turn.role == "system":
        return list(asks)
    said = [_Said.of(text) for text in _sentences(turn.text)]
    theirs = [ask for ask in asks if ask.role != turn.role]
    closed = _answered(theirs, said)
    still = [ask if ask.role == turn.role else _passed(ask, said) for ask in asks if ask not in closed]
    still = [ask for ask in still if ask.passed_by < _DROPPED]
    previous: str | None = None  # the sentence before, if it asked for nothing
    for one in said:
        asked = False
        for clause in _asked(one.text):
            asked = True
            if _VAGUE.search(clause):
                continue
            if _BARE.search(clause):  # 'Does that suit you?' asks for the sentence before
                if previous is None:
                    continue
                clause = _OFFERED.sub("", previous)
            ask = _ask(clause, one.text, turn.role)
            if ask is None:
                continue
            known = next((n for n, other in enumerate(still) if _same(ask, other)), None)
            if known is None:
                still.append(ask)
            elif still[known].role == ask.role:  # asked again
                still[known] = replace(still[known], passed_by=0)
        previous = None if asked else one.text
    return still[-_MOST_KEPT:]


def _sentences(text: str) -> list[str]:
    if len(text) > _MOST_CHARACTERS:  # asks stand at the start or at the end
        text = f"{text[: _MOST_CHARACTERS // 2]}\n{text[-_MOST_CHARACTERS // 2 :]}"
    spans = sentences(text)[:_MOST_SENTENCES]
    return [text[start : min(end, start + _LONGEST_SENTENCE)] for start, end in spans]


# --- asking

_NO_ASK = re.compile(
    r"\bhow (?:are|is|was|have) (?:you|things|life|everything|it going|the family)(?: (?:been|doing|keeping|today))?\?|, (?:no|yes|eh|isn[’']t it)\?|"
    r"^(?:do you (?:really|honestly|seriously|think we)|is(?:n[’']t| not) it\b|who on earth|why on earth|what on earth|who would|what more|why not|who knows|"
    r"(?:so )?(?:okay|ok|right|really|again|see)\?)|"
    r"\b(?:hesitate|feel free|any (?:further |other |more )?(?:questions?|queries|doubts)|should you (?:require|need|have)|if you (?:have|need) any(?:thing)?|anything else|at your disposal)\b|\blook(?:ing)? forward to (?:your (?:reply|answer|response|feedback|order|mail)|hearing)\b",
    re.I,
)
_POLITE = r"(?:find|note|be (?:advised|assured|informed|aware)|do not|don[’']t|accept (?:our|my)|bear with|understand|excuse|forgive|see (?:attached|enclosed|below)|give (?:my|our)|know that|thank|remember)"
_POLITE_WORD = r"(?:please|pls|kindly)"
# What is asked for stands behind these.
_REQUESTS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"\bask for your understanding and for (?=\w)",
        rf"\b{_POLITE_WORD},? (?:also |then |just |to )?(?!{_POLITE}\b)(?=[a-z])",
        r"\b(?:could|can|would|will|may|might) (?:i|we) (?:please |kindly |perhaps )?(?:get|have|receive|ask|trouble|see|assume|expect|bother)\b(?: you)?(?: for| that)? (?=\w)",
        r"\bit(?:[’']d| would) (?:be (?:good|great|helpful|useful|nice|fine)|help)(?: us| me)?(?: a lot)?(?: if (?:you|we) (?:could )?| to )(?:have |get |receive )?(?=\w)",
        r"\b(?:let (?:me|us) (?:know|have)|tell (?:me|us)|advise (?:me|us)|inform (?:me|us))(?: about| by return)? (?=\w)",
        r"\b(?:we|i)(?:[’']d| would| will|[’']ll)? (?:(?:also|still|only|now|just|first|then|urgently) ){0,2}(?:need(?! to)|need to (?:know|hear|have|see|receive|get)|require|must have|have to (?:know|have|hear)|must know|want to know|(?:would |[’']d )?want|like to (?:have|get|receive|know|see)|lack|miss|ask(?: you)? (?:for|to)|await|appreciate|be (?:obliged|grateful|glad|happy) (?:if you (?:would|could)|for))(?: to (?:know|hear|have|get|receive|see))?(?: from you)?(?: about)? (?=\w)",
        r"\b(?:they|he|she|accounts|counsel|team|insurers?|bank|manager|guards|director|customs)(?: \w+)? (?:asks?|wants? to know|wonders?|requires?|(?:was|were|am|are) wondering)(?: about| for| that| if)? (?=\w)",
        r"\b(?:await(?:ing|s)?|waiting for|looking forward to|look forward to) (?=(?:your|the)\b)",
        r"\b(?:we|i) (?:wonder|was wondering|were wondering) (?:whether|if|about) (?=\w)",
        r"\b(?:did|do) not (?:yet )?receive (?=\w)|\b(?:have|has) not (?:yet )?(?:received|got|seen) (?=\w)|\b(?:haven|hasn)[’']t (?:yet )?(?:received|got|seen|had) (?=\w)",
        r"\byou (?:still )?owe (?:us|me) (?:an answer (?:on|about|to) )?(?=\w)",
        r"\bneed (?:ur|your|a|an|the) (?=\w)|\brequires? your (?=\w)",
        r"^(?:(?:and|so|then|also|now|otherwise|just),? )?(?:send|give|return|pick|name|forward|confirm|sign|share|provide|resend|quote|choose|tell|think|reserve|check|replace|drop)(?: over)? (?!(?:you|it|sth|me a hand)\b)(?:me |us )?(?=\w)",
    )
)  # fmt: skip
_QUESTION = re.compile(r"\?[\"'”’) ]*$")
_ENDS_IN_PLEASE = re.compile(r"^(?P<what>[\w' /-]{4,80}?),? (?:please|pls)[.!]*$", re.I)
_MISSING = re.compile(
    r"(?P<what>[\w' /-]{3,60}) (?:is|are) (?:still )?(?:missing|outstanding|open|overdue|not here)\b", re.I
)
_CONDITION = re.compile(
    r"\b(?:if|provided(?: that)?|as long as|on condition that|only if|unless|without|assum(?:es|ing)(?: that)?|depends on|stands if,? and,? only,? if,?)"
    r",? (?P<what>(?:you|your|we (?:get|receive|have|can see)|the (?:term|order|volume|quantity)|\[[A-Z]+_\d+\])(?:[^,.;?!]|[,.](?=\d)){4,110})",
    re.I,
)
_COMMIT = re.compile(
    r"\b(?:we|i)(?: (?:can|could|would|will|shall)|[’']d|[’']ll)\b|\b(?:price|rate|discount|offer|fee|cost|start|take|stands?|assumes|before|still applies)\b",
    re.I,
)
_EARNEST = re.compile(
    r"\bto (?:give|offer|grant|book|hold|reserve|process|start|keep)\b.{0,60}\b(?:we|i) (?:need|require|must have) (?=\w)",
    re.I,
)
# A second thing asked in the same breath.
_AND = re.compile(
    r"(?:,|;|:| and|, and|,? as well as|,? plus) (?:also )?(?=(?:that (?:the|it|you|your|we)|please|kindly|could|can|would|will|tell (?:me|us)|let (?:me|us)|send|confirm|share|provide|"
    r"what|when|how|which|who|where|whether|do you|is the|is there|are the|do we)\b)",
    re.I,
)
_LIST_ITEM = re.compile(
    r",? and (?=(?:your|the|a|an)\b)|, (?=(?:the|your|a|an)\b)", re.I
)  # 'the drawing, the colour code and your address'
_SPOILS = re.compile(
    r"\b(?:do not|don[’']t|won[’']t|no longer|didn[’']t|did not) (?:need|require|want|ask|miss)\b|\bask(?:s|ed)? for your understanding\.?$|\blike to (?:say|tell|thank)\b",
    re.I,
)


def _asked(sentence: str) -> Iterator[str]:
    """The parts of a sentence that ask for something."""
    bare = sentence.strip("\"'“”‘’-–•*() \t\n")
    if _NO_ASK.search(bare) or _SPOILS.search(bare) or (_DEFERRED.search(bare) and not _QUESTION.search(sentence)):
        return
    if _QUESTION.search(sentence):
        parts = _AND.split(bare)
        # 'If it is loud, can you move it' asks behind its comma; a lead-in asks nothing.
        asking = [part for part in parts if (_opens(part) or part is parts[-1]) and not _LEADS_IN.search(part)]
        yield from (part for part in asking if len(part) > 3)
        return
    if wanted := _ENDS_IN_PLEASE.match(bare):
        yield wanted["what"]
        return
    for pattern in _REQUESTS:
        if found := pattern.search(bare):
            rest = bare[found.end() :]
            for part in _AND.split(rest):
                yield from (piece for piece in _LIST_ITEM.split(part) if len(piece) > 2)
            return
    if missing := _MISSING.search(bare):
        yield missing["what"]
        return
    if (condition := _CONDITION.search(bare)) and _COMMIT.search(bare):
        yield condition["what"]


_LEADS_IN = re.compile(r"\b(?:favou?r|questions?)\b.{0,5}$", re.I)
_OPENERS = re.compile(
    r"(?:^|, )(?:and |so |but |or |then )?(?:please|kindly|could|can|would|will|may|might|shall|should|do|does|did|is|are|was|were|has|have|had|must|need|"
    r"what|when|how|which|who|whose|where|whether|why|any|isn[’']t|aren[’']t|tell|send|confirm|share|provide|mind)\b",
    re.I,
)


def _opens(part: str) -> bool:
    return bool(_OPENERS.search(part))


_BARE = re.compile(
    r"^(?:(?:and|so|would|does|do|is|are|will|can|could|hope|hopefully|shall|how about|any chance|what do|please|if) )*(?:that|this|it|these|you|we)\b(?: (?:be|is|are|would|all|also|sound|sounds|work|works|suit|fit|still|you|we|think|agree|live|with|that|this|it|for|on|to|your|side|end|us|do|help|possible|"
    r"acceptable|okay|ok|fine|all right|alright|good|feasible|enough|clear|agreeable|convenient|in order|right|correct|accept|confirm|now|so))*[?.! ]*$|"
    r"^(?:and |so )?(?:would|does|do|is|will|could|can|shall) (?:that|this)\b[^,\d]{0,40}\??$",
    re.I,
)
_VAGUE = re.compile(r"^(?:what do you (?:think|say|fancy|reckon)|(?:any )?thoughts|how about it|quick)\W*$", re.I)
_OFFERED = re.compile(
    r"^(?:we|i)(?:[’']d| would| can| could)? (?:like to |also )?(?:propose|suggest|offer|have in mind)d? ", re.I
)

# --- shortening

_LEAD = re.compile(
    r"^(?:(?:and|so|but|or|also|then|please|kindly|pls|by the way|meanwhile|sorry to chase|one more thing|perhaps|to|that|for|about|if|whether) |"
    r"(?:before that|meanwhile|by the way|otherwise|in return|sorry to chase|also|again)[,:] )+",
    re.I,
)
_AUXILIARY = re.compile(
    r"^you (?:can |could |would |were to )?|^(?:could|can|would|will|may|might|shall|should|do|did|have) (?:you|we|i|your people|our people) (?:please |kindly |perhaps |also |still |maybe |be (?:able|open|willing|so kind as|prepared) to |like to |want to |want us to |wanting )*"
    r"|^(?:would|will) it be possible to |^is (?:it possible|there any way|there a way|there any chance) (?:to |of )?|^any chance of |^mind ",
    re.I,
)
_IS = re.compile(r"^(?:what|which)(?:[’']s| is| are| was| were| would be) (?=\w)", re.I)
_SAY = re.compile(
    r"^(?:confirm|send|resend|share|provide|give|tell|advise|supply|forward|quote|state|name|let|know|get|have|receive|see|attach|return|issue|inform|show|to|us|me|over|back|by return|"
    r"(?:the |a )?(?=(?:signed|revised|amended)\b)|whether|that|if|about|your|ur|the|an|a|our|his|their|some|any|duly|please|also) ",
    re.I,
)
_TAIL = re.compile(
    r",? (?:and (?:i|we)|(?:i|we) (?:can|could|will|would|shall|hold|ask|give|do|take)|so that|so|because|since|otherwise|as soon as possible|asap|in order to|before we|as the|for our finance|and oblige|by the way|though|then|as well|too|please|by (?:mon|tues|wednes|thurs|fri|satur|sun)day|by tomorrow|by return)\b.*$"
    r"|[,;:] .*$| [–—-] .*$",
    re.I,
)
_PREPOSITION = re.compile(r"(?:before|by|in|on|to|until|for|from|at|of)\b", re.I)
_EDGE = " \t\n.,;:!?\"'“”‘’()"


def _short(clause: str) -> str:
    """'Could you send us the revised drawing, so that …' as 'revised drawing'; other clauses keep their verb."""
    text = " ".join(clause.split()).strip(_EDGE)
    if comma := re.search(
        r"^[^,?]{2,60}, (?:so |and |but )?(?=(?:could|can|would|will|what|when|how|which|who|where|do|is|are) )",
        text,
        re.I,
    ):
        text = text[comma.end() :]
    text = _LEAD.sub("", text)
    text = _IS.sub("", _AUXILIARY.sub("", text))
    for _ in range(5):
        stripped = _SAY.sub("", text, count=1)
        if stripped == text or len(stripped) < 3 or _PREPOSITION.match(stripped):
            break
        text = stripped
    cut = _TAIL.sub("", text)
    text = cut if len(_stems(cut)) > 0 else text
    words = text.split()
    text = " ".join(words[:MOST_WORDS]).strip(_EDGE)
    first = words[0] if words else ""
    return (
        text if first[1:] != first[1:].lower() or first.startswith("[") or first == "I" else text[:1].lower() + text[1:]
    )


def _ask(clause: str, sentence: str, role: str) -> Ask | None:
    text, words, wants = _short(clause), frozenset(_stems(clause)), _wants(clause, sentence)
    told = words or wants & {"date", "figure", "who"}  # 'How many, and by when?'
    return Ask(text, role, words, wants) if told and len(text) > 2 else None


# --- answering

_STOP = frozenset(
    "a an the and or but if so as of to in on at by for from with without about into over per than then that this these those there here it its is are was were be "
    "been being do does did done has have had having can could would will shall should may might must not no nor yes we us our ours you your yours i me my he she "
    "they them their his her what which who whom whose when where why how whether please kindly also just only still now soon again let know tell send confirm give "
    "get got provide share need needs want like would any some one all both each other more most much many very someone somebody anyone anybody there too well ok okay thanks thank dear hello sure fine "
    "asap pls ur im until till before after".split()
)  # fmt: skip
_TOKEN = re.compile(r"\[[A-Z]+_\d+\]|\d[\d.,]*|[^\W\d_]+")
_SUFFIX = re.compile(r"(?:ations?|ments?|ings?|ed|es|s|ly|e|y)$")


def _stems(text: str) -> set[str]:
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
_DEFERRED = re.compile(
    r"\b(?:will|[’']ll|shall|have to|must|need to|must first|going to|let me) (?:first )?(?:ask|check|talk|speak|look|revert|come back|get back|be back|consult|sleep|clarify|discuss|think|send|follow|forward)\b|"
    r"\b(?:i[’']?m|we[’']?re|i am|we are|is|are) (?:still |being )?(?:check|look|clarif|wait(?!ing for your)|discuss|ask|working on|prepar)\w*\b|\bfollows? (?:tomorrow|later|soon|shortly|separately|next|on|by|in|when|this|today)\b|\bfollows?[.!]?$|\b(?:is on it|am on it|are on it|being (?:check|prepar|clarif)\w*)\b|"
    r"\b(?:i|we)(?:[’']ve| have) (?:asked|forwarded|passed)\b|\bdepends on\b|\b(?:is|are) (?:still )?(?:with (?:our|the|my)|open|missing|not (?:yet )?(?:here|ready|clear|decided))\b",
    re.I,
)
_PROMISED = re.compile(r"\b(?:understood|will do|in your inbox|no problem|from now on|goes? out|go out)\b", re.I)


@dataclass(frozen=True)
class _Said:
    """A sentence of a turn, with what an answer is known by."""

    text: str
    words: frozenset[str]
    shapes: frozenset[str]
    deferred: bool
    asks: bool

    @classmethod
    def of(cls, text: str) -> _Said:
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
        deferred = bool(_DEFERRED.search(text)) and not _PROMISED.search(text)
        return cls(text, frozenset(_stems(text)), frozenset(shapes), deferred, bool(_QUESTION.search(text)))


_WANTS = (
    ("date", re.compile(r"\b(?:when|how (?:soon|long|quickly)|what (?:date|day|time)|which (?:date|day|week)|dates?|lead time|by when|deadline)\b", re.I)),
    ("figure", re.compile(r"\b(?:how (?:many|much)|price|cost|rate|share|weight|number|quantity|volume|charge|fee|percent\w*|quote|limit|height|width|size|hours|temperature|voltage|volume|reading|stock|at \d)\b|\d", re.I)),
    ("who", re.compile(r"\b(?:who|whom|whose|name|contact)\b", re.I)),
    ("yes", re.compile(r"^(?:[\w ]{0,20}, )?(?:and |so |but |or |also |then )?(?:could|can|would|will|may|shall|should|is|are|do|does|did|has|have|if|provided)\b", re.I)),
    ("thing", re.compile(r"\b(?:send|share|provide|forward|need|please|require|attach|let us have|receive|confirm)\b", re.I)),
)  # fmt: skip


def _wants(clause: str, sentence: str) -> frozenset[str]:
    request = not _QUESTION.search(sentence)
    wants = {name for name, pattern in _WANTS if pattern.search(sentence if request and name == "thing" else clause)}
    return frozenset(wants | ({"yes"} if request else set()))


ENOUGH = 0.5  # of evidence, in the words
_DROPPED = 2  # replies that pass an ask by: whoever still wants it asks again
LIKE = 0.5  # cosine from which a sentence is about the ask
_COMMON = 0.3  # what a word counts that several open asks share


def _answered(asks: Sequence[Ask], said: Sequence[_Said]) -> set[Ask]:
    """Those that some sentence takes up and does not put off: by their words, else by their meaning."""
    counts = Counter(word for ask in asks for word in ask.words)
    common = frozenset(word for word, n in counts.items() if n > 1)
    verdicts = {ask: _by_words(ask, said, common, alone=len(asks) == 1) for ask in asks}
    told = [one.text for one in said if not one.deferred and not one.asks]
    unclear = [ask for ask, verdict in verdicts.items() if verdict is None]
    closed = {ask for ask, verdict in verdicts.items() if verdict}
    if unclear and told:
        learned.warm([ask.text for ask in unclear] + told)
        meanings = np.stack([learned.vector(text) for text in told])
        closed |= {ask for ask in unclear if (meanings @ learned.vector(ask.text)).max() >= LIKE}
    return closed


def _passed(ask: Ask, said: Sequence[_Said]) -> Ask:
    put_off = any(one.deferred for one in said)
    return replace(ask, passed_by=0 if put_off else ask.passed_by + 1)


def _by_words(ask: Ask, said: Sequence[_Said], common: frozenset[str], alone: bool) -> bool | None:
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


def _same(one: Ask, other: Ask) -> bool:
    if one.text == other.text:
        return True
    shared = len(one.words & other.words)
    return shared > 0 and shared >= 0.75 * min(len(one.words), len(other.words))
