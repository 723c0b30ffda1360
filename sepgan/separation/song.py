"""One song: blocks in, segments through the model, stems out at the song's own rate, and the record of it."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from sepgan.audio import AudioInfo, Waveform, probe, read_blocks
from sepgan.audio_writer import BITS, LOSSY, output_errors
from sepgan.errors import AudioError, CheckpointError, OutputError
from sepgan.separation.blocks import Model, separate_blocks
from sepgan.separation.channels import Layout
from sepgan.separation.manifest import (
    EngineRecord,
    InputRecord,
    Manifest,
    ModelRecord,
    NullRecord,
    StemRecord,
    decibels,
    file_sha256,
    finite,
    run_record,
)
from sepgan.separation.meters import BandwidthMeter, PresenceMeter, SeamMeter
from sepgan.separation.naming import Job
from sepgan.separation.options import SeparationOptions
from sepgan.separation.results import SeparationResult
from sepgan.separation.staging import Staging
from sepgan.separation.stems import StemPlan
from sepgan.stem_writer import StemWriter

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and the seconds there are, None where the file does not say."""

_BLOCK_FRAMES = 65536  # 1.5 s at 44.1 kHz


class Source(Protocol):
    """Where a song's samples come from."""

    @property
    def info(self) -> AudioInfo:
        """What the source says of itself."""

    def blocks(self, start: int, frames: int | None) -> Iterator[Waveform]:
        """Samples `[C, n]` from `start` on, `frames` of them at most."""

    def sha256(self) -> str | None:
        """Of the bytes it is made of; None where they have gone."""


