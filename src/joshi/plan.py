"""The plan file: every choice and number of a run, validated, each field described where it is defined."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from joshi.plan_gates import GATES, Gate, with_defaults
from joshi.plan_operations import MemorySection, MonitoringSection, ReleaseSection, Section, TrackingSection
from joshi.plan_review import PASSWORD_IN_URL, ReviewSection
from joshi.workspace import sha256_json

SYSTEM_PROMPT = (
    "You are the buyer's negotiation assistant. Write the buyer's next reply to the supplier: short, warm, plain."
)
# What an evaluation always compares.
SYSTEMS = ("base", "base_with_rules", "sft", "shipped", "released")
# What of [release] shapes an answer; where it is served does not.
SAMPLING = ("release.temperature", "release.top_p", "release.num_ctx")


class ModelSection(Section):
    name: str = Field("phi4-joshi", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="name of the tuned model")
    base: str = Field(
        "ollama:phi4",
        pattern=r"^(ollama:.+|gguf:.+|hf:.+|builtin:smollm2)$",
        description="the base model: ollama:NAME[:TAG], gguf:PATH, hf:FOLDER or builtin:smollm2",
    )
    system_prompt: str = Field(SYSTEM_PROMPT, min_length=1, description="what production sends as system message")


class DatabaseSection(Section):
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", description="what sources and messages call the database")
    url: str = Field(min_length=1, description='SQLAlchemy URL; "env:NAME" takes it from an environment variable')
    query: str = Field(min_length=1, description="one SELECT or WITH statement; its columns are the keys of a record")


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.S)
_WRITES = re.compile(r"\b(?:insert|update|delete|merge|into)\b", re.I)


class TranscriptsSection(Section):
    paths: list[str] = Field(["transcripts"], description="files and folders of chats, relative to the workspace")
    buyer_domains: list[str] = Field(
        default_factory=list, description="mail domains of the buyer, where a source does not say who is who"
    )
    databases: list[DatabaseSection] = Field(
        default_factory=list,
        description='databases to read as well, each a [[transcripts.databases]] with name, url ("env:NAME" for a '
        "secret one) and query (a SELECT)",
    )

    @model_validator(mode="after")
    def sources_are_sound(self) -> TranscriptsSection:
        if not self.paths and not self.databases:
            raise ValueError("paths is empty and no database is named; name a file, a folder or a database")
        names = [database.name.casefold() for database in self.databases]
        for database in self.databases:
            if names.count(database.name.casefold()) > 1:
                raise ValueError(f"two databases are called {database.name!r}; give each its own name")
            if not database.url.startswith("env:") and PASSWORD_IN_URL.search(database.url):
                raise ValueError(
                    f'the url of database {database.name!r} holds a password; write url = "env:NAME" and put the URL '
                    "into the environment variable NAME"
                )
            bare = _QUOTED.sub(" ", database.query).strip().removesuffix(";")
            if not re.match(r"(?:select|with)\b", bare, re.I) or ";" in bare or _WRITES.search(bare):
                raise ValueError(
                    f"the query of database {database.name!r} must be one SELECT or WITH statement that only reads"
                )
        return self


class CurationSection(Section):
    dataset: str = Field("phi4_humanization", pattern=r"^[A-Za-z0-9_-]+$", description="folder name under datasets/")
    sft_samples: tuple[int, int] = Field((200, 800), description="fewest and most samples of a frozen version")
    preference_pairs: tuple[int, int] = Field((200, 500), description="fewest and most preference pairs")
    validation_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="share of conversations held out, by which the gates judge"
    )
    development_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="share of conversations by which training chooses what weights to keep"
    )
    price_band: float = Field(0.1, gt=0, le=0.5, description="width of a price range, as a share of the price")
    history_turns: int = Field(10, ge=1, description="turns kept before the answer, the newest")
    duplicate_jaccard: float = Field(
        0.8, gt=0, le=1, description="answers at least this alike (Jaccard of word 3-grams) are duplicates"
    )
    approve: Literal["manual", "automatic"] = Field(
        "manual", description="manual: a person approves each sample; automatic: for demonstrations only"
    )

    @model_validator(mode="after")
    def ordered(self) -> CurationSection:
        for name in ("sft_samples", "preference_pairs"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [fewest, most] with 0 < fewest <= most")
        return self


class RubricSection(Section):
    acknowledgement_tokens: int = Field(20, ge=1, description="most tokens in the acknowledging first sentence")
    next_steps: int = Field(1, ge=1, le=3, description="how many actionable next steps an answer makes")
    length_tokens: int = Field(180, ge=20, description="most tokens in one answer")
    internal_terms: list[str] = Field(
        default_factory=list, description="names of your own tools and rules that no answer may say"
    )


class SftSection(Section):
    rank: int = Field(64, ge=1, description="LoRA rank r")
    alpha: int = Field(16, ge=1, description="LoRA alpha; updates are scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout on the LoRA path")
    quantization: Literal["none", "nf4"] = Field(
        "none", description="how the frozen weights are held while training: in full, or as 4-bit NF4 (QLoRA)"
    )
    sharded: bool = Field(
        False,
        description="split the frozen weights over all processes of torchrun (FSDP2), for a base too large for one",
    )
    recompute: bool = Field(
        False,
        description="keep one layer's activations at a time and make the others again in the backward pass: a third "
        "more arithmetic for a fraction of the memory",
    )
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="highest learning rate of AdamW")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="learning-rate schedule"
    )
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up, capped to 10% of the run")
    strict: bool = Field(False, description="take warmup_steps as written even if the run is shorter")
    batch_size: int = Field(128, ge=1, description="sequences in one optimizer step")
    epochs: int = Field(3, ge=1, description="passes over the training split")
    measurements: int = Field(4, ge=1, description="how often a run is measured on the development conversations")
    watch_answers: int = Field(
        24,
        ge=0,
        description="development answers sampled at each measurement; the weights whose answers follow the rules best "
        "are kept; 0: the last weights are kept",
    )
    patience: int = Field(
        2, ge=0, description="measurements in a row that may improve nothing before training stops; 0: it never does"
    )
    max_length: int = Field(4096, ge=64, description="most tokens of one sequence")
    token_budget: int = Field(2048, ge=256, description="most tokens of one forward pass; bounds memory")

    @property
    def shares_trunk(self) -> bool:
        """Whether packs of a step may share a trunk: it enters layers from outside, which FSDP cannot follow."""
        return not self.sharded

    @model_validator(mode="after")
    def one_way_to_save_memory(self) -> SftSection:
        if self.sharded and self.quantization != "none":
            raise ValueError('sharded = true needs quantization = "none": 4-bit weights are not split')
        return self


class PreferenceSection(Section):
    method: Literal["dpo", "simpo", "orpo", "none"] = Field(
        "dpo", description="preference objective, or none to ship SFT"
    )
    beta: float = Field(
        0.1, gt=0, description="DPO: how far the policy may leave the reference; SimPO: reward scale; ORPO: its lambda"
    )
    simpo_gamma: float = Field(0.5, ge=0, description="SimPO: margin wanted between the rewards")
    ld_alpha: float = Field(
        1.0, ge=0, le=1, description="DPO: weight of tokens past the pair's shorter answer (LD-DPO); 1 is plain DPO"
    )
    learning_rate: float = Field(5e-6, gt=0, lt=1, description="highest learning rate of AdamW")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    batch_size: int = Field(32, ge=1, description="pairs in one optimizer step")
    length_limit: int = Field(180, ge=1, description="tokens above which an answer is penalised")
    length_penalty: float = Field(0.01, ge=0, description="lambda: DPO logit added per token of excess length")
    sft_weight: float = Field(0.0, ge=0, description="weight of the chosen answer's token loss (RPO)")
    rejected_from: list[Literal["base", "sft"]] = Field(
        ["base"], min_length=1, description="models whose rule-breaking answers become the rejected side"
    )
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature for rejected answers")
    candidates: int = Field(2, ge=1, le=16, description="answers sampled per prompt and model")
    balance_length: bool = Field(
        False,
        description="leave out pairs until chosen and rejected answers are as long in the mean, to a tenth, or the "
        "fewest pairs remain",
    )


class EndpointSection(Section):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="what tables call it")
    url: str = Field(
        pattern=r"^https?://[^@/\s]+(?:/\S*)?$",
        description="address of Ollama or of any OpenAI-compatible server, without user and password",
    )
    model: str = Field(min_length=1, description="what the server calls the model")
    key: str | None = Field(None, pattern=r"^env:\w+$", description='"env:NAME": the variable with the API key')


class EvaluationSection(Section):
    p90_tokens: int = Field(160, ge=1, description="bound of the gate p90_tokens, drawn in the report")
    max_tokens: int = Field(320, ge=16, description="answers are cut off after this many tokens")
    parallel: int = Field(8, ge=1, le=64, description="answers generated at the same time")
    must_lead: list[str] = Field(
        ["acknowledgement", "one_next_step", "no_boilerplate"],
        description="rules on which the shipped model must not fall behind a baseline (gate lead)",
    )
    attacks: int = Field(0, ge=0, description="how many red-team attacks are made, from every family; 0: all")
    passages: int = Field(
        0, ge=0, description="how many passages of general text are read, of every kind in turn; 0: all 40"
    )
    benchmark: bool = Field(True, description="joshi-bench's tasks and games are part of the evaluation")
    toxicity: str = Field(
        "builtin",
        pattern=r"^(builtin|hf:.+)$",
        description="who scores toxic language: builtin, or hf:FOLDER of a Hugging Face classifier",
    )
    endpoints: list[EndpointSection] = Field(
        default_factory=list,
        description="further models to compare, each an [[evaluation.endpoints]] with name, url, model and key "
        '("env:NAME")',
    )
    judge: EndpointSection | None = Field(
        None,
        description="a model that compares answers; it can warn, never approve: [evaluation.judge] like an endpoint",
    )
    gates: dict[str, Gate] = Field(
        default_factory=lambda: dict(GATES),
        description="what must hold before a release: [evaluation.gates] NAME = BOUND, or NAME = { bound, direction, "
        "minimum, required }",
    )

    @model_validator(mode="before")
    @classmethod
    def gates_over_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = values.get("gates", {})
        merged = with_defaults(given)
        bound, limit = merged["p90_tokens"]["bound"], values.get("p90_tokens")
        if limit is not None and limit != bound and "p90_tokens" in given and bound != GATES["p90_tokens"].bound:
            raise ValueError(f"p90_tokens = {limit} and gates.p90_tokens = {bound:g} differ; leave one of them out")
        if limit is not None:
            merged["p90_tokens"]["bound"] = limit
        return values | {"gates": merged, "p90_tokens": merged["p90_tokens"]["bound"]}

    @model_validator(mode="after")
    def names_are_free(self) -> EvaluationSection:
        names = [endpoint.name for endpoint in self.endpoints]
        taken = {name for name in names if names.count(name) > 1 or name in SYSTEMS}
        if taken:
            raise ValueError(f"two systems would be called {min(taken)!r}; give each endpoint a name of its own")
        return self


class ExportSection(Section):
    quantization: Literal["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "base"] = Field(
        "Q4_K_M", description='type of the exported GGUF; "base" keeps each tensor in the type it has'
    )
    rounding: Literal["nearest", "calibrated"] = Field(
        "nearest",
        description="how weights reach a 4-bit grid: each to its nearest level, with a finer type where that loses the "
        "fine-tune, or by what their layer sees of the training samples, which keeps it at 4 bits and takes longer",
    )
    calibration_tokens: int = Field(
        16_384, ge=1024, description='least tokens of training samples that rounding = "calibrated" looks at'
    )
    original: str | None = Field(
        None,
        description='the base unquantised, as [model] base names one ("hf:FOLDER" or "gguf:PATH"): the fine-tune is '
        "added to these weights, and 4 bits keep it",
    )


class Plan(Section):
    """The whole plan. Every section and key may be left out; the defaults are the humanization plan's."""

    seed: int = Field(7, ge=0, description="the one seed: split, sampling, initialisation, surrogates")
    threads: int = Field(0, ge=0, description="CPU threads; 0: all physical cores")
    model: ModelSection = Field(default_factory=ModelSection)
    transcripts: TranscriptsSection = Field(default_factory=TranscriptsSection)
    curation: CurationSection = Field(default_factory=CurationSection)
    rubric: RubricSection = Field(default_factory=RubricSection)
    review: ReviewSection = Field(default_factory=ReviewSection)
    sft: SftSection = Field(default_factory=SftSection)
    preference: PreferenceSection = Field(default_factory=PreferenceSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    export: ExportSection = Field(default_factory=ExportSection)
    release: ReleaseSection = Field(default_factory=ReleaseSection)
    monitoring: MonitoringSection = Field(default_factory=MonitoringSection)
    memory: MemorySection = Field(default_factory=MemorySection)
    tracking: TrackingSection = Field(default_factory=TrackingSection)

    def sha256(self, *sections: str) -> str:
        """Hash of the named sections or dotted keys and the seed; of the whole plan if none is named."""
        values = self.model_dump(mode="json")
        if not sections:
            return sha256_json(values)
        chosen = {"seed": values["seed"]}
        for name in sections:
            section, _, key = name.partition(".")
            chosen[name] = values[section][key] if key else values[section]
        return sha256_json(chosen)
