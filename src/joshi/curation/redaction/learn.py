"""Makes lexicon.txt and weights.safetensors: python -m joshi.curation.redaction.learn --help

Trained on messages with marked names and prices, in which the names are replaced by others of all the world and
currencies are left out at random; on generated messages; and on public corpora (W-NUT 17 for names, CraigslistBargain
for bare prices, Enron sentences for what is no name). One seed, one thread: the same inputs give the same numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joshi.curation.redaction import names, prices
from joshi.curation.redaction.identifiers import find_identifiers
from joshi.curation.redaction.invent import NAMES_THAT_ARE_WORDS, Inventor, lists_of_names
from joshi.curation.redaction.known import firm_forms, person_forms
from joshi.curation.redaction.linear import BUCKETS, WEIGHTS, bucket
from joshi.curation.redaction.measure import marked_talks
from joshi.curation.redaction.spans import Span, apart, overlaps
from joshi.curation.redaction.tokens import _LEXICON, lexicon, tokens
from joshi.rubric.text import MONTHS, WEEKDAYS, sentences, value_of
from joshi.schema import Conversation
from joshi.transcripts import read
from joshi.workspace import sha256_file, write_text

SEED = 7


@dataclass(frozen=True)
class Marked:
    """A message with its marked spans, the other messages of its talk, and what stands in headers."""

    text: str
    spans: tuple[Span, ...]
    talk: tuple[str, ...] = ()


def marked_file(path: Path) -> Iterator[Marked]:
    for _, messages in marked_talks(path):
        talk = tuple(text for text, _ in messages)
        for text, spans in messages:
            yield Marked(text, tuple(spans), talk)


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


# --- names -----------------------------------------------------------------------------------------------------------


def swapped(message: Marked, inventor: Inventor, chooser: random.Random) -> Marked:
    """The message with other people and firms in the same places, alike wherever they stand; now and then all small."""
    others: dict[str, str] = {}

    def change(old: str, kind: str) -> str:
        if kind not in ("PERSON", "FIRM"):
            return old
        key = old.lower()
        if key not in others:
            others[key] = inventor.person_like(old) if kind == "PERSON" else inventor.firm_like(old)
        new = others[key]
        return new.lower() if old.islower() else new.upper() if old.isupper() and len(old) > 4 else new

    made = rewritten(message, change)
    text = made.text
    if chooser.random() < 0.08:
        text = text.lower() if len(text.lower()) == len(text) else text
    return Marked(text, made.spans)


def name_examples(message: Marked) -> Iterator[tuple[list[str], int]]:
    """Features and class of every token that may be a name."""
    words = tokens(message.text, [span for span in message.spans if span[2] not in ("PERSON", "FIRM")])
    lowered = names.written_small([message.text, *message.talk])
    tags: list[names.Tag] = []
    for word in words:
        kind = next((k for a, b, k in message.spans if a <= word.start < b and k in ("PERSON", "FIRM")), "O")
        tags.append(kind)  # type: ignore[arg-type]
    small = names.casual(words)
    for number in range(len(words)):
        if names.candidate(words, number, small):
            yield list(names.features(words, number, tags, lowered)), names.TAGS.index(tags[number])


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


# --- prices ----------------------------------------------------------------------------------------------------------


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


def price_examples(message: Marked, chooser: random.Random) -> Iterator[tuple[list[str], int]]:
    """Features and class of every number that carries no currency."""
    found = [price.span for price in prices.find_prices(message.text)]
    masked = [(a, b, k) for a, b, k in message.spans if k != "PRICE"]
    priced = [(a, b, "PRICE") for a, b in found if not overlaps((a, b), masked)]
    words = tokens(message.text, [*priced, *masked])
    seen = list(prices.numbers(words))
    is_price = [any(a <= words[n].start < b and k == "PRICE" for a, b, k in message.spans) for n, *_ in seen]
    sure = prices.with_currency([message.text, *message.talk])
    bare = Counter(value for (*_, value), yes in zip(seen, is_price, strict=True) if yes and value > 0)
    if chooser.random() < 0.3:  # the first look knows no bare price, the second those that are beyond doubt
        bare.clear()
    known = prices.Known(
        sure | dict.fromkeys(bare, "£"), frozenset(v for v, n in bare.items() if n == 1 and v not in sure)
    )
    said = "O"
    for (number, last, value), yes in zip(seen, is_price, strict=True):
        yield list(prices.features(words, number, last, value, known, said)), int(yes)
        said = "PRICE" if yes else "OTHER"


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


# --- fitting ---------------------------------------------------------------------------------------------------------


def fit(rows: Sequence[tuple[list[str], int, float]], classes: int, strength: float) -> np.ndarray:
    """(BUCKETS, classes) weights of a multinomial logistic regression with an L2 penalty of 1 / strength."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    columns = np.fromiter((bucket(f) for features, *_ in rows for f in features), dtype=np.int64)
    starts = np.cumsum([0, *(len(features) for features, *_ in rows)])
    matrix = csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), BUCKETS))
    matrix.sum_duplicates()
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for *_, weight in rows])
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-4, fit_intercept=False, random_state=SEED)
    model.fit(matrix, labels, sample_weight=weights)
    found = model.coef_.T.astype(np.float32)
    if found.shape[1] == 1:
        found = np.concatenate([-found / 2, found / 2], axis=1)
    assert found.shape == (BUCKETS, classes)
    return np.asarray(found)


