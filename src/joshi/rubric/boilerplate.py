"""No greeting, no closing formula, no filler that says nothing.

Greetings stand at the start and closings at the end, in few words and without a fact: place and emptiness decide as
much as the words. 'Thanks for holding £8.40 through June' says something; 'thank you for your message' does not.
"""

from __future__ import annotations

import re

from joshi.rubric.learned import emptiness, place_of
from joshi.rubric.text import sentences
from joshi.schema import Finding

RULE = "no_boilerplate"
THRESHOLD = 0.65  # of the learned probability that a sentence says nothing

_HELLO = (
    r"(?:hi|hello|hey|hiya|dear|greetings|salutations|welcome back|good (?:morning|afternoon|evening|day)|morning|afternoon|evening|happy (?:mon|tues|wednes|thurs|fri|new|holi|east)\w*|"
    r"merry christmas|ladies and gentlemen|gentlemen|sirs|to whom it may concern|respected (?:sir|madam)|esteemed|namaste|hola|bonjour|bonsoir|ciao|buongiorno|guten (?:tag|morgen)|hallo|moin|"
    r"servus|gr[uü](?:ß|ss) gott|ol[aá]|bom dia|buenos d[ií]as|buenas tardes|goedemorgen|goedendag|beste|god dag|hej|hei|dzie[nń] dobry|dobr[yý] den|merhaba|selam|salaam|as-?salaa?mu? alaikum|marhaba|"
    r"konnichiwa|ni hao|sawubona|jambo|shalom|sehr geehrte[rs]?|lieber?|cher|ch[eè]re|estimad[oa]s?|gentile|egregio|caro|szanown[aiy]\w*)"
)
# 'Dear as tin is', 'Hi-temp', 'Good morning slots': the same words as part of a sentence.
_GREETING = re.compile(
    rf"^\W*(?:(?:warm(?:est)?|kind|best|friendly|season[’']s|many|very) )?{_HELLO}(?![-’'\w])"
    r"(?! (?:as|slots?|peak|price|shift|shipments?|deliver\w+|runs?|fresh|traffic|tea|coffee|loads?|stock)\b)"
    r"(?:[^.!?,:;\n]{0,40}(?:[,!:\n]|\.(?=\s)|[–—]|$)| (?:from|to|and)\b)",
    re.IGNORECASE,
)
_CLOSER = (
    r"(?:(?:with|many|my|our|the|and|kind|kindest|best|warm|warmest|very|friendly|sincere|sunny|all) )*(?:regards|rgds|wishes|greetings|cheers|sincerely|faithfully|respectfully|"
    r"cordially|warmly|gratefully|yours(?: (?:truly|sincerely|faithfully|ever|as always))?|thanks(?: (?:again|a lot|a million|in advance|and regards))?|thank you(?: (?:again|very much|so much|kindly|in advance))?|"
    r"all the best|best|bye(?: for now)?|ciao|adieu|later|ttyl|take care|stay (?:safe|well|healthy|warm|tuned)|talk (?:soon|later)|speak soon|see you(?: (?:soon|there|then))?|until (?:then|next time|soon)|"
    r"have (?:a|an) (?:\w+ )?(?:day|week|weekend|evening|morning|afternoon|one|time|trip|holiday|summer|christmas)|enjoy (?:the|your) (?:\w+ )?(?:day|week|weekend|evening|sunshine|sun|holidays?|summer|break)|"
    r"onwards(?: and upwards)?|keep (?:well|smiling|safe|up the good work)|happy (?:weekend|holidays|easter|christmas|friday)|god bless|cordialement|bien (?:cordialement|[àa] vous)|salutations|"
    r"mit freundlichen gr[üu](?:ß|ss)en|(?:viele|liebe|beste|sch[öo]ne|herzliche|freundliche) gr[üu](?:ß|ss)e|mfg|vg|lg|saludos(?: cordiales)?|un saludo|atentamente|atenciosamente|abra[çc]os?|"
    r"cumprimentos|cordiali saluti|distinti saluti|saluti|met vriendelijke groet(?:en)?|groet(?:en|jes)?|med v[äa]nlig(?:a)? h[äa]lsning(?:ar)?|mvh|hilsen|pozdrawiam|s pozdravem|sayg[ıi]lar[ıi]mla|arigato)"
)
# The last words: a closing alone or with a name; no figure, no thing.
_CLOSING = re.compile(
    rf"(?:^|[.!?;,–—\n][ \t]*)(?:{_CLOSER})\b(?:[,.!–— ]+(?:(?:from|to|and|the|de|of)\b[^.!?\n\d]{{0,40}}|[A-Z][\w.’' -]{{0,40}}))?[\s.,!–—]*$",
    re.IGNORECASE,
)
_FORMULAS = re.compile(
    r"(?:hop(?:e|ing)|trust(?:ing)?) (?:that )?(?:this|my|our|the) (?:e-?mail|message|note|letter|mail|reply)?\s?(?:finds|reaches|meets)|"
    r"(?:hop(?:e|ing)|trust(?:ing)?) (?:that )?(?:you|all|everything|everyone|things|life|your (?:week|day|weekend|team|family|year|summer|holiday)\w*)\b[^.!?]{0,30}?\b(?:well|good|fine|great|ok|okay|"
    r"safe|healthy|in (?:good|great|best) \w+|restful|pleasant|lovely|nice|smoothly|started)\b|"
    r"(?:do not|don[’']t|please feel free|feel free|never) (?:hesitate |free )?to (?:contact|reach|get in touch|call us|call me|let (?:us|me)|ask|write|drop|shout|ping)|"
    r"(?:please |do |just )(?:shout|ping|holler|give (?:us|me) a (?:shout|ring|bell)|drop (?:us|me) a line) (?:if|should|any ?time|whenever)|"
    r"should (?:you|anything|there be|any) (?:have|require|need|be unclear|questions?|doubts?)|if (?:you have|there are) any (?:\w+ )?(?:questions|queries|concerns|doubts)|if (?:anything|something) is unclear|"
    r"(?:remain|am|are|stay|be) (?:always |gladly |entirely |fully |happy to be )?(?:at your (?:disposal|service)|available for any|here (?:to help|for you)|happy to (?:help|assist)|on hand)|"
    r"(?:look(?:ing)?|looking very much) forward to (?:hear\w*|your (?:\w+ )?(?:reply|response|answer|feedback|news)|work\w*|receiv\w+|continu\w+|a (?:long|fruit)\w*|our (?:further|future|continued)|doing)|"
    r"(?:await|waiting for|anticipating) your (?:kind |prompt |early |positive )?(?:reply|response|answer|feedback)|"
    r"thank(?:s| you)(?: very much| so much| again)? (?:in advance|for (?:your|the|all your) (?:e-?mail|message|mail|letter|note|enquiry|inquiry|patience|time|help|reply|response|quick \w+|prompt \w+|swift \w+|"
    r"understanding|continued|ongoing|kind|valued|attention|cooperation|co-operation|business|partnership|support|collaboration|interest|consideration|trust|feedback|update|effort)s?\b(?! (?:on|with|about|over|to|in) )|"
    r"for (?:reaching out|getting (?:in touch|back)|writing|contacting|being (?:a|our|such)))|"
    r"(?:we |i )?(?:highly |truly |greatly |really |very much |deeply |always )?(?:value|appreciate|cherish|treasure) (?:your|our|the|this) (?:good |long |continued |ongoing |valued |kind |long-?standing |excellent |close |business )*"
    r"(?:relationship|partnership|cooperation|co-operation|collaboration|business|support|work together|loyalty|friendship|service|trust)|"
    r"(?:relationship|partnership|cooperation|collaboration)[^.!?]{0,30}\b(?:means? (?:a (?:great deal|lot)|everything|so much)|is (?:very )?(?:important|dear|valuable) to|we (?:value|cherish))|"
    r"communication is key|team ?work makes|win[- ]win|synerg\w+|together we (?:can|are|will)|"
    r"(?:always|such) a pleasure|pleasure (?:doing|dealing|working|to (?:do|deal|work|hear))|valued (?:supplier|partner|customer)|"
    r"at your (?:earliest |own )?convenience|(?:further|any) assistance|as an ai\b|(?:i am|i[’']m|we are|we[’']re) (?:writing|reaching out|getting in touch|contacting you)|"
    r"(?:kindly|please) (?:be (?:informed|advised|assured|noted)|find (?:attached|enclosed)|note that (?:this|we))|this is to inform|we (?:would like|wish) to inform you|"
    r"as per (?:my|our) (?:last|previous|earlier)|per my last|further to (?:my|our|your) (?:last|previous|e-?mail|letter|call)|touch(?:ing)? base|circl(?:e|ing) back|just (?:a )?(?:quick )?(?:checking in|following up)|"
    r"it goes without saying|needless to say|last but not least|at the end of the day|i (?:just )?wanted to (?:touch|follow|reach|drop|let you know)|rest assured|mutually beneficial|"
    r"have (?:a|an) (?:great|good|nice|lovely|wonderful|pleasant|fantastic|relaxing|sunny|fine|blessed) (?:\w+)|happy (?:mon|tues|wednes|thurs|fri)day\b|keep up the (?:good|great)|your esteemed|do the needful|same to be noted|"
    r"(?:warm|kind|best|kindest|warmest) regards\b",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"\n[ \t]*(?:[A-Z][\w.’'-]+ ?){1,4}(?:,[^\n]*)?\s*$|\[your name\]|[.!?]\s+[–—-]{1,2}\s?(?:[A-Z][\w.’'-]+ ?){1,3}\.?\s*$",
    re.IGNORECASE,
)


