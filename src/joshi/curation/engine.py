"""Where conversations are redacted and mined: in this process, or as a Daft plan, here or on a Ray cluster.

Every engine gives the same results in the same order, so the files that come out have the same bytes. A worker is
given conversations, the seed and [curation], and gives back candidates and whom redaction masked. What makes
fingerprints of these, the key, and who must be forgotten stay in this process, as do reading and writing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi import __version__
from joshi.curation.dedupe import keys
from joshi.curation.mine import mine
from joshi.curation.redaction import redact_conversation
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Conversation, Sample

BLOCK = 10_000  # conversations of one Daft plan: about 0.3 GB here, and a start of the workers, with each
BATCH = 16  # conversations that a worker is given at once
BATCHES_EACH = 4  # parts of a block for each worker, so that none waits long for the slowest
# No telemetry, no bars among our own; read when the packages are imported, here and in every worker.
QUIET = {
    "DO_NOT_TRACK": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

Kind = Literal["local", "daft", "ray"]


@dataclass(frozen=True)
class Engine:
    """`ray_address` is that of a running cluster; without one Ray is started here."""

    kind: Kind = "local"
    ray_address: str | None = None


LOCAL = Engine()


class Mined(BaseModel):
    """What one conversation gave, or the `fault` for which it gave nothing."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")
    conversation: str
    version: str = __version__
    samples: list[Sample] = []
    keys: bytes = b""  # dedupe.keys of each sample, one after another
    people: list[str] = []
    fault: str | None = None


def mine_all(conversations: Iterable[Conversation], plan: Plan, engine: Engine) -> Iterator[tuple[Conversation, Mined]]:
    """Each conversation with what it gave, in the order given.

    Raises:
        JoshiError: the engine cannot start, a worker died, or what it gave back does not match what it was given.
    """
    if engine.kind == "local":
        return ((conversation, mine_one(conversation, plan)) for conversation in conversations)
    return _mine_planned(conversations, plan, engine)


def mine_one(conversation: Conversation, plan: Plan) -> Mined:
    """Redact and mine; an exception that one conversation causes is its `fault` and does not stop the others."""
    try:
        redacted, redactor = redact_conversation(conversation, plan)
        samples = list(mine(redacted, plan.curation.history_turns, redactor.counts))
        packed = b"".join(keys(sample.ideal_answer, plan.curation.duplicate_jaccard) for sample in samples)
    except (JoshiError, OSError, MemoryError):  # no conversation's doing
        raise
    except Exception as error:
        return Mined(conversation=conversation.id, fault=_fault(error))
    return Mined(conversation=conversation.id, samples=samples, keys=packed, people=sorted(redactor.people))


def _fault(error: Exception) -> str:
    """Kind and place of an exception; not its message, which may quote the conversation."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


class Worker:
    """What a Daft worker runs; text in and out, as any other type would come back as null without a word."""

    def __init__(self, settings: str) -> None:
        self._plan = Plan.model_validate_json(settings)

    def work(self, conversation: str) -> str:
        return mine_one(Conversation.model_validate_json(conversation), self._plan).model_dump_json()


def _mine_planned(
    conversations: Iterable[Conversation], plan: Plan, engine: Engine
) -> Iterator[tuple[Conversation, Mined]]:
    daft, workers = _start(engine)
    settings = Plan(seed=plan.seed, curation=plan.curation).model_dump_json()
    # On Ray each worker is an actor of its own; here a process, or Python's lock would let one work at a time.
    in_process = engine.kind == "daft" or None
    worker = daft.cls(Worker, max_concurrency=workers, use_process=in_process)(settings)
    remaining = iter(conversations)
    while block := list(islice(remaining, BLOCK)):
        texts = [conversation.model_dump_json() for conversation in block]
        frame = daft.from_pydict({"place": list(range(len(texts))), "conversation": texts})
        frame = frame.into_partitions(min(workers * BATCHES_EACH, -(-len(texts) // BATCH))).into_batches(BATCH)
        try:
            mined = frame.select(frame["place"], worker.work(frame["conversation"]).alias("mined"))
            rows = mined.sort("place").to_pydict()
        except Exception as error:
            raise JoshiError(
                f"--engine {engine.kind}: a worker failed ({_last_line(error)}); nothing was changed; "
                "--engine local tells more of an error that is Joshi's"
            ) from error
        yield from zip(block, _checked(block, rows["place"], rows["mined"], engine), strict=True)


def _checked(block: Sequence[Conversation], places: list[Any], mined: list[Any], engine: Engine) -> Iterator[Mined]:
    """What came back, if it is one result for each conversation in their order: nothing is lost in silence."""
    trouble = f"--engine {engine.kind} gave back"
    if places != list(range(len(block))) or len(mined) != len(block):
        raise JoshiError(f"{trouble} {len(mined)} results for {len(block)} conversations; nothing was changed; "
                         "run again, or with --engine local")  # fmt: skip
    for conversation, text in zip(block, mined, strict=True):
        if not isinstance(text, str):
            raise JoshiError(f"{trouble} {text!r} for {conversation.id!r} of {conversation.source}; nothing was "
                             "changed; run again, or with --engine local")  # fmt: skip
        try:
            one = Mined.model_validate_json(text)
        except ValidationError as error:
            raise JoshiError(f"{trouble} what is no result ({error.error_count()} errors); a worker may have another "
                             f"Joshi than {__version__}: install this one on every machine") from error  # fmt: skip
        if one.version != __version__:
            raise JoshiError(f"{trouble} results of Joshi {one.version}, this is {__version__}; install this one on "
                             "every machine of the cluster")  # fmt: skip
        if one.conversation != conversation.id:
            raise JoshiError(f"{trouble} {one.conversation!r} for {conversation.id!r}; run with --engine local")
        yield one


def _start(engine: Engine) -> tuple[Any, int]:
    """Daft, told where to run, and how many workers there may be."""
    for name, value in QUIET.items():
        os.environ[name] = value
    try:
        import daft

        if engine.kind == "daft":
            daft.set_runner_native()
            return daft, len(os.sched_getaffinity(0))
        import ray
    except ImportError as error:
        raise JoshiError(
            f"--engine {engine.kind} needs the package {error.name}, which is not installed; "
            f"run: pip install 'joshi[{engine.kind}]'"
        ) from error
    try:
        if not ray.is_initialized():
            here = {} if engine.ray_address else {"include_dashboard": False}
            ray.init(engine.ray_address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": QUIET},
                     **here)  # fmt: skip
        daft.set_runner_ray(noop_if_initialized=True)
        return daft, max(1, int(ray.available_resources().get("CPU", 1)))
    except (OSError, RuntimeError, ValueError) as error:
        where = engine.ray_address or "on this machine"
        raise JoshiError(
            f"--engine ray: no cluster at {where} ({_last_line(error)}); check that it runs and takes this address"
            if engine.ray_address
            else f"--engine ray: Ray does not start {where} ({_last_line(error)}); give --ray-address of a cluster"
        ) from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__
