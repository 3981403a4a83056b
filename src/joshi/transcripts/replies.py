"""What the writer of an e-mail wrote: without the mail that it answers, and without signatures.

Line by line and in time proportional to the text; nothing is decided by how a whole message looks.
"""

from __future__ import annotations

import re

_HEADER_LINES = 4  # "On <date>, <name> <address> wrote:" as mail programs break it
_QUOTE = re.compile(r"\s{0,3}>")
# Openings of the line above a quotation, and the verb that ends it, in the languages that suppliers here write.
_ATTRIBUTIONS = tuple(
    (re.compile(rf"[>\s]*{opening}\b", re.I), re.compile(rf"{verb}\s*:\s*$", re.I))
    for opening, verb in (
        ("On", "wrote"), ("Am", r"(schrieb\b.{0,200})"), ("Le", r"a\s+[ée]crit"), ("El", r"escribi[óo]"),
        ("Il", "ha scritto"), ("Op", r"(schreef\b.{0,200})"),
    )
)  # fmt: skip
_FORWARDED = re.compile(r"\s*-{2,}\s*(Original Message|Forwarded message|Urspr.ngliche Nachricht)\b.{0,60}", re.I)
_FIELD = re.compile(r"[>\s*]*(From|Sent|Date|To|Cc|Subject|Von|Gesendet|An|Betreff|De|Envoyé|À|Objet)\s?:", re.I)
_FIRST_FIELD = re.compile(r"[>\s*]*(From|Von|De)\s?:", re.I)
_DELIMITER = re.compile(r"(--|—|_{20,}|-{20,})\s*")
_DEVICE = re.compile(
    r"\s*(Sent|Gesendet|Envoyé|Enviado) (from|von|de|desde) (my|a|meinem|mon|mi)( [\w-]+){1,4}\s*", re.I
)
_NAME = re.compile(r"\s*[-–—]\s?[A-Z][\w.]+( [A-Z][\w.]+){0,2}\s*")


def own_words(text: str) -> str:
    """The message without quotations and signatures, blank lines at its ends cut; empty if it says nothing itself."""
    lines = text.replace("\r\n", "\n").split("\n")
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if _FORWARDED.fullmatch(line) or _outlook(lines, at):
            break
        if above := _attribution(lines, at):
            at += above
            # Without ">" the rest is the quotation; with it, answers may stand between.
            if not any(_QUOTE.match(later) for later in lines[at : at + 4]):
                break
            continue
        if _DELIMITER.fullmatch(line) or _DEVICE.fullmatch(line):
            at = _end_of_signature(lines, at + 1)
            continue
        if not _QUOTE.match(line):
            kept.append(line)
        at += 1
    while kept and not kept[-1].strip():
        kept.pop()
    if len(kept) > 1 and _NAME.fullmatch(kept[-1]):
        kept.pop()
    return "\n".join(kept).strip("\n").rstrip()


def _attribution(lines: list[str], at: int) -> int:
    """How many lines from here name who is quoted; 0 if none does."""
    for opening, verb in _ATTRIBUTIONS:
        if not opening.match(lines[at]):
            continue
        for count in range(1, _HEADER_LINES + 1):
            block = lines[at : at + count]
            if len(block) < count or not block[-1].strip():
                break
            joined = " ".join(block)
            if len(joined) > 400:
                break
            if verb.search(joined) and re.search(r"[0-9@]", joined):
                return count
    return 0


def _outlook(lines: list[str], at: int) -> bool:
    """Whether the header block begins here that Outlook writes above what it quotes."""
    line = lines[at]
    if re.fullmatch(r"\s*[_-]{20,}\s*", line):
        following = [later for later in lines[at + 1 : at + 3] if later.strip()]
        return bool(following and _FIRST_FIELD.match(following[0]))
    if not _FIRST_FIELD.match(line):
        return False
    return sum(_FIELD.match(later) is not None for later in lines[at + 1 : at + 5]) >= 2


def _end_of_signature(lines: list[str], at: int) -> int:
    """The next line that begins a quotation, or the end."""
    while at < len(lines) and not (_QUOTE.match(lines[at]) or _attribution(lines, at) or _outlook(lines, at)):
        at += 1
    return at
