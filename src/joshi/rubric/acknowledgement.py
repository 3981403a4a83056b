"""The first sentence acknowledges this supplier's message, in at most the plan's number of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable

from joshi.rubric.learned import missing_acknowledgement
from joshi.rubric.text import all_figures as figures_of
from joshi.rubric.text import sentences, words
from joshi.schema import Finding

RULE = "acknowledgement"
THRESHOLD = 0.5  # of the learned probability that nothing is taken up

# Words that take up a feeling, an effort or a point.
_TAKES_UP = re.compile(
    r"\b(appreciat\w+|understand\w*|understood|sorry|glad|pleased|good (?:to|of|news)|kind|thanks? (?:you )?for|"
    r"grateful|welcome|fair\w*|hard|harder|tough|rough|difficult|awkward|frustrat\w+|disappoint\w+|worr\w+|stress\w*|"
    r"pressure|relie[fv]\w*|help\w*|useful|clear\w*|makes? sense|noted|hear\w*|see (?:why|how|that)|generous|"
    r"thoughtful|patien\w+|honest\w*|candid\w*|open\w*|straight\w*|frank\w*|effort|work|news|blow|shock|sad|sympath\w+|"
    r"reason\w*|sensible|constructive|decent|proper|real|no small|steep|unwelcome|respect\w*|admir\w+|value[sd]?|"
    r"comfort\w*|tight|squeez\w+|wise|right|true|nice|great|excellent|lovely|much|care\w*|impress\w+|quick\w*|prompt\w*|"
    r"apologi\w+|unfair|uncalled|gratitude|tears|sad|light decision|fast|counts for|says a lot|finds?|strong\w*|met us|"
    r"unlucky|luck|pain\w*|sting\w*|bruis\w+|exhaust\w+|tir(?:ed|ing)|headache|nightmare|trouble|never easy|not easy|"
    r"isn[’']t easy|no fun|wish|hope|please[sd]|delight\w*|happy|good|best|better|counts?|matters?|goes a long way)\b",
    re.IGNORECASE,
)
# Openings that go straight to business or put the supplier down.
_STRAIGHT_TO_BUSINESS = re.compile(
    r"^(?:please\b(?! (?:pass|give|don|do not|accept))|kindly|can you|could you|would you|will you|"
    r"(?:send|confirm|provide|advise)\b|[^.]*\b(?:is|are) (?:too (?:much|high|long|late)|noted|rejected|unacceptable|"
    r"not (?:acceptable|accepted|possible))\b[^.]{0,15}[.!]?$|[^.]*\b(?:does not|doesn[’']t|can only|will not|won[’']t) (?:work|move|do)\b|we (?:need|require|expect|want|"
    r"must|cannot|can[’']t|will not|won[’']t|don[’']t accept|do not accept|are not|reject|have reviewed)|your (?:offer|"
    r"price|proposal|quote|request|figure)\w* (?:is|are) (?:too|not|rejected|unacceptable|noted\b)|our (?:position|offer|"
    r"price|answer|terms)|this is (?:not|unacceptable)|not (?:acceptable|good enough|interested)|no\b[.,]|unacceptable|"
    r"rejected|declined|regarding|re:|as per|per our|the (?:price|offer|invoice|rate) (?:must|has to|needs to)|"
    r"(?:£|\$|€|EUR|USD|GBP)?\s?\d[\d,.]*\b.{0,30}\b(?:is|are) (?:the|our|what) )",
    re.IGNORECASE,
)
# Says thanks for a message without saying what was in it.
_EMPTY_THANKS = re.compile(
    r"^(?:many )?(?:thanks|thank you)(?: very much| so much)? for (?:your|the) "
    r"(?:e-?mail|message|reply|response|note|inquiry|enquiry|quick reply|prompt reply|update|quote|time|interest)"
    r"(?: (?:dated|of|on|yesterday|today|below)\b[^.]*)?[.!]?$|^(?:noted|understood|ok(?:ay)?|received|thanks|thank you)[.!]?$",
    re.IGNORECASE,
)
# Said of anything: only what it shares with the message makes it an acknowledgement.
_GENERIC = re.compile(
    r"^(?:awesome|great|wonderful|good news)?,?\s*(?:i|we)(?:[’']m| am|[’']re| are)(?: so| very| really| truly)? (?:glad|happy|pleased|sorry|delighted|"
    r"excited|thrilled)\b|^(?:i |we )?(?:hope|trust) (?:you|this|that|all|everything)\b|^thank (?:you|s)\b",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"^(?:buyer|supplier|seller|assistant|me|you)\s*:", re.IGNORECASE)
_SALUTATION = re.compile(r"(?:dear|hi|hello|hey|sehr geehrte[rs]?)\b[^,.!?]{0,40}[,!:]?\s*(?=[A-Z]|$)", re.IGNORECASE)
_COMMON = set(
    (
        "the a an and or but of to in on at for from by with is are was were be been it its this that these "
        "those we you your our i my me us as so if not no do does did have has had will would can could may "
        "than then there here what which who how when all any both more most one two"
    ).split()
)


def check(answer: str, message: str, limit: int, count: Callable[[str], int]) -> Finding:
    """`message` is the supplier's; `limit` in tokens as counted by `count`."""
    span = first_sentence(answer)
    if span is None:
        return Finding(rule=RULE, passed=False, message="the answer is empty")
    first = answer[slice(*span)]
    tokens = count(first)
    if tokens > limit:
        return _failed(span, f"the first sentence has {tokens} tokens, at most {limit} are allowed")
    if first.endswith("?"):
        return _failed(span, "the first sentence asks; it should acknowledge the supplier's message")
    if _SPEAKER.search(first) or first.endswith(":"):
        return _failed(span, "the first sentence is a label, not an answer")
    if _EMPTY_THANKS.search(first):
        return _failed(span, "the first sentence thanks without saying for what")
    chance = missing_acknowledgement(first, message, by_words(first, message))
    if chance > THRESHOLD:
        why = (
            "goes straight to business"
            if _STRAIGHT_TO_BUSINESS.search(first)
            else "takes up nothing of the supplier's message"
        )
        return _failed(span, f"the first sentence {why} ({chance:.0%} sure)")
    return Finding(rule=RULE, passed=True, message=f"acknowledges in {tokens} tokens", span=span)


def first_sentence(answer: str) -> tuple[int, int] | None:
    """Where the first sentence stands; a salutation is no_boilerplate's business and left out."""
    spans = [span for span in sentences(answer) if not _SALUTATION.fullmatch(answer[slice(*span)])]
    if not spans:
        return None
    start, end = spans[0]
    opening = _SALUTATION.match(answer[start:end])
    return (start + opening.end() if opening else start, end)


def by_words(first: str, message: str) -> bool:
    """Whether word lists find nothing taken up: a hint for the learned judgement, not the verdict."""
    if _STRAIGHT_TO_BUSINESS.search(first):
        return True
    theirs = {word[:4] for word in words(message) if word not in _COMMON and len(word) > 3}
    shared = theirs & {word[:4] for word in words(first) if word not in _COMMON}  # 'borrowing' takes up 'borrowed'
    shared_figures = figures_of(first) & figures_of(message)
    return not shared and not shared_figures and bool(_GENERIC.search(first) or not _TAKES_UP.search(first))


def _failed(span: tuple[int, int], message: str) -> Finding:
    return Finding(rule=RULE, passed=False, message=message, span=span)
