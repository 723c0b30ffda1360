"""Many songs: what is done already, what comes next, and what became of each."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sepgan.audio_formats import FORMATS, SUBTYPES
from sepgan.engine import is_out_of_memory
from sepgan.errors import AudioError, OutOfMemoryError, SepganError, UsageError
from sepgan.separation.blocks import Model, ready
from sepgan.separation.channels import parse_layout
from sepgan.separation.inputs import Song
from sepgan.separation.manifest import file_sha256, finished_key, is_finished, model_records
from sepgan.separation.naming import Job, plan_job, require_distinct, require_free
from sepgan.separation.options import DEFAULTS, SeparationOptions
from sepgan.separation.results import SeparationFailure, SeparationResult, SeparationSummary
from sepgan.separation.song import Progress, SongRun, all_options
from sepgan.separation.sources import FileSource, Source
from sepgan.separation.stems import StemPlan, plan_stems
from sepgan.separation.workers import Stop, in_worker, result_of, workers
from sepgan.separator import Separator
from sepgan.streaming import Cut

_log = logging.getLogger(__name__)

_SEGMENT_HALVINGS = 6  # how often the segment is halved when memory runs out: 52 s become 0.8 s

Outcome = SeparationResult | SeparationFailure


class SongSeparator:
    """A model and options that fit each other, ready for any number of songs.

    Args:
        model: gives the stems; in evaluation mode, on the device that is to be used.
        out: the output folder.
        options: what is wanted.
        model_source: name or path of the model, as it was given; for the manifest only.
        threads: as for `separate_files`.

    Raises:
        UsageError: the options do not fit the model or each other.
    """

    def __init__(
        self,
        model: Model | Separator,
        out: Path,
        options: SeparationOptions = DEFAULTS,
        model_source: str | None = None,
        threads: int | None = None,
    ) -> None:
        model = ready(model)
        if options.file_format not in FORMATS:
            raise UsageError(f"file format {options.file_format!r} is not one of {', '.join(FORMATS)}")
        if options.subtype not in SUBTYPES:
            raise UsageError(f"subtype {options.subtype!r} is not one of {', '.join(SUBTYPES)}")
        if options.start_s < 0 or (options.duration_s is not None and options.duration_s <= 0):
            raise UsageError("the start must be 0 s or later and the duration more than 0 s")
        segment = model.segment if options.segment is None else options.segment
        overlap = model.overlap_for(segment) if options.overlap is None else options.overlap
        if segment < 1 or not 0 <= overlap <= segment // 2:
            raise UsageError(f"the overlap ({overlap} samples) must be at most half a segment ({segment} samples)")
        self.model = model
        self.model_source = model_source
        self._threads = threads
        self.options = replace(options, segment=segment, overlap=overlap)
        self.plan: StemPlan = plan_stems(model.stems, model.residual_stem, options)
        self._out = out
        self.cut = Cut(segment, overlap)
        self._chosen = options.segment is not None or options.overlap is not None

    def job(self, song: Song) -> Job:
        """Name the files of a song."""
        header = self.model.header
        form = FORMATS[self.options.file_format]
        return plan_job(
            song,
            self._out,
            self.plan.outputs,
            self.options,
            suffix=form.suffix,
            model="model" if header is None else header.name,
            one_file=form.one_file,
        )

    def is_done(self, job: Job) -> bool:
        """Whether this very separation has been done, by the song's manifest; False where the song cannot be read."""
        if job.manifest is None or not job.manifest.is_file():
            return False
        try:
            song = file_sha256(job.song.path)
        except AudioError:
            return False
        models = [record.sha256 for record in model_records(self.model, None)]
        key = finished_key(song, models, all_options(self.model, self.options))
        return is_finished(job.manifest, key, job.targets)

    def separate(
        self,
        job: Job,
        progress: Progress | None = None,
        *,
        source: Source | None = None,
        pipe: BinaryIO | None = None,
    ) -> SeparationResult:
        """Separate one song.

        Args:
            job: the song and its files.
            progress: called as the song advances; an exception that it raises ends the work and removes what was
                written.
            source: where the samples come from, if not from the song's file.
            pipe: takes the only stem as WAV in place of a file.

        Raises:
            AudioError: the song is missing, cannot be decoded, or holds NaN.
            UsageError: the options do not fit the song.
            OutputError: the files cannot be written.
            OutOfMemoryError: not even a short segment fits the device's memory.
        """
        source = FileSource(job.song.path) if source is None else source
        layout = parse_layout(self.options.channel_layout, source.info.channels, source.info.layout)
        # What was chosen stays; for more channels the model would choose otherwise.
        cut = self.cut if self._chosen else self.model.cut_for(source.info.channels)
        for _ in range(_SEGMENT_HALVINGS + 1):
            run = SongRun(
                self.model,
                source,
                job,
                self.plan,
                self.options,
                layout,
                cut,
                self.model_source,
                pipe,
                self._threads,
            )
            try:
                return run.run(progress)
            except (RuntimeError, MemoryError, OutOfMemoryError) as error:
                if not (isinstance(error, OutOfMemoryError) or is_out_of_memory(error)):
                    raise
                _log.warning("%s: out of memory with segments of %d samples", job.song.path, cut.segment)
                half = min(cut.segment // 2, self.model.excerpt_samples(cut.segment / 2 / self.model.sample_rate))
                cut = Cut(half, self.model.overlap_for(half))
        raise OutOfMemoryError(f"{job.song.path}: out of memory even with segments of {run.cut.segment} samples")


def separate_file(
    model: Model | Separator,
    path: str | Path,
    out_dir: str | Path,
    *,
    options: SeparationOptions = DEFAULTS,
    progress: Progress | None = None,
) -> SeparationResult:
    """Separate a song into `<out_dir>/<song>/<stem>.wav` and a `manifest.json`; all files appear, or none.

    Args:
        model: the model, in evaluation mode, on the device that is to be used.
        path: the song; of a container with several streams, the first (the mixture of a `.stem.mp4`).
        out_dir: where the song's folder is made.
        options: what is wanted.
        progress: called as the song advances, from another thread; an exception that it raises ends the work and
            removes what was written.

    Raises:
        AudioError: the song is missing, cannot be decoded, or holds NaN.
        UsageError: the options do not fit the model or the format, or files exist already.
        OutputError: the files cannot be written.
        OutOfMemoryError: not even a short segment fits the device's memory.
    """
    separator = SongSeparator(model, Path(out_dir), options)
    job = separator.job(Song(Path(path)))
    require_distinct([job])
    require_free(job, options)
    return in_worker(lambda stop: separator.separate(job, stoppable(progress, stop)))


def separate_files(
    model: Model | Separator,
    paths: Sequence[str | Path | Song],
    out_dir: str | Path,
    *,
    options: SeparationOptions = DEFAULTS,
    jobs: int = 1,
    progress: Callable[[Path, float, float | None], None] | None = None,
    finished: Callable[[Outcome], None] | None = None,
    model_source: str | None = None,
    threads: int | None = None,
) -> SeparationSummary:
    """Separate songs; one that fails does not stop the others.

    Args:
        model: as for `separate_file`.
        paths: the songs; see `find_songs` for folders, patterns and lists.
        out_dir: where each song's folder is made.
        options: what is wanted.
        jobs: how many songs are separated at once, in threads that share the model.
        progress: called with the song, and as for `separate_file`; from as many threads as there are jobs.
        finished: called with the result or failure of each song, in the order of the songs.
        model_source: name or path of the model, as it was given; for the manifest only.
        threads: of torch that each song may use, for its segments side by side, in a program that owns its process: how
            many torch gives to threads to come is changed. None for one segment at a time, which changes nothing.

    Raises:
        UsageError: before anything is computed, where two songs would be written to the same file, files exist already,
            or the options do not fit the model.
    """
    separator = SongSeparator(model, Path(out_dir), options, model_source, threads)
    planned = [separator.job(path if isinstance(path, Song) else Song(Path(path))) for path in paths]
    require_distinct(planned)
    done = [job for job in planned if options.skip_existing and separator.is_done(job)]
    todo = [job for job in planned if job not in done]
    for job in todo:
        require_free(job, options)
    outcomes = _run_all(separator, todo, max(1, jobs), progress, finished)
    return SeparationSummary(
        tuple(outcome for outcome in outcomes if isinstance(outcome, SeparationResult)),
        tuple(outcome for outcome in outcomes if isinstance(outcome, SeparationFailure)),
        tuple(job.song.path for job in done),
    )


def stoppable(progress: Progress | None, stop: Stop) -> Progress:
    """Pass progress on, unless the work is to stop."""

    def advance(done_s: float, total_s: float | None) -> None:
        stop.raise_if_asked()
        if progress is not None:
            progress(done_s, total_s)

    return advance


def _run_all(
    separator: SongSeparator,
    todo: Sequence[Job],
    jobs: int,
    progress: Callable[[Path, float, float | None], None] | None,
    finished: Callable[[Outcome], None] | None,
) -> list[Outcome]:
    def work(job: Job, stop: Stop) -> Outcome:
        told = None if progress is None else partial(progress, job.song.path)
        stop.raise_if_asked()
        try:
            return separator.separate(job, stoppable(told, stop))
        except SepganError as error:
            return SeparationFailure(job.song.path, error)

    outcomes: list[Outcome] = []
    with workers(jobs) as (pool, stop):
        for future in [pool.submit(work, job, stop) for job in todo]:
            outcomes.append(result_of(future))
            if finished is not None:
                finished(outcomes[-1])
    return outcomes
