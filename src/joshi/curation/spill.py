"""Samples on disk in place of memory, while curation has not yet decided on them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import overload

from joshi.schema import Sample
from joshi.workspace import explain, make_folder


class Spill(Sequence[Sample]):
    """A list of samples that only grows, in a file without a name: it is gone when the process is, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)
        try:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the list
        except OSError as error:
            raise explain(error, folder) from error
        self._ends = array("Q", [0])

    def append(self, sample: Sample) -> None:
        line = sample.model_dump_json().encode()
        try:
            self._file.seek(self._ends[-1])
            self._file.write(line)
        except OSError as error:
            raise explain(error, self._folder) from error
        self._ends.append(self._ends[-1] + len(line))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> list[Sample]: ...
    def __getitem__(self, at: int | slice) -> Sample | list[Sample]:
        places = range(len(self))[at]
        return self._load(places) if isinstance(places, int) else [self._load(place) for place in places]

    def _load(self, place: int) -> Sample:
        start, end = self._ends[place], self._ends[place + 1]
        try:
            self._file.seek(start)
            return Sample.model_validate_json(self._file.read(end - start))
        except OSError as error:
            raise explain(error, self._folder) from error
