"""No toxic, dismissive or condescending tone."""

from __future__ import annotations

import re

from joshi.rubric.learned import rudeness
from joshi.rubric.text import sentences
from joshi.schema import Finding

RULE = "professional"
THRESHOLD = 0.5  # of the learned probability that the tone is wrong

_RUDE = re.compile(
    r"\b(?:ridiculous|absurd|nonsense|rubbish|pathetic|laughable|(?:a |is this (?:a )?)joke|joking|stupid|idiot\w*|incompetent|amateur\w*|shambles|"
    r"clueless|lazy|liar|lying|insult\w*|childish|silly|sulking|disgrace\w*|hopeless|whining|moan\w*|excuses|spare me|"
    r"grow up|wake up|get real|get your act|do your job|basic (?:arithmetic|maths?|competence|planning)|"
    r"not (?:my|our) (?:problem|concern|business|job)|your problem|hardly (?:our|my) (?:problem|concern|fault)|"
    r"as i (?:have )?(?:already )?(?:said|told|explained)|how many times|once again,? (?:you|we)|"
    r"(?:surely|perhaps|maybe) (?:even )?you (?:can|could|should|people|understand)|even (?:you|a child|a junior|an intern)|"
    r"(?:your|their) (?:\w+ )?(?:job|problem|muddle|inefficiency)(?:, \w+,?|,)? (?:not (?:ours|mine|our)|frankly)|nobody over there|"
    r"should learn|expected better|assuming you can|any competent|not a penny more|no wonder|like a grown-?up|"
    r"you people|you lot|if you (?:bothered|had bothered|can manage|could manage|actually|knew)|bother(?:ed)? to|"
    r"take it or leave it|frankly,? (?:i|we) (?:don[’']t|do not|couldn[’']t)|(?:don[’']t|do not|couldn[’']t|could not) care|"
    r"wast(?:e|ing|ed) (?:of )?(?:my|our|everyone[’']s) time|(?:not|hardly) (?:rocket science|difficult|complicated)|"
    r"it(?: is|[’']s) (?:really )?(?:quite )?(?:simple|obvious)\b|let me explain (?:how|it|this)|"
    r"(?:try|learn) (?:reading|to read|counting)|read (?:it|the \w+) (?:again )?(?:properly|slowly)|"
    r"boo[- ]?hoo|sob stor\w+|cry(?:ing)? (?:wolf|poor|to)|nobody(?: here)? (?:cares|believes|asked)|you should be grateful|"
    r"i[’']d have thought|one would (?:think|have thought|expect|hope)|anyone (?:competent|serious|in (?:this|your) (?:trade|business))|"
    r"serious suppliers?|proper suppliers?|professionals? (?:do|would|don[’']t)|dear oh dear|oh dear|how (?:touching|convenient|sweet|lovely|nice for)|"
    r"what a surprise|what a tragedy|well done you|bless)\b",
    re.IGNORECASE,
)


def check(answer: str) -> Finding:
    if found := _RUDE.search(answer):
        return Finding(rule=RULE, passed=False, message=f"tone: “{found.group()}”", span=found.span())
    chance = rudeness(answer) if answer.strip() else 0.0
    if chance > THRESHOLD:
        span = max(sentences(answer) or [(0, len(answer))], key=lambda span: rudeness(answer[slice(*span)]))
        quoted = " ".join(answer[slice(*span)].split())[:60]
        return Finding(rule=RULE, passed=False, message=f"tone ({chance:.0%} sure): “{quoted}”", span=span)
    return Finding(rule=RULE, passed=True, message="civil")
