"""Write stems so that the files sum to the mixture, with one gain for all of them.

All stems but one come from outside; the residual stem is the mixture minus the others. In integer formats the others
are rounded first and the residual is taken between integers, so that the files add up to the mixture rounded once:
where it has no finer steps than the format and nothing clips, to the mixture bit for bit.

Whether an integer format clips is known at the end only; until then samples wait in a float32 file beside the stems.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from sepgan.audio_writer import BITS, LOSSY, AudioWriter, output_errors, quantise

Samples = npt.NDArray[np.float32]


class StemWriter:
    """Takes the mixture and the other stems block by block and leaves one file per stem in a folder.

    Attributes:
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
    ) -> None:
        """Open the files, so that what a format cannot hold is refused before anything is computed.

        Args:
            folder: an existing folder; what is left in it after an exception is the caller's to remove.
            stems: which to write.
            others: names of the stems that `write` will be given, all but the residual if that is to be written.
            residual: name of the stem that is the mixture minus the others.
            sample_rate: in Hz.
            channels: number of channels.
            subtype: "float32", "int24" or "int16" (dithered).
            file_format: "wav", "flac", "ogg" or "mp3".
            frames: the length where it is known.
            seed: of the dither.

        Raises:
            UsageError: the format cannot hold this.
            OutputError: a file cannot be created.
        """
        self.frames = 0
        self.gain = 1.0
        self.peaks = dict.fromkeys(stems, 0.0)
        self.null: float | None = None
        lossy = file_format in LOSSY
        if not lossy and set(stems) == {*others, residual}:
            self.null = 0.0
        self._folder = folder
        self._stems = tuple(stems)
        self._others = tuple(others)
        self._residual = residual
        self._sample_rate = sample_rate
        self._channels = channels
        self._subtype = subtype
        self._file_format = file_format
        self._bits = None if lossy else BITS.get(subtype)
        self._seed = seed
        self._noise = np.random.default_rng(seed) if self._bits == 16 else None
        self._writers: dict[str, AudioWriter] = {}
        self._spool: BinaryIO | None = None
        try:
            self._open(frames)
            # Float samples of known length need no second look: nothing clips, and WAV or RF64 is decided.
            if lossy or self._bits is not None or frames is None:
                self._abort()
                with output_errors(folder):
                    self._spool = (folder / "spool").open("w+b")
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
        if self._spool is None:
            self._render(mixture, others)
        else:
            with output_errors(self._folder):
                self._spool.write(np.int64(mixture.shape[-1]).tobytes())
                self._spool.write(np.ascontiguousarray(mixture).data)
                self._spool.write(np.ascontiguousarray(others).data)

    def finish(self) -> None:
        """Write what waits, and give the files their names."""
        if self._spool is not None:
            self.gain = self._shared_gain()
            self._open(self.frames)
            self._spool.seek(0)
            for mixture, others in self._waiting(self._spool):
                self._render(mixture * np.float32(self.gain), others * np.float32(self.gain))
            self._spool.close()
            (self._folder / "spool").unlink()
        for writer in self._writers.values():
            writer.commit()

    def __enter__(self) -> "StemWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what an exception has left open."""
        if kind is not None:
            self._abort()

    def _open(self, frames: int | None) -> None:
        for index, stem in enumerate(self._stems):
            self._writers[stem] = AudioWriter(
                self._folder / f"{stem}.{self._file_format}",
                self._sample_rate,
                self._channels,
                subtype=self._subtype,
                frames=frames,
                seed=self._seed + index,
            )

    def _abort(self) -> None:
        for writer in self._writers.values():
            writer.abort()
        self._writers = {}
        if self._spool is not None:
            with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
                self._spool.close()

    def _shared_gain(self) -> float:
        if self._bits is None and self._file_format not in LOSSY:
            return 1.0
        # Each other stem may be off by 1.5 steps (half of rounding, one of dither), and the residual by all of these.
        steps_off = 1.5 * (len(self._others) + 1) + 1 if self._bits else 0
        limit = 1 - steps_off / 2 ** ((self._bits or 1) - 1)
        peak = max(self.peaks.values())
        return limit / peak if peak > limit else 1.0

    def _waiting(self, spool: BinaryIO) -> Iterator[tuple[Samples, Samples]]:
        while len(head := spool.read(8)) == 8:
            shape = (1 + len(self._others), self._channels, int(np.frombuffer(head, np.int64)[0]))
            block = np.frombuffer(spool.read(4 * int(np.prod(shape))), np.float32).reshape(shape)
            yield block[0], block[1:]

    def _render(self, mixture: Samples, others: Samples) -> None:
        """Write a block whose gain has been applied."""
        if self._bits is None:
            residual = mixture - others.sum(0)
            for stem, writer in self._writers.items():
                writer.write(residual if stem == self._residual else others[self._others.index(stem)])
            self._compare(mixture, others.sum(0, dtype=np.float64) + residual)
            return
        steps = quantise(others, self._bits, self._noise)
        remaining = quantise(mixture, self._bits, self._noise) - steps.sum(0, dtype=np.int32)
        for stem, writer in self._writers.items():
            writer.write_steps(remaining if stem == self._residual else steps[self._others.index(stem)])
        self._compare(mixture, (steps.sum(0) + remaining) / np.float32(2 ** (self._bits - 1)))

    def _compare(self, mixture: Samples, total: npt.NDArray[np.floating]) -> None:
        if self.null is not None:
            self.null = max(self.null, float(np.abs(total - mixture).max(initial=0)))