def check(answer: str) -> Finding:
    if found := by_words(answer):
        match, what = found
        quoted = " ".join(match.group().split())[:60]
        return Finding(rule=RULE, passed=False, message=f"{what}: “{quoted}”", span=match.span())
    spans = sentences(answer)
    for number, span in enumerate(spans):
        sentence = answer[slice(*span)]
        chance = emptiness(sentence, place_of(number, len(spans)), bool(by_words(sentence)))
        if chance > THRESHOLD:
            quoted = " ".join(sentence.split())[:60]
            return Finding(rule=RULE, passed=False, message=f"says nothing ({chance:.0%} sure): “{quoted}”", span=span)
    return Finding(rule=RULE, passed=True, message="no greeting, closing or formula")


def by_words(answer: str) -> tuple[re.Match[str], str] | None:
    """The first formula that the lists know, with what it is."""
    spans = sentences(answer)
    tail = spans[-2][0] if len(spans) > 1 else 0  # a closing is at most the last two pieces: 'Cheers, J.'
    tests = (
        (_GREETING.search(answer), "a greeting"),
        (_FORMULAS.search(answer), "a formula"),
        (_CLOSING.search(answer, tail), "a closing"),
        (_SIGNATURE.search(answer), "a signature"),
    )
    return next(((found, what) for found, what in tests if found), None)
