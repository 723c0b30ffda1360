"""The command line: parse, call one function, print. Heavy modules are imported inside the commands that need them."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sepgan import __version__
from sepgan.cli_eval import evaluate
from sepgan.cli_options import Device, Model, ProgressStyle, load, names, set_threads
from sepgan.console import Reporter, Style
from sepgan.errors import RecipeError, SepganError, UsageError

if TYPE_CHECKING:
    from sepgan.separation import SeparationFailure, SeparationResult

INTERRUPTED = 130

# Typer raises its parser's errors; where that parser lives differs between versions, its exported subclass does not.
_ParserError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split songs into stems that sum to the song, train the models that do so adversarially, and measure both.",
)
models_app = typer.Typer(no_args_is_help=True, help="The models that can be used by name.")
app.add_typer(models_app, name="models")
app.command("eval")(evaluate)


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    # A scheduler's request to stop is treated as Ctrl-C: partial files are removed, a training run is saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; a user's error is one line on stderr."""
    try:
        code = app(arguments, standalone_mode=False)
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


@app.command()
def separate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Songs: WAV, FLAC, MP3, OGG, M4A, MP4 ...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Stems go to OUT/<song>/<stem>.wav.")] = Path("stems"),
    stems: Annotated[str | None, typer.Option("--stems", help="Write only these, for instance vocals,drums.")] = None,
    model: Model = "default",
    device: Device = "auto",
    float32: Annotated[bool, typer.Option("--float32", help="Write 32-bit float instead of 24-bit integer.")] = False,
    int24: Annotated[bool, typer.Option("--int24", help="Write 24-bit integer (the default).")] = False,
    int16: Annotated[bool, typer.Option("--int16", help="Write 16-bit integer with dither.")] = False,
    file_format: Annotated[str, typer.Option("--format", help="wav, flac, ogg or mp3.")] = "wav",
    segment: Annotated[float | None, typer.Option("--segment", min=1.0, help="Seconds separated at once.")] = None,
    overlap: Annotated[float | None, typer.Option("--overlap", min=0.0, max=0.5, help="Share of a segment.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace stems that exist.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out songs that have their stems.")
    ] = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Split songs into stems that sum to the song, at its own rate, channels and length."""
    from sepgan.separation import SeparationOptions, separate_files

    if float32 + int24 + int16 > 1:
        raise UsageError("--float32, --int24 and --int16 exclude each other: give one of them")
    separator = load(model, device)
    length = separator.excerpt_samples(segment) if segment is not None else separator.segment
    shared = round(overlap * length) if overlap is not None else min(separator.overlap, length // 2)
    options = SeparationOptions(
        stems=tuple(names(stems)) if stems is not None else None,
        subtype="float32" if float32 else "int16" if int16 else "int24",
        file_format=file_format,
        overwrite=overwrite,
        skip_existing=skip_existing,
        segment=length,
        overlap=shared,
    )
    with Reporter(progress) as reporter:

        def finished(outcome: SeparationResult | SeparationFailure) -> None:
            if hasattr(outcome, "error"):
                reporter.say(f"error: {outcome.error}")
            else:
                reporter.say(_describe_result(outcome))

        many = len(files) > 1
        summary = separate_files(
            separator,
            files,
            out,
            options=options,
            progress=lambda song, done_s, total_s: reporter.advance(song.name, done_s, total_s),
            finished=finished if many else None,
        )
        for song in summary.skipped:
            reporter.say(f"{song}: its stems exist already, skipped")
        if summary.failures and not many:
            raise summary.failures[0].error
        if not many:
            for result in summary.results:
                reporter.say(_describe_result(result))
        if summary.failures:
            reporter.say(f"{len(summary.failures)} of {len(files)} songs failed:")
            for failure in summary.failures:
                reporter.say(f"  {failure.source}: {failure.error}")
        licence = separator.header.licence if separator.header else "unknown"
        reporter.say(f"model {model}, weights under {licence}")
    raise typer.Exit(summary.exit_code)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of one that ships.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Changed keys.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("runs/latest"),
    data: Annotated[list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="Folder of a dataset.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the state in OUT, if there is one.")] = True,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe and data, print the recipe, train nothing.")
    ] = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Train a recipe; stop with Ctrl-C and give the same command to go on."""
    from sepgan import recipe as recipes

    loaded = recipes.load(recipe, overrides or ())
    roots = _roots(data or ())
    if dry_run:
        from sepgan.data import scan

        for source in (*loaded.data.train, *loaded.data.validation):
            print(f"{source.root}/{source.split} {source.include}: {len(scan(source, roots))} tracks", file=sys.stderr)
        print(json.dumps(recipes.to_dict(loaded), indent=2))
        return
    _need_training_extra()
    from sepgan.training.trainer import train as run_training

    set_threads()
    with Reporter(progress) as reporter:
        reporter.say(f"recipe {loaded.name}, run folder {out}; Ctrl-C stops, the same command goes on")

        def report(step: int, steps: int, measured: Mapping[str, float]) -> None:
            reporter.advance(loaded.name, step, steps, {"step": step, **_headline(measured)})

        best = run_training(loaded, out, roots, resume=resume, device=device, progress=report)
        reporter.say(f"model: {best}; try `sepgan separate SONG --model {best}`, or `tensorboard --logdir {out}`")


