"""Does this plan's fine-tuning learn by heart what stands rarely in the training data? (Carlini et al. 2019)

The plan's own SFT runs once more, in a workspace of its own below .joshi/scratch, on the frozen training split with
canaries planted in copied samples. Then the base and what came of it are asked for the canaries, and for twins that
were drawn alike and never trained on. The adapter is marked from its first byte, so that nothing exports it.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joshi import __version__, base, datasets
from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import LINEAR
from joshi.errors import GateRefused, JoshiError, PlanError
from joshi.evaluation.measure import mean_interval, rate
from joshi.evaluation.memorised.canaries import OTHERS, Canary, chance, draw, exposure, rank_of
from joshi.generate import seed_of
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, Encoded
from joshi.schema import to_jsonl
from joshi.stage import now, versions
from joshi.window import fit
from joshi.workspace import Workspace, make_folder, sha256_file, sha256_json, sha256_text, write_json, write_text

UNFIT = "it was trained on planted secrets by 'joshi memorised', to measure what training learns by heart"
SYSTEMS = ("base", "tuned")
SHOWN = ("id", "repeats", "space", "lead", "secret", "twin", "host")  # of a canary, in the report
MOST_CANARIES = 1_000  # the smallest space then holds all their candidates, none twice
CANDIDATES = {"base": 64, "tuned": OTHERS + 2}  # the base has learned nothing: a control that may be coarser
TOP_K, MIN_P = 40, 0.05  # llama.cpp's own, which the plan does not change
METHOD = (
    "exposure by rank among the twin and a random sample of the secret's space (Carlini et al. 2019, section 4.3, "
    "approximation by sampling; nothing is extrapolated)"
)


@dataclass(frozen=True)
class Settings:
    """What to plant, and how often to ask for it."""

    canaries: int = 8  # for each count of repeats
    repeats: tuple[int, ...] = (1, 2, 4, 8)
    draws: int = 10  # answers sampled for each canary as production samples, beside the greedy one
    keep: bool = False  # leave the scratch workspace, weights and all


@dataclass(frozen=True)
class Prepared:
    """What a run will do; making it changes nothing."""

    source: datasets.DatasetManifest
    parts: datasets.Split
    canaries: list[Canary]
    file: GgufFile
    trained_key: str  # of 'train sft' on the split without canaries, which the report speaks for

    @property
    def copies(self) -> int:
        return sum(canary.repeats for canary in self.canaries)


@dataclass(frozen=True)
class Question:
    """A canary's prompt, up to where the candidates part, and what each puts there: secret, twin, the others."""

    canary: Canary
    prompt: list[int]
    candidates: list[list[int]]


@dataclass(frozen=True)
class Asked:
    """What a model makes of a question: log-perplexity of each candidate in bits.

    Of the first two, secret and twin, also whether it says them greedily, and with what probability as production
    samples.
    """

    bits: list[float]
    greedy: list[bool]
    sampled: list[float]


def run(plan: Plan, workspace: Workspace, settings: Settings, progress: Progress = SILENT) -> dict[str, Any]:
    """Train on planted canaries, measure, and write reports/memorised/report.json, which is returned.

    Raises:
        PlanError: nothing is to be planted.
        JoshiError: no dataset is frozen, too few samples leave room, or the training went wrong.
    """
    prepared = prepare(plan, workspace, settings)
    home = workspace.scratch / "memorised"
    scratch = open_scratch(home, plan, workspace, settings, prepared)
    own_plan = plan_of(plan, prepared.file)
    progress.say(
        f"training on {len(prepared.parts.training)} samples and {prepared.copies} copies that hold "
        f"{len(prepared.canaries)} canaries"
    )
    trained = train(own_plan, scratch, progress)
    tokenizer = base.tokenizer(scratch)
    questions = [question(canary, plan, tokenizer) for canary in prepared.canaries]
    asked = ask(questions, prepared.file, own_plan, scratch, progress)
    report = assemble(plan, settings, prepared, asked, trained)
    write_json(report_path(workspace), report)
    if not settings.keep:
        remove(home)
    return report


def report_path(workspace: Workspace) -> Path:
    return workspace.root / "reports" / "memorised" / "report.json"


