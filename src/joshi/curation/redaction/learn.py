"""Makes lexicon.txt and weights.safetensors: python -m joshi.curation.redaction.learn --help

Two models: the linear tagger of names (`names.py`) and the network (`network.py`). Both learn from messages with marked
names and prices, in which the names are replaced by others of all the world; for the network prices also change and lose
their currencies at random. Beside these, from generated messages and public corpora: W-NUT 17 for names,
CraigslistBargain for bare prices, Enron sentences for what is no name. One seed, one thread: the same inputs give the same
numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from joshi.curation.redaction import names
from joshi.curation.redaction.corpora import (
    Marked,
    craigslist,
    marked_file,
    plain_sentences,
    rescaled,
    swapped,
    talks,
    without_currency,
    wnut,
)
from joshi.curation.redaction.fit import Lesson, fit_network
from joshi.curation.redaction.invent import NAMES_THAT_ARE_WORDS, Inventor, lists_of_names
from joshi.curation.redaction.linear import BUCKETS, WEIGHTS, bucket
from joshi.curation.redaction.network import PREFIX
from joshi.curation.redaction.tokens import _LEXICON, lexicon, tokens
from joshi.workspace import sha256_file, write_text

SEED = 7


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


def fit(rows: Sequence[tuple[list[str], int, float]]) -> np.ndarray:
    """(BUCKETS, TAGS) weights of a multinomial logistic regression with an L2 penalty of 1."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    columns = np.fromiter((bucket(f) for features, *_ in rows for f in features), dtype=np.int64)
    starts = np.cumsum([0, *(len(features) for features, *_ in rows)])
    matrix = csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), BUCKETS))
    matrix.sum_duplicates()
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for *_, weight in rows])
    model = LogisticRegression(C=1.0, max_iter=300, tol=1e-4, fit_intercept=False, random_state=SEED)
    model.fit(matrix, labels, sample_weight=weights)
    found = np.asarray(model.coef_.T.astype(np.float32))
    assert found.shape == (BUCKETS, len(names.TAGS))
    return found


def name_rows(
    marked: Sequence[Marked], corpora: Path, inventor: Inventor, chooser: random.Random
) -> list[tuple[list[str], int, float]]:
    rows: list[tuple[list[str], int, float]] = []

    def take(messages: Iterable[Marked], weight: float) -> None:
        for message in messages:
            rows.extend((features, label, weight) for features, label in name_examples(message))

    take(marked, 2.0)
    for _ in range(8):
        take((swapped([message], inventor, chooser)[0] for message in marked), 1.0)
    take((Marked(*made) for made in inventor.messages(12_000)), 0.8)
    take(wnut(corpora / "wnut17" / "wnut17train.conll"), 0.3)
    take(plain_sentences(corpora / "email_intent" / "Ask0729-fixed.txt"), 0.3)
    return rows


COPIES = 8  # of each marked talk, with other names and figures; an epoch of the network takes one


def lessons(talks: Sequence[Sequence[Marked]], others: Iterable[Marked], corpora: Path, seed: int) -> list[Lesson]:
    """What the network learns from: marked talks as they are and changed, `others`, invented messages, public corpora."""
    chooser, deal = random.Random(seed), random.Random(seed + 1)
    inventor = Inventor(chooser)
    made = [_lesson(talk, 2.0) for talk in talks]
    for turn in range(COPIES):
        for talk in talks:
            changed = swapped(talk, inventor, chooser)
            share = chooser.choice((0.0, 0.5, 0.9))
            if chooser.random() < 0.5:
                changed = rescaled(changed, chooser)
            made.append(_lesson([without_currency(message, chooser, share) for message in changed], 1.0, turn))
    half = COPIES // 2
    made += [_lesson([message], 1.0, deal.randrange(half)) for message in others]
    made += [_lesson([Marked(*m)], 0.8, deal.randrange(COPIES), numbers=False) for m in inventor.messages(12_000)]
    made += [_lesson([Marked(*m)], 0.8, deal.randrange(COPIES)) for m in inventor.offers(10_000)]
    tweets = wnut(corpora / "wnut17" / "wnut17train.conll")
    made += [_lesson([message], 0.3, deal.randrange(half), numbers=False) for message in tweets]
    plain = plain_sentences(corpora / "email_intent" / "Ask0729-fixed.txt")
    made += [_lesson([message], 0.3, deal.randrange(COPIES), numbers=False) for message in plain]
    for name in ("dev.json", "test.json"):
        if (file := corpora / "craigslistbargain" / name).exists():
            dealt = ((message, deal.randrange(2 * COPIES)) for message in craigslist(file))
            made += [_lesson([message], 0.3, turn, words=False) for message, turn in dealt if turn < COPIES]
    return made


def _lesson(
    messages: Sequence[Marked], weight: float, turn: int | None = None, words: bool = True, numbers: bool = True
) -> Lesson:
    texts, spans = tuple(m.text for m in messages), tuple(m.spans for m in messages)
    return Lesson(texts, spans, weight, turn, words, numbers)


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
    marked = [talk for path in given.marked for talk in marked_file(path)]
    write_text(_LEXICON, make_lexicon(given.corpora, (message.text for talk in marked for message in talk)))
    lexicon.cache_clear()
    weights = train(marked, list(talks(given.talks)) if given.talks else [], given.corpora)
    sources = {path.name: sha256_file(path) for path in given.marked}
    made = {"seed": SEED, "marked": sources, "lexicon": sha256_file(_LEXICON)}
    save_file(
        {name: array.astype(np.float16) for name, array in weights.items()},
        given.out,
        {"made": json.dumps(made)},  # one key: safetensors writes several in an order that differs from run to run
    )
    given.out.chmod(0o644)


def train(marked: Sequence[Sequence[Marked]], others: Sequence[Marked], corpora: Path) -> dict[str, np.ndarray]:
    """`marked` are talks; `others` single messages, with names and prices known from elsewhere."""
    chooser = random.Random(SEED)
    messages = [*chain.from_iterable(marked), *others]
    found = {"names": fit(name_rows(messages, corpora, Inventor(chooser), chooser))}
    network = fit_network(lessons(marked, others, corpora, SEED), COPIES, SEED)
    return found | {PREFIX + name: array for name, array in network.items()}


if __name__ == "__main__":
    main()
