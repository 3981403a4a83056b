"""Whose words a sample was made from, told only to who holds the key.

Each sample carries keyed hashes of the people that redaction masked in its conversation. The key lies in the
workspace's private folder, outside every dataset: with it the owner finds a person's samples again; without it the
hashes say nothing, not even to somebody who tries every name in the telephone book.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from joshi.errors import JoshiError
from joshi.workspace import Workspace, write_text

KEY_BYTES = 32
SHOWN_BYTES = 12  # of each hash; 96 bits tell more people apart than live


def key_path(workspace: Workspace) -> Path:
    return workspace.private / "redaction.key"


def load_key(workspace: Workspace, *, make: bool = False) -> bytes:
    """The workspace's key; with `make` a new one where there is none.

    Raises:
        JoshiError: there is no key, or the file does not hold one.
    """
    path = key_path(workspace)
    if not path.exists():
        if not make:
            raise JoshiError(
                f"{path} does not exist, so nobody can be found in the datasets; restore the key from a backup, "
                "or run 'joshi curate' to make one for new samples"
            )
        write_text(path, secrets.token_hex(KEY_BYTES) + "\n", permissions=0o600)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise JoshiError(f"{path} holds no key of {2 * KEY_BYTES} hexadecimal digits; restore it from a backup")
    return key


def fingerprint(key: bytes, person: str) -> str:
    """Keyed hash (HMAC-SHA256, RFC 2104) of a name, mail address or telephone number, however it is written."""
    return hmac.new(key, _plain(person).encode(), hashlib.sha256).hexdigest()[: 2 * SHOWN_BYTES]


def fingerprints(key: bytes, people: Iterable[str]) -> list[str]:
    return sorted({fingerprint(key, person) for person in people if _plain(person)})


def forgotten_path(workspace: Workspace) -> Path:
    """Who must not come back: one line of JSON for each time that somebody was forgotten."""
    return workspace.private / "forgotten.jsonl"


def forgotten_people(workspace: Workspace) -> frozenset[str]:
    """Fingerprints of everybody who was forgotten."""
    path = forgotten_path(workspace)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return frozenset(found for line in lines for found in json.loads(line)["people"])
    except (ValueError, KeyError, TypeError) as error:
        raise JoshiError(f"{path} is damaged ({error}); restore it from a backup before anything is curated") from error


def _plain(person: str) -> str:
    """'  GARETH  Pugh' as 'gareth pugh', '+44 (0)1632-960417' as '01632960417'."""
    text = " ".join(person.casefold().split())
    if re.fullmatch(r"[+\d ()./-]+", text):
        digits = re.sub(r"^(?:\+|00)\d{2}(?:\(0\))?", "0", text.replace(" ", "").replace("-", ""))
        return re.sub(r"\D", "", digits)
    return re.sub(r"['’]s$", "", text)