def prepare(plan: Plan, workspace: Workspace, settings: Settings) -> Prepared:
    """Read the frozen version and draw the canaries.

    Raises:
        PlanError: no canary, no repeats, or more than one process.
        JoshiError: see `run`.
    """
    counts = settings.repeats
    if settings.canaries < 1 or not counts or min(counts) < 1 or len(set(counts)) < len(counts):
        raise PlanError(
            f"--canaries {settings.canaries} --repeats {','.join(map(str, counts))}: expected at least one canary for "
            "each count, and different counts from 1 up, such as --canaries 8 --repeats 1,2,4,8"
        )
    if settings.canaries * len(counts) > MOST_CANARIES:
        raise PlanError(f"--canaries {settings.canaries} for {len(counts)} counts are more than {MOST_CANARIES} in all")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PlanError("joshi memorised trains in one process; start it without torchrun")
    parts = datasets.load_split(plan, workspace)
    source = datasets.latest(plan, workspace)
    assert source is not None  # load_split would have refused
    from joshi.training import sft

    trained_key = sft.STAGE.key(plan, sft.STAGE.hashes(plan, workspace))
    canaries = draw(parts.training, plan, base.tokenizer(workspace), settings.canaries, counts)
    return Prepared(source, parts, canaries, find_base(plan.model.base, workspace.root), trained_key)


def plan_of(plan: Plan, file: GgufFile) -> Plan:
    """The plan as it is, but that its base is named by its place, and that no tracker hears of the run."""
    model = plan.model.model_copy(update={"base": f"gguf:{file.path.resolve()}"})
    tracking = plan.tracking.model_copy(update={"mode": "disabled"})
    return plan.model_copy(update={"model": model, "tracking": tracking})


def open_scratch(home: Path, plan: Plan, workspace: Workspace, settings: Settings, prepared: Prepared) -> Workspace:
    """A workspace with the planted dataset; the same for the same run, so that one that was killed goes on."""
    source = prepared.source
    key = sha256_json([__version__, prepared.trained_key, plan.sha256(), settings.canaries, settings.repeats])[:12]
    for left in home.glob("*"):
        if left.name != key:
            remove(left)
    scratch = Workspace(home / key, unfit=UNFIT)
    folder = make_folder(scratch.dataset(plan.curation.dataset))
    planted = [copy for canary in prepared.canaries for copy in canary.copies()]
    samples = [*prepared.parts.training, *planted, *prepared.parts.development]
    name, text = f"sft_v{source.version}.jsonl", to_jsonl(samples)
    write_text(folder / name, text, permissions=0o600)
    manifest = source.model_copy(
        update={
            "files": {name: sha256_text(text)},
            "counts": datasets.counted(samples, (), source.development),
            "validation": [],
            "approvals": {s.id: {"reviewer": None, "sha256": sha256_text(s.ideal_answer)} for s in samples},
        }
    )
    datasets.write_manifest(folder, manifest)
    tokenizer = make_folder(base.folder(scratch))
    for part in ("tokenizer.json", "chat_template.jinja", "chat.json"):
        shutil.copyfile(base.folder(workspace) / part, tokenizer / part)
    return scratch


def train(plan: Plan, scratch: Workspace, progress: Progress) -> dict[str, Any]:
    """What `joshi train sft` does, in the scratch workspace; its metrics without the curves."""
    from joshi.training import sft

    manifest = sft.STAGE.current(plan, scratch)  # killed after its training, or kept
    try:
        manifest = manifest or sft.run(plan, scratch, progress)
    except GateRefused as error:
        raise JoshiError(f"with the canaries planted, there is nothing to measure: {error}") from error
    return {name: value for name, value in manifest.metrics.items() if name not in ("curve", "turns_cut")}


