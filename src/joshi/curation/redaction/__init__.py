"""Direct identifiers to placeholders that are the same throughout a conversation, prices to ranges.

Who takes part is known from headers and fields; what has a form of its own is found by patterns (`identifiers`, `prices`);
names in running text, bare prices, and which codes are references and not articles, by a network that reads the whole
conversation (`network`, `names`, `bare`). A name found once is masked wherever it occurs in the conversation, in any case
and with any ending.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from joshi.curation.redaction.bare import Number, find_bare
from joshi.curation.redaction.known import firm_forms, from_address, from_host, is_common, person_forms
from joshi.curation.redaction.names import find_names, written_small
from joshi.curation.redaction.network import TAGS, Judgement, load_network
from joshi.curation.redaction.prices import Price, find_prices, with_currency
from joshi.curation.redaction.ranges import as_range
from joshi.curation.redaction.reading import CODES, Talk, doubtful, identified, masked_in, read
from joshi.curation.redaction.spans import Span, occurrences, overlaps
from joshi.curation.redaction.tokens import pieces
from joshi.plan import Plan
from joshi.schema import Conversation, Participant

REFERENCE = 0.1  # a doubtful code is masked above this probability; chosen on files that were left out of teaching


@dataclass(frozen=True)
class _Known:
    placeholder: str
    ordinary: bool  # an ordinary word as well: 'Rose', 'Summit'
    exact: bool  # initials: 'KPL'


class Redactor:
    """Redacts one conversation; keeps the placeholder of every identifier it has seen in it.

    `counts` are the replacements by kind; `people` is whoever was masked, as written: names, e-mail addresses and
    telephone numbers.
    """

    def __init__(self, plan: Plan, participants: Sequence[Participant], texts: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.people: set[str] = set()
        self._plan = plan
        self._numbers: Counter[str] = Counter()
        self._placeholders: dict[tuple[str, str], str] = {}
        self._forms: dict[str, _Known] = {}
        self._ranges: dict[str, float] = {}
        texts = [piece for text in texts for _, piece in pieces(text)]
        self._names: dict[str, list[Span]] = {}
        self._bare: dict[str, list[Price]] = {}
        self._references: dict[str, bool] = {}  # each doubtful code of the talk, in casefold
        self._units = with_currency(texts)
        self._lowered = written_small(texts)
        for one in participants:
            self._add_participant(one)
            self.people |= {value for value in (one.person, one.email, one.phone) if value}
        for text in texts:
            self._add_identifiers(text)
        self._read(texts)
        for text in texts:
            self._add_names(text)
        said = "\n".join(texts).casefold()
        self._said = [form for form in self._forms if form in said]  # the fewer, the sooner looked for

    def redact(self, text: str) -> str:
        """The text with placeholders and price ranges."""
        made, at = [], 0
        for start, end, kind, replacement in self.spans(text):
            if kind in ("PERSON", "EMAIL", "PHONE"):
                self.people.add(text[start:end])
            made += [text[at:start], replacement]
            at = end
            self.counts[kind] += 1
        return "".join([*made, text[at:]])

    def spans(self, text: str) -> list[tuple[int, int, str, str]]:
        """What is replaced: half-open ranges with the kind and what comes in their place, in the order of the text.

        A text longer than anybody's message is taken piece by piece, as in `__init__`: the work would grow with the
        square of its length.
        """
        return [
            (start + a, start + b, kind, replacement)
            for start, piece in pieces(text)
            for a, b, kind, replacement in self._in_piece(piece)
        ]

    def _in_piece(self, text: str) -> list[tuple[int, int, str, str]]:
        spans: list[tuple[int, int, str, str]] = []
        for start, end, kind in self._identified(text):
            known = self._forms.get(text[start:end].casefold())
            placeholder = known.placeholder if known else self._placeholder(kind, text[start:end])
            spans.append((start, end, _kind(placeholder), placeholder))
        known_ones = self._known(text, spans)
        spans += [(start, end, _kind(placeholder), placeholder) for start, end, placeholder in known_ones]
        for price in (*find_prices(text), *self._bare_in(text)):
            if not overlaps(price.span, spans):
                spans.append((*price.span, "PRICE", " to ".join(self._range(v, price.unit) for v in price.values)))
        return sorted(spans)

    def _identified(self, text: str) -> Sequence[Span]:
        """What patterns find, without codes that the network takes for an article's."""
        found = identified(text)
        doubts = {span: text[span[0] : span[1]].casefold() for span in doubtful(text)}
        if not doubts:
            return found
        if not all(code in self._references for code in doubts.values()):
            self._read_alone(text)
        return [span for span in found if span not in doubts or self._references[doubts[span]]]

    def _known(self, text: str, taken: Sequence[tuple[int, int, str, str]]) -> list[tuple[int, int, str]]:
        """Spans of known forms, then what the tagger alone saw, with their placeholders."""
        found: list[tuple[int, int, str]] = []
        tagged = self._names.get(text, [])
        # What is no message of the conversation, a field or a state, may hold forms that no message does.
        for start, end, form in occurrences(self._said if text in self._names else self._forms, text):
            known = self._forms[form]
            if not overlaps((start, end), tagged) and not _may_be(text[start:end], known, text, start):
                continue
            if not overlaps((start, end), taken):
                found.append((start, end, known.placeholder))
        for start, end, kind in tagged:
            rest = _without((start, end), [(a, b) for a, b, *_ in taken] + [(a, b) for a, b, _ in found], text)
            found += [(a, b, self._placeholder(kind, text[a:b])) for a, b in rest]
        return found

    def _add_participant(self, one: Participant) -> None:
        kind = "SUPPLIER" if one.role == "supplier" else "BUYER"
        firm = self._placeholder(kind, one.firm) if one.firm else None
        if one.firm and firm:
            self._learn(firm, firm_forms(one.firm))
        if one.person:
            self._add_person(one.person)
        if one.email:
            self._learn(self._placeholder("EMAIL", one.email), [one.email])
            self._add_address(one.email, firm or self._placeholder(kind, one.email.partition("@")[2]))
        if one.phone:
            self._learn(self._placeholder("PHONE", one.phone), [one.phone])

    def _add_address(self, email: str, firm: str | None = None) -> None:
        people, firms = from_address(email)
        for person in people:
            self._add_person(person)
        if firms:
            known = next((self._forms[f].placeholder for f in firms if f in self._forms), firm)
            self._learn(known or self._placeholder("FIRM", firms[0]), firms)

    def _add_identifiers(self, text: str) -> None:
        """Addresses name their owners; 'PO DAP/2291' once makes a bare 'DAP/2291' the same order everywhere."""
        for start, end, kind in identified(text):
            value = text[start:end]
            if kind == "EMAIL":
                self._add_address(value)
            elif kind == "URL":
                host = re.sub(r"^(?:https?://)?(?:www\.)?", "", value).split("/")[0]
                firms = list(from_host(host))
                if firms and not any(form in self._forms for form in firms):
                    self._learn(self._placeholder("FIRM", firms[0]), firms)
            elif kind in CODES and sum(c.isdigit() for c in value) >= 3 and len(value) > 3:
                self._learn(self._placeholder(kind, value), [value])

    def _read(self, texts: Sequence[str]) -> None:
        """Names, bare prices and doubtful codes of messages, read together."""
        masked = [masked_in(text) for text in texts]
        talk = read(texts, masked, self._units, self._lowered)
        judged = load_network().judge(talk)
        told: dict[int, list[Number]] = defaultdict(list)
        for number in talk.numbers:
            told[number.message].append(number)
        for place, (text, words, start, spans) in enumerate(zip(texts, talk.words, talk.starts, masked, strict=True)):
            chances = judged.tags[start : start + len(words), :3]
            self._names[text] = list(find_names(text, words, chances, spans, self._lowered))
            self._bare[text] = find_bare(words, told[place], judged.prices, self._units, start)
        self._judge_codes(texts, talk, judged)

    def _judge_codes(self, texts: Sequence[str], talk: Talk, judged: Judgement) -> None:
        """Whether each doubtful code is a reference: by the mean over where it stands, so that it is one everywhere."""
        heard: dict[str, list[float]] = defaultdict(list)
        for text, words, first in zip(texts, talk.words, talk.starts, strict=True):
            for start, end, _ in doubtful(text):
                at = next((first + place for place, word in enumerate(words) if word.start == start), None)
                chance = 1.0 if at is None else judged.tags[at, TAGS.index("CODE")]  # None: in the middle of a word
                heard[text[start:end].casefold()].append(float(chance))
        for code, chances in heard.items():
            self._references.setdefault(code, sum(chances) / len(chances) > REFERENCE)

    def _read_alone(self, text: str) -> None:
        """Bare prices and doubtful codes of a text that is no message: a field, a state."""
        talk = read([text], [masked_in(text)], self._units, self._lowered)
        judged = load_network().judge(talk)
        self._bare.setdefault(text, find_bare(talk.words[0], talk.numbers, judged.prices, self._units))
        self._judge_codes([text], talk, judged)

    def _bare_in(self, text: str) -> list[Price]:
        if text not in self._bare:
            self._read_alone(text)
        return self._bare[text]

    def _add_names(self, text: str) -> None:
        for start, end, kind in self._names[text]:
            if kind == "PERSON":
                self._add_person(text[start:end])
            else:
                self._add_firm(text[start:end])

    def _add_person(self, name: str) -> None:
        forms = person_forms(name)
        if forms:
            # 'Pugh' after 'Gareth Pugh' is the same person.
            known = next(
                (self._placeholders[k] for f in forms if (k := ("PERSON", _key(f))) in self._placeholders), None
            )
            placeholder = known or self._placeholder("PERSON", forms[0])
            for form in forms:
                self._placeholders.setdefault(("PERSON", _key(form)), placeholder)
            self._learn(placeholder, forms)

    def _add_firm(self, name: str) -> None:
        forms = firm_forms(name)
        known = next((self._forms[f.casefold()].placeholder for f in forms if f.casefold() in self._forms), None)
        self._learn(known or self._placeholder("FIRM", forms[0] if forms else name), forms)

    def _learn(self, placeholder: str, forms: Sequence[str]) -> None:
        for form in forms:
            word = " " not in form and form.isalpha()
            exact = word and form.isupper() and len(form) <= 4
            self._forms.setdefault(form.casefold(), _Known(placeholder, word and is_common(form), exact))

    def _placeholder(self, kind: str, value: str) -> str:
        key = (kind, _key(value))
        if key not in self._placeholders:
            self._numbers[kind] += 1
            self._placeholders[key] = f"[{kind}_{self._numbers[kind]}]"
        return self._placeholders[key]

    def _range(self, value: float, unit: str) -> str:
        """The value's range in this conversation; two values never share one, or an offer would equal its counter."""
        for finer in range(4):
            text = as_range(value, unit, self._plan.curation.price_band, self._plan.seed, finer)
            if self._ranges.setdefault(text, value) == value:
                break
        return text


