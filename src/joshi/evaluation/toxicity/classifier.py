"""Any Hugging Face sequence classifier as a scorer; its weights must be safetensors, since a pickle can run code."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from joshi.errors import PlanError, Unavailable

MOST_TOKENS = 512
MOST_CHARACTERS = 20_000  # far more than MOST_TOKENS; bounds the tokenizer's work
_BATCH = 16  # texts

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_TOXIC = re.compile(r"toxic|hate|hateful|offens|insult|threat|abus|obscen|profan|identity|negative|bully|rude", re.I)
_NOT = re.compile(r"\b(?:not|non|no|neither|un)\b|^(?:non|not|un)(?=toxic|hate|offens|abus)", re.I)


def load(where: str, online: bool = False) -> Callable[[Sequence[str]], list[float]]:
    """A scorer; `where` is a folder or a repository.

    Raises:
        PlanError: its labels don't say which of them is toxic.
        Unavailable: the folder, its safetensors or a package is missing.
    """
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"hf:{where} needs the package {package}; run: pip install 'joshi[train]'")
    tokenizer, model = _load(where, online)
    toxic = toxic_labels(model.config.id2label, where)
    several = model.config.problem_type == "multi_label_classification" or (
        model.config.num_labels > 1 and len(toxic) == model.config.num_labels
    )

    def score(texts: Sequence[str]) -> list[float]:
        import torch

        found: list[float] = []
        for at in range(0, len(texts), _BATCH):
            some = [text[:MOST_CHARACTERS] for text in texts[at : at + _BATCH]]
            tokens = tokenizer(some, truncation=True, max_length=longest, padding=True, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**tokens).logits.float()  # (texts, labels)
            if several or logits.shape[1] == 1:
                chances = logits.sigmoid()[:, toxic].amax(1)
            else:
                chances = logits.softmax(1)[:, toxic].sum(1)
            found += [chance if text.strip() else 0.0 for text, chance in zip(some, chances.tolist(), strict=True)]
        return found

    positions = getattr(model.config, "max_position_embeddings", MOST_TOKENS)
    longest = min(MOST_TOKENS, tokenizer.model_max_length, positions)
    return score


def toxic_labels(names: Mapping[int, str], where: str) -> list[int]:
    """Places of the labels whose scores say that a text is toxic.

    Raises:
        PlanError: no name does.
    """
    spaced = {place: re.sub(r"[_\W]+", " ", name) for place, name in names.items()}
    toxic = [place for place, name in spaced.items() if _TOXIC.search(name) and not _NOT.search(name)]
    if toxic:
        return toxic
    if [name.upper() for _, name in sorted(names.items())] == ["LABEL_0", "LABEL_1"]:
        return [1]
    listed = ", ".join(names[place] for place in sorted(names))
    raise PlanError(
        f"hf:{where}: none of its labels ({listed}) is called toxic or the like; "
        "name one so under id2label in its config.json"
    )


def _load(where: str, online: bool) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(where).expanduser()
    local = bool(where) and folder.is_dir()
    if not local and not _REPOSITORY.fullmatch(where):
        raise Unavailable(f"hf:{where}: there is no such folder; give one with config.json and model.safetensors")
    if local and not any(folder.glob("*.safetensors")):
        raise Unavailable(
            f"hf:{where}: the folder holds no safetensors, and pickled weights (.bin) are not opened, since they can "
            "run code; save the model again with save_pretrained, which writes safetensors"
        )
    source = str(folder) if local else where
    given = {"local_files_only": local or not online, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **given)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, **given
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as problem:
        hint = "see that its files are whole" if local else "download it first, or allow it to be downloaded"
        raise Unavailable(f"hf:{where} can't be loaded ({_first_line(problem)}); {hint}") from problem
    if missing := sorted(report["missing_keys"]):
        raise Unavailable(
            f"hf:{where} is no trained classifier: its file has no {missing[0]}; give a sequence-classification model"
        )
    return tokenizer, model.eval()


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0].rstrip(".")
