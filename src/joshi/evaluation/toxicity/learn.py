"""Makes weights.safetensors; one core needs ten minutes. From the project's folder:

    python -m joshi.evaluation.toxicity.learn --davidson ../shared/data/davidson/labeled_data.csv \\
        --mail ../shared/data/email_intent/Ask0729-fixed.txt --own tests/data/toxicity --rubric tests/data/rubric \\
        --examples examples/procwise/transcripts

Texts written for it and the rubric's labelled answers teach what the word means in correspondence; tweets (Davidson
et al. 2017), which weigh less, teach coarse abuse; the example's civil replies and sentences of real mail (Parakweet
Labs 2014) teach how people write who mean no harm. Of the last two a third is learnt, a third is for choices, of which
THRESHOLD is one, and a third is for `measure.py`.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from joshi.embedding import HEADS, LAYERS, MOST_TOKENS, SIZE, Array, minilm
from joshi.evaluation.toxicity.builtin import DOWN, HEAD, THRESHOLD, UP, WEIGHTS, pieces, score
from joshi.rubric.learn import example_answers
from joshi.workspace import sha256_file

RANK = 8
EPOCHS = 6
BATCH = 32  # texts
LIKE = 10  # batches drawn together and cut by length: the rest is padding
RATE, HEAD_RATE = 5e-4, 3e-3
WARM_UP = 0.1  # of the steps
WEIGHT_DECAY = 0.01
DROPOUT = 0.1
BESIDE = 0.4  # of texts are shown beside a civil sentence: else what business talks about would pass for civil
SEED = 0

TWEETS = 500  # of each class
TWEET_WEIGHT = 0.5
HATE, OFFENSIVE, NEITHER = "0", "1", "2"
TOXIC_CLASSES = (HATE, OFFENSIVE)  # without the offensive ones, models did worse on kinds they had not learnt
HELD_OUT = 10  # every tenth tweet is never learnt

UNSEEN_KINDS = ("mockery",)  # kinds of the rubric's answers that --own holds out whole
FALSE_ALARMS = 0.02
THIRDS = ("learn", "choose", "unseen")

_MATRICES = (
    *(f"attention.self.{part}" for part in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
_EMOJI = re.compile(r"&#\d+;?")
_NOISE = re.compile(r"https?://\S+|www\.\S+|@\w+:?|(?:^|(?<=\W))RT\b:?|#")


@dataclass(frozen=True)
class Text:
    text: str
    toxic: bool
    kind: str
    split: str


@dataclass(frozen=True)
class Lesson:
    """What is shown in training: a text or a civil text's sentence."""

    tokens: list[int]
    toxic: bool
    weight: float


def own(folder: Path, split: str) -> list[Text]:
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines())
    rows = (json.loads(line) for line in lines)
    return [Text(row["text"], bool(row["toxic"]), row["kind"], split) for row in rows if row["split"] == split]


def answers(path: Path) -> list[Text]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        Text(row["answer"], row["label"] == "fail", row["kind"], "learn")
        for row in rows
        if row["kind"] not in UNSEEN_KINDS
    ]


def tweets(path: Path) -> tuple[list[Text], list[Text]]:
    """Those to learn from, TWEETS of each class, and those held out; retweets of the latter are not learnt."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(tidied(row["tweet"]), row["class"]) for row in csv.DictReader(file)]
    held_out = dict(row for number, row in enumerate(rows) if number % HELD_OUT == 0)
    rest = [(text, kind) for text, kind in dict(rows).items() if text not in held_out]
    random.Random(SEED).shuffle(rest)
    chosen = [row for kind in (HATE, OFFENSIVE, NEITHER) for row in [row for row in rest if row[1] == kind][:TWEETS]]
    return (
        [Text(text, kind in TOXIC_CLASSES, kind, "learn") for text, kind in chosen],
        [Text(text, kind in TOXIC_CLASSES, kind, "unseen") for text, kind in held_out.items()],
    )


def mail(path: Path) -> list[Text]:
    """Sentences of business mail; hardly one is rude."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = list(dict.fromkeys(line.partition("\t")[2].strip() for line in lines))
    random.Random(SEED).shuffle(found)
    return [Text(text, False, "mail", THIRDS[number % 3]) for number, text in enumerate(found) if text]


