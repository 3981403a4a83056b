"""The command line: parsing and printing only. Data goes to standard output, all else to standard error."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import rich_utils
from typer.exceptions import TyperException

from joshi import __version__
from joshi.cli import (
    attacks,
    bases,
    benchmark,
    data,
    judging,
    memorised,
    models,
    monitoring,
    operations,
    plans,
    review,
    tracking,
    whole,
)
from joshi.cli.session import err, open_session, plain
from joshi.errors import JoshiError, PlanError
from joshi.workspace import explain

INTERRUPTED = 130
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
whole.add_to(app)
bases.add_to(app)
data.add_to(app)
review.add_to(app)
models.add_to(app)
attacks.add_to(app)
judging.add_to(app)
benchmark.add_to(app)
memorised.add_to(app)
operations.add_to(app)
monitoring.add_to(app)
plans.add_to(app)
tracking.add_to(app)


@app.callback()
def options(
    context: typer.Context,
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="The workspace's folder.")] = Path(),
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a plan key: --set sft.epochs=2. May be repeated.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """From a team's own chat transcripts to a deployed, watched, house-tone local language model."""
    context.obj = open_session(workspace, settings or [])


def main() -> None:
    """Entry point: errors become one sentence and an exit code."""
    # The libraries below would otherwise look for updates and models on the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    debug = "--debug" in sys.argv
    if not debug:
        warnings.filterwarnings("ignore")  # the libraries' notes to their own developers
    try:
        result = app(standalone_mode=False)
    except typer.Abort:
        interrupted()
    except TyperException as error:  # a wrong option or argument
        rich_utils.rich_format_error(error)  # type: ignore[arg-type]
        sys.exit(PlanError.exit_code)
    except JoshiError as error:
        if debug:
            raise
        _tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        interrupted()
    except OSError as error:
        if debug:
            raise
        explained = explain(error, Path(error.filename or "."))
        _tell(str(explained))
        sys.exit(explained.exit_code)
    except Exception as error:
        if debug:
            raise
        _tell(
            f"{type(error).__name__}: {error}. This is a fault in Joshi {__version__}; "
            "run again with --debug for details"
        )
        sys.exit(1)
    if result == INTERRUPTED:  # Typer's own answer to Ctrl-C is silent
        interrupted()
    sys.exit(result if isinstance(result, int) else 0)


def _tell(message: str) -> None:
    """What went wrong, in red. It may quote a hostile file: a terminal must show its escapes, not obey them."""
    err.print(plain(message, "red"), highlight=False, soft_wrap=True)


def interrupted() -> NoReturn:
    err.print("interrupted; run the command again to go on", style="yellow")
    sys.exit(INTERRUPTED)
