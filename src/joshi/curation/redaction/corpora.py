"""Messages that redaction learns from: marked ones, changed ones, and public corpora. Only `learn.py` uses it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from joshi.curation.redaction import prices
from joshi.curation.redaction.identifiers import find_identifiers
from joshi.curation.redaction.invent import Inventor
from joshi.curation.redaction.known import firm_forms, person_forms
from joshi.curation.redaction.measure import marked_talks
from joshi.curation.redaction.spans import Span, apart
from joshi.curation.redaction.tokens import lexicon
from joshi.rubric.text import MONTHS, WEEKDAYS, sentences, value_of
from joshi.schema import Conversation
from joshi.transcripts import read


@dataclass(frozen=True)
class Marked:
    """A message with its marked spans, the other messages of its talk, and what stands in headers."""

    text: str
    spans: tuple[Span, ...]
    talk: tuple[str, ...] = ()


def marked_file(path: Path) -> Iterator[list[Marked]]:
    """The messages of each talk."""
    for _, messages in marked_talks(path):
        talk = tuple(text for text, _ in messages)
        yield [Marked(text, tuple(spans), talk) for text, spans in messages]


def talks(path: Path) -> Iterator[Marked]:
    """Messages of transcripts whose headers name the people; sentences with a capital that nothing explains are left out.

    Numbers that occur with a currency anywhere in the talk count as prices where they stand bare.
    """
    known = lexicon()
    for talk in read([path], []):
        if not isinstance(talk, Conversation):
            continue
        forms = {f: "PERSON" for p in talk.participants if p.person for f in person_forms(p.person)}
        forms |= {f: "FIRM" for p in talk.participants if p.firm for f in firm_forms(p.firm)}
        texts = tuple(turn.text for turn in talk.turns)
        values = {v for v in prices.with_currency(texts) if v >= 100 or v != int(v)}
        for text in texts:
            spans = apart([*find_identifiers(text), *((*p.span, "PRICE") for p in prices.find_prices(text))])
            for form in sorted(forms, key=len, reverse=True):
                for found in re.finditer(rf"(?<![\w@]){re.escape(form)}(?!\w)", text):
                    spans = apart([*spans, (*found.span(), forms[form])])
            for found in re.finditer(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w%])", text):
                if value_of(found.group()) in values:
                    spans = apart([*spans, (*found.span(), "PRICE")])
            for start, end in sentences(text):
                inside = [(a - start, b - start, k) for a, b, k in sorted(spans) if start <= a and b <= end]
                rest = [
                    w
                    for w in re.finditer(r"(?<!^)\b[A-ZÀ-Ý][\w’'-]*", text[start:end])
                    if not any(a <= w.start() < b for a, b, _ in inside)
                ]
                if all(_explained(w.group(), known) for w in rest):
                    yield Marked(text[start:end], tuple(inside), texts)


_EXPLAINED = frozenset(
    "I I’m I'm I’ll I'll I’d I'd I’ve I've Mr Mrs Ms Dr Herr Frau Sir Madam EUR USD GBP CHF INR KES SEK Rs PO RFQ VAT GST DAP DDP FOB CIF EXW MOQ "
    "MD CFO OK PDF ISO Christmas Easter Diwali Euro English German French".split()
) | {*MONTHS, *WEEKDAYS}


def _explained(word: str, known: dict[str, str]) -> bool:
    bare = re.sub(r"['’]s$", "", word)
    return bare in _EXPLAINED or bool(re.search(r"\d", bare)) or bool(set("wd") & set(known.get(bare.lower(), "")))


def rewritten(message: Marked, change: Callable[[str, str], str]) -> Marked:
    """The message with each marked span's text put through `change(text, kind)`."""
    text, at = "", 0
    spans: list[Span] = []
    for start, end, kind in message.spans:
        new = change(message.text[start:end], kind)
        text += message.text[at:start]
        spans.append((len(text), len(text) + len(new), kind))
        text += new
        at = end
    return Marked(text + message.text[at:], tuple(spans), message.talk)


def swapped(messages: Sequence[Marked], inventor: Inventor, chooser: random.Random) -> list[Marked]:
    """A talk with other people and firms in the same places, alike wherever they stand; now and then all small."""
    others: dict[str, str] = {}

    def change(old: str, kind: str) -> str:
        if kind not in ("PERSON", "FIRM"):
            return old
        key = old.lower()
        if key not in others:
            others[key] = inventor.person_like(old) if kind == "PERSON" else inventor.firm_like(old)
        new = others[key]
        return new.lower() if old.islower() else new.upper() if old.isupper() and len(old) > 4 else new

    made = [rewritten(message, change) for message in messages]
    small = chooser.random() < 0.08
    return [
        Marked(text.lower() if small and len(text.lower()) == len(text) else text, one.spans)
        for one in made
        for text in (one.text,)
    ]


