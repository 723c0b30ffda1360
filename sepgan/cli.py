"""The command line: parse, call one function, print. Heavy modules are imported inside the commands that need them."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Annotated

import typer

from sepgan import __version__
from sepgan.cli_compare import compare
from sepgan.cli_data import data_app
from sepgan.cli_eval import evaluate
from sepgan.cli_export import export
from sepgan.cli_models import models_app
from sepgan.cli_separate import separate
from sepgan.cli_train import train
from sepgan.errors import SepganError, UsageError

INTERRUPTED = 130
# New objects between two searches for cycles among them. By default they are some hundred: up to a tenth of what a
# short command takes went into searching what had just been imported, which lives as long as the process.
UNCOLLECTED = 10_000

# Typer raises its parser's errors; where that parser lives differs between versions, its exported subclass does not.
_ParserError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split songs into stems that sum to the song, train the models that do so adversarially, and measure both.",
)
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.command()(separate)
app.command()(train)
app.command("eval")(evaluate)
app.command()(export)
app.command()(compare)


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    # A scheduler's request to stop is treated as Ctrl-C: partial files are removed, a training run is saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(UNCOLLECTED)
    code = run(sys.argv[1:])
    gc.freeze()  # the end of the process is the end of all objects: no last search
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; a user's error is one line on stderr."""
    try:
        code = app(arguments, standalone_mode=False)
        if code == INTERRUPTED:  # newer versions of Typer turn Ctrl-C into this code and say nothing, older ones abort
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except SepganError as error:
        return _fail(str(error), error.exit_code)
    except typer.Exit as stop:
        return stop.exit_code
    except _ParserError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return UsageError.exit_code  # the help is on the screen already
        return _fail(f"{error} See `sepgan --help`.", UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted: finished files are kept, partial ones were removed", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody left to tell
        return 1


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sepgan {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # The command line owns the process, so it may set what a library must not. Threads that spin while they wait slow
    # everything down several times as soon as another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
