"""The text of a message as a person wrote it: without hidden markers, HTML or stray blank lines.

Messages may be hostile, so everything here takes time in proportion to their length. Python's `html.parser`
does not: it took 7 s for the 24 kB of "<a " 8,000 times, and fails on "<![<![".
"""

from __future__ import annotations

import html
import re

# An attribute's quoted value may hold ">", but no "<": so no tag is looked for across the start of the next.
_TAG = re.compile(
    r"""<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9:-]*+)(?:[^<>=]|=\s*+(?:"[^"<]*+"|'[^'<]*+')?+)*+>|<[!?][^<>]*+>"""
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});?")
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n{3,}")
_NOT_SHOWN = {name: re.compile(f"</{name}(?![A-Za-z0-9])", re.I) for name in ("script", "style", "title")}
# Line ends that a tag asks for where it opens and where it closes; two make a blank line.
_BREAKS = {
    **dict.fromkeys(("div", "tr", "li", "hr", "pre", "dt", "dd", "article", "section", "header", "footer"), 1),
    **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote"), 2),
}


def tidy(text: str) -> str:
    """The text with plain line ends, no space at its ends or at the ends of lines, at most one blank line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines)).strip()


def plain_body(text: str) -> str:
    """A plain-text body without the markers that mail systems hide in HTML comments."""
    return tidy(_without_comments(text))


def html_body(source: str) -> str:
    """What a reader sees of an HTML body: no tags, comments, scripts or styles."""
    source = _without_comments(source)
    pieces: list[str] = []
    breaks = at = 0
    while at < len(source):
        tag = _TAG.search(source, at)
        text = _shown(source[at : tag.start() if tag else len(source)])
        if text.strip():
            pieces.append("\n" * breaks)
            breaks = 0
        pieces.append(text)
        if tag is None:
            break
        at = tag.end()
        name = (tag["name"] or "").lower()
        breaks = breaks + 1 if name == "br" else max(breaks, _BREAKS.get(name, 0))
        if name == "li" and not tag["end"]:
            pieces.append("\n" * breaks + "- ")
            breaks = 0
        elif name in ("td", "th"):
            pieces.append(" ")
        elif name in _NOT_SHOWN and not tag["end"]:
            closing = _NOT_SHOWN[name].search(source, at)
            at = closing.start() if closing else len(source)
    lines = "".join(pieces).split("\n")
    return tidy("\n".join(re.sub(r" {2,}", " ", line).strip() for line in lines))


def _shown(text: str) -> str:
    # Entities last, so that "&lt;b&gt;" stays the text that its writer meant.
    return _ENTITY.sub(lambda found: html.unescape(found.group()), _SPACE.sub(" ", text)).replace("\xa0", " ")


def _without_comments(text: str) -> str:
    """Cut out <!-- … -->; one that is never closed, to the end of its line: the mail may go on below."""
    kept: list[str] = []
    at = 0
    closed = True  # once no "-->" is left, do not look for it again from every further "<!--"
    while (start := text.find("<!--", at)) >= 0:
        kept.append(text[at:start])
        end = text.find("-->", start + 2) if closed else -1
        closed = end >= 0
        line_end = text.find("\n", start)
        at = end + 3 if closed else line_end if line_end >= 0 else len(text)
    return "".join([*kept, text[at:]])
