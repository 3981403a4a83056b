"""Which parts of a sentence ask for something, and how to say it in a few words: by rules."""

from __future__ import annotations

import re
from collections.abc import Iterator

from joshi.curation.state.answering import DEFERRED, QUESTION, stems

MOST_WORDS = 14  # of one ask

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


def clauses_that_ask(sentence: str) -> Iterator[str]:
    """The parts of a sentence that ask for something."""
    bare = sentence.strip("\"'“”‘’-–•*() \t\n")
    if _NO_ASK.search(bare) or _SPOILS.search(bare) or (DEFERRED.search(bare) and not QUESTION.search(sentence)):
        return
    if QUESTION.search(sentence):
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


BARE = re.compile(
    r"^(?:(?:and|so|would|does|do|is|are|will|can|could|hope|hopefully|shall|how about|any chance|what do|please|if) )*(?:that|this|it|these|you|we)\b(?: (?:be|is|are|would|all|also|sound|sounds|work|works|suit|fit|still|you|we|think|agree|live|with|that|this|it|for|on|to|your|side|end|us|do|help|possible|"
    r"acceptable|okay|ok|fine|all right|alright|good|feasible|enough|clear|agreeable|convenient|in order|right|correct|accept|confirm|now|so))*[?.! ]*$|"
    r"^(?:and |so )?(?:would|does|do|is|will|could|can|shall) (?:that|this)\b[^,\d]{0,40}\??$",
    re.I,
)
VAGUE = re.compile(r"^(?:what do you (?:think|say|fancy|reckon)|(?:any )?thoughts|how about it|quick)\W*$", re.I)
OFFERED = re.compile(
    r"^(?:we|i)(?:[’']d| would| can| could)? (?:like to |also )?(?:propose|suggest|offer|have in mind)d? ", re.I
)

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


def short(clause: str) -> str:
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
    text = cut if len(stems(cut)) > 0 else text
    words = text.split()
    text = " ".join(words[:MOST_WORDS]).strip(_EDGE)
    first = words[0] if words else ""
    return (
        text if first[1:] != first[1:].lower() or first.startswith("[") or first == "I" else text[:1].lower() + text[1:]
    )