def name_rows(
    marked: Sequence[Marked], corpora: Path, inventor: Inventor, chooser: random.Random
) -> list[tuple[list[str], int, float]]:
    rows: list[tuple[list[str], int, float]] = []

    def take(messages: Iterable[Marked], weight: float) -> None:
        for message in messages:
            rows.extend((features, label, weight) for features, label in name_examples(message))

    take(marked, 2.0)
    for _ in range(8):
        take((swapped(message, inventor, chooser) for message in marked), 1.0)
    take((Marked(*made) for made in inventor.messages(12_000)), 0.8)
    take(wnut(corpora / "wnut17" / "wnut17train.conll"), 0.3)
    take(plain_sentences(corpora / "email_intent" / "Ask0729-fixed.txt"), 0.3)
    return rows


def price_rows(
    marked: Sequence[Marked], corpora: Path, inventor: Inventor, chooser: random.Random
) -> list[tuple[list[str], int, float]]:
    rows: list[tuple[list[str], int, float]] = []
    for message in marked:
        rows.extend((features, label, 2.0) for features, label in price_examples(message, chooser))
        for share in (0.5, 0.9):
            changed = without_currency(message, chooser, share)
            rows.extend((features, label, 1.0) for features, label in price_examples(changed, chooser))
    for made in inventor.offers(10_000):
        rows.extend((features, label, 0.8) for features, label in price_examples(Marked(*made), chooser))
    for path in ("dev.json", "test.json"):
        if (file := corpora / "craigslistbargain" / path).exists():
            for message in craigslist(file):
                rows.extend((features, label, 0.3) for features, label in price_examples(message, chooser))
    return rows


def make_lexicon(corpora: Path, texts: Iterable[str]) -> str:
    """g and f: names from Faker's lists (MIT). w: words that public corpora write small at least three times, or names
    that are words. d: words of the English, German, Spanish and French frequency lists of pyspellchecker (MIT)."""
    given, family = lists_of_names()
    small: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for text in [*texts, *_corpus_texts(corpora)]:
        small.update(re.findall(r"(?<![\w@#/.])[a-zà-ÿ][a-zà-ÿ’'-]*\b", text))
        capital.update(word.lower() for word in re.findall(r"(?<=[a-z,] )[A-Z][a-zà-ÿ]+\b", text))
    common = {word for word, n in small.items() if n >= 3 and n >= 0.5 * capital[word] and len(word) > 1}
    letters: dict[str, str] = {}
    listed = {word for word in frequent_words() if word not in given and word not in family}
    for letter, words in (("g", given), ("f", family), ("w", common | NAMES_THAT_ARE_WORDS), ("d", listed)):
        for word in words:
            letters[word] = letters.get(word, "") + letter
    return "".join(f"{word} {letters[word]}\n" for word in sorted(letters) if " " not in word)


def frequent_words() -> Iterator[str]:
    from spellchecker import SpellChecker

    for language, least in (("en", 500), ("de", 1_000), ("es", 5_000), ("fr", 5_000)):
        counts = SpellChecker(language=language).word_frequency.dictionary
        yield from (word for word, n in counts.items() if n >= least and len(word) > 1 and word.isalpha())


def _corpus_texts(corpora: Path) -> Iterator[str]:
    yield (corpora / "email_intent" / "Ask0729-fixed.txt").read_text(encoding="utf-8", errors="replace")
    yield (corpora / "empathic_reactions" / "messages.csv").read_text(encoding="utf-8", errors="replace")
    for talk in json.loads((corpora / "craigslistbargain" / "dev.json").read_text(encoding="utf-8")):
        yield " ".join(
            e["data"] for e in talk.get("events", []) if e["action"] == "message" and isinstance(e["data"], str)
        )
        yield " ".join(talk["scenario"]["kbs"][0]["item"]["Description"])


def main() -> None:
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpora", type=Path, required=True, help="folder with wnut17, email_intent, craigslistbargain …"
    )
    parser.add_argument("--marked", type=Path, nargs="*", default=[], help="JSON Lines of talks with marked spans")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--talks", type=Path, help="transcripts whose headers name the people")
    given = parser.parse_args()
    marked = [message for path in given.marked for message in marked_file(path)]
    write_text(_LEXICON, make_lexicon(given.corpora, (message.text for message in marked)))
    lexicon.cache_clear()
    weights = train([*marked, *(talks(given.talks) if given.talks else ())], given.corpora)
    sources = {path.name: sha256_file(path) for path in given.marked}
    save_file(
        {name: array.astype(np.float16) for name, array in weights.items()},
        given.out,
        {"seed": str(SEED), "marked": json.dumps(sources), "lexicon": sha256_file(_LEXICON)},
    )
    given.out.chmod(0o644)


def train(marked: Sequence[Marked], corpora: Path) -> dict[str, np.ndarray]:
    chooser = random.Random(SEED)
    inventor = Inventor(chooser)
    return {
        "names": fit(name_rows(marked, corpora, inventor, chooser), 3, 1.0),
        "prices": fit(price_rows(marked, corpora, inventor, chooser), 2, 0.3),
    }


if __name__ == "__main__":
    main()
