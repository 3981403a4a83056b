"""Toxic texts score above civil ones, the worst sentence counts, and a model that can't be used is refused plainly."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from joshi import embedding
from joshi.errors import PlanError, Unavailable
from joshi.evaluation.toxicity import THRESHOLD, builtin, scorer
from joshi.evaluation.toxicity.classifier import toxic_labels
from joshi.evaluation.toxicity.measure import Floats, area, share

FLOOR = 0.82  # of the unseen AUC; docs/toxicity.md has what was measured
LABELS = Path(__file__).parents[1] / "data" / "toxicity"

PLAIN = [  # (toxic, civil) of one topic
    ("Shut up and sign it.", "Please sign it by Friday."),
    ("You're a liar and a fool, and we won't order again.", "We won't order again, since the machine was sold."),
    ("Go to hell with your lead times.", "I'm not comfortable with the lead time you propose."),
    ("Your excuses are pathetic. Deliver or get lost.", "Thank you for telling us why. When could you deliver?"),
]
MISSED = [
    "You are an idiot and your offer is garbage.",
    "I'll break your legs if the lorry is late again.",
    "You're worthless.",
]
SUBTLE = [
    ("Nobody cares about your little problems.", "I'm sorry to hear about the problems at your plant."),
    ("Let me explain it slowly, so that even you can follow.", "Let me explain the new form."),
    ("Oh great, another delay, you geniuses.", "Thank you for telling us of the delay early."),
]


def rows() -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(LABELS.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_a_toxic_text_scores_above_the_threshold_and_a_civil_one_below() -> None:
    scores = scorer("builtin")([text for pair in PLAIN for text in pair])
    assert all(0 <= score <= 1 for score in scores)
    for (toxic, civil), high, low in zip(PLAIN, scores[::2], scores[1::2], strict=True):
        assert low <= THRESHOLD < high, (toxic, high, civil, low)


@pytest.mark.xfail(strict=True, reason="too few such texts are learnt; docs/toxicity.md tells of it")
@pytest.mark.parametrize("toxic", MISSED)
def test_a_plain_insult_or_threat_is_not_missed(toxic: str) -> None:
    assert scorer("builtin")([toxic])[0] > THRESHOLD


@pytest.mark.parametrize(("toxic", "civil"), SUBTLE)
def test_scorn_without_a_rude_word_scores_above_civility(toxic: str, civil: str) -> None:
    high, low = scorer("builtin")([toxic, civil])
    assert high > 10 * low


def test_the_worst_sentence_counts() -> None:
    civil = "Thank you for the drawings. The flange is 4 mm too wide. Please send a new version by Friday."
    insult = "You are a complete moron."
    mixed, alone, without = scorer("builtin")([f"{civil} {insult} Delivery is to dock 3.", insult, civil])
    assert mixed > THRESHOLD and alone > THRESHOLD > without


def test_a_score_does_not_depend_on_its_neighbours() -> None:
    score = scorer("builtin")
    texts = [text for pair in PLAIN for text in pair]
    assert np.allclose(score(texts), [score([text])[0] for text in texts], atol=1e-4)


def test_nothing_said_is_not_toxic() -> None:
    assert scorer("builtin")([]) == []
    assert scorer("builtin")(["", "  \n", "…!"]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("unit", ["a", "Please send 40 boxes. ", "a. ", "\U0001f600 ", "no stop here "])
def test_a_very_long_text_takes_bounded_work(unit: str) -> None:
    text = (unit * 200_000)[:200_000]
    assert len(builtin.parts(text)) <= 400 and all(len(part) <= 1_601 for part in builtin.parts(text))
    started = time.monotonic()
    assert 0 <= scorer("builtin")([text])[0] <= 1
    assert time.monotonic() - started < 60


def test_unlike_sentences_are_bounded_too() -> None:
    text = " ".join(f"Item {number}." for number in range(30_000))
    assert len(builtin.parts(text)) <= 400


def test_the_learnt_and_the_unseen_share_no_text_and_whole_kinds_are_held_out() -> None:
    learnt = [row for row in rows() if row["split"] == "learn"]
    unseen = [row for row in rows() if row["split"] == "unseen"]
    assert len(learnt) + len(unseen) == len(rows()) >= 600
    assert not {row["text"] for row in learnt} & {row["text"] for row in unseen}
    held_out = {(row["kind"], row["toxic"]) for row in unseen} - {(row["kind"], row["toxic"]) for row in learnt}
    assert len({kind for kind, toxic in held_out if toxic}) >= 3
    assert len({kind for kind, toxic in held_out if not toxic}) >= 3


def test_the_unseen_are_told_apart() -> None:
    unseen = [row for row in rows() if row["split"] == "unseen"]
    scores = np.array(scorer("builtin")([str(row["text"]) for row in unseen]))
    toxic = np.array([bool(row["toxic"]) for row in unseen])
    assert area(scores[toxic], scores[~toxic]).value >= FLOOR


def test_learning_twice_makes_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from joshi.evaluation.toxicity import learn

    monkeypatch.setattr(learn, "EPOCHS", 2)
    threads = torch.get_num_threads()
    texts = [
        learn.Text(text, toxic, "", "learn") for pair in PLAIN for text, toxic in zip(pair, (True, False), strict=True)
    ]
    try:
        one, other = (learn.fit(texts, [], []).learnt for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(value.abs().sum() > 0 for name, value in one.items() if name.endswith("up"))


def test_learning_computes_what_the_scorer_computes() -> None:
    import torch

    from joshi.evaluation.toxicity import learn

    texts = [text for pair in PLAIN for text in pair]
    net = learn.Corrected().eval()
    with torch.no_grad():
        for name, value in net.learnt.items():
            value.copy_(torch.from_numpy(builtin.read(builtin.WEIGHTS)[name.replace("/", ".")]))
        batch = [learn.Lesson(embedding.minilm()[0].encode(text).ids, False, 1.0) for text in texts]
        found = net(*learn._padded(batch)).sigmoid().numpy()
    assert np.allclose(found, builtin.probabilities(texts), atol=1e-3)


def test_handles_links_and_retweets_are_stripped() -> None:
    from joshi.evaluation.toxicity.learn import tidied

    assert (
        tidied('!!! RT @some_one: look &amp; learn #now http://t.co/x &#128514; "RT @b hi') == 'look & learn now " hi'
    )


def test_an_area_is_that_of_its_definition() -> None:
    draw = np.random.default_rng(1)
    high, low = draw.integers(1, 10, 40).astype(np.float64), draw.integers(0, 9, 30).astype(np.float64)
    pairs = [(a > b) + (a == b) / 2 for a in high for b in low]
    found = area(high, low)
    assert found.value == pytest.approx(np.mean(pairs)) and found.low < found.value < found.high
    assert share(np.array([True] * 3 + [False] * 7)).value == pytest.approx(0.3)


def test_the_packaged_scorer_needs_neither_sklearn_nor_torch() -> None:
    code = (
        "import sys; from joshi.evaluation.toxicity import scorer; scorer('builtin')(['hello']); "
        "print([name for name in ('sklearn', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def classifier(folder: Path, labels: list[str], problem: str | None = None) -> Path:
    """A random BERT of one narrow layer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "you", "are", "kind", "an", "idiot", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        problem_type=problem,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def expected(folder: Path, texts: list[str]) -> Floats:
    """Logits by the library's own way."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits: Floats = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits.numpy()
    return logits


def test_any_classifier_can_judge(tmp_path: Path) -> None:
    texts = ["you are kind .", "you are an idiot ."]
    folder = classifier(tmp_path / "two", ["not_hate", "hate"])
    logits = expected(folder, texts)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert scorer(f"hf:{folder}")(texts) == pytest.approx(softmax[:, 1].tolist(), abs=1e-5)

    folder = classifier(tmp_path / "many", ["toxic", "insult", "threat"], "multi_label_classification")
    sigmoid = 1 / (1 + np.exp(-expected(folder, texts)))
    assert scorer(f"hf:{folder}")(texts) == pytest.approx(sigmoid.max(1).tolist(), abs=1e-5)


def test_a_classifier_reads_empty_and_very_long_texts(tmp_path: Path) -> None:
    score = scorer(f"hf:{classifier(tmp_path / 'two', ['LABEL_0', 'LABEL_1'])}")
    empty, long = score(["", "you are an idiot . " * 10_000])
    assert empty == 0.0 and 0 <= long <= 1
    assert score([]) == []


@pytest.mark.parametrize(
    ("labels", "toxic"),
    [
        (["LABEL_0", "LABEL_1"], [1]),
        (["non-toxic", "toxic"], [1]),
        (["hate", "nothate"], [0]),
        (["neither", "offensive_language", "hate_speech"], [1, 2]),
        (["negative", "neutral", "positive"], [0]),
        (["NOT_OFFENSIVE", "OFFENSIVE"], [1]),
        (["toxic"], [0]),
    ],
)
def test_the_toxic_label_is_found_by_its_name(labels: list[str], toxic: list[int]) -> None:
    assert toxic_labels(dict(enumerate(labels)), "x") == toxic


@pytest.mark.parametrize("labels", [["joy", "fear"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["not hate", "neutral"]])
def test_labels_that_do_not_say_which_is_toxic_are_named(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        scorer(f"hf:{classifier(tmp_path / 'model', labels)}")
    assert ", ".join(labels) in str(refused.value) and "\n" not in str(refused.value)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    import torch

    folder = classifier(tmp_path / "model", ["civil", "toxic"])
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(Unavailable, match="pickled"):
        scorer(f"hf:{folder}")


def test_damaged_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model", ["civil", "toxic"])
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(Unavailable) as refused:
        scorer(f"hf:{folder}")
    assert "\n" not in str(refused.value)


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = classifier(tmp_path / "model", ["LABEL_0", "LABEL_1"])
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(Unavailable, match="no trained classifier"):
        scorer(f"hf:{folder}")


@pytest.mark.parametrize("where", ["{tmp}/nothing", "./nothing/here", "nobody/no-such-model", ""])
def test_a_missing_model_is_one_clear_sentence(tmp_path: Path, where: str) -> None:
    with pytest.raises(Unavailable) as refused:
        scorer(f"hf:{where.format(tmp=tmp_path)}")
    assert "\n" not in str(refused.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="needs the package torch"):
        scorer("hf:somebody/something")


def test_an_unknown_scorer_is_refused() -> None:
    with pytest.raises(PlanError, match="no scorer 'detoxify'"):
        scorer("detoxify")
