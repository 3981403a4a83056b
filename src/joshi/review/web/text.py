"""Strangers' texts as HTML: escaped, with what is invisible made visible, with the rubric's findings marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from joshi.review.wording import UNSEEN, told
from joshi.schema import Finding

# What is hidden or reorders text, and other characters of no width; joiners are left, as scripts and emoji need them.
_SHOWN = re.compile(f"{UNSEEN.pattern}|[\u061c\u200b\u200e\u200f\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")


def visible(text: str) -> Markup:
    """The text as HTML that renders as it reads: a bidi override is a small mark with its name, not an order."""
    made, at = [], 0
    text = text.replace("\r\n", "\n")
    for found in _SHOWN.finditer(text):
        name = told(found[0])
        mark = Markup('<span class="unseen" title="{}">{}</span>').format(name, name.partition(" ")[0])
        made += [escape(text[at : found.start()]), mark]
        at = found.end()
    return Markup("").join([*made, escape(text[at:])])


def typed(text: str) -> str:
    """The text as it goes into a form: what would be hidden in there is left out."""
    return UNSEEN.sub("", text.replace("\r\n", "\n"))


def marked(text: str, findings: Sequence[Finding]) -> Markup:
    """The text with a <mark> around each span of a rule that is broken. It lies under the field it was typed into.

    Where spans overlap, the mark is of the shortest: a word inside a sentence keeps its own.
    """
    spans = [(*f.span, f.rule) for f in findings if not f.passed and f.span and f.span[0] < f.span[1]]
    edges = sorted({0, len(text), *(edge for start, end, _ in spans for edge in (start, end))})
    made = []
    for start, end in pairwise(edges):
        over = [span for span in spans if span[0] <= start and end <= span[1]]
        part = escape(text[start:end])
        if over:
            rule = min(over, key=lambda span: span[1] - span[0])[2]
            part = Markup('<mark data-rule="{}">{}</mark>').format(rule, part)
        made.append(part)
    return Markup("").join([*made, "\n"])


def quoted(text: str, finding: Finding, most: int = 80) -> str:
    """The words that a finding is about, cut short; none if its message has them already."""
    words = text[slice(*finding.span)] if finding.span else ""
    if words in finding.message:
        return ""
    return words if len(words) <= most else words[:most].rstrip() + "…"


def left(seconds: float | None) -> str:
    """The time left, as a person would say it."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    return f"about {minutes} min left" if minutes < 90 else f"about {round(minutes / 60)} h left"
