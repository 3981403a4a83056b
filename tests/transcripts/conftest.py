from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from joshi.schema import Conversation
from joshi.transcripts import Unread, read

ReadFile = Callable[..., tuple[list[Conversation], list[Unread]]]


@pytest.fixture
def read_file(tmp_path: Path) -> ReadFile:
    """Write one file (JSON unless it is text or bytes already) and read it: conversations and the rest."""

    def read_one(name: str, content: Any, buyer_domains: Sequence[str] = ()) -> tuple[list[Conversation], list[Unread]]:
        if not isinstance(content, str | bytes):
            content = json.dumps(content, ensure_ascii=False)
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        items = list(read([path], buyer_domains))
        return (
            [item for item in items if isinstance(item, Conversation)],
            [item for item in items if isinstance(item, Unread)],
        )

    return read_one
