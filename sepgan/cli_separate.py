"""`sepgan separate`: call one function, print."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sepgan.cli_options import Device, Model, ProgressStyle, load_engine, names, parse_weighted
from sepgan.cli_separate_options import (
    Aggregates,
    Batch,
    Bitrate,
    ChannelLayout,
    DryRun,
    Duration,
    FileFormat,
    FileName,
    Float32,
    Int16,
    Int24,
    Jobs,
    ManifestName,
    MoreModels,
    Out,
    Overlap,
    Overwrite,
    Precision,
    Repetition,
    Residual,
    Segment,
    Shifts,
    SkipExisting,
    Songs,
    Start,
    Stems,
    TwoStems,
    Verify,
    WienerIterations,
    parse_aggregate,
)
from sepgan.cli_separate_results import describe_forecast, describe_result
from sepgan.console import Reporter, Style
from sepgan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sepgan.engine import Engine, EngineOptions
    from sepgan.ensemble import Ensemble
    from sepgan.separation import SeparationOptions, SeparationResult, SeparationSummary, Song
    from sepgan.separation.batch import Outcome
    from sepgan.separation.workers import Stop


def separate(
    inputs: Songs = None,
    out: Out = Path("stems"),
    stems: Stems = None,
    two_stems: TwoStems = None,
    aggregate: Aggregates = None,
    residual: Residual = None,
    start: Start = 0.0,
    duration: Duration = None,
    file_format: FileFormat = "wav",
    bitrate: Bitrate = None,
    float32: Float32 = False,
    int24: Int24 = False,
    int16: Int16 = False,
    filename: FileName = "{track}/{stem}.{ext}",
    manifest: ManifestName = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    model: Model = "default",
    device: Device = "auto",
    segment: Segment = None,
    overlap: Overlap = None,
    channel_layout: ChannelLayout = "auto",
    precision: Precision = "fp32",
    batch: Batch = None,
    shifts: Shifts = 0,
    wiener: WienerIterations = 0,
    repetition: Repetition = None,
    ensemble: MoreModels = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    verify: Verify = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Split songs into stems that sum to the song, at its own rate, channels and length."""
    # Threads of a second kind would wait by spinning, in the way of those that compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not inputs:
        raise UsageError("no songs are named: give files, folders, patterns or @lists; see `sepgan separate --help`")
    if verify:
        raise typer.Exit(_verify(inputs, model, device, progress))
    from sepgan.engine import EngineOptions
    from sepgan.separation import SeparationOptions

    subtype = _subtype(float32, int24, int16)
    if duration == 0:
        raise UsageError("--duration 0 leaves nothing to separate: give more than 0 seconds")
    piped_in, piped_out = "-" in inputs, str(out) == "-"
    songs = _songs(inputs, out, progress, named=dry_run or skip_existing)
    engine = EngineOptions(precision=precision, batch=batch, shifts=shifts, wiener=wiener, repetition=repetition)
    weighted = [(model, 1.0), *(parse_weighted(text) for text in names(ensemble or ""))]
    separator = _load(weighted, device, engine, min(jobs, len(songs)))
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
        subtype=subtype,
        file_format=file_format,
        bitrate_kbps=bitrate,
        filename=filename,
        manifest=manifest,
        overwrite=overwrite,
        skip_existing=skip_existing,
        segment=None if segment is None else length,
        overlap=None if overlap is None else separator.overlap_for(length, round(overlap * length)),
    )
    with Reporter(progress) as reporter:
        if dry_run:
            raise typer.Exit(_forecast(separator, out, options, songs, jobs, reporter))
        if piped_in or piped_out:
            _separate_piped(separator, songs[0], None if piped_out else out, options, piped_in, model, reporter)
            return
        summary = _separate(separator, songs, out, options, jobs, model, reporter)
    raise typer.Exit(summary.exit_code)


def _subtype(float32: bool, int24: bool, int16: bool) -> str:
    if float32 + int24 + int16 > 1:
        raise UsageError("--float32, --int24 and --int16 exclude each other: give one of them")
    return "float32" if float32 else "int16" if int16 else "int24"


def _songs(inputs: Sequence[str], out: Path, progress: Style, named: bool) -> list[Song]:
    """Find the songs; `named` says that what is asked for needs names on both sides, which pipes have not."""
    from sepgan.separation import Song, find_songs

    piped_in, piped_out = "-" in inputs, str(out) == "-"
    if piped_in and len(inputs) > 1:
        raise UsageError("- stands for one song from standard input: name no other beside it")
    songs = [Song(Path("stdin"))] if piped_in else find_songs(inputs, leave_out=out)
    if piped_out and (len(songs) > 1 or progress is Style.JSON):
        raise UsageError("--out - takes one song, and leaves no room for --progress json: choose a folder")
    if (piped_in or piped_out) and named:
        raise UsageError("--dry-run and --skip-existing need files on both sides: give them names")
    return songs


def _load(
    weighted: Sequence[tuple[str, float]], device: str, options: EngineOptions, jobs: int = 1
) -> Engine | Ensemble:
    """Load what separates so many songs at once, whose segments come to use the same memory again and again."""
    from sepgan.separation.freed_memory import keep_freed_memory

    keep_freed_memory()
    # One network a song: beside it another segment is refined, which takes less memory.
    return load_engine(weighted, device, replace(options, networks=max(1, jobs)))


def share_threads(separator: Any, jobs: int) -> int | None:
    """Return how many threads each of several songs has: its part of the cores, or as many as the environment says.

    None where another device separates them, one segment or batch after another.
    """
    import torch

    if jobs > 1 and not os.environ.get("SEPGAN_NUM_THREADS"):
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    return torch.get_num_threads() if separator.device.type == "cpu" else None


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

    threads = share_threads(separator, min(jobs, len(songs)))
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
        threads=threads,
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
    from sepgan.separation.batch import stoppable
    from sepgan.separation.naming import Job, require_distinct, require_free
    from sepgan.separation.sources import PipeSource
    from sepgan.separation.workers import in_worker

    threads = share_threads(separator, 1)
    if out is None:
        ready = SongSeparator(separator, Path(), replace(options, manifest="off"), model, threads)
        if len(ready.plan.outputs) > 1 or options.file_format != "wav":
            raise UsageError("--out - takes one stem as WAV: add --stems STEM, or choose a folder for several")
        job = Job(song, {}, None)
    else:
        ready = SongSeparator(separator, out, options, model, threads)
        job = ready.job(song)
        require_distinct([job])
        require_free(job, options)

    def work(stop: Stop) -> SeparationResult:
        return ready.separate(
            job,
            stoppable(lambda done_s, total_s: reporter.advance(song.path.name, done_s, total_s), stop),
            source=PipeSource(sys.stdin.buffer, stop.raise_if_asked) if piped_in else None,
            pipe=sys.stdout.buffer if out is None else None,
        )

    reporter.say(describe_result(in_worker(work)))


def _forecast(
    separator: Any, out: Path, options: SeparationOptions, songs: Sequence[Song], jobs: int, reporter: Reporter
) -> int:
    from sepgan.separation import SongSeparator
    from sepgan.separation.forecast import forecast

    found = forecast(SongSeparator(separator, out, options), songs)
    for item in found:
        reporter.say(describe_forecast(item))
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
            separator = _load(pairs, device, EngineOptions(**recorded))
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
