"""What a run would do, without doing it: files, sizes and a guess of the time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sepgan.audio import probe
from sepgan.audio_formats import BITS, FORMATS, plan_output
from sepgan.errors import SepganError
from sepgan.separation.batch import SongSeparator
from sepgan.separation.channels import Layout, parse_layout
from sepgan.separation.inputs import Song
from sepgan.separation.naming import Job, require_distinct, require_free

_LOSSY_KBPS = 192  # for a guess of the size only; for each pair of channels
_TIMED_S = 10.0


@dataclass(frozen=True)
class Forecast:
    """What would become of one song.

    Attributes:
        job: the song and its files.
        seconds: how much would be separated; None where the file does not say or cannot be read.
        bytes: of all files together, about; None as above.
        wall_s: how long it would take, about; None as above.
        is_done: whether it would be skipped.
        refusal: why it would fail; None where nothing speaks against it.
    """

    job: Job
    seconds: float | None
    bytes: int | None
    wall_s: float | None
    is_done: bool
    refusal: SepganError | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that would be written."""
        files = tuple(dict.fromkeys(self.job.targets.values()))
        return files if self.job.manifest is None else (*files, self.job.manifest)


def forecast(separator: SongSeparator, songs: Sequence[Song]) -> list[Forecast]:
    """Look at each song without separating it; seconds of silence are separated to see how fast this machine is.

    Raises:
        UsageError: two songs would be written to the same file.
    """
    jobs = [separator.job(song) for song in songs]
    require_distinct(jobs)
    pace: dict[Layout, float] = {}
    return [_look(separator, job, pace) for job in jobs]


def _look(separator: SongSeparator, job: Job, pace: dict[Layout, float]) -> Forecast:
    options = separator.options
    try:
        if options.skip_existing and separator.is_done(job):
            return Forecast(job, None, None, None, True, None)
        require_free(job, options)
        info = probe(job.song.path)
        layout = parse_layout(options.channel_layout, info.channels, info.layout)
        plan_output(
            options.file_format,
            options.subtype,
            info.sample_rate,
            info.channels,
            bitrate=options.bitrate_kbps,
            layout=info.layout,
        )
    except SepganError as error:
        return Forecast(job, None, None, None, False, error)
    seconds = info.duration_s
    if seconds is not None:
        seconds = max(0.0, seconds - options.start_s)
    if options.duration_s is not None:
        seconds = options.duration_s if seconds is None else min(seconds, options.duration_s)
    if seconds is None:
        return Forecast(job, None, None, None, False, None)
    if layout not in pace:
        pace[layout] = _time_second(separator, info.channels, layout)
    # What neighbouring segments share is computed twice.
    cut = separator.model.window(separator.cut, info.channels)
    wall_s = pace[layout] * seconds * cut.segment / (cut.segment - cut.overlap)
    if FORMATS[options.file_format].lossy:
        rate = (options.bitrate_kbps or _LOSSY_KBPS) * 125 * (info.channels + 1) // 2
    else:
        rate = info.sample_rate * info.channels * (BITS.get(options.subtype) or 32) // 8
    size = round(rate * seconds) * len(job.targets)
    return Forecast(job, seconds, size, wall_s, False, None)


def _time_second(separator: SongSeparator, channels: int, layout: Layout) -> float:
    """Time what a second of music takes, with some seconds of silence."""
    samples = min(separator.cut.segment, separator.model.excerpt_samples(_TIMED_S))
    silence = torch.zeros(1, channels, samples)
    groups = [separator.plan.parts[name] for name in separator.plan.others]
    best = float("inf")
    with torch.inference_mode():
        for _ in range(2):  # the first call is slower
            began = time.perf_counter()
            separator.model.separate(silence, groups, layout)
            best = min(best, time.perf_counter() - began)
    return best * separator.model.sample_rate / samples
