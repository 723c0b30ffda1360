"""Decode every stem once to int16 files, so that random excerpts cost a copy and not a decoder.

A decoded stem is keyed by the content of its files, so that a store may be moved, shared between runs and copied music
is decoded once. Reading gigabytes only to name them would take a while at each start, so a digest is remembered under
the path, size and time of its file. Everything is written under another name and renamed: a run that was killed while
decoding goes on where it stopped, and two processes may fill one store at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sepgan import atomic, audio
from sepgan.data.track import AudioSource, Source, Sum, Track, files_of, load_track
from sepgan.errors import AudioError, OutputError

FULL_SCALE = 16384.0  # int16 counts of 1.0: stems of a loud mix may exceed full scale by up to 6 dB
PEAK_BLOCK = 4096  # samples, about 0.1 s: how finely it is known where a stem rests
OPEN_FILES = 128  # a map keeps a file handle, and systems allow a process 256 or 1024 by default
LAYOUT = 2  # part of every key: changed with the layout of the files
MIXTURE = "mixture"

Counts = NDArray[np.int16]


class Samples(Protocol):
    """Decoded sound that can be cut anywhere."""

    channels: int
    mono: bool  # whether all channels are equal

    def __len__(self) -> int:
        """Number of samples T."""

    def window(self, start: int, stop: int) -> NDArray[Any]:
        """Return samples `[C, n]`, n <= stop - start at the end: int16 counts, or float32 in units of full scale."""

    def peak(self, start: int, stop: int) -> float:
        """Return the largest magnitude within a window, or more, in units of full scale."""


class ArraySamples:
    """Samples in memory.

    Args:
        counts: int16 `[C, T]`, in units of 1 / FULL_SCALE.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.channels = len(counts)
        self.mono = bool((counts == counts[:1]).all())
        self._peaks = block_peaks(counts)

    def __len__(self) -> int:
        """Number of samples T."""
        return int(self.counts.shape[1])

    def __getitem__(self, window: slice) -> Counts:
        """Return a copy of the samples in a window, `[n, C]`."""
        return np.ascontiguousarray(self.counts[:, window].T)

    def window(self, start: int, stop: int) -> Counts:
        """Return a view of the samples, `[C, n]`."""
        return self.counts[:, start:stop]

    def peak(self, start: int, stop: int) -> float:
        """Return the largest magnitude of the blocks that a window touches."""
        return _peak(self._peaks, start, stop)


class StoredSamples:
    """The decoded samples of one stem on disk.

    Args:
        path: A file of a `SampleStore`.
        maps: Keeps the files that were read last.
    """

    def __init__(self, path: Path, maps: Maps) -> None:
        self.path = path
        self._maps = maps
        described = json.loads(_description(path).read_text(encoding="utf-8"))
        self.channels: int = described["channels"]
        self.mono: bool = described["mono"]
        self._length: int = described["samples"]
        self._peaks = np.array(described["peaks"], dtype=np.int32)

    def __len__(self) -> int:
        """Number of samples T."""
        return self._length

    def __getitem__(self, window: slice) -> Counts:
        """Return a copy of the samples in a window, `[n, C]`."""
        return np.ascontiguousarray(self._maps.open(self.path)[:, window].T)

    def window(self, start: int, stop: int) -> Counts:
        """Return the samples as they lie in the file, `[C, n]`, without a copy.

        Raises:
            OSError: The file has gone, or is shorter than it was.
        """
        counts = self._maps.open(self.path)
        if counts.shape != (self.channels, self._length):
            raise OSError(f"'{self.path}' is damaged")
        return counts[:, start:stop]

    def peak(self, start: int, stop: int) -> float:
        """Return the largest magnitude of the blocks that a window touches."""
        return _peak(self._peaks, start, stop)


class Maps:
    """Memory maps of the files that were read last; the oldest is closed when there are too many."""

    def __init__(self, limit: int = OPEN_FILES) -> None:
        self._limit = limit
        self._open: OrderedDict[Path, Counts] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {"_limit": self._limit, "_open": OrderedDict()}

    def open(self, path: Path) -> Counts:
        """Return the samples `[C, T]` of a file, mapped and not read.

        Raises:
            OSError: The file is absent or damaged.
        """
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        try:
            mapped: Counts = np.load(path, mmap_mode="r")
        except ValueError as error:  # an empty or shortened file
            raise OSError(f"'{path}' is damaged: {error}") from error
        self._open[path] = mapped
        if len(self._open) > self._limit:
            self._open.popitem(last=False)
        return mapped


