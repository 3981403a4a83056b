"""How toxic, dismissive or condescending a text is, by the packaged model or by any Hugging Face classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joshi.errors import PlanError
from joshi.evaluation.toxicity import builtin, classifier

__all__ = ["THRESHOLD", "Scorer", "scorer"]

Scorer = Callable[[Sequence[str]], list[float]]  # texts -> a probability of each, in 0..1

THRESHOLD = builtin.THRESHOLD  # of the builtin scorer; another model needs its own
_HUGGING_FACE = "hf:"


def scorer(name: str, online: bool = False) -> Scorer:
    """The scorer called `builtin`, or `hf:` with a folder or a repository that was downloaded before.

    With `online` a repository may be downloaded now.

    Raises:
        PlanError: there is no such scorer, or its labels don't say which of them is toxic.
        Unavailable: the folder, the weights or a package is missing.
    """
    if name == "builtin":
        return builtin.score
    if name.startswith(_HUGGING_FACE):
        return classifier.load(name.removeprefix(_HUGGING_FACE), online)
    raise PlanError(f"toxicity: there is no scorer {name!r}; give builtin, or hf: with a folder or a repository")
