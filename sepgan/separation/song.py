"""One song: blocks in, segments through the model, stems out at the song's own rate, and the record of it."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from sepgan.audio_formats import FORMATS
from sepgan.audio_writer import BITS, output_errors
from sepgan.errors import AudioError, CheckpointError
from sepgan.separation.ahead import ahead
from sepgan.separation.blocks import Model, engine_options, separate_blocks
from sepgan.separation.channels import Layout
from sepgan.separation.cores import segment_pool, share
from sepgan.separation.manifest import (
    EngineRecord,
    InputRecord,
    Manifest,
    NullRecord,
    decibels,
    finite,
    model_records,
    run_record,
)
from sepgan.separation.measuring import Measuring, peaks_dbfs, relative
from sepgan.separation.naming import Job, track_name
from sepgan.separation.options import SeparationOptions
from sepgan.separation.results import SeparationResult
from sepgan.separation.sources import Source
from sepgan.separation.staging import Staging
from sepgan.separation.stems import StemPlan
from sepgan.stem_writer import StemWriter
from sepgan.streaming import PIECE, Cut, joint

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and the seconds there are, None where the file does not say."""


def all_options(model: Model, options: SeparationOptions) -> Mapping[str, Any]:
    """All that decides what a stem holds, but the song and the model."""
    return {**options.of_the_result(), "engine": engine_options(model)}


class _Folder(Protocol):
    path: Path

    def commit(self) -> None: ...