class FileSource:
    """A song in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = probe(path)

    def blocks(self, start: int, frames: int | None) -> Iterator[Waveform]:
        """Decode block by block."""
        return read_blocks(self.path, _BLOCK_FRAMES, start=start, frames=frames)

    def sha256(self) -> str | None:
        """Of the file."""
        return file_sha256(self.path)


class SongRun:
    """The separation of one song with one size of segments.

    Args:
        model: gives the stems.
        source: the song.
        job: its files.
        plan: its stems.
        options: what was asked for, with `segment` and `overlap` filled in.
        layout: which channels the model sees together.
        geometry: segment and overlap to use, in samples at the model's rate.
        model_source: name or path of the model, as it was given.
    """

    def __init__(
        self,
        model: Model,
        source: Source,
        job: Job,
        plan: StemPlan,
        options: SeparationOptions,
        layout: Layout,
        geometry: tuple[int, int],
        model_source: str | None,
    ) -> None:
        self.model, self.source, self.job, self.plan, self.options = model, source, job, plan, options
        self.layout, self.model_source = layout, model_source
        self.info = source.info
        self.segment, self.overlap = geometry
        rate = self.info.sample_rate
        self.start = round(options.start_s * rate)
        self.wanted_frames = None if options.duration_s is None else max(1, round(options.duration_s * rate))
        # How long the stems will be, where the source says how long it is.
        self.frames = self.info.frames
        if self.frames is not None:
            self.frames = max(0, self.frames - self.start)
            if self.wanted_frames is not None:
                self.frames = min(self.frames, self.wanted_frames)

    def run(self, progress: Progress | None) -> SeparationResult:
        """Separate, write, and give the files their names."""
        began = time.perf_counter()
        info, options, plan = self.info, self.options, self.plan
        if self.frames == 0:
            end_s = info.duration_s or 0.0
            raise AudioError(
                f"{self.job.song.path} ends at {end_s:.2f} s; there is nothing from {options.start_s:g} s on"
            )
        meters = _Meters(self)
        staged_names = {f"{stem}.{options.file_format}": path for stem, path in self.job.targets.items()}
        with (
            Staging(staged_names, self.job.manifest, self._needed_bytes()) as staged,
            StemWriter(
                staged.path,
                list(plan.outputs),
                plan.others,
                plan.residual,
                info.sample_rate,
                info.channels,
                subtype=options.subtype,
                file_format=options.file_format,
                frames=self.frames,
                seed=options.seed,
            ) as writer,
        ):
            for mixture, others in separate_blocks(
                self.model,
                self.source.blocks(self.start, self.wanted_frames),
                info.sample_rate,
                info.channels,
                plan,
                segment=self.segment,
                overlap=self.overlap,
                layout=self.layout,
                watch=meters.seams.push,
            ):
                writer.write(mixture, others)
                meters.push(mixture, others)
                done_s = writer.frames / info.sample_rate
                if not all(map(math.isfinite, writer.peaks.values())):
                    raise CheckpointError(
                        f"the model gives NaN or infinity before {done_s:.1f} s of {self.job.song.path}"
                    )
                if progress is not None:
                    progress(done_s, None if self.frames is None else self.frames / info.sample_rate)
            writer.finish()
            peaks_dbfs = {stem: decibels(peak * writer.gain) for stem, peak in writer.peaks.items()}
            null_dbfs = None if writer.null is None else decibels(writer.null)
            stems = meters.records(peaks_dbfs, staged.path)
            manifest = self._manifest(writer, null_dbfs, stems, time.perf_counter() - began)
            if self.job.manifest is not None:
                with output_errors(self.job.manifest):
                    (staged.path / self.job.manifest.name).write_text(manifest.to_json(), encoding="utf-8")
            staged.commit()
        return SeparationResult(
            source=self.job.song.path,
            folder=self.job.folder,
            paths=dict(self.job.targets),
            sample_rate=info.sample_rate,
            frames=writer.frames,
            wall_s=time.perf_counter() - began,
            gain=writer.gain,
            peaks_dbfs=peaks_dbfs,
            null_dbfs=null_dbfs,
            manifest=manifest,
        )

    def _needed_bytes(self) -> int:
        """Room for the stems and the samples that wait; a guess without a known length."""
        depth = (BITS.get(self.options.subtype) or 32) // 8
        outputs, others = len(self.plan.outputs), len(self.plan.others)
        return (self.frames or 0) * self.info.channels * (depth * outputs + 4 * (1 + others))

    def _manifest(
        self, writer: StemWriter, null_dbfs: float | None, stems: Mapping[str, StemRecord], wall_s: float
    ) -> Manifest:
        info, path = self.info, self.job.song.path
        band_hz = min(info.sample_rate, self.model.sample_rate) // 2
        return Manifest(
            input=InputRecord(
                file=path.name,
                path=self._relative(path),
                bytes=path.stat().st_size if path.is_file() else 0,
                sha256=self.source.sha256(),
                sample_rate=info.sample_rate,
                channels=info.channels,
                frames=writer.frames,
                codec=info.codec,
                bits=info.bits,
            ),
            model=model_record(self.model, self.model_source),
            options=dict(self.options.of_the_result()),
            engine=EngineRecord(
                segment=self.segment,
                overlap=self.overlap,
                layout=self.layout,
                separated_up_to_hz=band_hz,
                threads=torch.get_num_threads(),
            ),
            stems=dict(stems),
            residual=self.plan.residual or None,
            gain=writer.gain,
            null=NullRecord(
                level_dbfs=None if null_dbfs is None else finite(null_dbfs),
                exact=null_dbfs == -math.inf,
                why_not=None if null_dbfs is not None else self._why_not_null(),
            ),
            run=run_record(writer.frames / info.sample_rate, wall_s),
        )

    def _why_not_null(self) -> str:
        if self.options.file_format in LOSSY:
            return f"{self.options.file_format} codes with loss"
        if not self.plan.residual:
            return "what lies outside the model's band and channels was asked to go nowhere"
        return "stems were left out"

    def _relative(self, path: Path) -> str:
        base = self.job.folder if self.job.manifest is None else self.job.manifest.parent
        return _relative(path, base)


def model_record(model: Model, source: str | None) -> ModelRecord:
    """What is written down of a model."""
    header = model.header
    return ModelRecord(
        source=source,
        name=None if header is None else header.name,
        sha256=None if header is None else header.sha256,
        licence=None if header is None else header.licence,
        sample_rate=model.sample_rate,
    )


class _Meters:
    """All that is measured on the outputs of one run."""

    def __init__(self, run: SongRun) -> None:
        info, plan = run.info, run.plan
        self._run = run
        self._presence = PresenceMeter(len(plan.outputs), info.sample_rate, info.channels)
        self._bandwidth = BandwidthMeter(len(plan.outputs), info.sample_rate)
        self.seams = SeamMeter(len(plan.others), run.model.sample_rate, run.segment - run.overlap, run.overlap)

    def push(self, mixture: Waveform, others: Waveform) -> None:
        """Take a block of the song `[C, n]` and of the outputs that the model gave `[K, C, n]`."""
        plan = self._run.plan
        outputs = np.stack(
            [
                mixture - others.sum(0) if name == plan.residual else others[plan.others.index(name)]
                for name in plan.outputs
            ]
        )
        self._presence.push(mixture, outputs)
        self._bandwidth.push(outputs)

    def records(self, peaks_dbfs: Mapping[str, float], folder: Path) -> dict[str, StemRecord]:
        """What the manifest says of each stem; the finished files lie in a folder."""
        run, plan = self._run, self._run.plan
        presence, bandwidth = self._presence.scores(), self._bandwidth.hertz()
        seams = dict(zip(plan.others, self.seams.decibels(), strict=True))
        base = run.job.folder if run.job.manifest is None else run.job.manifest.parent
        records = {}
        for index, stem in enumerate(plan.outputs):
            seam_db = seams.get(stem)
            staged = folder / f"{stem}.{run.options.file_format}"
            records[stem] = StemRecord(
                file=_relative(run.job.targets[stem], base),
                parts=plan.parts[stem],
                bytes=_size(staged),
                sha256=file_sha256(staged),
                peak_dbfs=finite(peaks_dbfs[stem]),
                loudness_lufs=None,
                bandwidth_hz=bandwidth[index],
                seam_db=None if seam_db is None else round(seam_db, 2),
                presence=tuple(round(float(score), 2) for score in presence[index]),
            )
        return records


def _relative(path: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error
