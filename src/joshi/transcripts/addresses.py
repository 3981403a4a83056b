"""Who wrote a message: a display name, a mail address, and whose domain it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SET_BUYER_DOMAINS = "name the buyer's mail domains in the plan: [transcripts] buyer_domains"


@dataclass(frozen=True)
class Address:
    name: str | None
    email: str | None

    def __str__(self) -> str:
        return self.name or self.email or "a sender without a name"

    def within(self, domains: Sequence[str]) -> bool:
        """Whether the mail domain is one of these or lies below one of them."""
        if self.email is None:
            return False
        domain = self.email.rpartition("@")[2].casefold()
        wanted = [name.casefold().lstrip("@").strip(".") for name in domains]
        return any(domain == name or domain.endswith(f".{name}") for name in wanted if name)


def parse_address(text: str) -> Address:
    """Read "Name <mail>", a bare mail address or a bare name; what is absent is None."""
    before, opened, rest = text.strip().rpartition("<")
    if opened and "@" in rest:
        return Address(before.strip().strip("\"'").strip() or None, rest.partition(">")[0].strip() or None)
    bare = text.strip().strip("<>\"'").strip()
    return Address(None, bare) if "@" in bare and " " not in bare else Address(bare or None, None)
