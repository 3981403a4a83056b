"""What Joshi remembers: the ledger first, then its searchable mirror in Qdrant.

with open_memory(plan, workspace) as memory:
    memory.record("deploy", model_name="phi4-joshi", release="20260101-120000-0a1b2c3d")
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from joshi.errors import JoshiError
from joshi.memory.cleaning import cleaned
from joshi.memory.embedder import MiniLM
from joshi.memory.ledger import Entry, Ledger, utc
from joshi.memory.repository import LearningRepository, Payload, learning_payload, model_plan_payload
from joshi.memory.store import open_store
from joshi.plan import Plan
from joshi.workspace import Workspace

__all__ = ["LearningRepository", "Memory", "open_memory"]

LOG = logging.getLogger("joshi")
PAGE = 64  # entries mirrored before they are marked


@contextlib.contextmanager
def open_memory(plan: Plan, workspace: Workspace) -> Iterator[Memory]:
    """The workspace's memory. Qdrant is opened at the first use and closed at the end.

    Raises:
        JoshiError: the ledger is locked or damaged.
    """
    with Ledger(workspace.database) as ledger:
        memory = Memory(plan, workspace, ledger)
        try:
            yield memory
        finally:
            memory.close()


class Memory:
    """The ledger and its mirror. Make it with `open_memory`."""

    def __init__(self, plan: Plan, workspace: Workspace, ledger: Ledger) -> None:
        self.ledger = ledger
        self._plan = plan
        self._workspace = workspace
        self._repository: LearningRepository | None = None
        self._mirror_failed = False

    @property
    def repository(self) -> LearningRepository:
        """The searchable mirror.

        Raises:
            Unavailable: the server is down, or another process holds the embedded store.
        """
        if self._repository is None:
            client = open_store(self._plan, self._workspace)
            try:
                self._repository = LearningRepository(client, MiniLM(), self._plan.memory.collection)
            except BaseException:
                client.close()  # an embedded store would stay locked
                raise
        return self._repository

    def record(self, kind: str, *, created_at: str | None = None, **fields: Any) -> str:
        """Remember something for good and return its id.

        Recipients, prices and bodies are dropped. Kind "model_plan" takes the fields of `record_model_plan`;
        every other kind becomes a learning of that event type, whose metadata are the fields other than
        `workflow_id`, `summary` and `tags`. If the mirror cannot be written the entry waits for `sync`, and
        the log says so.

        Args:
            created_at: ISO 8601 with a time zone, or now; the same fields and time again add nothing.

        Raises:
            JoshiError: the ledger cannot be written.
        """
        kept = cleaned(fields)
        _payload(Entry("", kind, kept, utc(created_at)))  # a missing field is found before anything is written
        entry = self.ledger.append(kind, kept, created_at)
        if not self._mirror_failed:
            try:
                self._mirror([entry])
            except JoshiError as error:
                self._mirror_failed = True  # the rest of this session waits for `sync` too
                LOG.warning("recorded in the ledger only: %s", error)
        return entry.id

    def sync(self) -> int:
        """Write every ledger entry that the mirror lacks, whatever the ledger believes; returns how many.

        Raises:
            Unavailable: the server is down, or another process holds the embedded store.
        """
        entries = self.ledger.entries()
        present = self.repository.present([entry.id for entry in entries])
        missing = [entry for entry in entries if entry.id not in present]
        for start in range(0, len(missing), PAGE):
            self._mirror(missing[start : start + PAGE])
        self.ledger.mark_mirrored(entry.id for entry in entries if entry.id in present and entry.mirrored_at is None)
        self._mirror_failed = False
        return len(missing)

    def close(self) -> None:
        if self._repository is not None:
            self._repository.client.close()
            self._repository = None

    def _mirror(self, entries: list[Entry]) -> None:
        self.repository.put({entry.id: _payload(entry) for entry in entries})
        self.ledger.mark_mirrored(entry.id for entry in entries)


def _payload(entry: Entry) -> Payload:
    """A ledger entry as the collection holds it."""
    fields = dict(entry.payload)
    if entry.kind == "model_plan":
        payload = model_plan_payload(**fields)
    else:
        named = {name: fields.pop(name, None) for name in ("workflow_id", "summary", "tags")}
        payload = learning_payload(source="joshi", event_type=entry.kind, metadata=fields, **named)
    return {**payload, "created_at": entry.created_at}
