"""Our MiniLM is sentence-transformers' own, without torch."""

from __future__ import annotations

import numpy as np
import pytest

from joshi import embedding

TEXTS = ["Steel has gone up twice.", "", "x", "One word " * 300, "Grüße aus Köln, 日本語 ₹4,50,000", "a\nb\tc"]


def test_vectors_equal_those_of_sentence_transformers() -> None:
    models = pytest.importorskip("sentence_transformers")
    model = models.SentenceTransformer(str(embedding._folder()), device="cpu", local_files_only=True)
    expected = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(embedding.encode(TEXTS) - expected).max() < 1e-5


def test_a_text_has_one_vector_whatever_stands_beside_it() -> None:
    together = embedding.encode(TEXTS)
    alone = np.concatenate([embedding.encode([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