@dataclass(frozen=True)
class SongRun:
    """The separation of one song with one size of segments.

    Attributes:
        model: gives the stems.
        source: the song.
        job: its files; none where a pipe takes the only stem.
        plan: its stems.
        options: what was asked for, with `segment` and `overlap` filled in.
        layout: which channels the model sees together.
        cut: samples at the model's rate that the network is given at once.
        model_source: name or path of the model, as it was given.
        pipe: takes the only stem in place of a file.
        threads: of torch that its segments share; None for one segment at a time, with what threads torch has.
    """

    model: Model
    source: Source
    job: Job
    plan: StemPlan
    options: SeparationOptions
    layout: Layout
    cut: Cut
    model_source: str | None
    pipe: BinaryIO | None = None
    threads: int | None = None

    def run(self, progress: Progress | None) -> SeparationResult:
        """Separate, write, and give the files their names."""
        began = time.perf_counter()
        info, options, plan, name = self.source.info, self.options, self.plan, self.job.song.path
        start = round(options.start_s * info.sample_rate)
        wanted = None if options.duration_s is None else max(1, round(options.duration_s * info.sample_rate))
        frames = self._frames(start, wanted)
        window = self._window()
        hop, fade = window.segment - window.overlap, joint(window.overlap, self.model.context)
        meters = Measuring(info, plan, self.model.sample_rate, hop, fade)
        # A file is read in another thread, and its segments are separated side by side, while this one measures and
        # writes what came before. A pipe is not, as a thread that waits for more of it could not be stopped, and stems
        # shall not wait for more of it than their own segment.
        is_file = self.job.song.path.is_file()
        at_once, each = (1, None) if self.threads is None else share(self.threads, info.channels)
        with (
            self._folder(frames) as staged,
            StemWriter(
                staged.path,
                plan.outputs,
                plan.others,
                plan.residual,
                info.sample_rate,
                info.channels,
                subtype=options.subtype,
                file_format=options.file_format,
                frames=frames,
                seed=options.seed,
                bitrate=options.bitrate_kbps,
                layout=info.layout,
                tags=self.source.tags,
                name=track_name(name),
                pipe=self.pipe,
            ) as writer,
            contextlib.nullcontext() if each is None else segment_pool(at_once if is_file else 1, each) as pool,
        ):
            separated = separate_blocks(
                self.model,
                self.source.blocks(start, wanted),
                info.sample_rate,
                info.channels,
                plan,
                cut=self.cut,
                layout=self.layout,
                watch=meters.seams.push,
                pool=pool,
            )
            if is_file:
                # All pieces of a segment may wait to be written, so that the next one can be separated meanwhile.
                separated = ahead(separated, 2 + -(-hop // PIECE))
            with contextlib.closing(separated) as pieces:
                for mixture, others in pieces:
                    writer.write(mixture, others)
                    meters.push(mixture, others)
                    done_s = writer.frames / info.sample_rate
                    if not all(map(math.isfinite, writer.peaks.values())):
                        raise CheckpointError(f"the model gives NaN or infinity before {done_s:.1f} s of {name}")
                    if progress is not None:
                        progress(done_s, None if frames is None else frames / info.sample_rate)
            writer.finish()
            manifest = self._manifest(writer, meters, began, each)
            if self.job.manifest is not None:
                with output_errors(self.job.manifest):
                    (staged.path / self.job.manifest.name).write_text(manifest.to_json(), encoding="utf-8")
            staged.commit()
        return SeparationResult(
            source=name,
            folder=self.job.folder,
            paths=dict(self.job.targets),
            sample_rate=info.sample_rate,
            frames=writer.frames,
            wall_s=time.perf_counter() - began,
            gain=writer.gain,
            peaks_dbfs=peaks_dbfs(writer),
            null_dbfs=None if writer.null is None else decibels(writer.null),
            manifest=manifest,
        )

    def _window(self) -> Cut:
        return self.model.window(self.cut, self.source.info.channels)

    def _frames(self, start: int, wanted: int | None) -> int | None:
        """How long the stems will be, where the source says how long it is."""
        info = self.source.info
        if info.frames is None:
            return None
        if start >= info.frames:
            end_s = info.frames / info.sample_rate
            raise AudioError(
                f"{self.job.song.path} ends at {end_s:.2f} s; there is nothing from {self.options.start_s:g} s on"
            )
        left = info.frames - start
        return left if wanted is None else min(left, wanted)

    def _folder(self, frames: int | None) -> contextlib.AbstractContextManager[_Folder]:
        if self.pipe is not None:
            return _scratch()
        form = FORMATS[self.options.file_format]
        targets = {
            (track_name(self.job.song.path) if form.one_file else stem) + form.suffix: path
            for stem, path in self.job.targets.items()
        }
        # Room for the files, and for samples that wait where a format could clip; a guess without a known length.
        bits = BITS.get(self.options.subtype)
        waiting = 1 + len(self.plan.others) if bits or form.lossy else 0
        samples = (frames or 0) * self.source.info.channels
        needed = samples * ((bits or 32) // 8 * len(self.plan.outputs) + 4 * waiting)
        return Staging(targets, self.job.manifest, needed)

    def _manifest(self, writer: StemWriter, meters: Measuring, began: float, threads: int | None) -> Manifest:
        info, path = self.source.info, self.job.song.path
        base = self.job.folder if self.job.manifest is None else self.job.manifest.parent
        window = self._window()
        used = self.cut if self.cut.segment < window.segment else window
        return Manifest(
            input=InputRecord(
                file=path.name,
                path=relative(path, base),
                bytes=path.stat().st_size if path.is_file() else 0,
                sha256=self.source.sha256(),
                sample_rate=info.sample_rate,
                channels=info.channels,
                frames=writer.frames,
                codec=info.codec,
                bits=info.bits,
            ),
            models=model_records(self.model, self.model_source),
            options=dict(all_options(self.model, self.options)),
            engine=EngineRecord(
                segment=used.segment,
                overlap=used.overlap,
                layout=self.layout,
                separated_up_to_hz=min(info.sample_rate, self.model.sample_rate) // 2,
                threads=torch.get_num_threads() if threads is None else threads,
                precision_error_db=getattr(self.model, "precision_error_db", None),
            ),
            stems=meters.records(self.job, writer),
            residual=self.plan.residual or None,
            gain=writer.gain,
            null=NullRecord(
                level_dbfs=None if writer.null is None else finite(decibels(writer.null)),
                exact=writer.null == 0,
                why_not=None if writer.null is not None else self._why_not_null(),
            ),
            run=run_record(writer.frames / info.sample_rate, time.perf_counter() - began),
        )

    def _why_not_null(self) -> str:
        if FORMATS[self.options.file_format].lossy:
            return f"{self.options.file_format} codes with loss"
        if not self.plan.residual:
            return "what lies outside the model's band and channels was asked to go nowhere"
        return "stems were left out"


@dataclass
class _Scratch:
    path: Path

    def commit(self) -> None:
        """Nothing stays."""


@contextlib.contextmanager
def _scratch() -> Iterator[_Scratch]:
    with tempfile.TemporaryDirectory(prefix="sepgan-") as folder:
        yield _Scratch(Path(folder))
