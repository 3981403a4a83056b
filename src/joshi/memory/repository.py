"""The searchable mirror: model plans and learnings in a Qdrant collection that ProcWise's agents read too."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from joshi.errors import JoshiError, Unavailable
from joshi.memory.cleaning import TEXT_CHARACTERS, shared_metadata
from joshi.memory.embedder import Embedder
from joshi.memory.ledger import record_id, utc

KEYWORD_FIELDS = ("document_type", "source", "event_type", "workflow_id", "model_name")
PAGE = 256  # points read or written in one call

Payload = dict[str, Any]


class LearningRepository:
    """Records and finds learnings. Points that other programs put into the collection are never changed.

    Every method raises Unavailable if the store does not answer. Without `created_at` the content alone is
    the record's identity, so that a caller's retry adds nothing; with it, the time is part of the record.
    """

    def __init__(self, client: QdrantClient, embedder: Embedder, collection: str = "learning") -> None:
        self.client = client
        self.embedder = embedder
        self.collection = collection
        with _explained():
            self._ensure_collection()

    def record_model_plan(
        self,
        *,
        model_name: str,
        plan_text: str,
        plan_metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        created_at: str | None = None,
    ) -> str | None:
        """Store a plan or a dataset's card and return its id; None if the text is blank."""
        payload = model_plan_payload(model_name=model_name, plan_text=plan_text, plan_metadata=plan_metadata, tags=tags)
        return self._record(payload, created_at) if payload["plan_text"] else None

    def fetch_model_plans(self, *, model_name: str, limit: int = 5) -> list[Payload]:
        """A model's plans, newest first."""
        return self._newest({"document_type": "model_plan", "model_name": model_name}, limit)

    def record_learning(
        self,
        *,
        source: str,
        event_type: str,
        workflow_id: str | None = None,
        summary: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        created_at: str | None = None,
    ) -> str:
        """Store a learning and return its id; without a summary one is made of the metadata."""
        payload = learning_payload(
            source=source,
            event_type=event_type,
            workflow_id=workflow_id,
            summary=summary,
            metadata=metadata,
            tags=tags,
        )
        return self._record(payload, created_at)

    def record_feedback(
        self,
        *,
        sentiment: str,
        workflow_id: str | None = None,
        summary: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
    ) -> str:
        """Store what a person thought of an answer, as a learning of event type "feedback"."""
        return self.record_learning(
            source="joshi",
            event_type="feedback",
            workflow_id=workflow_id,
            summary=summary,
            metadata={"sentiment": sentiment, **(metadata or {})},
            tags=tags,
        )

    def get_recent_learnings(self, *, workflow_id: str | None = None, limit: int = 20) -> list[Payload]:
        """Learnings of all programs or of one workflow, newest first; those without a time come last."""
        match = {"document_type": "learning"} | ({"workflow_id": workflow_id} if workflow_id else {})
        return self._newest(match, limit)

    def search(self, text: str, limit: int = 5) -> list[dict[str, Any]]:
        """What lies nearest in meaning: `{id, score, payload}`, best first; score is the cosine, -1..1."""
        (vector,) = self.embedder.encode([text])
        with _explained():
            found = self.client.query_points(
                self.collection, query=[float(value) for value in vector], limit=limit, with_payload=True
            ).points
        return [{"id": str(point.id), "score": point.score, "payload": point.payload or {}} for point in found]

    def put(self, payloads: Mapping[str, Payload]) -> None:
        """Write payloads under their ids; writing one again changes nothing."""
        items = list(payloads.items())
        for start in range(0, len(items), PAGE):
            page = items[start : start + PAGE]
            vectors = self.embedder.encode([_text_of(payload) for _, payload in page])
            points = [
                models.PointStruct(id=identity, vector=[float(value) for value in vector], payload=payload)
                for (identity, payload), vector in zip(page, vectors, strict=True)
            ]
            with _explained():
                self.client.upsert(self.collection, points, wait=True)

    def present(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that the collection holds."""
        found: set[str] = set()
        for start in range(0, len(ids), PAGE):
            with _explained():
                points = self.client.retrieve(
                    self.collection, ids[start : start + PAGE], with_payload=False, with_vectors=False
                )
            found.update(str(point.id) for point in points)
        return found

    def _record(self, payload: Payload, created_at: str | None) -> str:
        identity = record_id(payload if created_at is None else {**payload, "created_at": utc(created_at)})
        self.put({identity: {**payload, "created_at": utc(created_at)}})
        return identity

    def _newest(self, match: dict[str, str], limit: int) -> list[Payload]:
        # All matches are read: Qdrant pages by id, and its order_by leaves out points without the key.
        return heapq.nlargest(limit, self._matching(match), key=_moment)

    def _matching(self, match: dict[str, str]) -> Iterator[Payload]:
        conditions: list[models.Condition] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in match.items()
        ]
        offset: Any = None
        while True:
            with _explained():
                points, offset = self.client.scroll(
                    self.collection, scroll_filter=models.Filter(must=conditions), limit=PAGE, offset=offset
                )
            yield from (point.payload for point in points if point.payload)
            if offset is None:
                return

    def _ensure_collection(self) -> None:
        if not self.client.collection_exists(self.collection):
            self.client.create_collection(
                self.collection,
                vectors_config=models.VectorParams(size=self.embedder.size, distance=models.Distance.COSINE),
            )
        info = self.client.get_collection(self.collection)
        vectors = info.config.params.vectors
        if not isinstance(vectors, models.VectorParams) or vectors.size != self.embedder.size:
            raise JoshiError(
                f"collection {self.collection} holds other vectors than one of {self.embedder.size} numbers; "
                "name another one as [memory] collection in joshi.toml"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect")  # the embedded mode says so
            for field in KEYWORD_FIELDS:
                if field not in (info.payload_schema or {}):
                    self.client.create_payload_index(self.collection, field, models.PayloadSchemaType.KEYWORD)


def model_plan_payload(
    *,
    model_name: str,
    plan_text: str,
    plan_metadata: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
) -> Payload:
    """A model plan as the collection holds it, but for its time."""
    return {
        "document_type": "model_plan",
        "model_name": model_name,
        "plan_text": plan_text.strip(),
        "metadata": shared_metadata(plan_metadata or {}),
        "tags": _tags(tags),
    }


def learning_payload(
    *,
    source: str,
    event_type: str,
    workflow_id: str | None = None,
    summary: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
) -> Payload:
    """A learning as the collection holds it, but for its time."""
    kept = shared_metadata(metadata or {})
    facts = "; ".join(f"{key} {value}" for key, value in kept.items() if value not in (None, "", [], {}))
    return {
        "document_type": "learning",
        "source": source,
        "event_type": event_type,
        "workflow_id": workflow_id,
        "summary": (summary or f"{source} {event_type}: {facts}".removesuffix(": "))[:TEXT_CHARACTERS],
        "metadata": kept,
        "tags": _tags(tags),
    }


def _tags(tags: Iterable[str] | None) -> list[str]:
    return sorted({tag.strip() for tag in tags or [] if tag.strip()})


def _text_of(payload: Payload) -> str:
    return str(payload["plan_text"] if payload["document_type"] == "model_plan" else payload["summary"])


def _moment(payload: Payload) -> datetime:
    """When a record of any program was made; the beginning of time if it does not say."""
    try:
        moment = datetime.fromisoformat(str(payload["created_at"]))
    except (KeyError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        raise Unavailable(
            f"the Qdrant server does not answer ({error}); check [memory] url and that the server runs, "
            "then run 'joshi memory sync'"
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise JoshiError(
            f"the embedded store cannot be written ({error}); check the disk, then run 'joshi memory sync'"
        ) from error
