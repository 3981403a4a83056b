"""Opening the Qdrant store: a server, or a folder of the workspace (embedded)."""

from __future__ import annotations

import io
import json
import os
import pickle
import sqlite3
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from joshi.errors import JoshiError, Unavailable
from joshi.plan import Plan
from joshi.secret import api_key
from joshi.workspace import Workspace, explain

SERVER_SECONDS = 10  # how long to wait for an answer of a Qdrant server


def open_store(plan: Plan, workspace: Workspace, environment: Mapping[str, str] = os.environ) -> QdrantClient:
    """Connect to the plan's store. The caller closes it: the embedded one admits one process at a time.

    Raises:
        Unavailable: the embedded store is held by another process.
        PlanError: the server's key is not in the environment.
        JoshiError: the embedded store is damaged.
    """
    if plan.memory.url:
        key = api_key(plan.memory.key, "[memory]", environment) if plan.memory.key else None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")  # on this machine only
            return QdrantClient(url=plan.memory.url, api_key=key, timeout=SERVER_SECONDS, check_compatibility=False)
    folder = workspace.root / plan.memory.path
    try:
        _refuse_foreign_code(folder)
        return QdrantClient(path=str(folder))
    except RuntimeError as error:
        raise Unavailable(
            f"{folder} is in use by another process; when it has ended run 'joshi memory sync'"
        ) from error
    except OSError as error:
        raise explain(error, folder) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        sqlite3.Error,
        pickle.PickleError,
    ) as error:
        raise JoshiError(
            f"{folder} is damaged ({error}); delete it and run 'joshi memory sync', which fills it from the ledger"
        ) from error


def _refuse_foreign_code(folder: Path) -> None:
    """Read what Qdrant's embedded mode is about to unpickle, admitting its own two records and nothing else.

    A pickle can run any program; a workspace may come from somebody else.
    """
    meta = folder / "meta.json"
    if not meta.is_file():
        return
    for name in json.loads(meta.read_text(encoding="utf-8"))["collections"]:
        storage = folder / "collection" / name / "storage.sqlite"
        if not storage.is_file():
            continue
        database = sqlite3.connect(storage)
        try:
            for (point,) in database.execute("SELECT point FROM points"):
                _PointsOnly(io.BytesIO(point)).load()
        finally:
            database.close()


class _PointsOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "qdrant_client.http.models.models" and name in ("PointStruct", "SparseVector"):
            return getattr(models, name)
        raise pickle.UnpicklingError(f"it holds code: {module}.{name}")
