"""How every benchmark prints what it measured."""

from __future__ import annotations

import json
from collections.abc import Mapping


def show(figures: Mapping[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps({key: round(value, 3) for key, value in figures.items()}))
        return
    for key, value in figures.items():
        print(f"{key:32} {value:8.2f}")
