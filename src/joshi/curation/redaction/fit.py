"""The network of `network.py` in torch, and how it is taught. Needs joshi[train]; only `learn.py` uses it.

One thread and one seed: the same lessons give the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from joshi.curation.redaction.names import written_small
from joshi.curation.redaction.network import GAPS_BETWEEN, N_AMONG, TAGS
from joshi.curation.redaction.prices import with_currency
from joshi.curation.redaction.reading import (
    BUCKETS,
    GAPS,
    MOST_FEATURES,
    N_NUMBER,
    N_PLACED,
    N_WRITTEN,
    Surface,
    features,
    masked_in,
    read,
    written,
)
from joshi.curation.redaction.spans import Span

EPOCHS = 10  # more teach names a little better, and prices in talk of other kinds worse
EMBEDDING, CHANNELS, SECOND_LOOK = 32, 128, 128  # numbers in a token's sum, in its state, in the second look
DROPPED, DROPPED_WORDS, DROPPED_INPUT, DROPPED_STATE = 0.12, 0.15, 0.1, 0.25  # shares left out in teaching
RATE, DECAY, WARM_STEPS = 4e-3, 0.02, 60
BATCH_TOKENS = 6_000  # with the padding
NUMBERS_COUNT = 5.0  # a number's weight against a word's: there are fewer
PRICE = TAGS.index("PRICE")


@dataclass(frozen=True)
class Lesson:
    """Messages of a talk with their marked spans. `turn`: the epochs, counted in turns, that take it; None is all."""

    texts: tuple[str, ...]
    spans: tuple[Sequence[Span], ...]
    weight: float
    turn: int | None = None
    words: bool = True  # what may be learned from it: names are marked
    numbers: bool = True  # prices are


@dataclass(frozen=True)
class _Row:
    """A lesson in numbers."""

    turn: int | None
    weight: float
    surfaces: np.ndarray  # (tokens,) rows of the table
    placed: np.ndarray  # (tokens,) bits
    at_numbers: np.ndarray  # tokens of of_numbers
    of_numbers: np.ndarray  # (n, N_NUMBER)
    labels: np.ndarray  # (tokens,) of TAGS, -1 where nothing is learned
    numbers: np.ndarray  # (numbers, 4): token, value, whether it carries a currency, message


@dataclass
class _Table:
    """Every surface of the lessons, once."""

    places: dict[Surface, int]
    buckets: list[list[int]]
    written: list[np.ndarray]

    def place(self, surface: Surface) -> int:
        if surface not in self.places:
            self.places[surface] = len(self.places)
            found = list(features(surface))
            self.buckets.append(found + [0] * (MOST_FEATURES - len(found)))
            self.written.append(written(surface))
        return self.places[surface]


def fit_network(lessons: Sequence[Lesson], turns: int, seed: int) -> dict[str, np.ndarray]:
    """Tensors as `network.py` reads them, taught with the lessons in EPOCHS passes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    chooser = random.Random(seed)
    table = _Table({}, [], [])
    rows = [row for lesson in lessons if (row := _row(lesson, table)) is not None]
    buckets = np.array(table.buckets, np.int64)  # (surfaces, MOST_FEATURES)
    form = np.array(table.written, np.float32)  # (surfaces, N_WRITTEN)
    passes = [[row for row in rows if row.turn is None or row.turn == epoch % turns] for epoch in range(EPOCHS)]
    steps = EPOCHS * len(_groups(passes[0], None))
    net = _Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    step = 0
    for taken in passes:
        groups = _groups(taken, chooser)
        chooser.shuffle(groups)
        for group in groups:
            share = min(1.0, step / steps)
            rate = RATE * min(1.0, step / WARM_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate
            loss = _loss(net, _Batch([taken[place] for place in group], buckets, form))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
    return net.exported()


def _row(lesson: Lesson, table: _Table) -> _Row | None:
    masked = [masked_in(text) for text in lesson.texts]
    talk = read(lesson.texts, masked, with_currency(lesson.texts), written_small(lesson.texts))
    labels = []
    for words, spans in zip(talk.words, lesson.spans, strict=True):
        for word in words:
            kind = next((kind for a, b, kind in spans if a <= word.start < b), "O")
            known = len(word.shape) > 1 and word.shape[0] == "<"
            taught = lesson.numbers if word.shape == "0" else lesson.words
            label = TAGS.index(kind) if kind in TAGS else TAGS.index("CODE")
            labels.append(-1 if known or word.shape == "⏎" or not taught else label)
    if all(label < 0 for label in labels):
        return None
    return _Row(
        lesson.turn,
        lesson.weight,
        np.array([table.place(surface) for surface in talk.surfaces], np.int32),
        np.array(talk.placed, np.int32),
        np.array(list(talk.of_numbers), np.int32),
        np.array(list(talk.of_numbers.values()), np.float32).reshape(-1, N_NUMBER),
        np.array(labels, np.int8),
        np.array([(n.first, n.value, n.is_price, n.message) for n in talk.numbers], np.float32).reshape(-1, 4),
    )


def _groups(rows: Sequence[_Row], chooser: random.Random | None) -> list[list[int]]:
    """Places of rows of like length, together no longer than BATCH_TOKENS."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].labels) + (chooser.random() * 10 if chooser else 0))
    groups: list[list[int]] = [[]]
    for place in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows[place].labels) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(place)
    return groups


class _Batch:
    """Rows padded to the longest: b rows, t tokens, n numbers."""

    def __init__(self, rows: Sequence[_Row], buckets: np.ndarray, form: np.ndarray) -> None:
        b, t = len(rows), max(len(row.labels) for row in rows)
        n = max(1, max(len(row.numbers) for row in rows))
        surfaces = np.zeros((b, t), np.int64)
        placed = np.zeros((b, t), np.int64)
        of_numbers = np.zeros((b, t, N_NUMBER), np.float32)
        labels = np.full((b, t), -1, np.int64)
        mask = np.zeros((b, t), bool)
        numbers = np.zeros((b, n, 4), np.float32)
        numbers[..., 0] = -1
        numbers[..., 3] = -2
        for i, row in enumerate(rows):
            length = len(row.labels)
            mask[i, :length] = True
            surfaces[i, :length] = row.surfaces
            placed[i, :length] = row.placed
            of_numbers[i, row.at_numbers] = row.of_numbers
            labels[i, :length] = row.labels
            numbers[i, : len(row.numbers)] = row.numbers
        buckets, form = buckets[surfaces], form[surfaces]
        bits = (placed[..., None] >> np.arange(N_PLACED) & 1).astype(np.float32)
        self.mask = torch.from_numpy(mask)  # (b, t)
        self.buckets = torch.from_numpy(buckets * mask[..., None])  # (b, t, MOST_FEATURES)
        self.told = torch.from_numpy(np.concatenate([form, bits, of_numbers], axis=-1) * mask[..., None])
        self.labels = torch.from_numpy(labels)
        self.is_number = torch.from_numpy(form[..., 6] > 0)  # its shape is "0"
        self.weight = torch.tensor([row.weight for row in rows])
        self.at = torch.from_numpy(numbers[..., 0]).long()  # (b, n), -1 where there is none
        self.value = torch.from_numpy(numbers[..., 1])
        self.is_price = torch.from_numpy(numbers[..., 2]) > 0
        self.message = torch.from_numpy(numbers[..., 3])


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BUCKETS, EMBEDDING, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.3)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.input = nn.Linear(EMBEDDING + N_WRITTEN + N_PLACED + N_NUMBER, CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(CHANNELS, CHANNELS, 3, padding=gap, dilation=gap) for gap in GAPS_BETWEEN
        )
        self.talk = nn.Linear(2 * CHANNELS, CHANNELS)
        self.tags = nn.Linear(CHANNELS, len(TAGS))
        self.again = nn.Linear(CHANNELS + N_AMONG, SECOND_LOOK)
        self.price = nn.Linear(SECOND_LOOK, 1)

    def states(self, batch: _Batch) -> Tensor:
        """(b, t, CHANNELS)."""
        given = (batch.buckets > 0).float()
        kept = given
        if self.training:
            kept = given * (torch.rand_like(given) > DROPPED)
            kept[..., 0] = kept[..., 0] * (torch.rand_like(kept[..., 0]) > DROPPED_WORDS)  # the word itself comes first
        summed = (self.embedding(batch.buckets) * kept[..., None]).sum(2)
        summed = summed / given.sum(2, keepdim=True).clamp(min=1).sqrt()
        mask = batch.mask[..., None].float()
        x = functional.dropout(torch.cat([summed, batch.told], -1), DROPPED_INPUT, self.training)
        h: Tensor = functional.relu(self.input(x)) * mask
        for layer, convolution in enumerate(self.convolutions):
            y = functional.relu(convolution(h.transpose(1, 2)).transpose(1, 2))
            h = (h + functional.dropout(y, DROPPED_STATE, self.training)) * mask
            if layer == 0:
                mean = h.sum(1) / mask.sum(1).clamp(min=1)
                most = h.masked_fill(mask == 0, -1e4).amax(1)
                h = (h + functional.relu(self.talk(torch.cat([mean, most], -1)))[:, None]) * mask
        return functional.dropout(h, DROPPED_STATE, self.training)

    def second_look(self, h: Tensor, scores: Tensor, batch: _Batch) -> Tensor:
        """(b, n): a logit for each number."""
        at = batch.at.clamp(min=0)[..., None]
        state = h.gather(1, at.expand(-1, -1, h.shape[-1]))
        chance = scores.detach().gather(1, at.expand(-1, -1, scores.shape[-1])).softmax(-1)[..., PRICE]
        inner = functional.relu(self.again(torch.cat([state, _among(chance, batch)], -1)))
        found: Tensor = self.price(functional.dropout(inner, DROPPED_STATE, self.training))[..., 0]
        return found

    def exported(self) -> dict[str, np.ndarray]:
        """Matrices as (in, out), convolutions as (taps, in, out), the input's by what it reads."""
        held = {name: value.detach().numpy() for name, value in self.state_dict().items()}
        made: dict[str, np.ndarray] = {"embedding": held["embedding.weight"], "input.bias": held["input.bias"]}
        at = 0
        for name, size in (("feature", EMBEDDING), ("written", N_WRITTEN), ("placed", N_PLACED), ("number", N_NUMBER)):
            made[f"{name}.weight"] = held["input.weight"].T[at : at + size]
            at += size
        for layer in range(len(GAPS_BETWEEN)):
            made[f"convolution.{layer}.weight"] = held[f"convolutions.{layer}.weight"].transpose(2, 1, 0)
            made[f"convolution.{layer}.bias"] = held[f"convolutions.{layer}.bias"]
        for name in ("talk", "tags", "again", "price"):
            made[f"{name}.weight"] = held[f"{name}.weight"].T
            made[f"{name}.bias"] = held[f"{name}.bias"]
        return {name: np.ascontiguousarray(value) for name, value in made.items()}


def _among(p: Tensor, batch: _Batch) -> Tensor:
    """(b, n, N_AMONG): as `network.among`, for a batch."""
    given = batch.at >= 0
    p = torch.where(batch.is_price, torch.ones_like(p), p) * given
    log = batch.value.clamp(min=1e-3).log()
    gap = (log[:, :, None] - log[:, None, :]).abs()
    counts = given & (batch.value > 0)
    other = counts[:, None, :] & counts[:, :, None] & ~torch.eye(p.shape[1], dtype=torch.bool)
    said = [(p[:, None, :] * (other & (gap <= limit))).amax(2) for limit in GAPS]
    same = other & (gap <= GAPS[0]) & ~batch.is_price[:, None, :]
    said.append(((1 - p)[:, None, :] * same).amax(2))
    said.append((p.sum(1, keepdim=True) / given.sum(1, keepdim=True).clamp(min=1)).expand_as(p))
    together = (batch.message[:, 1:] == batch.message[:, :-1]).float()
    said.append(functional.pad(p[:, :-1] * together, (1, 0)))
    said.append(functional.pad(p[:, 1:] * together, (0, 1)))
    said.append((p.clamp(1e-4, 1 - 1e-4) / (1 - p).clamp(min=1e-4)).log() / 4)
    said.append((batch.is_price & given).any(1, keepdim=True).float().expand_as(p))
    return torch.stack(said, -1)


def _loss(net: _Net, batch: _Batch) -> Tensor:
    """Cross-entropy of the tags, and of the second look, a number counting NUMBERS_COUNT times."""
    h = net.states(batch)
    scores = net.tags(h)
    each = functional.cross_entropy(scores.flatten(0, 1), batch.labels.flatten().clamp(min=0), reduction="none")
    weight = (batch.labels >= 0) * batch.weight[:, None] * (1 + (NUMBERS_COUNT - 1) * batch.is_number)
    again = net.second_look(h, scores, batch)
    label = batch.labels.gather(1, batch.at.clamp(min=0))
    counts = (batch.at >= 0) & ~batch.is_price & (label >= 0)
    second = functional.binary_cross_entropy_with_logits(again, (label == PRICE).float(), reduction="none")
    second = second * counts * batch.weight[:, None] * NUMBERS_COUNT
    return ((each * weight.flatten()).sum() + second.sum()) / weight.sum().clamp(min=1)
