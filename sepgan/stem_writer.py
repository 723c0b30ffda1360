"""Write stems so that the files sum to the mixture, with one gain for all of them.

All stems but one come from outside; the residual stem is the mixture minus the others. In integer formats the others
are rounded first and the residual is taken between integers, so that the files add up to the mixture rounded once:
where it has no finer steps than the format and nothing clips, to the mixture bit for bit.

Whether an integer format clips is known at the end only. So the files are written as if nothing did, and the samples
wait in a float32 file beside them: once one clips, all are written again from there, with the gain found at the end.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from sepgan.audio_formats import plan_output
from sepgan.audio_pipe import PipeWriter
from sepgan.audio_stem_file import StemFileWriter, stem_order
from sepgan.audio_tags import Tags
from sepgan.audio_writer import AudioWriter, output_errors, quantise
from sepgan.errors import UsageError

Samples = npt.NDArray[np.float32]
Steps = npt.NDArray[np.int32]


class _Sink(Protocol):
    """Takes the mixture and all stems in their order; files, one file, or a pipe."""

    def write(self, mixture: Samples, stems: Sequence[Samples]) -> None: ...

    def write_steps(self, mixture: Steps, stems: Sequence[Steps]) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...


class _Files:
    """One writer for each stem."""

    def __init__(self, writers: Sequence[AudioWriter | PipeWriter]) -> None:
        self._writers = writers

    def write(self, mixture: Samples, stems: Sequence[Samples]) -> None:
        for writer, samples in zip(self._writers, stems, strict=True):
            writer.write(samples)

    def write_steps(self, mixture: Steps, stems: Sequence[Steps]) -> None:
        for writer, steps in zip(self._writers, stems, strict=True):
            writer.write_steps(steps)

    def commit(self) -> None:
        with ThreadPoolExecutor(len(self._writers)) as executor:  # each waits for its disk
            for done in [executor.submit(writer.commit) for writer in self._writers]:
                done.result()

    def abort(self) -> None:
        for writer in self._writers:
            writer.abort()


class StemWriter:
    """Takes the mixture and the other stems block by block and leaves one file per stem in a folder.

    Attributes:
        plan: what the files will be.
        paths: the file of each stem, which all stems share in a `.stem.mp4`; empty where they go into a pipe.
        frames: samples per channel written so far.
        gain: the factor on mixture and stems; below 1 only where a format would have clipped. Known after `finish`.
        peaks: highest absolute sample of each stem, before the gain.
        null: highest absolute sample of the sum of what was written minus the mixture times the gain; None where stems
            are left out or coded with loss.
    """

    def __init__(
        self,
        folder: Path,
        stems: Sequence[str],
        others: Sequence[str],
        residual: str,
        sample_rate: int,
        channels: int,
        *,
        subtype: str = "int24",
        file_format: str = "wav",
        frames: int | None = None,
        seed: int = 0,
        bitrate: int | None = None,
        layout: str | None = None,
        tags: Tags | None = None,
        name: str = "stems",
        pipe: BinaryIO | None = None,
    ) -> None:
        """Open the files, so that what a format cannot hold is refused before anything is computed.

        Args:
            folder: an existing folder; what is left in it after an exception is the caller's to remove.
            stems: which to write.
            others: names of the stems that `write` will be given, all but the residual if that is to be written.
            residual: name of the stem that is the mixture minus the others; one that is not in `stems` for none.
            sample_rate: in Hz.
            channels: number of channels, in WAVE order.
            subtype: "float32", "int24" or "int16" (dithered).
            file_format: a name of `FORMATS`; a suffix of one file for all stems makes that.
            frames: the length where it is known.
            seed: of the dither.
            bitrate: in kbit/s, of formats that code with loss; None for the encoder's default.
            layout: of the channels, such as "5.1"; None where it is not known.
            tags: of the song; each stem gets them with its name in the title.
            name: of the one file for all stems, before its suffix.
            pipe: where the only stem goes as WAV, in place of a file.

        Raises:
            UsageError: the format cannot hold this.
            OutputError: a file cannot be created.
        """
        self.frames = 0
        self.gain = 1.0
        self.peaks = dict.fromkeys(stems, 0.0)
        self.null: float | None = None
        self.plan = plan_output(file_format, subtype, sample_rate, channels, bitrate=bitrate, layout=layout)
        if not self.plan.lossy and set(stems) == {*others, residual}:
            self.null = 0.0
        if pipe is not None and (len(stems) > 1 or file_format != "wav"):
            raise UsageError("standard output takes one stem as wav; choose one stem, or a folder for several")
        self._stems = stem_order(tuple(stems)) if self.plan.format.one_file else tuple(stems)
        suffix = self.plan.format.suffix
        self.paths: dict[str, Path] = {
            stem: folder / ((name if self.plan.format.one_file else stem) + suffix) for stem in stems if pipe is None
        }
        self._folder = folder
        self._others = tuple(others)
        self._residual = residual
        self._sample_rate = sample_rate
        self._subtype = subtype
        self._seed = seed
        self._tags = tags or Tags()
        self._name = name
        self._pipe = pipe
        self._bits = self.plan.bits
        self._noise = self._dither()
        self._mixture_peak = 0.0
        self._expected = frames
        self._sink: _Sink | None = None
        self._spool: BinaryIO | None = None
        try:
            self._begin(frames)
        except BaseException:
            self._abort()
            raise

    def write(self, mixture: Samples, others: Samples) -> None:
        """Append a block of the mixture `[C, n]` and of the other stems `[K, C, n]`."""
        self.frames += mixture.shape[-1]
        for stem in self._stems:
            samples = mixture - others.sum(0) if stem == self._residual else others[self._others.index(stem)]
            # np.maximum keeps NaN, which max() may lose.
            self.peaks[stem] = float(np.maximum(self.peaks[stem], np.abs(samples).max(initial=0)))
        if self.plan.format.one_file:
            self._mixture_peak = max(self._mixture_peak, float(np.abs(mixture).max(initial=0)))
        if self._spool is not None:
            with output_errors(self._folder):
                self._spool.write(np.int64(mixture.shape[-1]).tobytes())
                self._spool.write(np.ascontiguousarray(mixture).data)
                self._spool.write(np.ascontiguousarray(others).data)
            sound = all(map(math.isfinite, self.peaks.values()))  # or the caller will refuse it
            if self._sink is not None and not (sound and self._shared_gain() == 1):
                self._give_up()
        if self._sink is not None:
            self._render(mixture, others)

    def finish(self) -> None:
        """Write what waits, and give the files their names."""
        if self._spool is not None:
            if self._sink is not None and self.frames != self._expected:
                self._give_up()
            if self._sink is None:
                self.gain = self._shared_gain()
                self._sink = self._open(self.frames)
                with output_errors(self._folder):
                    self._spool.seek(0)
                for mixture, others in self._waiting(self._spool):
                    self._render(mixture * np.float32(self.gain), others * np.float32(self.gain))
            with output_errors(self._folder):
                self._spool.close()
                (self._folder / "spool").unlink()
        assert self._sink is not None
        self._sink.commit()

    def __enter__(self) -> "StemWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what an exception has left open."""
        if kind is not None:
            self._abort()

    def _begin(self, frames: int | None) -> None:
        self._sink = self._open(frames)
        # Float samples of known length need no second look: nothing clips, and WAV or RF64 is decided.
        waits = frames is None and self._pipe is None
        if self.plan.lossy or self._bits is not None or waits:
            if waits or self._pipe is not None:  # what has gone into a pipe cannot be written again
                self._abort()
            with output_errors(self._folder):
                self._spool = (self._folder / "spool").open("w+b")

    def _open(self, frames: int | None) -> _Sink:
        shape = (self._sample_rate, self.plan.channels)
        if self._pipe is not None:
            return _Files(
                [PipeWriter(self._pipe, *shape, subtype=self._subtype, frames=frames, layout=self.plan.layout)]
            )
        if self.plan.format.one_file:
            path = next(iter(self.paths.values()))
            return StemFileWriter(path, self.plan, self._stems, self._tags)
        writers: list[AudioWriter] = []
        try:
            for index, (stem, path) in enumerate(self.paths.items()):
                writer = AudioWriter(
                    *(path, *shape),
                    subtype=self._subtype,
                    frames=frames,
                    seed=self._seed + index,
                    file_format=self.plan.format.name,
                    bitrate=self.plan.bitrate,
                    layout=self.plan.layout,
                    tags=self._tags.for_stem(stem) if self._tags else None,
                )
                writers.append(writer)
        except BaseException:
            _Files(writers).abort()
            raise
        return _Files(writers)

    def _abort(self) -> None:
        if self._sink is not None:
            self._sink.abort()
            self._sink = None
        if self._spool is not None:
            with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
                self._spool.close()

    def _give_up(self) -> None:
        """Drop what was written as if nothing would clip; it will be written from the spool, from its beginning."""
        assert self._sink is not None
        self._sink.abort()
        self._sink = None
        self._noise = self._dither()
        if self.null is not None:
            self.null = 0.0

    def _dither(self) -> np.random.Generator | None:
        return np.random.default_rng(self._seed) if self._bits == 16 else None

    def _shared_gain(self) -> float:
        if self._bits is None and not self.plan.lossy:
            return 1.0
        # Each other stem may be off by 1.5 steps (half of rounding, one of dither), and the residual by all of these.
        steps_off = 1.5 * (len(self._others) + 1) + 1 if self._bits else 0
        limit = 1 - steps_off / 2 ** ((self._bits or 1) - 1)
        peak = max(*self.peaks.values(), self._mixture_peak)
        return limit / peak if peak > limit else 1.0

    def _waiting(self, spool: BinaryIO) -> Iterator[tuple[Samples, Samples]]:
        while len(head := spool.read(8)) == 8:
            shape = (1 + len(self._others), self.plan.channels, int(np.frombuffer(head, np.int64)[0]))
            block = np.frombuffer(spool.read(4 * int(np.prod(shape))), np.float32).reshape(shape)
            yield block[0], block[1:]

    def _render(self, mixture: Samples, others: Samples) -> None:
        """Write a block whose gain has been applied."""
        assert self._sink is not None
        if self._bits is None:
            residual = mixture - others.sum(0)
            by_name: Mapping[str, Samples] = {**dict(zip(self._others, others, strict=True)), self._residual: residual}
            self._sink.write(mixture, [by_name[stem] for stem in self._stems])
            self._compare(mixture, others.sum(0, dtype=np.float64) + residual)
            return
        steps = quantise(others, self._bits, self._noise)
        whole = quantise(mixture, self._bits, self._noise)
        remaining = whole - steps.sum(0, dtype=np.int32)
        rounded: Mapping[str, Steps] = {**dict(zip(self._others, steps, strict=True)), self._residual: remaining}
        self._sink.write_steps(whole, [rounded[stem] for stem in self._stems])
        self._compare(mixture, (steps.sum(0) + remaining) / np.float32(2 ** (self._bits - 1)))

    def _compare(self, mixture: Samples, total: npt.NDArray[np.floating]) -> None:
        if self.null is not None:
            self.null = max(self.null, float(np.abs(total - mixture).max(initial=0)))