@models_app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List the models that ship."""
    from sepgan import checkpoint

    headers = {name: checkpoint.read_header(path) for name, path in checkpoint.bundled().items()}
    if as_json:
        print(json.dumps({name: _plain(header) for name, header in headers.items()}, indent=2))
        return
    for name, header in headers.items():
        print(f"{name}: {', '.join(header.stems)}; {header.sample_rate} Hz; {header.licence}")


@models_app.command("info")
def show_model(
    model: Annotated[str, typer.Argument(help="A model's name or file.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a model says of itself: data, licences, training, scores. Its sha256 is checked."""
    from sepgan import checkpoint

    path = checkpoint.find(model)
    header, _ = checkpoint.read(path)
    if as_json:
        print(json.dumps(_plain(header), indent=2))
        return
    print(f"{header.name}  ({path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {header.sha256})")
    print(f"stems: {', '.join(header.stems)}; {header.sample_rate} Hz; weights under {header.licence}")
    print(f"trained {header.step} steps, {header.seconds_trained / 60:.0f} minutes on {header.machine}")
    for entry in header.training_data:
        print(f"  {entry['title']}: {entry['tracks']} tracks, {entry['minutes']} minutes; {entry['licence']}")
    for key, value in header.scores.items():
        print(f"  validation uSDR {key}: {value:.2f} dB")
    card = path.with_suffix(".md")
    if card.is_file():
        print(f"\n{card.read_text(encoding='utf-8')}")


def _roots(data: list[str] | tuple[str, ...]) -> dict[str, Path]:
    roots = {}
    for entry in data:
        name, equals, path = entry.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"--data '{entry}' must look like NAME=PATH, for instance musdb18=/data/musdb18")
        roots[name] = Path(path)
    return roots


def _headline(measured: Mapping[str, float]) -> dict[str, float]:
    """The few numbers that fit on a line; the rest is in train.jsonl."""
    shown = ("reconstruction", "adversarial", "discriminator_loss", "usdr_mean")
    return {key: measured[key] for key in shown if key in measured}


def _describe_result(result: SeparationResult) -> str:
    speed = result.seconds / result.wall_s
    exact = result.null_dbfs is not None and result.null_dbfs == -math.inf
    null = "" if result.null_dbfs is None else ", null exact" if exact else f", null {result.null_dbfs:.0f} dBFS"
    gain = "" if result.gain == 1.0 else f", shared gain {result.gain:.3f}"
    stems = ",".join(path.stem for path in result.paths.values())
    suffix = next(iter(result.paths.values())).suffix
    return (
        f"{result.folder}/{{{stems}}}{suffix}: {result.seconds:.1f} s of audio in {result.wall_s:.1f} s "
        f"({speed:.1f} x real time){null}{gain}"
    )


def _plain(header: Any) -> dict[str, Any]:
    plain: dict[str, Any] = header.model_dump(mode="json")
    return plain


def _need_training_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("lightning_fabric", "tensorboard") if find_spec(name) is None]
    if missing:
        raise RecipeError(f"training needs {', '.join(missing)}: install them with `pip install 'sepgan[train]'`")
