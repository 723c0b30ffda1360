"""Spectra and features of sound files, measured once and read through memory maps.

A measurement is keyed by the content of its file and by everything that decides what is measured, so that a store may
be moved and shared, and another recipe never reads numbers that were not meant for it. Files are written under another
name and renamed when they are whole: a run that was killed half-way leaves nothing that could be taken for a result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sepgan import atomic, audio
from sepgan.data.track import AudioSource
from sepgan.errors import OutputError, UsageError
from sepgan.features import FeatureMatrix
from sepgan.recipe import FeatureRecipe

Kind = Literal["magnitude", "complex", "features"]

KINDS: tuple[Kind, ...] = ("magnitude", "complex", "features")
LAYOUT = 1  # part of every key: changed with the layout of the files
_TYPES: dict[Kind, np.dtype[Any]] = {
    "magnitude": np.dtype("<f4"),
    "complex": np.dtype("<c8"),
    "features": np.dtype("<f4"),
}
_FRAMES = 256  # transformed and written at a time


@dataclass(frozen=True)
class Measured:
    """What is stored of one sound: arrays on disk, frames first, so that an excerpt is one piece of the file.

    Attributes:
        arrays: `magnitude` and `complex` `[N, C, F]`, `features` `[N, C, K]`; those the store was asked for.
        names: Of the K features.
        rate_hz: Frames per second.
    """

    arrays: dict[Kind, NDArray[Any]]
    names: tuple[str, ...]
    rate_hz: float

    def window(self, kind: Kind, first: int, count: int) -> torch.Tensor:
        """Copy frames into memory: `[C, n, F]` or `[C, n, K]`, n <= count at the end."""
        return torch.from_numpy(np.array(self.arrays[kind][first : first + count])).movedim(1, 0)


class FeatureStore:
    """A folder of measurements.

    Args:
        folder: Where they are; made when the first is written.
        config: What is measured; sounds are resampled to its rate.
        kinds: Which of magnitudes, complex spectra and features are kept.

    Raises:
        UsageError: A kind is unknown, or none is asked for.
    """

    def __init__(self, folder: Path, config: FeatureRecipe, kinds: Sequence[Kind] = ("magnitude",)) -> None:
        if not kinds or not set(kinds) <= set(KINDS):
            raise UsageError(
                f"a feature store keeps one or more of {', '.join(KINDS)}; got {', '.join(kinds) or 'none'}"
            )
        self.folder = folder
        self.config = config
        self.kinds = tuple(kinds)
        self._matrix = FeatureMatrix(config)
        atomic.remove_abandoned(folder)

    def open(self, source: AudioSource) -> Measured:
        """Return what is stored of a sound file; what is missing or damaged is measured first.

        Args:
            source: The file, and which of its streams.

        Raises:
            AudioError: The file cannot be read.
            OutputError: The folder cannot be written.
        """
        content = hashlib.sha256()
        if source.path.is_file():  # else the decoder says what is wrong
            with source.path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    content.update(block)
        digest = f"{content.hexdigest()}/{source.stream}"
        waveforms: list[NDArray[np.float32]] = []

        def waveform() -> NDArray[np.float32]:
            if not waveforms:
                waveforms.append(audio.read(source.path, stream=source.stream, sample_rate=self.config.sample_rate)[0])
            return waveforms[0]

        arrays = {kind: self._array(kind, digest, waveform) for kind in self.kinds}
        rate_hz = self.config.sample_rate / self.config.framing.hop_length
        return Measured(arrays, self._matrix.names, rate_hz)

    def path(self, kind: Kind, digest: str) -> Path:
        """Return the file of one measurement of a sound with this digest."""
        # Spectra do not depend on the features: they are shared by recipes that differ in these only.
        config = self.config if kind == "features" else self.config.framing
        what = [LAYOUT, kind, digest, self.config.sample_rate, config.model_dump()]
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{key[:32]}.{kind}.npy"

    def _array(self, kind: Kind, digest: str, waveform: Callable[[], NDArray[np.float32]]) -> NDArray[Any]:
        path = self.path(kind, digest)
        found = _load(path)
        if found is None:
            self._write(kind, path, torch.from_numpy(waveform()))
            found = _load(path)
            if found is None:
                raise OutputError(f"'{path}' was written and cannot be read back: check the disk")
        return found

    def _write(self, kind: Kind, path: Path, waveform: torch.Tensor) -> None:
        frames = self._matrix.framing.count(waveform.shape[-1])
        bins = len(self._matrix.names) if kind == "features" else self.config.framing.frame_length // 2 + 1
        header = {"descr": _TYPES[kind].str, "fortran_order": False, "shape": (frames, waveform.shape[0], bins)}
        try:
            # Ordinary writes: a full disk is an error here, and would end the process in a memory map.
            with atomic.replacing(path) as temporary, temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
                for block in self._blocks(kind, waveform, frames):
                    file.write(np.ascontiguousarray(block.movedim(0, 1).numpy(), dtype=_TYPES[kind]).tobytes())
        except OSError as error:
            raise OutputError(f"'{path.parent}' cannot be written: {error.strerror or error}") from error

    def _blocks(self, kind: Kind, waveform: torch.Tensor, frames: int) -> Iterator[torch.Tensor]:
        """Pieces `[C, n, ...]` of a measurement."""
        with torch.inference_mode():
            if kind == "features":  # deltas look at neighbouring frames, so these are measured at once
                yield self._matrix(waveform)
                return
            for first in range(0, frames, _FRAMES):
                spectra = self._matrix.framing.spectra(waveform, first, min(_FRAMES, frames - first))
                yield spectra if kind == "complex" else spectra.abs()


def _load(path: Path) -> NDArray[Any] | None:
    """Map a file, or None where there is none or it is damaged."""
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return mapped
