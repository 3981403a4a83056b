"""How well redaction does on messages with marked spans: python -m joshi.curation.redaction.measure FILE..."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joshi.curation.redaction import Redactor
from joshi.curation.redaction.spans import Span, overlaps
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Participant

MARK = re.compile(r"⟦(?P<kind>[A-Z]+):(?P<text>[^⟧]*)⟧")
_WORD = re.compile(r"\w+")
# Left of a firm's name these tell nobody who it is.
_TELLING_NOTHING = frozenset(
    "ltd limited llc inc corp co gmbh ag kg sas sarl spa srl bv nv ab as oy aps plc pvt pte pty sl sa and the of de la und "
    "company group z o s r p a sp".split()
)


@dataclass
class Score:
    """Counts over a labelled set. Identifiers and prices are counted in spans, other numbers in runs of digits."""

    identifiers: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    prices: int = 0
    ranged: int = 0
    numbers: int = 0
    touched: int = 0
    replaced: int = 0  # spans that the redactor replaced
    wanted: int = 0  # of them, those that overlap a marked span
    misses: list[str] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        n, masked = sum(self.identifiers.values()), sum(self.masked.values())
        return {
            "identifiers_masked": round(masked / n, 4) if n else None,
            "identifiers": n,
            "prices_ranged": round(self.ranged / self.prices, 4) if self.prices else None,
            "prices": self.prices,
            "other_numbers_touched": round(self.touched / self.numbers, 4) if self.numbers else None,
            "other_numbers": self.numbers,
            "replaced_rightly": round(self.wanted / self.replaced, 4) if self.replaced else None,
            "by_kind": {kind: f"{self.masked[kind]}/{n}" for kind, n in sorted(self.identifiers.items())},
        }


def read_marked(text: str) -> tuple[str, list[Span]]:
    """'from ⟦FIRM:Korvex⟧' as plain text with spans."""
    plain, at = "", 0
    spans: list[Span] = []
    for found in MARK.finditer(text):
        plain += text[at : found.start()]
        spans.append((len(plain), len(plain) + len(found["text"]), found["kind"]))
        plain += found["text"]
        at = found.end()
    return plain + text[at:], spans


def marked_talks(path: Path) -> Iterator[tuple[list[Participant], list[tuple[str, list[Span]]]]]:
    """Participants and messages of each talk of a marked file.

    Raises:
        JoshiError: a line is no talk with marked messages.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            talk = json.loads(line)
            messages = [read_marked(message["text"]) for message in talk["messages"]]
            yield [Participant.model_validate(p) for p in talk.get("participants", [])], messages
        except (ValueError, KeyError, TypeError) as error:
            raise JoshiError(
                f"{path}:{number}: {error}; expected {{participants: [...], messages: [{{text: 'from ⟦FIRM:Korvex⟧'}}]}}"
            ) from error


def measure(path: Path, plan: Plan) -> Score:
    score = Score()
    for participants, messages in marked_talks(path):
        redactor = Redactor(plan, participants, [text for text, _ in messages])
        for text, spans in messages:
            count(score, text, spans, [(a, b, kind) for a, b, kind, _ in redactor.spans(text)])
    return score


def count(score: Score, text: str, marked: Sequence[Span], replaced: Sequence[Span]) -> None:
    """Add one message: what was marked against what was replaced."""
    for start, end, kind in marked:
        words = [(start + m.start(), start + m.end()) for m in _WORD.finditer(text[start:end])]
        if kind == "PRICE":
            digits = [w for w in words if any(c.isdigit() for c in text[slice(*w)])] or words
            good = all(any(a <= x and y <= b and k == "PRICE" for a, b, k in replaced) for x, y in digits)
            score.prices += 1
            score.ranged += good
        else:
            telling = [w for w in words if text[slice(*w)].lower() not in _TELLING_NOTHING] or words
            good = all(any(a <= x and y <= b for a, b, _ in replaced) for x, y in telling)
            score.identifiers[kind] += 1
            score.masked[kind] += good
        if not good:
            score.misses.append(f"missed {kind}: {_around(text, start, end)}")
    for found in re.finditer(r"\d+(?:[.,'’]\d+)*", text):
        if overlaps(found.span(), marked):
            continue
        score.numbers += 1
        if hit := next((span[2] for span in replaced if overlaps(found.span(), [span])), None):
            score.touched += 1
            score.misses.append(f"touched as {hit}: {_around(text, *found.span())}")
    for start, end, kind in replaced:
        score.replaced += 1
        right = overlaps((start, end), marked)
        score.wanted += right
        if not right and not any(c.isdigit() for c in text[start:end]):
            score.misses.append(f"masked as {kind}: {_around(text, start, end)}")


def _around(text: str, start: int, end: int) -> str:
    shown = f"{text[max(0, start - 30) : start]}⟦{text[start:end]}⟧{text[end : end + 30]}"
    return " ".join(shown.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", type=Path, nargs="+", help="JSON Lines of talks, names and prices marked as ⟦KIND:text⟧"
    )
    parser.add_argument("--misses", action="store_true", help="also print what was missed and what was masked wrongly")
    given = parser.parse_args()
    for path in given.files:
        score = measure(path, Plan())
        print(json.dumps({"file": path.name, **score.report()}, ensure_ascii=False))
        if given.misses:
            print("\n".join(score.misses))


if __name__ == "__main__":
    main()
