"""No greeting, no closing formula, no filler that says nothing."""

from __future__ import annotations

import re

from joshi.schema import Finding

RULE = "no_boilerplate"

_GREETING = re.compile(
    r"^\s*(?:(?:hi|hello|hey|dear|greetings)\b[^.!?\n]{0,40}(?:[,!:\n]|$)|(?:good (?:morning|afternoon|evening|day))\b"
    r"[^.!?\n]{0,30}[,!.\n]|to whom it may concern|respected (?:sir|madam))",
    re.IGNORECASE,
)
_FORMULAS = re.compile(
    r"(?:i |we )?(?:hope|trust) (?:this|that this|my|the) (?:e-?mail|message|note|letter)? ?(?:finds|reaches)|"
    r"(?:i |we )?hope (?:that )?(?:you|all|everything)(?: are|[’']re| is)? (?:\w+ )?(?:well|good|fine)\b|"
    r"(?:do not|don[’']t|please feel free|feel free|never) (?:hesitate |free )?to (?:contact|reach|get in touch|call|let|ask)|"
    r"should you (?:have|require|need) any|if you have any (?:\w+ )?(?:questions|queries|concerns)|"
    r"(?:look(?:ing)? forward) to (?:hear|your|work|receiv|continu|a (?:long|fruit))\w*|"
    r"(?:^|\n)\s*(?:kind|best|warm|many|with (?:best|kind|warm))? ?regards\b|(?:^|\n)\s*(?:yours (?:sincerely|faithfully|truly)|"
    r"sincerely|cheers|all the best|best wishes|many thanks|warmly|best),?\s*(?:\n|$)|"
    r"thank(?:s| you)(?: very much| so much)? (?:in advance|for (?:your|the) (?:e-?mail|message|enquiry|inquiry|patience|"
    r"understanding|continued|ongoing|kind|valued|attention|cooperation|co-operation|business|partnership|support))|"
    r"(?:we |i )?(?:highly |truly |greatly |really )?(?:value|appreciate) (?:your|our|the) (?:continued|ongoing|valued|kind|"
    r"long-?standing) \w+|valued (?:supplier|partner|customer)|at your (?:earliest )?convenience|"
    r"(?:further|any) assistance|as an ai\b|i am writing to|we are writing to|"
    r"please (?:be advised|find (?:attached|enclosed)|note that this)|mutually beneficial|have a (?:great|good|nice|lovely) \w+",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"\n\s*(?:[A-Z][\w.’'-]+ ?){1,4}(?:,[^\n]*)?\s*$|\[your name\]", re.IGNORECASE)


def check(answer: str) -> Finding:
    for pattern, what in ((_GREETING, "a greeting"), (_FORMULAS, "a formula"), (_SIGNATURE, "a signature")):
        if found := pattern.search(answer):
            quoted = " ".join(found.group().split())[:60]
            return Finding(rule=RULE, passed=False, message=f"{what}: “{quoted}”", span=found.span())
    return Finding(rule=RULE, passed=True, message="no greeting, closing or formula")