def _kind(placeholder: str) -> str:
    return placeholder[1:].rsplit("_", 1)[0]


def _key(value: str) -> str:
    return " ".join(value.casefold().split())


def _may_be(written: str, known: _Known, text: str, start: int) -> bool:
    """Whether this occurrence of a known form is the name: 'Will' is, 'will' and the first word of a question are not."""
    if known.exact:
        return written.isupper()
    if not known.ordinary:
        return True
    if written.islower():
        return False
    before = text[:start].rstrip(" \"'“‘(")
    if before and before[-1] not in ".!?…:\n•-–":
        return True
    # 'Rose, take …', a name on a line of its own
    return bool(re.match(r"\s*(?:,|\n|$|[’']s\b)", text[start + len(written) :]))


def _without(span: tuple[int, int], taken: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """What of a span is not taken, where it holds a word."""
    rest = [span]
    for start, end in taken:
        rest = [part for a, b in rest for part in ((a, min(b, start)), (max(a, end), b)) if part[0] < part[1]]
    trimmed = []
    for a, b in rest:
        words = [m.span() for m in re.finditer(r"\w+(?:[.&’'-]\w+)*", text[a:b])]
        if words:
            trimmed.append((a + words[0][0], a + words[-1][1]))
    return trimmed


def redact_conversation(conversation: Conversation, plan: Plan) -> tuple[Conversation, Redactor]:
    """A copy without direct identifiers and true prices, and the redactor with its counts and people."""
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
    return conversation.model_copy(update={"participants": [], "turns": turns, "state": redacted_state}), redactor


def redact_text(text: str, plan: Plan) -> tuple[str, dict[str, int]]:
    """Redact a text that belongs to no conversation."""
    redactor = Redactor(plan, [], [text])
    return redactor.redact(text), dict(sorted(redactor.counts.items()))