class SampleStore:
    """Decoded stems in one folder.

    Args:
        folder: Where they live; made when needed.
        sample_rate: Hz, to which everything is resampled.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder = folder
        self.sample_rate = sample_rate
        self._maps = Maps()

    def open(self, track: Track) -> dict[str, StoredSamples]:
        """Return the samples of a track's stems, or of its mixture where it has none, decoding what is not there yet.

        Raises:
            AudioError: A file cannot be decoded or holds values that are no numbers.
            OutputError: The folder cannot be written.
        """
        self.fill(track)
        return {stem: StoredSamples(file, self._maps) for stem, file in self._files(track).items()}

    def holds(self, track: Track) -> bool:
        """Whether everything of a track is decoded already.

        Raises:
            AudioError: A file of the track cannot be read.
        """
        return all(file.is_file() for file in self._files(track).values())

    def fill(self, track: Track) -> int:
        """Decode what is not there yet of a track; return the number of bytes written.

        Raises:
            AudioError: A file cannot be decoded or holds values that are no numbers.
            OutputError: The folder cannot be written.
        """
        files = self._files(track)
        missing = {stem: file for stem, file in files.items() if not file.is_file()}
        if not missing:
            return 0
        wanted = sources_of(track)
        part = Track(track.name, track.split, {stem: wanted[stem] for stem in missing})
        stems, _, _ = load_track(part, self.sample_rate)
        return sum(self._write(file, track, stem, stems[stem]) for stem, file in missing.items())

    def content_key(self, track: Track) -> str:
        """Return what names a track by the content of its stems and their roles, wherever its files lie.

        Raises:
            AudioError: A file of the track cannot be read.
        """
        text = json.dumps({stem: self._key(source) for stem, source in sources_of(track).items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def recall(self, name: str) -> dict[str, Any] | None:
        """Return what was remembered under a name; None where it is not there or damaged."""
        try:
            known = json.loads((self.folder / "known" / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return known if isinstance(known, dict) else None

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep what was found out about a track.

        Raises:
            OutputError: The folder cannot be written.
        """
        try:
            with atomic.replacing(self.folder / "known" / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"store '{self.folder}' cannot be written: {error.strerror or error}; choose another folder "
                "(data.cache, --out)"
            ) from error

    def remove_abandoned(self) -> int:
        """Remove what killed processes left half-written; return the number of files."""
        return sum(atomic.remove_abandoned(folder) for folder in self._folders())

    def free_bytes(self) -> int:
        """Return how much the disk of the folder can still take."""
        folder = next(place for place in (self.folder, *self.folder.absolute().parents) if place.is_dir())
        return shutil.disk_usage(folder).free

    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, self.folder / "seen", self.folder / "known")

    def _files(self, track: Track) -> dict[str, Path]:
        return {stem: self.folder / f"{self._key(source)}.npy" for stem, source in sources_of(track).items()}

    def _write(self, file: Path, track: Track, stem: str, waveform: NDArray[np.float32]) -> int:
        if not np.isfinite(waveform).all():
            raise AudioError(
                f"'{stem}' of '{track.name}' holds samples that are no numbers: repair or leave out the file"
            )
        counts = np.clip(np.rint(waveform * np.float32(FULL_SCALE)), -32768, 32767).astype(np.int16)
        described = {
            "channels": len(counts),
            "samples": counts.shape[1],
            "mono": bool((counts == counts[:1]).all()),
            "peaks": block_peaks(counts).tolist(),
            "track": track.name,
            "stem": stem,
        }
        try:
            # The description first: where the samples are, it is too.
            with atomic.replacing(_description(file)) as temporary:
                temporary.write_text(json.dumps(described), encoding="utf-8")
            with atomic.replacing(file) as temporary, temporary.open("wb") as handle:
                np.save(handle, counts)
        except OSError as error:
            raise OutputError(
                f"store '{self.folder}' cannot be written: {error.strerror or error}; free some space or choose "
                "another folder (data.cache, --out): what is decoded stays"
            ) from error
        return int(counts.nbytes)

    def _key(self, source: Source) -> str:
        parts: list[Any] = [[self._digest(file.path), file.stream] for file in files_of(source)]
        if isinstance(source, Sum):
            parts += [[part.start_s, part.gain_db] for part in source.parts] + [source.duration_s]
        text = json.dumps([LAYOUT, self.sample_rate, FULL_SCALE, parts])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _digest(self, path: Path) -> str:
        """Digest of the content of a file, remembered under its path, size and time."""
        try:
            state = path.stat()
            seen = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
            memo = self.folder / "seen" / hashlib.sha256(os.fsencode(seen)).hexdigest()[:32]
            if memo.is_file() and len(known := memo.read_text(encoding="ascii")) == 64:
                return known
            digest = hashlib.blake2b(digest_size=32)
            with path.open("rb") as handle:
                while chunk := handle.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            with atomic.replacing(memo) as temporary:
                temporary.write_text(digest.hexdigest(), encoding="ascii")
        except OSError as error:
            raise OutputError(
                f"store '{self.folder}' cannot be written: {error.strerror or error}; choose another folder "
                "(data.cache, --out)"
            ) from error
        return digest.hexdigest()


def sources_of(track: Track) -> Mapping[str, Source]:
    """Return what is decoded of a track: its stems, or its mixture where it has none."""
    if track.stems:
        return track.stems
    return {MIXTURE: track.mixture} if track.mixture else {}


def block_peaks(counts: Counts) -> NDArray[np.int32]:
    """Return the largest magnitude of each block of PEAK_BLOCK samples of `[C, T]`."""
    starts = np.arange(0, counts.shape[1], PEAK_BLOCK)
    if len(starts) == 0:
        return np.zeros(0, dtype=np.int32)
    highest = np.maximum.reduceat(counts.max(0), starts).astype(np.int32)
    lowest = np.minimum.reduceat(counts.min(0), starts).astype(np.int32)
    return np.maximum(highest, -lowest)


def _peak(peaks: NDArray[np.int32], start: int, stop: int) -> float:
    return float(peaks[start // PEAK_BLOCK : -(-stop // PEAK_BLOCK)].max(initial=0)) / FULL_SCALE


def _description(file: Path) -> Path:
    return file.with_suffix(".json")


def native_band_hz(track: Track) -> float:
    """Return half the lowest sample rate that the track's own files have, in Hz: nothing above it is known."""
    return min(_rates(sources_of(track).values())) / 2


def _rates(sources: Iterable[Source]) -> set[int]:
    files: set[AudioSource] = {file for source in sources for file in files_of(source)}
    return {audio.probe(file.path, file.stream).sample_rate for file in files}
