"""Names of people and firms in running text: a linear tagger's and the network's opinions, joined.

Each errs where the other does not: the tagger knows words in conjunction, the network what words are like.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from joshi.curation.redaction.linear import Linear, load
from joshi.curation.redaction.spans import Span, apart, overlaps
from joshi.curation.redaction.tokens import UPPER, Token, lexicon

Tag = Literal["O", "PERSON", "FIRM"]
CAUTION = -2.2  # added to the score of "no name": a name that stays is worse than a word that goes
SURE = 0.6  # the network's probability from which a token is a name that `candidate` would pass over
_SHARE = 0.5  # of the tagger in the joint score; the rest is the network's
# Beyond these the tagger could not change the outcome but by the rarest of scores, and is not asked.
_BEYOND_DOUBT, _OUT_OF_THE_QUESTION = 0.99, 1e-4
TAGS: tuple[Tag, ...] = ("O", "PERSON", "FIRM")
# 'Mr Goh' is a person and 'Qamar Lab Supplies LLC' a firm whatever stands around.
_TITLED = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Herrn?|Frau|Señora?|Sra?|Sig|Monsieur|Madame|Mme|Mlle|Pan|Pani|Shri|Smt|Mdm)\.? (?:Dr\.? |Direktor )?"
    rf"([{UPPER}][\w’'-]+(?:(?: (?:van|von|de|der|den|da|dos|al|bin|binte|el))* [{UPPER}][\w’'-]+)?)(?<![’']s)"
)
_WITH_LEGAL_FORM = re.compile(
    rf"(?<![\w-])((?:[{UPPER}][\w’'.-]*|\d+)(?: (?:[{UPPER}][\w’'.-]*|&|and|of|de|del|du|des|la|le|di|e|y|und|et|\d+)){{0,4}}),?[ ]"
    r"(?:\(?(?:Pvt|Pte|Private|Pty)\)?\.? (?:Ltd|Limited)|Co\.?,? Ltd|Ltd|Limited|LLC|LLP|Inc|Corp|GmbH|AG|KG|SARL|SAS|S\.A\.S|S\.A|SpA|S\.p\.A|S\.r\.l|Srl|SRL|"
    r"B\.V|BV|N\.V|NV|AB|A/S|ASA|Oyj?|ApS|PLC|plc|Sp\. z o\.?o|s\.r\.o|a\.s|A\.Ş|Lda|Ltda|S\.L|SL|Kft|Zrt|d\.o\.o|OÜ|UAB|FZE|FZCO|Sdn Bhd|JSC|& Cie|& Co|& Sons)\b\.?"
)
_SMALL = re.compile(r"\b[a-zà-ÿ][\w’'-]*")
_SMALL_PARTS = frozenset("van von de der den da dos del di la le bin binte ibn al el and & of und et y e i".split())
_CLOSING = re.compile(
    r"(?:(?:many |best |kind |warm |with )*(?:thanks|thank you|thx|regards|rgds|wishes|cheers|sincerely|faithfully|yours|best|br|mfg|cordialement|saludos|"
    r"un saludo|mit freundlichen gr[üu](?:ß|ss)en|viele gr[üu](?:ß|ss)e|freundliche gr[üu](?:ß|ss)e|bien à vous|sent from .*|met vriendelijke groet)\b[\w ]{0,12}[,.!]?)$",
    re.I,
)
_JOB = re.compile(
    r"\b(?:manager|director|head|officer|buyer|purchas\w*|procure\w*|sales|account\w*|engineer\w*|lead|assistant|executive|president|vp|ceo|cfo|coo|md|"
    r"coordinator|planner|supervisor|facilities|logistics|operations|commercial|finance|department|dept|team|office|quality|export|import|key|senior|"
    r"junior|category|supply|chain|specialist|consultant|partner|owner|founder|chef|secretary|controller|acheteur|einkauf|vertrieb|leiter\w*|compras|"
    r"ventas|responsable|encl|attach\w*|page|tel|phone|mobile|vat|www)\b",
    re.I,
)
_BEFORE_A_NAME = frozenset(
    "hi hey hello dear hallo bonjour hola thanks cheers regards its it's i'm im me from at with ask tell mr mrs ms dr".split()
)
_JOINS = {
    "PERSON": frozenset("- . van von de der da dos del la le bin ibn al el ter".split()),
    "FIRM": frozenset("& + - .".split()),
}


def find_names(
    text: str, words: Sequence[Token], chances: np.ndarray, masked: Sequence[Span] = (), lowered: Collection[str] = ()
) -> list[tuple[int, int, Tag]]:
    """Spans of names. `words`: the text's tokens; `chances`: the network's probabilities of TAGS for each (tokens, 3);
    `masked`: spans known already; `lowered`: words that the talk also writes small."""
    tags = tag(words, lowered, load("names"), chances)
    certain: list[tuple[int, int, Tag]] = [(*m.span(1), "PERSON") for m in _TITLED.finditer(text)]
    certain += [(*m.span(), "FIRM") for m in _WITH_LEGAL_FORM.finditer(text)]
    certain += signature(text)
    certain = [span for span in apart(certain) if not overlaps(span, masked)]
    seen = [(words[a].start, words[b].end, kind) for a, b, kind in _runs(words, tags)]
    return sorted([*certain, *(span for span in seen if not overlaps(span, certain))])


def signature(text: str) -> list[tuple[int, int, Tag]]:
    """The name and the firm in the short lines that end a message."""
    lines = [line for line in re.finditer(r"[^\n]+", text) if line.group().strip()]
    block: list[re.Match[str]] = []
    for line in reversed(lines[1:]):
        if len(line.group().split()) > 7 or (
            line.group().rstrip()[-1] in ".?!:;," and not _CLOSING.match(line.group().strip())
        ):
            break
        block.insert(0, line)
    found: list[tuple[int, int, Tag]] = []
    for line in block[:6]:
        for part in re.finditer(r"[^,|–—/•\n]*[^,|–—/•\s]", line.group()):
            bare = part.group().strip(" *_>-")
            words = re.findall(r"[^\W\d_][\w’'.-]*", bare)
            if not words or _CLOSING.match(bare) or _JOB.search(bare) or re.search(r"[\d@:]", bare):
                continue
            if not all(re.match(rf"[{UPPER}]", w) or w.lower() in _SMALL_PARTS for w in words) or len(words) > 5:
                continue
            letters = [lexicon().get(w.lower().strip("."), "") for w in words]
            start = line.start() + part.start() + part.group().index(bare)
            person = not any(kind == "PERSON" for *_, kind in found) and len(words) <= 4
            if all(set(known) <= set("wd") and known for known in letters) and not (found and len(words) > 1):
                continue  # 'Thank You', 'Terms Attached'
            found.append((start, start + len(bare), "PERSON" if person else "FIRM"))
    return found


def written_small(texts: Iterable[str]) -> frozenset[str]:
    """Words that a talk writes in small letters."""
    return frozenset(word for text in texts for word in _SMALL.findall(text))


def tag(words: Sequence[Token], lowered: Collection[str], model: Linear, chances: np.ndarray) -> list[Tag]:
    """One tag a token, from left to right; a token that cannot be a name is O unless the network is SURE."""
    tags: list[Tag] = ["O"] * len(words)
    small = casual(words)
    by_name = chances[:, 1:].astype(np.float64)
    names = by_name.sum(axis=1)
    for number in np.flatnonzero(names >= min(_OUT_OF_THE_QUESTION, SURE)).tolist():  # the others are O anyway
        name = names[number]
        if name > _BEYOND_DOUBT or not candidate(words, number, small):
            if name > SURE and words[number].text[0].isalpha():
                tags[number] = "PERSON" if by_name[number, 0] > by_name[number, 1] else "FIRM"
        elif name >= _OUT_OF_THE_QUESTION:
            scores = model.scores(features(words, number, tags, lowered))
            heard = np.log(chances[number] + np.float32(1e-5))
            heard -= np.logaddexp.reduce(heard)
            joint = _SHARE * (scores - np.logaddexp.reduce(scores)) + (1 - _SHARE) * heard
            joint[0] += CAUTION
            tags[number] = TAGS[int(joint.argmax())]
    return tags


def casual(words: Sequence[Token]) -> bool:
    """Whether a message leaves its sentences small: 'hi its anya from korvex'."""
    starts = [word.shape for word in words if word.first and word.shape in ("xx", "Xx", "XX", "X", "xX", "Xx-Xx")]
    return "xx" in starts and starts.count("xx") * 2 >= len(starts)


def candidate(words: Sequence[Token], number: int, casual: bool) -> bool:
    """Whether a token is looked at: one with a capital, a listed name, and in casual messages an unknown word."""
    word = words[number]
    when = _when(word.text, word.shape)
    if when == "after a greeting":
        return number > 0 and words[number - 1].lower in _BEFORE_A_NAME
    return when == "always" or (casual and when == "in casual messages")


@lru_cache(maxsize=50_000)
def _when(text: str, shape: str) -> Literal["always", "after a greeting", "in casual messages", "never"]:
    if shape not in ("Xx", "XX", "X", "xX", "Xx-Xx", "xx") or any(c.isdigit() for c in text):
        return "never"
    if shape != "xx":
        return "always"
    known = lexicon().get(text.lower(), "")
    if "g" in known or "f" in known:
        return "after a greeting" if "w" in known else "always"
    return "in casual messages" if not known and len(text) > 3 else "never"


def features(words: Sequence[Token], number: int, tags: Sequence[Tag], lowered: Collection[str]) -> Iterator[str]:
    """What is known of a token: itself, its neighbours, and how the tokens before it were tagged."""
    word = words[number]
    known = lexicon()
    w = word.lower
    letters = known.get(w, "-")
    small = "s" if w in lowered else ""
    yield "bias"
    yield f"w={w}"
    yield f"shape={word.shape}{small}"
    yield f"known={letters}{small}"
    yield f"kind={letters}|{word.shape}|{int(word.first)}{small}"
    yield f"end={w[-3:]}"
    yield f"end2={w[-2:]}|{letters}"
    yield f"start={w[:3]}"
    yield f"long={min(len(w), 9)}"
    yield f"place={int(word.first)}{int(word.line_start)}{int(word.line_end)}|{letters}"
    if word.possessive:
        yield f"possessive|{letters}"
    around = [_beside(words, number + k) for k in (-3, -2, -1, 1, 2, 3)]
    before3, before2, before, after, after2, after3 = around
    yield f"-1={before[0]}"
    yield f"+1={after[0]}"
    yield f"-2={before2[0]}"
    yield f"+2={after2[0]}"
    yield f"-1k={before[1]}|{letters}"
    yield f"+1k={after[1]}|{letters}"
    yield f"-2-1={before2[0]}|{before[0]}"
    yield f"+1+2={after[0]}|{after2[0]}"
    yield f"-1+1={before[0]}|{after[0]}"
    yield f"-1+1k={before[1]}|{after[1]}|{letters}|{word.shape}"
    yield f"-1w={before[0]}|{letters}|{word.shape}"
    yield f"+1w={after[0]}|{letters}|{word.shape}"
    yield f"-3={before3[0]}|{letters}"
    yield f"+3={after3[0]}|{letters}"
    last = tags[number - 1] if number else "O"
    yield f"tag={last}|{word.shape}"
    yield f"tag2={tags[number - 2] if number > 1 else 'O'}|{last}|{letters}"
    yield f"tagw={last}|{w}"


def _beside(words: Sequence[Token], place: int) -> tuple[str, str]:
    """The word there, and its kind."""
    if not 0 <= place < len(words):
        return ("<edge>", "<edge>")
    word = words[place]
    if word.shape == "0":
        return ("0", f"0{min(len(word.text), 5)}")
    return (word.lower, f"{word.shape}{lexicon().get(word.lower, '-')}")


def _runs(words: Sequence[Token], tags: Sequence[Tag]) -> Iterator[tuple[int, int, Tag]]:
    """First and last token of each run of one tag; 'van' and '&' hold a run together."""
    number = 0
    while number < len(tags):
        kind = tags[number]
        if kind == "O":
            number += 1
            continue
        last = number
        while True:
            step = last + 1
            while step < len(tags) and step - last <= 2 and _joins(words, step, kind) and tags[step] == "O":
                step += 1
            if step < len(tags) and tags[step] == kind and not words[last].possessive:
                last = step
            else:
                break
        yield number, last, kind
        number = last + 1


def _joins(words: Sequence[Token], place: int, kind: Tag) -> bool:
    if words[place].text == ".":  # of an initial or 'Dr', not of a sentence
        return len(words[place - 1].text) <= 2
    return words[place].lower in _JOINS[kind]
