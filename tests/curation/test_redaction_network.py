"""The network in numpy is the one that was taught in torch, and takes whatever a talk holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from joshi.curation.redaction.bare import Number
from joshi.curation.redaction.network import TAGS, Network, among, load_network
from joshi.curation.redaction.prices import with_currency
from joshi.curation.redaction.reading import Talk, masked_in, read

TEXTS = (
    "Morning Declan, we quoted £41.50 a sheet for 5 packs, 39.80 for 10.",
    "can you do 38? I'd take 12 packs, or 15 000 kg at two hundred and ten. Boyne Panels had them at 38.75 in March",
)


def talk_of(*texts: str) -> Talk:
    return read(texts, [masked_in(text) for text in texts], with_currency(texts), {"march"})


def test_it_computes_what_torch_computes() -> None:
    torch = pytest.importorskip("torch")
    from joshi.curation.redaction import fit

    torch.manual_seed(1)
    net = fit._Net().eval()
    table = fit._Table({}, [], [])
    row = fit._row(fit.Lesson(TEXTS, ((), ()), 1.0), table)
    assert row is not None
    batch = fit._Batch([row], np.array(table.buckets), np.array(table.written, np.float32))
    talk = talk_of(*TEXTS)
    ours = Network(net.exported()).judge(read(TEXTS, [masked_in(t) for t in TEXTS], with_currency(TEXTS), _small()))
    with torch.no_grad():
        states = net.states(batch)
        scores = net.tags(states)
        prices = net.second_look(states, scores, batch)[0].numpy()
    np.testing.assert_allclose(ours.tags, scores.softmax(-1)[0].numpy(), rtol=1e-4, atol=1e-5)
    theirs = {(n.first, n.last): price for n, price in zip(talk.numbers, prices, strict=True)}
    assert ours.prices == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def _small() -> Any:
    from joshi.curation.redaction.names import written_small

    return written_small(TEXTS)


def test_the_shipped_weights_read_names_and_prices() -> None:
    talk = talk_of(*TEXTS)
    judged = load_network().judge(talk)
    words = [surface for surface, _ in talk.surfaces]
    assert judged.tags.shape == (len(words), len(TAGS))
    np.testing.assert_allclose(judged.tags.sum(1), 1, rtol=1e-4)
    assert judged.tags[words.index("Declan"), TAGS.index("PERSON")] > 0.5
    assert judged.prices[words.index("38"), words.index("38")] > judged.prices[words.index("12"), words.index("12")]


@pytest.mark.parametrize("texts", [(), ("",), ("7",), ("\n\n",), ("0 0.0 000",), ("1 " * 900,)], ids=repr)
def test_any_talk_is_read(texts: tuple[str, ...]) -> None:
    talk = talk_of(*texts)
    judged = load_network().judge(talk)
    assert np.isfinite(judged.tags).all()
    assert len(judged.prices) == len({(n.first, n.last) for n in talk.numbers})


def test_a_number_never_counts_itself() -> None:
    numbers = [Number(0, 0, 40.0, False, 0), Number(1, 1, 41.0, False, 0), Number(2, 2, 9_000.0, True, 1)]
    said = among(np.array([0.9, 0.2, 0.1], np.float32), numbers)
    assert said[0, 0] == 0  # no other number is as much
    np.testing.assert_allclose(said[0, 1], 0.2)  # 41 is within 5%
    np.testing.assert_allclose(said[1, 1], 0.9)
    assert said[2, :6].tolist() == [0] * 6
    assert said[:, -1].tolist() == [1, 1, 1]  # a price with a currency stands in the talk


def test_the_same_lessons_teach_the_same_weights() -> None:
    pytest.importorskip("torch")
    from joshi.curation.redaction.fit import Lesson, fit_network

    lessons = [Lesson((text,), ([],), 1.0) for text in TEXTS]
    first, second = (fit_network(lessons, 1, 7) for _ in range(2))
    assert {name: value.tobytes() for name, value in first.items()} == {n: v.tobytes() for n, v in second.items()}