def without_currency(message: Marked, chooser: random.Random, share: float) -> Marked:
    """Some prices lose their currency, and so become bare ones that the classifier must see by the talk."""

    def change(old: str, kind: str) -> str:
        if kind != "PRICE" or chooser.random() >= share:
            return old
        bare = re.search(r"\d[\d.,'’]*\d|\d", old)
        if not bare or len(re.findall(r"\d[\d.,'’]*", old)) != 1:
            return old
        return bare.group() + (k.group(1) if (k := re.match(r"([km])\b", old[bare.end() :])) else "")

    return rewritten(message, change)


def rescaled(messages: Sequence[Marked], chooser: random.Random) -> list[Marked]:
    """A talk with all its prices times one number, each written as it was."""
    factor = 10 ** chooser.uniform(-0.6, 0.6)

    def change(old: str, kind: str) -> str:
        return _FIGURE.sub(lambda figure: _times(figure.group(), factor), old) if kind == "PRICE" else old

    return [rewritten(message, change) for message in messages]


_FIGURE = re.compile(r"\d[\d.,'’]*\d|\d")


def _times(figure: str, factor: float) -> str:
    value = value_of(figure) * factor
    decimals = re.search(r"[.,](\d{1,2})$", figure)
    if decimals is None:
        if value < 2:
            return figure
        if value >= 1_000:
            value = round(value, -1 if value < 10_000 else -2)
    text = f"{value:,.{len(decimals[1]) if decimals else 0}f}"
    if decimals is None:
        return text if re.search(r"[.,'’]", figure) else text.replace(",", "")
    return text.translate(str.maketrans(",.", ".,")) if decimals[0][0] == "," else text


def wnut(path: Path) -> Iterator[Marked]:
    """W-NUT 17: tweets with people and corporations; groups, products and works are too mixed to learn from."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if "\t" in line]
        if any(tag.endswith(("group", "product", "creative-work")) for _, tag in rows):
            continue
        text, spans = "", []
        for word, tag in rows:
            if tag.endswith(("person", "corporation")):
                spans.append((len(text), len(text) + len(word), "PERSON" if tag.endswith("person") else "FIRM"))
            text += word + " "
        yield Marked(text, tuple(spans))


def plain_sentences(path: Path) -> Iterator[Marked]:
    """Enron sentences without a word from the lists of names, nor one that is capitalised for no known reason."""
    known = lexicon()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.partition("\t")[2].strip()
        inner = re.findall(r"(?<=[a-z,;] )[A-Z][\w’'-]+", text)
        if text and all(set("wd") & set(known.get(word.lower(), "")) for word in inner):
            yield Marked(text, ())


def craigslist(path: Path) -> Iterator[Marked]:
    """Talks in which a number is a price when it is one of the asked, hoped or offered, and none when far from them."""
    for talk in json.loads(path.read_text(encoding="utf-8")):
        events = talk.get("events", [])
        known = {float(kb["personal"]["Target"]) for kb in talk["scenario"]["kbs"] if kb["personal"].get("Target")}
        known |= {float(kb["item"]["Price"]) for kb in talk["scenario"]["kbs"] if kb["item"].get("Price")}
        known |= {
            float(e["data"]["price"]) for e in events if e["action"] == "offer" and (e["data"] or {}).get("price")
        }
        known = {value for value in known if value > 0}
        texts = tuple(e["data"] for e in events if e["action"] == "message" and isinstance(e["data"], str))
        for text in texts:
            spans: list[Span] = []
            clear = True
            for found in re.finditer(r"(?<![\w.,$])\d+(?:[.,]\d+)*(?![\w.,]*\d)", text):
                value = value_of(found.group())
                ratio = min((max(value / k, k / value) for k in known), default=99) if value else 99
                if value in known and value >= 10:
                    spans.append((*found.span(), "PRICE"))
                elif ratio < 4:
                    clear = False  # an offer in passing, or a year, or a size: nobody says
            if clear and re.search(r"\d", text):
                yield Marked(text, tuple(spans), texts)
