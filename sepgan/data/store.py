"""Decode every stem once to int16 memory maps, so that random excerpts cost a copy and not a decoder.

Files are keyed by path, size, modification time, stream and rate, and written atomically: a run that was killed while
decoding goes on where it stopped, and a changed song is decoded anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepgan import audio
from sepgan.data.track import AudioSource, Track, load_stems
from sepgan.errors import AudioError, OutputError

FULL_SCALE = 16384.0  # int16 counts of 1.0: stems of a loud mix may exceed full scale by up to 6 dB


class SampleStore:
    """Memory maps of decoded stems in one folder.

    Args:
        folder: Where the maps live; made when needed.
        sample_rate: Hz, to which everything is resampled.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder = folder
        self.sample_rate = sample_rate

    def open(self, track: Track) -> dict[str, NDArray[np.int16]]:
        """Return int16 maps `[T, C]` of a track's stems, decoding what is not there yet.

        Raises:
            AudioError: A file cannot be decoded or holds values that are no numbers.
            OutputError: The folder cannot be written.
        """
        files = {stem: self.folder / f"{self._key(source)}.npy" for stem, source in track.stems.items()}
        if not all(file.is_file() for file in files.values()):
            stems, _ = load_stems(track, self.sample_rate)
            for stem, file in files.items():
                self._write(file, track, stem, stems[stem])
        return {stem: np.load(file, mmap_mode="r") for stem, file in files.items()}

    def _write(self, file: Path, track: Track, stem: str, waveform: NDArray[np.float32]) -> None:
        if not np.isfinite(waveform).all():
            raise AudioError(f"'{stem}' of '{track.name}' holds samples that are no numbers: repair or leave out the file")
        counts = np.clip(np.rint(waveform.T * FULL_SCALE), -32768, 32767).astype(np.int16)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                np.save(handle, np.ascontiguousarray(counts))
            os.replace(temporary, file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"cache folder '{self.folder}' cannot be written: {error}; set data.cache to another") from error

    def _key(self, source: AudioSource) -> str:
        state = source.path.stat()
        text = f"{source.path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{source.stream}|{self.sample_rate}|{FULL_SCALE}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def native_band_hz(track: Track) -> float:
    """Return half the sample rate that the track's own files have, in Hz: nothing above it is known."""
    source = next(iter(track.stems.values()))
    return audio.probe(source.path, source.stream).sample_rate / 2
