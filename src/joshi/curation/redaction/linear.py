"""A linear classifier over hashed features: small enough to ship, fast enough to read every word of a mailbox.

Weights come from `learn.py` and lie beside this file as safetensors; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
from safetensors import safe_open

WEIGHTS = Path(__file__).with_name("weights.safetensors")
BUCKETS = 1 << 16


@dataclass(frozen=True)
class Linear:
    weights: np.ndarray  # (BUCKETS, classes), float32; a row is what one feature says for each class

    def scores(self, features: Iterable[str]) -> np.ndarray:
        """(classes,): the sum of the features' rows, as a multinomial logistic regression has it before softmax."""
        return np.add.reduce(self.weights[[bucket(feature) for feature in features]])  # type: ignore[no-any-return]


def bucket(feature: str) -> int:
    """Feature hashing (Weinberger et al., 2009) without the sign: collisions are rare at this size."""
    return crc32(feature.encode()) & (BUCKETS - 1)


@cache
def load(name: str) -> Linear:
    """`name` is a tensor of weights.safetensors: "names"."""
    with safe_open(WEIGHTS, framework="np") as file:
        return Linear(file.get_tensor(name).astype(np.float32))