def replies(transcripts: Path, labels: Path) -> list[Text]:
    """The example's civil replies; those of one conversation stay together."""
    known = [sample for sample, breaks in example_answers(transcripts, labels) if "professional" not in breaks]
    talks = list(dict.fromkeys(sample.provenance.conversation_id for sample in known))
    third = {talk: THIRDS[number % 3] for number, talk in enumerate(talks)}
    return [Text(one.ideal_answer, False, "example", third[one.provenance.conversation_id]) for one in known]


def tidied(tweet: str) -> str:
    """Without handles, links, emoji codes and the marks of a retweet."""
    plain = html.unescape(html.unescape(_EMOJI.sub(" ", tweet)))
    return " ".join(_NOISE.sub(" ", plain).split()).strip('!"“”:. ')


def lessons(texts: Sequence[Text], weight: float) -> Iterator[Lesson]:
    """Each text, and each sentence of a civil one: which sentence of a toxic text is to blame nobody says."""
    tokenizer, _ = minilm()
    for one in texts:
        alone = [] if one.toxic else [one.text[slice(*span)] for span in pieces(one.text)]
        for part in dict.fromkeys([one.text, *alone]):
            yield Lesson(tokenizer.encode(part).ids, one.toxic, weight)


class Corrected(torch.nn.Module):
    """MiniLM as in joshi.embedding, whose matrices are corrected by products of two narrow ones."""

    def __init__(self) -> None:
        super().__init__()
        _, plain = minilm()
        self.plain = {name: torch.from_numpy(value) for name, value in plain.items()}
        self.learnt = torch.nn.ParameterDict()
        draw = torch.Generator().manual_seed(SEED)
        for name in (f"encoder.layer.{layer}.{matrix}.weight" for layer in range(LAYERS) for matrix in _MATRICES):
            rows, columns = self.plain[name].shape
            self.learnt[_key(name + DOWN)] = torch.nn.Parameter(torch.randn(rows, RANK, generator=draw) / rows**0.5)
            self.learnt[_key(name + UP)] = torch.nn.Parameter(torch.zeros(RANK, columns))
        self.learnt[HEAD] = torch.nn.Parameter(torch.zeros(SIZE + 1))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(texts, tokens) -> (texts,): logits."""
        texts, length = ids.shape
        x = (
            self.plain["embeddings.word_embeddings.weight"][ids]
            + self.plain["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._normalized(x + self.plain["embeddings.position_embeddings.weight"][:length], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{part}").view(texts, length, HEADS, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None].bool())
            mixed = self._linear(mixed.transpose(1, 2).reshape(texts, length, SIZE), f"{at}attention.output.dense")
            x = self._normalized(x + self._dropped(mixed), f"{at}attention.output.LayerNorm")
            inner = self._linear(F.gelu(self._linear(x, f"{at}intermediate.dense")), f"{at}output.dense")
            x = self._normalized(x + self._dropped(inner), f"{at}output.LayerNorm")
        mean = self._dropped((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        logits: Tensor = mean @ self.learnt[HEAD][:SIZE] + self.learnt[HEAD][SIZE]
        return logits

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = f"{name}.weight"
        correction = (x @ self.learnt[_key(weight + DOWN)]) @ self.learnt[_key(weight + UP)]
        turned: Tensor = x @ self.plain[weight] + self.plain[f"{name}.bias"] + correction
        return turned

    def _normalized(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (SIZE,), self.plain[f"{name}.weight"], self.plain[f"{name}.bias"], 1e-12)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, DROPOUT, self.training)


def _key(name: str) -> str:
    return name.replace(".", "/")  # torch forbids dots in a parameter's name


def fit(texts: Sequence[Text], civil: Sequence[Text], tweeted: Sequence[Text]) -> Corrected:
    """Each text is shown EPOCHS times, civil ones of others and tweets once."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order: the same bytes each time
    torch.use_deterministic_algorithms(True)
    draw = np.random.default_rng(SEED)
    always = list(lessons(texts, 1.0))
    harmless = list(lessons(civil, 1.0))
    once = [*harmless, *lessons(tweeted, TWEET_WEIGHT)]
    turns = [once[n] for n in draw.permutation(len(once))]
    batches: list[list[Lesson]] = []
    for epoch in range(EPOCHS):
        shown = [*always, *turns[epoch::EPOCHS]]
        if harmless:
            shown = [_beside(one, harmless, draw) if draw.random() < BESIDE else one for one in shown]
        drawn = [shown[n] for n in draw.permutation(len(shown))]
        for at in range(0, len(drawn), LIKE * BATCH):
            like = sorted(drawn[at : at + LIKE * BATCH], key=lambda one: len(one.tokens))
            batches += [like[start : start + BATCH] for start in range(0, len(like), BATCH)]
    net = Corrected().train()
    groups: list[dict[str, Any]] = [
        {"params": [net.learnt[HEAD]]},
        {"params": [value for name, value in net.learnt.items() if name != HEAD]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=WEIGHT_DECAY)
    for step, batch in enumerate(batches):
        share = min(1.0, (step + 1) / (WARM_UP * len(batches))) * (1 - step / len(batches))
        for group, rate in zip(optimizer.param_groups, (HEAD_RATE, RATE), strict=True):
            group["lr"] = rate * share
        toxic = torch.tensor([float(one.toxic) for one in batch])
        weights = torch.tensor([one.weight for one in batch])
        losses = F.binary_cross_entropy_with_logits(net(*_padded(batch)), toxic, reduction="none")
        optimizer.zero_grad()
        torch.autograd.backward((losses * weights).sum() / len(batch))
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return net.eval()


def _beside(one: Lesson, harmless: Sequence[Lesson], draw: np.random.Generator) -> Lesson:
    """Before or after a civil text, which changes no label; a text's first and last tokens are marks."""
    other = harmless[int(draw.integers(len(harmless)))].tokens
    first, second = (one.tokens, other) if draw.random() < 0.5 else (other, one.tokens)
    both = [*first[:-1], *second[1:]]
    return Lesson(both, one.toxic, one.weight) if len(both) <= MOST_TOKENS else one


def _padded(batch: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    longest = max(len(one.tokens) for one in batch)
    ids, mask = torch.zeros(len(batch), longest, dtype=torch.long), torch.zeros(len(batch), longest)
    for row, one in enumerate(batch):
        ids[row, : len(one.tokens)] = torch.tensor(one.tokens)
        mask[row, : len(one.tokens)] = 1
    return ids, mask


def threshold(civil: Sequence[float]) -> float:
    """The least, in hundredths, above which at most FALSE_ALARMS of the scores of civil replies lie."""
    return next(at / 100 for at in range(101) if sum(one > at / 100 for one in civil) <= FALSE_ALARMS * len(civil))


def main() -> None:
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--davidson", type=Path, required=True, help="labeled_data.csv")
    parser.add_argument("--own", type=Path, required=True, help="folder with *.jsonl")
    parser.add_argument("--mail", type=Path, required=True, help="Ask0729-fixed.txt")
    parser.add_argument(
        "--rubric", type=Path, required=True, help="folder with professional_*.jsonl, example_labels.jsonl"
    )
    parser.add_argument("--examples", type=Path, required=True, help="the example's transcripts")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    learnt_answers, labels = given.rubric / "professional_training.jsonl", given.rubric / "example_labels.jsonl"
    texts = [*own(given.own, "learn"), *answers(learnt_answers)]
    mails, replied = mail(given.mail), replies(given.examples, labels)
    tweeted, _ = tweets(given.davidson)
    learnt = fit(texts, [one for one in (*mails, *replied) if one.split == "learn"], tweeted).learnt
    weights: dict[str, Array] = {
        name.replace("/", "."): value.detach().numpy().astype(np.float16) for name, value in learnt.items()
    }
    read = (given.davidson, given.mail, learnt_answers, *sorted(given.own.glob("*.jsonl")))
    save_file(weights, given.out, {"sources": json.dumps({path.name: sha256_file(path) for path in read})})
    given.out.chmod(0o644)
    civil = [one.text for one in replied if one.split == "choose"]
    print(f"THRESHOLD of {len(civil)} civil replies: {threshold(score(civil, given.out)):.2f}, now {THRESHOLD:.2f}")


if __name__ == "__main__":
    main()
