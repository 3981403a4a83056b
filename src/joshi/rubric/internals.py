"""Not a word of how the buyer works inside: limits, tools, policies, approvers, escalation, rivals' quotes, prompts.

'score', 'analysis' and 'policy' are ordinary words, so what decides is the phrase around a word, and whether a
figure or a name stands in the context's secret notes and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from joshi.rubric.learned import exposure
from joshi.rubric.text import all_figures, figures, names, sentences
from joshi.schema import Context, Finding

RULE = "no_internals"
THRESHOLD = 0.65  # of the learned probability that a sentence gives something away

_IDENTIFIERS = re.compile(
    r"\bPROC-WF-[A-F0-9]{6,}|\bSUP-[A-Z0-9]{6,}|\bNEG-R\d+-|\bworkflow[_ ]id\b|<!--|\b(?:thread_index|action_id|"
    r"session_reference|supplier_id|walkaway_price|target_price|counter_price|no_deal|buyer_max)\b|<\|\w+\|>",
    re.IGNORECASE,
)
_PHRASES = re.compile(
    "|".join(
        (
            # limits
            r"walk[- ]?away (?:price|point|figure|number|position|limit|at|above|from .{0,20}£)?|\bwalk[- ]away\b|"
            r"\b(?:BATNA|ZOPA)\b|reservation price|should[- ]cost|market floor",
            r"\b(?:our|my|internal) (?:\w+ ){0,2}(?:target|ceiling|cap|limit|maximum|upper limit|threshold|"
            r"bottom line|red line)\b(?! (?:date|market|group|audience|weight|week|of the contract|ship|delivery))",
            r"\b(?:target|ceiling) (?:price |figure )?(?:is|of|at|was|sits|stands)\b|\b(?:target|limit) price\b",
            r"\b(?:authori[sz]ed|allowed|permitted|cleared|budgeted) (?:me |us )?(?:to (?:go|pay|spend|agree|offer)|up to|only)",
            r"\b(?:i|we) (?:can|could|may|am able to|are able to) (?:only )?(?:go|stretch|pay) (?:up |as (?:high|far) )"
            r"(?:to|as)\b.{0,25}\b(?:internally|at most|max\w*|before|without)",
            r"\b(?:above|over|beyond|past|outside|exceeds?|within|under|below) (?:my|our) (?:\w+ )?(?:limit|authority|ceiling|"
            r"target|budget|mandate|threshold|band|guard\w*|tolerance|approval\w*|delegat\w+)",
            # approvers and escalation
            r"\bescalat(?:e|es|ed|ing|ion)\b",
            r"\b(?:sign[- ]?off|approval|approve[sd]?|green light|go-ahead|signature|authori[sz]ation|permission|clearance)\b"
            r"[^.?!]{0,50}\b(?:director|manager|board|finance|CFO|CEO|CPO|boss|committee|head of|VP|president|controller|"
            r"management|legal|treasury|desk)\b",
            r"\b(?:director|manager|board|finance|CFO|CEO|CPO|boss|committee|head of \w+|VP|controller|management|treasury)\b"
            r"[^.?!]{0,40}\b(?:sign[- ]?off|approv\w+|authori[sz]\w+|has to (?:sign|agree|clear)|must (?:sign|agree|clear)|"
            r"won[’']t (?:sign|allow|approve)|will(?: not|n[’']t) (?:sign|allow)|to sign)",
            r"\b(?:needs?|requires?|must (?:go|be)|has to (?:go|be)|have to (?:go|be)|goes|go) (?:to|past|through|by|via|across) "
            r"(?:my|our|the) (?:director|manager|board|finance|CFO|CEO|CPO|boss|committee|head|VP|controller|management)",
            # tools, rules and prompts
            r"\bguard-?rails?\b|\bplaybook\b|\bsystem prompt\b|\bprompt template\b|\blanguage model\b|\bas an AI\b|\bAI (?:agent|"
            r"assistant|tool|model)\b|\b(?:ranking|scoring|negotiation|pricing) (?:agent|engine|model|tool|bot|algorithm)\b",
            r"\b(?:our|the|my) (?:\w+ ){0,2}(?:system|tool|software|platform|algorithm|engine|bot|dashboard|model|workflow|"
            r"spend tool|comparison)\b[^.?!]{0,25}\b(?:flag\w*|shows?|showing|scor\w+|says?|won[’']t|will not|block\w*|rank\w*|reject\w*|"
            r"recommend\w*|has you|puts?|rates?|lists?|tells?|calculat\w+|suggest\w*|compar\w+|allow\w*|stops?|has us)\b",
            r"\b(?:internal|procurement|purchasing|sourcing|spend|company|group|finance) (?:policy|policies|guidelines?|rules?|"
            r"scor\w+|benchmark\w*|analysis|threshold|review|target)\b",
            r"\b(?:policy|rule) (?:[A-Z]{2,}[- ]?\d+|no\.? ?\d+|number|caps?|says|requires|limits|forbids|won[’']t|does not|doesn[’']t)",
            # other suppliers
            r"\b(?:another|other|competing|rival|competitor\w*|alternative|second|cheaper|lower) (?:supplier|vendor|source|quote|bid|"
            r"offer|bidder|firm|mill|house|party)[\w’']* (?:\w+ )?(?:at|is|are|of|from|for|has|have|offers?|quoted|came|come|sits?|"
            r"holds?|in hand|on (?:file|the table|my desk)|already|will)\b",
            r"\b(?:we|i)(?: have|[’']ve| also have|[’']ve got)(?: got)? (?:a |an |another |two |three |other )?(?:\w+ )?(?:quotes?|bids?|offers?) "
            r"(?:from|at|of|in hand|on file|elsewhere|that)",
            r"\b(?:quoted|offered|bid)(?: us)? (?:£|\$|€|EUR|USD|GBP|CHF|Rs)?\s?[\d.,]+[^.?!]{0,20}\b(?:elsewhere|cheaper)",
        )
    ),
    re.IGNORECASE,
)


_THEIRS = re.compile(r"\b(?:your|their|his|her)\s*$", re.IGNORECASE)


def check(answer: str, context: Context, open_text: str, terms: Sequence[str]) -> Finding:
    """`open_text` is all of the context that both sides know; `terms` are the plan's own words."""
    if found := _IDENTIFIERS.search(answer):
        return _failed(found.span(), "an internal identifier", answer)
    for term in terms:
        if found := re.search(rf"(?<!\w){re.escape(term)}(?!\w)", answer, re.IGNORECASE):
            return _failed(found.span(), "an internal term of the plan", answer)
    if context.notes and (span := _from_notes(answer, context.notes, open_text)):
        return _failed(span, "something that only the internal notes say", answer)
    # What the supplier said first ('our board must approve') is no secret of the buyer's.
    for found in _PHRASES.finditer(answer):
        theirs = _THEIRS.search(answer, 0, found.start()) or found.group().lower() in open_text.lower()
        if not theirs:
            return _failed(found.span(), "how the buyer works inside", answer)
    for span in sentences(answer):
        if (chance := exposure(answer[slice(*span)])) > THRESHOLD:
            return _failed(span, f"how the buyer works inside ({chance:.0%} sure)", answer)
    return Finding(rule=RULE, passed=True, message="nothing internal")


def _from_notes(answer: str, notes: str, open_text: str) -> tuple[int, int] | None:
    open_figures = all_figures(open_text)
    secret_figures = {value for value in all_figures(notes) if value >= 3} - open_figures
    for value, span in figures(answer):
        if value in secret_figures:
            return span
    known = open_text.lower()
    secret_names = {name for name, _ in names(notes) if name.lower() not in known and len(name) > 2}
    for name, span in names(answer):
        if name in secret_names:
            return span
    return None


def _failed(span: tuple[int, int], what: str, answer: str) -> Finding:
    return Finding(rule=RULE, passed=False, message=f"{what}: “{answer[slice(*span)][:60]}”", span=span)
