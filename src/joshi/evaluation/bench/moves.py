"""What a buyer's reply commits it to: the figures it offers, and whether it takes what the supplier offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from joshi.rubric.text import NUMBER, sentences, value_of

Quantity = Literal["price", "days", "percent", "quantity"]

# Times the supplier's figure: a number further off is about something else. Days and per cents may lie far apart.
_NEAR: dict[Quantity, tuple[float, float]] = {
    "price": (0.5, 2), "days": (0.1, 10), "percent": (0, 10), "quantity": (0.05, 20),
}  # fmt: skip
_SAME = 0.001  # share of the supplier's figure within which a number is that figure

_CLAUSE = re.compile(r";\s+|, so\b|,? (?:but|however|whereas|although|though|yet|while)\b,?\s*|:\s+", re.IGNORECASE)
_LETTERS = re.compile(r"(?<![A-Za-z])([A-Z]{1,3}\$|[A-Z][A-Za-zč]{0,2}\.?)(?=\d)")  # 'R240.50', 'Rs7.95', 'C$318'
_REFUSES = re.compile(
    r"\b(?:can[’']?t|cannot|can not|won[’']t|will not|could(?:n[’']t| not)|would(?:n[’']t| not)|unable|"
    r"not (?:able|possible|ready|prepared|in a position|something|where|what|yet)|isn[’']t|is not|are not|aren[’']t|don[’']t|do not|"
    r"doesn[’']t|never|no room|more than (?:we|i)|beyond us|out of reach|too (?:high|much|steep|far)|hard to|difficult to|short of|"
    r"before (?:we|i) (?:can )?(?:agree|accept|commit|talk|discuss|decide|look|say|answer|come|sign|confirm))\b",
    re.IGNORECASE,
)
_WE = (
    r"\b(?:we|i)(?:[’'](?:d|ll|re|m))?(?: (?:can|could|would|will|are|am|shall|may|might|also|therefore|gladly|happily|certainly|still|"
    r"now|only|just|be|able to|ready to|prepared to|willing to|happy to|glad to|content to|pleased to|have to|need to|hereby))*"
)
_DEAL = (
    r"(?:price|offer|quote|quotation|figure|terms?|rate|proposal|number|deal|increase|rise|position|conditions?|surcharge|freight|fee|"
    r"minimum|credit|note|value|overtime|days|months|per ?cent|lot|quantity|deposit|advance|premium)"
)
_ITS = r"(?:(?:your|the|that|this|those|these) )?(?:(?!\w+ing\b)\w+ ){0,2}?"
_ACCEPTS = re.compile(
    rf"{_WE} (?:accept|approve|take|go (?:ahead )?with|agree (?:to|with|on)|confirm|sign (?:off )?(?:at|on)|proceed (?:at|on|with)) {_ITS}{_DEAL}\b"
    r"(?! (?:is|are|was|in|has|seriously|into|up|to)\b)|"
    rf"{_WE} (?:accept|agree|take (?:it|that)|go with (?:it|that|this)|have a deal)(?=\s*(?:[.!,;]|$|and\b|then\b|from\b))|"
    r"^\W*(?:yes,? )?(?:agreed|deal|accepted|done|that is agreed|consider it (?:agreed|done))(?=\W|$)|"
    r"\bit[’']s (?:a deal|agreed|settled)\b|\bfine (?:by|for|with) us\b|\bgo ahead on (?:those|these|your|that)\b|\bhappy with (?:that|it|this)(?=\W*$)|"
    r"\bconsider (?:it|that|the \S+(?: \w+)?) (?:agreed|done|settled|accepted)\b|\b(?:put|count) us (?:down|in) for\b|\bhave a deal\b|"
    r"\byou have our order\b|\bgo ahead and book\b|\byou can book\b|\bpay what you ask\b|\d\S*(?: [a-z]+){0,5} works\b|\d\S*(?: [a-z]+){0,4} it is(?=\W*$)|"
    rf"\b(?:your|the) (?:\w+ )?{_DEAL} (?:is|are) (?:fine|acceptable|agreed|accepted|ok|okay)\b|"
    rf"{_WE} (?:accept|go with|take) (?:that|it|this|the \S+ {_DEAL})(?= for\b|\W*$)|"
    r"\d\S*[^.?!]{0,20} (?:is|are) (?:on us|ours|for our account|agreed|accepted|fine|acceptable)\b|"
    rf"^\W*(?:yes,? )?(?:that|this|it|your (?:\w+ )?{_DEAL}|the (?:\w+ )?{_DEAL})(?: of \S+(?: \w+){{0,3}})? "
    r"(?:works(?: for us| for me)?(?=\W*$|,| and)|suits us|(?:is|are) (?:fine|acceptable|agreed|accepted|ok|okay|good for us|approved))\b|"
    rf"\blet[’']s (?:go|proceed|close|settle|shake hands) (?:with|on|at) (?:it|that|this|{_ITS}{_DEAL})\b",
    re.IGNORECASE,
)
_OFFERS = re.compile(
    rf"{_WE} (?:accept|agree|offer|pay|do|go (?:to|up|as|with)|meet|propose|suggest|stretch|move|settle|live with|work with|give|buy|"
    r"sign|order|close|counter|commit|come (?:up|to)|stand|confirm|manage|take|land|book|hold|place|proceed|approve|release)\b|"
    r"\b(?:like|need|want|asking|looking|hop(?:e|ing)|aim(?:ing)?)\b[^.?!]{0,25}?(?=[^\w\s]?\d)|"
    r"\b(?:our|my) (?:\w+ )?(?:offer|counter|counter-?offer|proposal|suggestion|number|position)\b|\b(?:how|what) about\b|"
    r"\d\S*(?: [a-z]+){0,5} (?:would|could|might) (?:work|do|suit|be)\b|\b(?:could|can|would|will) (?:you|we|i|\w+ (?:work|do|hold|be possible))\b|"
    r"\bwould (?:\S+ ){1,8}(?:work|do|suit|be possible|settle)\b|"
    r"\d\S*(?: [a-z]+){0,4} it is(?=\W*$)|\bplease (?:confirm|hold|quote|revise|send|reissue|amend|requote|re-quote|match|meet|consider)\b|"
    r"\blet[’']s (?:say|settle|agree|close|meet|make it)\b|\b(?:down|back|closer) to\b|\bmeet (?:you )?(?:at|half)",
    re.IGNORECASE,
)
# Thanks for what the supplier did: 'Getting down to 520 was kind of you.'
_THANKS = re.compile(
    r"\b(?:kind of you|shows|generous|appreciated?|thank you for|thanks for|(?:is|was) welcome|helps)\b", re.IGNORECASE
)
# A figure alone: 'Too expensive. €3.66 per square foot.'
_BARE = re.compile(
    r"^\W*(?:[A-Za-z]{1,3}\W?\s?)?\d[\d.,’']*(?:\s?[^\W\d]{1,3})?(?: (?:per|a|an|each|the) ?[\w ]{0,30})?\W*$"
)
# Told of, not offered: 'down from 48', 'instead of 48', 'your 48'. Before the figure may stand its currency.
_QUOTED = re.compile(
    r"\b(?:from|than|against|instead of|rather than|above|over|versus|vs\.?|not|since|your|compared (?:with|to)|you asked|you quoted|moving off|off|"
    r"today[’']s|current|present|the old|of the|paid|paying|lower|reduce|bring|cut|first|last|next|all|improve|coming down to|came down to|come down to)\s+"
    r"(?:(?:the|your|a|about|current|present|rate|price|of|at|is|was|for|offer|figure|quote|move|rise|increase|net|to|stated|quoted)\s+)*"
    r"(?:[A-Za-z]{1,3}\.?[^\w\s]?\s?|[^\w\s]{1,2}\s?)?$",
    re.IGNORECASE,
)
_NO_PRICE = re.compile(
    r"[\s-]*(?:%|per ?cent|percent|(?:calendar |working |business )?days?|weeks?|months?|years?|hours?|minutes?|pieces?|pcs|units?|"
    r"kg|kilos?|tonnes?|tons?|t\b|m\b|metres?|litres?|pallets?|cartons?|boxes|rolls?|bags?|drums?|sheets?|sets?|pairs?|o[’']clock|"
    r"January|February|March|April|May|June|July|August|September|October|November|December|am\b|pm\b)",
    re.IGNORECASE,
)
_CURRENCY = re.compile(r"(?:[^\w\s.,;:()'\"-]|\b[A-Z][A-Za-zč]{0,2}\.?)\s?$")
_DAYS_AFTER = re.compile(r"[\s-]*(?:calendar |working |business )?days?\b", re.IGNORECASE)
_DAYS_BEFORE = re.compile(r"\b(?:net|terms? (?:of|to))\s*$", re.IGNORECASE)
_MONTH_AFTER = re.compile(
    r"(?:st|nd|rd|th)? (?:January|February|March|April|May|June|July|August|September|October|November|December)\b",
    re.IGNORECASE,
)
_PERCENT_AFTER = re.compile(r"\s*(?:%|per ?cent\b|percent\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Move:
    """`offers`: figures that the reply proposes, in its order; `accepts`: it takes the supplier's.

    A yes that names no figure, beside an offer of another one, is a yes to something else.
    """

    offers: tuple[float, ...]
    accepts: bool


def read(answer: str, standing: float, what: Quantity = "price") -> Move:
    """The move in a reply to a supplier whose figure is `standing`; refusals, questions and mentions take nothing."""
    offers: list[float] = []
    named = agreed = False
    for start, end in sentences(answer):
        asked = answer[start:end].rstrip("\"'”’ )").endswith("?")
        for clause in _CLAUSE.split(_LETTERS.sub(r"\1 ", answer[start:end])):
            if _REFUSES.search(clause) or _THANKS.search(clause):
                continue
            taken = not asked and _ACCEPTS.search(clause) is not None
            found = _figures(clause, standing, what)
            others = [value for value in found if abs(value - standing) > _SAME * standing]
            if taken and not others:
                agreed = True
                named = named or _names_it(clause, standing)
            elif others and (taken or _OFFERS.search(clause) or _BARE.match(clause)):
                offers += others
            elif found and not asked and _OFFERS.search(clause) and not re.search(r"\bplease\b", clause, re.IGNORECASE):
                named = True  # 'We can pay 48' to who asks for 48
    return Move(tuple(offers), named or (agreed and not offers))


def _names_it(clause: str, standing: float) -> bool:
    """Whether the supplier's figure stands in the clause, also as 'your price of 48'."""
    values = [value_of(match["digits"], match["suffix"] or "") for match in NUMBER.finditer(clause)]
    return any(abs(value - standing) <= _SAME * standing for value in values)


def _figures(clause: str, standing: float, what: Quantity) -> list[float]:
    found = []
    least, most = (share * standing for share in _NEAR[what])
    for match in NUMBER.finditer(clause):
        value = value_of(match["digits"], match["suffix"] or "")
        before, after = clause[: match.start()], clause[match.end() :]
        if least <= value <= most and not _QUOTED.search(before) and _is(what, before, match.group(), after):
            found.append(value)
    return found


def _is(what: Quantity, before: str, number: str, after: str) -> bool:
    """Whether the number between these texts is of the kind that is looked for."""
    match what:
        case "price":
            year = re.fullmatch(r"(?:199|20\d)\d", number) and not _CURRENCY.search(before)
            return not (year or _NO_PRICE.match(after))
        case "days":
            return bool(_DAYS_AFTER.match(after) or _DAYS_BEFORE.search(before))
        case "percent":
            return bool(_PERCENT_AFTER.match(after))
        case "quantity":
            return not (_PERCENT_AFTER.match(after) or _MONTH_AFTER.match(after))
