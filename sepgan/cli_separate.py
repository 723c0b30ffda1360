"""`sepgan separate`: parse, call one function, print."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgan.cli_options import Device, Model, ProgressStyle, load, names
from sepgan.console import Reporter, Style
from sepgan.errors import UsageError

if TYPE_CHECKING:
    from sepgan.separation import SeparationFailure, SeparationResult


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
