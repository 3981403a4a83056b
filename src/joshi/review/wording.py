"""What a reviewer may not type: somebody in clear, characters that nobody sees, nothing at all."""

from __future__ import annotations

import re
import unicodedata

from joshi.curation.redaction import redact_text
from joshi.errors import JoshiError
from joshi.plan import Plan

# Control characters other than tab and newline, and what reorders the text around it.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NAMES = {"PERSON", "FIRM", "SUPPLIER", "BUYER"}


def refuse_clear_text(after: str, before: str, known: str, plan: Plan, what: str) -> None:
    """Refuse text that must not go into a dataset. `known` may stand in it; `what` begins the sentence.

    Raises:
        JoshiError: it is empty, has characters that nobody sees, or names what redaction would mask and neither
            `before` nor `known` has.
    """
    if not after:
        raise JoshiError(f"{what} is empty; write an answer, or reject it")
    if found := UNSEEN.search(after):
        raise JoshiError(f"{what} has the hidden character {told(found[0])}; take it out and try again")
    _, counts = redact_text(after, plan)
    _, there = redact_text(before, plan)  # what it finds there too is no name: it was redacted
    new = sorted(kind.lower() for kind, n in counts.items() if n > there.get(kind, 0))
    if new and known:
        _, surely = redact_text(known, plan)
        new = [kind for kind in new if kind.upper() not in surely]
    if new:
        listed = " and ".join(f"{_article(kind)} {kind}" for kind in new)
        raise JoshiError(
            f"{what} has {listed} in clear; write the placeholder or the range that the context has "
            "for it, such as [PERSON_1]"
        )


def refuse_clear_note(note: str, known: str, plan: Plan, what: str) -> None:
    """The same for a note or a rationale, which may name what `known` names.

    A few words are too few to tell a name from a capital, and reviewers see placeholders and invented names only; so
    what has a form of its own is refused, and names are not looked for.
    """
    if found := UNSEEN.search(note):
        raise JoshiError(f"{what} has the hidden character {told(found[0])}; take it out and try again")
    new = sorted(set(redact_text(note, plan)[1]) - set(redact_text(known, plan)[1]) - NAMES)
    if new:
        listed = " and ".join(f"{_article(kind)} {kind.lower()}" for kind in new)
        raise JoshiError(f"{what} has {listed} in clear; say it without")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiouAEIOU" else "a"


def told(character: str) -> str:
    """U+202E RIGHT-TO-LEFT OVERRIDE, for a character that cannot be shown."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
