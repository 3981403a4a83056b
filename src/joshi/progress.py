"""What a person sees while a stage runs: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Writes to standard error only; `Progress(None)` is silent."""

    def __init__(self, console: Console | None) -> None:
        self.console = console

    def say(self, sentence: str) -> None:
        if self.console is not None:
            self.console.print(sentence, style="dim", highlight=False, markup=False)

    def head(self, sentence: str) -> None:
        if self.console is not None:
            self.console.print(sentence, style="bold", highlight=False, markup=False)

    def warn(self, sentence: str) -> None:
        if self.console is not None:
            self.console.print(sentence, style="yellow", highlight=False, markup=False)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that advances the bar by so many units."""
        if self.console is None:
            yield lambda amount: None
        elif not self.console.is_terminal:
            self.say(f"{label} ({total})")
            yield lambda amount: None
        else:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Bars(*columns, console=self.console, transient=True) as bars:
                task = bars.add_task(label, total=total)
                yield lambda amount: bars.advance(task, amount)


SILENT = Progress(None)