def question(canary: Canary, plan: Plan, tokenizer: ChatTokenizer) -> Question:
    """The prompt is the copy's as training saw it, and what all candidates begin with, the lead above all."""
    encoded = fit(next(canary.copies()), plan, tokenizer).encoded
    prompt = encoded.ids[: encoded.trained.index(True)]
    texts = [tokenizer.ids(f"{canary.lead} {secret}") for secret in (canary.secret, canary.twin, *canary.others)]
    first, last = min(texts), max(texts)  # what these two begin with, all do
    shared = next(i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return Question(canary, prompt + texts[0][:shared], [text[shared:] for text in texts])


def ask(
    questions: Sequence[Question], file: GgufFile, plan: Plan, scratch: Workspace, progress: Progress
) -> dict[str, list[Asked]]:
    """The base and the tuned model on every question."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    from joshi.training import fused
    from joshi.training.trainer import frozen_base, lora

    model = lora(frozen_base(file, plan), plan, LINEAR[file.architecture], UNFIT).eval()  # adds nothing yet
    fused.install(model)
    asked: dict[str, list[Asked]] = {name: [] for name in SYSTEMS}
    for name, answers in asked.items():
        if name == "tuned":
            weights = scratch.artifacts(plan.model.name) / "sft" / "adapter_model.safetensors"
            set_peft_model_state_dict(model, load_file(weights))
        with progress.bar(f"candidates: {name}", len(questions)) as advance:
            for one in questions:
                answers.append(answer(model, one, CANDIDATES[name], plan))
                advance(1)
    return asked


def answer(model: Any, one: Question, most: int, plan: Plan) -> Asked:
    """The first `most` candidates after the prompt, which they share as one trie.

    Log-perplexity is -log2 p (section 4.1). Along the secret and its twin the whole next-token distributions are looked
    at: a greedy answer says a text whose every token is the likeliest, a sampled one with the product of its tokens'
    probabilities.
    """
    import torch

    from joshi.training.forward import answer_log_probs, per_sequence
    from joshi.training.packing import pack
    from joshi.training.trunk import causal_of, shared_trunk

    n, candidates = len(one.prompt), one.candidates[:most]
    sequences = [Encoded(one.prompt + ids, [False] * n + [True] * len(ids)) for ids in candidates]
    # Nothing is kept for a backward pass, so the prompt may come on top of the budget.
    packs = pack([[each] for each in sequences], n + plan.sft.token_budget, plan.sft.shares_trunk)
    bits = np.empty(len(sequences))
    greedy, sampled = [False, False], [0.0, 0.0]
    vocabulary = len(causal_of(model).lm_head.weight)
    every = torch.arange(vocabulary)
    with torch.no_grad(), shared_trunk(model, packs):
        for part in packs:
            whole = {part.members.index(i): i for i in (0, 1) if i in part.members}
            along = torch.isin(part.sequence, torch.tensor(list(whole)))
            n_targets, n_whole = len(part.target), int(along.sum())
            wider = replace(
                part,
                source=torch.cat([part.source, part.source[along].repeat_interleave(vocabulary)]),
                target=torch.cat([part.target, every.repeat(n_whole)]),
            )
            values = answer_log_probs(model, wider)
            bits[list(part.members)] = -per_sequence(values[:n_targets].double(), part).cpu().numpy() / math.log(2)
            rows = values[n_targets:].view(n_whole, vocabulary).double().cpu().numpy()
            for place, i in whole.items():
                mine = rows[(part.sequence[along] == place).numpy()]
                tokens = list(zip(mine, candidates[i], strict=True))
                greedy[i] = all(int(row.argmax()) == token for row, token in tokens)
                sampled[i] = math.prod(sampling_chance(row, token, plan) for row, token in tokens)
    return Asked([float(value) for value in bits], greedy, sampled)


def sampling_chance(log_probs: NDArray[np.float64], token: int, plan: Plan) -> float:
    """The probability that llama.cpp samples a token, given (vocabulary,) log-probabilities.

    Its samplers in their order, each on what the one before has left: the likeliest TOP_K, the fewest that make up
    top_p, those with at least MIN_P of the likeliest one's probability, and the temperature last.
    """
    kept = np.argsort(-log_probs)[:TOP_K]
    chances = np.exp(log_probs[kept])
    chances /= chances.sum()
    n = int(np.searchsorted(chances.cumsum(), plan.release.top_p)) + 1
    n = min(n, int((chances >= MIN_P * chances[0]).sum()))
    if plan.release.temperature == 0:
        return float(kept[0] == token)
    scaled = np.exp((log_probs[kept[:n]] - log_probs[kept[0]]) / plan.release.temperature)
    return float(scaled[kept[:n] == token].sum() / scaled.sum())


def assemble(
    plan: Plan,
    settings: Settings,
    prepared: Prepared,
    asked: dict[str, list[Asked]],
    trained: dict[str, Any],
) -> dict[str, Any]:
    """report.json: rates and exposures by repeats, and every canary, bound to plan, dataset, base and seed."""
    rows = []
    for i, canary in enumerate(prepared.canaries):
        row: dict[str, Any] = {name: getattr(canary, name) for name in SHOWN}
        for name in SYSTEMS:
            found = asked[name][i]
            row[name] = _figures(0, found, settings.draws, seed_of(plan, canary.id))
            row[f"twin, {name}"] = _figures(1, found, settings.draws, seed_of(plan, canary.id, "twin"))
        rows.append(row)
    source = prepared.source
    return {
        "model": plan.model.name,
        "base": plan.model.base,
        "base_sha256": sha256_file(prepared.file.path),
        "created_at": now(),
        "versions": versions(),
        "seed": plan.seed,
        "plan_sha256": plan.sha256(),
        "train_sft_key": prepared.trained_key,
        "dataset": {
            "name": source.dataset,
            "version": source.version,
            "sha256": source.files[f"sft_v{source.version}.jsonl"],
            "train": source.counts["train"],
        },
        "settings": {
            "canaries": settings.canaries,
            "repeats": list(settings.repeats),
            "copies": prepared.copies,
            "epochs": plan.sft.epochs,
            "candidates": OTHERS + 2,
            "draws": settings.draws,
            "temperature": plan.release.temperature,
            "top_p": plan.release.top_p,
        },
        "method": METHOD,
        "chance": round(chance(OTHERS + 2), 3),
        "most": round(exposure(1, OTHERS + 2), 3),
        "training": trained,
        "repeats": {str(n): _group([row for row in rows if row["repeats"] == n], plan) for n in settings.repeats},
        "all": _group(rows, plan),
        "canaries": rows,
    }


def _figures(which: int, asked: Asked, draws: int, seed: int) -> dict[str, Any]:
    """Of the secret (0) or its twin (1): log-perplexity in bits, rank and exposure, and how often it is said.

    A twin's candidates do not include the secret: what training did to that is nothing to the twin.
    """
    own, others = asked.bits[which], asked.bits[which + 1 :]
    rank, n = rank_of(own, others), len(others) + 1
    return {
        "bits": round(own, 3),
        "rank": rank,
        "of": n,
        "exposure": round(exposure(rank, n), 4),
        "greedy": asked.greedy[which],
        "probability": asked.sampled[which],
        "sampled": int(np.random.default_rng(seed).binomial(draws, asked.sampled[which])),
    }


def _group(rows: Sequence[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """Means with their intervals, of the canaries and of their twins, with both models."""
    found: dict[str, Any] = {"n": len(rows)}
    for name in (side for system in SYSTEMS[::-1] for side in (system, f"twin, {system}")):
        figures = [row[name] for row in rows]
        exposures = mean_interval([[one["exposure"]] for one in figures], plan.seed)
        found[name] = {
            "exposure": {key: round(value, 3) for key, value in exposures.items()},
            "first": sum(one["rank"] == 1 for one in figures),  # no candidate is likelier: exposure is at least this
            "bits": round(sum(one["bits"] for one in figures) / len(figures), 2),
            "greedy": _share([one["greedy"] for one in figures]),
            "sampled": _share([one["sampled"] > 0 for one in figures]),
        }
    return found


def _share(hits: Sequence[bool]) -> dict[str, float]:
    """Of canaries, with its exact interval: those alone are drawn apart from each other."""
    return {"n": len(hits), "hits": sum(hits)} | rate(sum(hits), len(hits))


def remove(path: Path) -> None:
    """A folder below .joshi/scratch, and that if nothing else is left in it."""
    shutil.rmtree(path)
    for empty in (path.parent, path.parent.parent):
        if empty.name not in ("memorised", "scratch") or any(empty.iterdir()):
            break
        empty.rmdir()
