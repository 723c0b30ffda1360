"""Decode every stem once to int16 files, so that random excerpts cost a copy and not a decoder.

Files are keyed by path, size, modification time, stream and rate, and written atomically: a run that was killed while
decoding goes on where it stopped, and a changed song is decoded anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepgan import audio
from sepgan.data.track import AudioSource, Track, load_stems
from sepgan.errors import AudioError, OutputError

FULL_SCALE = 16384.0  # int16 counts of 1.0: stems of a loud mix may exceed full scale by up to 6 dB


class Samples:
    """The decoded samples `[T, C]` of one stem on disk, read a slice at a time.

    No file stays open between reads: a map keeps a file handle, and a collection of a thousand stems would exceed the
    256 or 1024 that systems allow a process by default.

    Args:
        path: A file of `numpy.save`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._length = len(np.load(path, mmap_mode="r"))

    def __len__(self) -> int:
        """Number of samples T."""
        return self._length

    def __getitem__(self, window: slice) -> NDArray[np.int16]:
        """Return a copy of the samples in a window, `[n, C]`."""
        samples: NDArray[np.int16] = np.array(np.load(self.path, mmap_mode="r")[window])
        return samples


class SampleStore:
    """Decoded stems in one folder.

    Args:
        folder: Where they live; made when needed.
        sample_rate: Hz, to which everything is resampled.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder = folder
        self.sample_rate = sample_rate

    def open(self, track: Track) -> dict[str, Samples]:
        """Return the int16 samples `[T, C]` of a track's stems, decoding what is not there yet.

        Raises:
            AudioError: A file cannot be decoded or holds values that are no numbers.
            OutputError: The folder cannot be written.
        """
        files = {stem: self.folder / f"{self._key(source)}.npy" for stem, source in track.stems.items()}
        if not all(file.is_file() for file in files.values()):
            stems, _ = load_stems(track, self.sample_rate)
            for stem, file in files.items():
                self._write(file, track, stem, stems[stem])
        return {stem: Samples(file) for stem, file in files.items()}

    def _write(self, file: Path, track: Track, stem: str, waveform: NDArray[np.float32]) -> None:
        if not np.isfinite(waveform).all():
            raise AudioError(
                f"'{stem}' of '{track.name}' holds samples that are no numbers: repair or leave out the file"
            )
        counts = np.clip(np.rint(waveform.T * FULL_SCALE), -32768, 32767).astype(np.int16)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                np.save(handle, np.ascontiguousarray(counts))
            os.replace(temporary, file)
        except OSError as error:
            raise OutputError(
                f"cache folder '{self.folder}' cannot be written: {error}; set data.cache to another"
            ) from error
        finally:  # also when interrupted; after a success there is nothing left under this name
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _key(self, source: AudioSource) -> str:
        state = source.path.stat()
        seen = f"{source.path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{source.stream}"
        text = f"{seen}|{self.sample_rate}|{FULL_SCALE}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def native_band_hz(track: Track) -> float:
    """Return half the sample rate that the track's own files have, in Hz: nothing above it is known."""
    source = next(iter(track.stems.values()))
    return audio.probe(source.path, source.stream).sample_rate / 2
