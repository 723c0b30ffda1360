"""`sepgan separate`: parse, call one function, print."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sepgan.cli_options import Device, Model, ProgressStyle, load, names
from sepgan.console import Reporter, Style
from sepgan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sepgan.engine import EngineOptions
    from sepgan.separation import SeparationOptions, SeparationResult, SeparationSummary, Song
    from sepgan.separation.batch import Outcome
    from sepgan.separation.forecast import Forecast

_STEMS, _FILES, _ENGINE, _RUN = "Which stems", "Files", "Engine", "Run"


def separate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SONG...", help="Files, folders (their tree is mirrored), quoted patterns, @list.txt, or -."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder, or -.", rich_help_panel=_FILES)] = Path(
        "stems"
    ),
    stems: Annotated[
        str | None, typer.Option(help="Write only these, for instance vocals,drums.", rich_help_panel=_STEMS)
    ] = None,
    two_stems: Annotated[
        str | None, typer.Option(help="Write this stem and no_<stem>, all the rest.", rich_help_panel=_STEMS)
    ] = None,
    aggregate: Annotated[
        list[str] | None,
        typer.Option(help="Write a sum of stems, such as instrumental=drums+bass+other.", rich_help_panel=_STEMS),
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option(help="Write what no stem holds under this name; none drops it.", rich_help_panel=_STEMS),
    ] = None,
    start: Annotated[float, typer.Option(min=0.0, help="Begin at this second.", rich_help_panel=_STEMS)] = 0.0,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="Separate so many seconds.", rich_help_panel=_STEMS)
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="wav, flac, mp3, m4a, opus, stem.mp4 ...", rich_help_panel=_FILES)
    ] = "wav",
    bitrate: Annotated[int | None, typer.Option(min=1, help="kbit/s of lossy formats.", rich_help_panel=_FILES)] = None,
    float32: Annotated[bool, typer.Option("--float32", help="32-bit float.", rich_help_panel=_FILES)] = False,
    int24: Annotated[bool, typer.Option("--int24", help="24-bit, the default.", rich_help_panel=_FILES)] = False,
    int16: Annotated[bool, typer.Option("--int16", help="16-bit integer with dither.", rich_help_panel=_FILES)] = False,
    filename: Annotated[
        str, typer.Option(help="Template of the files below --out.", rich_help_panel=_FILES)
    ] = "{track}/{stem}.{ext}",
    manifest: Annotated[
        str | None, typer.Option(help="Template of the manifest below --out, or off.", rich_help_panel=_FILES)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace stems that exist.", rich_help_panel=_FILES)
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out songs that were done with this model and these options.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    model: Model = "default",
    device: Device = "auto",
    segment: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds separated at once.", rich_help_panel=_ENGINE)
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(min=0.0, max=0.5, help="Share of a segment.", rich_help_panel=_ENGINE)
    ] = None,
    channel_layout: Annotated[
        str,
        typer.Option(
            help="auto, mono, names in file order (L,R,C,LFE,Ls,Rs), or numbers (1+2,3,4,5+6).", rich_help_panel=_ENGINE
        ),
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16: of the network.", rich_help_panel=_ENGINE)
    ] = "fp32",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Segments at once; else as many as fit.", rich_help_panel=_ENGINE)
    ] = None,
    shifts: Annotated[int, typer.Option(min=0, help="Average so many shifted runs.", rich_help_panel=_ENGINE)] = 0,
    wiener: Annotated[
        int, typer.Option(min=0, help="Iterations of the multichannel Wiener filter.", rich_help_panel=_ENGINE)
    ] = 0,
    ensemble: Annotated[
        str | None,
        typer.Option(help="More models to average with, such as other.safetensors:0.5,third.", rich_help_panel=_ENGINE),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Songs separated at once.", rich_help_panel=_RUN)
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and how long it may take.", rich_help_panel=_RUN)
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="SONG... are manifests: repeat their runs, compare bytes.", rich_help_panel=_RUN),
    ] = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Split songs into stems that sum to the song, at its own rate, channels and length."""
    if not inputs:
        raise UsageError("no songs are named: give files, folders, patterns or @lists; see `sepgan separate --help`")
    if verify:
        raise typer.Exit(_verify(inputs, model, device, progress))
    from sepgan.engine import EngineOptions
    from sepgan.separation import SeparationOptions, Song, find_songs

    if float32 + int24 + int16 > 1:
        raise UsageError("--float32, --int24 and --int16 exclude each other: give one of them")
    if duration == 0:
        raise UsageError("--duration 0 leaves nothing to separate: give more than 0 seconds")
    piped_in, piped_out = "-" in inputs, str(out) == "-"
    if piped_in and len(inputs) > 1:
        raise UsageError("- stands for one song from standard input: name no other beside it")
    songs = [Song(Path("stdin"))] if piped_in else find_songs(inputs, leave_out=out)
    if piped_out and (len(songs) > 1 or progress is Style.JSON):
        raise UsageError("--out - takes one song, and leaves no room for --progress json: choose a folder")
    if (piped_in or piped_out) and (dry_run or skip_existing):
        raise UsageError("--dry-run and --skip-existing need files on both sides: give them names")
    engine_options = EngineOptions(precision=precision, batch=batch, shifts=shifts, wiener=wiener)
    weighted = [(model, 1.0), *(parse_weighted(text) for text in names(ensemble or ""))]
    separator = load_engine(weighted, device, engine_options)
    model = ",".join(name for name, _ in weighted)
    length = separator.excerpt_samples(segment) if segment is not None else separator.segment
    options = SeparationOptions(
        stems=tuple(names(stems)) if stems is not None else None,
        two_stems=two_stems,
        aggregate=tuple(parse_aggregate(text) for text in aggregate or ()),
        residual=residual,
        start_s=start,
        duration_s=duration,
        channel_layout=channel_layout,
        subtype="float32" if float32 else "int16" if int16 else "int24",
        file_format=file_format,
        bitrate_kbps=bitrate,
        filename=filename,
        manifest=manifest,
        overwrite=overwrite,
        skip_existing=skip_existing,
        segment=length,
        overlap=round(overlap * length) if overlap is not None else min(separator.overlap, length // 2),
    )
    with Reporter(progress) as reporter:
        if dry_run:
            raise typer.Exit(_forecast(separator, out, options, songs, jobs, reporter))
        if piped_in or piped_out:
            _separate_piped(separator, songs[0], None if piped_out else out, options, piped_in, model, reporter)
            return
        share_threads(min(jobs, len(songs)))
        summary = _separate(separator, songs, out, options, jobs, model, reporter)
    raise typer.Exit(summary.exit_code)


def parse_aggregate(text: str) -> tuple[str, tuple[str, ...]]:
    """Read a sum of stems.

    Raises:
        UsageError: it has another shape.

    >>> parse_aggregate("instrumental=drums+bass")
    ('instrumental', ('drums', 'bass'))
    """
    name, equals, parts = text.partition("=")
    stems = tuple(part.strip() for part in parts.split("+"))
    if not equals or not name.strip() or not all(stems):
        raise UsageError(f"--aggregate '{text}' must look like NAME=STEM+STEM, such as instrumental=drums+bass+other")
    return name.strip(), stems


def parse_weighted(text: str) -> tuple[str, float]:
    """Read a model and its weight in an ensemble.

    >>> parse_weighted("other.safetensors:0.5"), parse_weighted("other")
    (('other.safetensors', 0.5), ('other', 1.0))
    """
    name, colon, weight = text.rpartition(":")
    try:
        return (name, float(weight)) if colon else (text, 1.0)
    except ValueError:  # a colon of the path
        return text, 1.0


def load_engine(weighted: Sequence[tuple[str, float]], device: str, options: EngineOptions) -> Any:
    """Load one model or several, and make them ready to run.

    Args:
        weighted: models and their weights; weights of a single one do not matter.
        device: as the user gave it.
        options: how to run them.
    """
    from sepgan.engine import Engine
    from sepgan.ensemble import Ensemble

    engines = [Engine(load(name, device), options) for name, _ in weighted]
    return engines[0] if len(engines) == 1 else Ensemble(engines, [weight for _, weight in weighted])


def share_threads(jobs: int) -> None:
    """Give each of several songs its part of the cores, unless the environment says how many threads there are."""
    import torch

    if jobs > 1 and not os.environ.get("SEPGAN_NUM_THREADS"):
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _separate(
    separator: Any,
    songs: Sequence[Song],
    out: Path,
    options: SeparationOptions,
    jobs: int,
    model: str,
    reporter: Reporter,
) -> SeparationSummary:
    from sepgan.separation import SeparationFailure, separate_files

    many = len(songs) > 1

    def finished(outcome: Outcome) -> None:
        if isinstance(outcome, SeparationFailure):
            reporter.say(f"error: {outcome.error}")
        else:
            reporter.say(describe_result(outcome))

    summary = separate_files(
        separator,
        songs,
        out,
        options=options,
        jobs=jobs,
        progress=lambda song, done_s, total_s: reporter.advance(song.name, done_s, total_s),
        finished=finished if many else None,
        model_source=model,
    )
    for song in summary.skipped:
        reporter.say(f"{song}: done already with this model and these options, skipped")
    if summary.failures and not many:
        raise summary.failures[0].error
    if not many:
        for result in summary.results:
            reporter.say(describe_result(result))
    if summary.failures:
        reporter.say(f"{len(summary.failures)} of {len(songs)} songs failed:")
        width = max(len(str(failure.source)) for failure in summary.failures)
        for failure in summary.failures:
            reporter.say(f"  {failure.source!s:{width}}  code {failure.error.exit_code}  {failure.error}")
    licences = dict.fromkeys(header.licence for header in separator.headers) or {"unknown": None}
    reporter.say(f"model {model}, weights under {', '.join(licences)}")
    return summary


def _separate_piped(
    separator: Any,
    song: Song,
    out: Path | None,
    options: SeparationOptions,
    piped_in: bool,
    model: str,
    reporter: Reporter,
) -> None:
    from sepgan.separation import SongSeparator
    from sepgan.separation.naming import Job, require_distinct, require_free
    from sepgan.separation.sources import PipeSource

    if out is None:
        ready = SongSeparator(separator, Path(), replace(options, manifest="off"), model)
        if len(ready.plan.outputs) > 1 or options.file_format != "wav":
            raise UsageError("--out - takes one stem as WAV: add --stems STEM, or choose a folder for several")
        job = Job(song, {}, None)
    else:
        ready = SongSeparator(separator, out, options, model)
        job = ready.job(song)
        require_distinct([job])
        require_free(job, options)
    result = ready.separate(
        job,
        lambda done_s, total_s: reporter.advance(song.path.name, done_s, total_s),
        source=PipeSource(sys.stdin.buffer) if piped_in else None,
        pipe=sys.stdout.buffer if out is None else None,
    )
    reporter.say(describe_result(result))


def _forecast(
    separator: Any, out: Path, options: SeparationOptions, songs: Sequence[Song], jobs: int, reporter: Reporter
) -> int:
    from sepgan.separation import SongSeparator
    from sepgan.separation.forecast import forecast

    found = forecast(SongSeparator(separator, out, options), songs)
    for item in found:
        reporter.say(_describe_forecast(item))
    todo = [item for item in found if item.refusal is None and not item.is_done]
    refused = [item for item in found if item.refusal is not None]
    known = [item for item in todo if item.seconds is not None]
    unknown = f" and {len(todo) - len(known)} of unknown length" if len(known) < len(todo) else ""
    minutes = sum(item.seconds or 0 for item in known) / 60
    reporter.say(
        f"{len(todo)} of {len(found)} songs would be separated: {minutes:.1f} min of audio{unknown}, "
        f"about {sum(item.bytes or 0 for item in known) / 1e6:.0f} MB, about "
        f"{sum(item.wall_s or 0 for item in known) / 60:.1f} min of computing; nothing was written"
    )
    if not refused:
        return 0
    first = refused[0].refusal
    return first.exit_code if first is not None and len(found) == 1 else 1


def _verify(manifests: Sequence[str], model: str, device: str, progress: Style) -> int:
    import torch

    from sepgan.engine import EngineOptions
    from sepgan.separation.manifest import read_manifest
    from sepgan.separation.verify import verify

    different = 0
    with Reporter(progress) as reporter:
        for path in manifests:
            manifest = read_manifest(path)
            # The model is the recorded one unless another place for it is named.
            sources = [record.source or model for record in manifest.models]
            if model != "default":
                sources[:1] = [model]
            recorded = dict(manifest.options.get("engine") or {})
            weights = recorded.pop("weights", [1.0] * len(sources))
            pairs = list(zip(sources, weights, strict=True))
            separator = load_engine(pairs, device, EngineOptions(**recorded))
            torch.set_num_threads(manifest.engine.threads)  # the last bits may depend on it

            def advance(done_s: float, total_s: float | None, name: str = manifest.input.file) -> None:
                reporter.advance(name, done_s, total_s)

            found = verify(path, separator, progress=advance)
            if found.ok:
                reporter.say(f"{path}: all {len(manifest.stems)} files are equal byte for byte")
                continue
            different += 1
            reporter.say(f"{path}: not the same")
            for stem, difference in found.differences.items():
                reporter.say(f"  {stem}: {difference}")
            if found.elsewhere:
                reporter.say(f"  other versions and machines may round the last bits differently: {found.elsewhere}")
    return 1 if different else 0


def describe_result(result: SeparationResult) -> str:
    """What was done, in a line."""
    speed = result.seconds / result.wall_s
    exact = result.null_dbfs is not None and result.null_dbfs == -math.inf
    null = "" if result.null_dbfs is None else ", null exact" if exact else f", null {result.null_dbfs:.0f} dBFS"
    gain = "" if result.gain == 1.0 else f", shared gain {result.gain:.3f}"
    paths = list(dict.fromkeys(result.paths.values()))
    if not paths:
        files = f"standard output ({next(iter(result.manifest.stems))})"
    elif len({(path.parent, path.suffix) for path in paths}) == 1 and len(paths) > 1:
        files = f"{paths[0].parent}/{{{','.join(path.stem for path in paths)}}}{paths[0].suffix}"
    else:
        files = ", ".join(map(str, paths))
    error_db = result.manifest.engine.precision_error_db
    precision = "" if error_db is None else f", error of the lower precision {error_db:.0f} dB"
    absent = [stem for stem, record in result.manifest.stems.items() if max(record.presence, default=0) < 0.5]
    quiet = f", hardly anything in {', '.join(absent)}" if absent else ""
    return (
        f"{files}: {result.seconds:.1f} s of audio in {result.wall_s:.1f} s ({speed:.1f} x real time)"
        f"{null}{gain}{precision}{quiet}"
    )


def _describe_forecast(item: Forecast) -> str:
    song = item.job.song.path
    if item.refusal is not None:
        return f"{song}: would fail: {item.refusal}"
    if item.is_done:
        return f"{song}: done already, would be skipped"
    files = ", ".join(map(str, item.paths))
    if item.seconds is None or item.bytes is None or item.wall_s is None:
        return f"{song} (unknown length) -> {files}"
    return f"{song} ({item.seconds:.1f} s) -> {files}: about {item.bytes / 1e6:.1f} MB in {item.wall_s:.0f} s"
