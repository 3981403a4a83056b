"""What is known of the people and firms of a talk before its words are read: headers, fields, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from joshi.curation.redaction.tokens import lexicon

LEGAL = re.compile(
    r"[,]?\s+(?:\(?(?:Pvt\.?|Pte\.?|Private|Pty\.?)\)?\.? (?:Ltd\.?|Limited)|Co\.?,? Ltd\.?|Ltd\.?|Limited|LLC|LLP|LP|Inc\.?|Corp\.?|Corporation|"
    r"Company|Co\.?|GmbH(?: & Co\.? (?:KG|OHG))?|AG|KG|OHG|UG|e\.K\.|SE|SA|S\.A\.|SAS|S\.A\.S\.|SARL|SpA|S\.p\.A\.|S\.r\.l\.|Srl|SRL|BV|B\.V\.|NV|N\.V\.|"
    r"AB|AS|A/S|ASA|Oy|Oyj|ApS|PLC|plc|Sp\.? z o\.?o\.?|s\.r\.o\.|a\.s\.|A\.Ş\.|Ltd\. Şti\.|Lda\.?|Ltda\.?|S\.L\.|SL|Kft\.?|Zrt\.?|d\.o\.o\.|EOOD|OÜ|SIA|UAB|FZE|FZCO|FZ-LLC|W\.L\.L\.|Bhd|Sdn\.? Bhd\.?|PT|JSC)$"
)  # fmt: skip
TITLE = re.compile(
    r"^(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Ing|Dipl|Herrn?|Frau|Señora?|Sra?|Sig|Sig\.ra|Monsieur|Madame|Mme|Shri|Smt|Sri|Mdm)\.?\s+",
    re.I,
)
# Mailboxes of everyone, and hosts that belong to nobody.
_ROLES = frozenset(
    "info sales order orders account accounts invoice invoices finance office hello contact support service team procurement "
    "purchasing buying purchase buyer supplier suppliers quotes quotations rfq rfp tenders admin noreply no reply mail export "
    "import logistics dispatch shipping ap ar billing enquiries enquiry desk help customer kundenservice vertrieb einkauf "
    "commercial compras ventas operations ops bids contracts post press marketing hr it uk de fr eu us in global group".split()
)
_PUBLIC_HOSTS = frozenset(
    "gmail googlemail outlook hotmail yahoo ymail icloud me aol gmx web mail email proton protonmail live msn qq 163 example "
    "test invalid localhost www co com net org ac gov edu".split()
)


def is_common(word: str) -> bool:
    """Whether a word is also written small in ordinary talk: 'will', 'rose', 'summit'."""
    letters = lexicon().get(word.lower(), "")
    return "w" in letters or "d" in letters


def person_forms(name: str) -> list[str]:
    """'Dr Gareth J. Pugh' as it may be written: the whole, then its parts; longest first."""
    bare = TITLE.sub("", name.strip()).strip(" ,;\"'")
    if "," in bare:  # 'Pugh, Gareth'
        last, _, first = bare.partition(",")
        bare = f"{first.strip()} {last.strip()}".strip()
    parts = [part for part in re.split(r"[\s.,]+", bare) if len(part) > 1 and any(c.isalpha() for c in part)]
    small = ("van", "von", "de", "der", "den", "da", "dos", "del", "la", "le", "bin", "al", "and", "of", "the")
    forms = {bare, *(part for part in parts if part.lower() not in small)}
    halves = (half for part in parts if "-" in part for half in part.split("-"))
    forms |= {half for half in halves if len(half) > 2 and any(c.isalpha() for c in half)}
    if len(parts) > 2:
        forms |= {f"{parts[0]} {parts[-1]}", " ".join(parts[1:])}
    return sorted((form for form in forms if len(form) > 1), key=lambda form: (-len(form), form))


def firm_forms(firm: str) -> list[str]:
    """'Pellworth Films Ltd' as it may be written: without the legal form, its first words, its initials."""
    bare = firm.strip()
    while (shorter := LEGAL.sub("", bare).strip()) != bare and shorter:
        bare = shorter
    words = bare.split()
    forms = {firm.strip(), bare}
    if len(words) >= 3:
        forms.add(" ".join(words[: 3 if words[1] in ("&", "and", "+") else 2]))
    if len(words) >= 2:
        if (
            len(words[0]) >= 4
            and words[0][0].isupper()
            and words[0].lower() not in ("the", "north", "south", "east", "west", "royal", "united", "first", "global")
        ):
            forms.add(words[0])
        initials = "".join(word[0] for word in words if word[0].isupper())
        if len(initials) >= 3:
            forms.add(initials)
        forms.add("".join(words))
    return sorted((form for form in forms if len(form) > 1), key=lambda form: (-len(form), form))


def from_address(email: str) -> tuple[list[str], list[str]]:
    """Parts of people's names and of firms' names that a mail address gives away."""
    local, _, host = email.partition("@")
    people = [
        part
        for part in re.split(r"[._+\d-]+", local.lower())
        if len(part) > 2 and part not in _ROLES and not is_common(part)
    ]
    return people, list(from_host(host))


def from_host(host: str) -> Iterator[str]:
    """'www.pellworth-films.co.uk' gives 'pellworth-films', 'pellworth films' and 'pellworthfilms'."""
    labels = [label for label in host.lower().split(".")[:-1] if label not in _PUBLIC_HOSTS and len(label) > 2]
    for label in labels:
        if label in _ROLES or is_common(label):
            continue
        yield label
        if "-" in label:
            yield label.replace("-", " ")
            yield label.replace("-", "")
