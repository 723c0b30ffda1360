"""Where the samples of a song come from: a file, or a pipe."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sepgan.audio import AudioInfo, Waveform, probe, read_blocks
from sepgan.audio_pipe import PipeReader
from sepgan.audio_tags import Tags, read_tags
from sepgan.separation.manifest import file_sha256

_BLOCK_FRAMES = 65536  # 1.5 s at 44.1 kHz


class Source(Protocol):
    """A song to be separated."""

    @property
    def info(self) -> AudioInfo:
        """What it says of itself."""

    @property
    def tags(self) -> Tags:
        """Title, artist and so on."""

    def blocks(self, start: int, frames: int | None) -> Iterator[Waveform]:
        """Samples `[C, n]` from `start` on, `frames` of them at most."""

    def sha256(self) -> str | None:
        """Of the bytes it is made of; None where they have gone."""


class FileSource:
    """A song in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = probe(path)
        self.tags = read_tags(path)

    def blocks(self, start: int, frames: int | None) -> Iterator[Waveform]:
        """Decode block by block."""
        return read_blocks(self.path, _BLOCK_FRAMES, start=start, frames=frames)

    def sha256(self) -> str | None:
        """Of the file."""
        return file_sha256(self.path)


class PipeSource:
    """A song that comes through a pipe, once."""

    def __init__(self, file: BinaryIO, raise_if_stopped: Callable[[], None] | None = None) -> None:
        self._reader = PipeReader(file, raise_if_stopped=raise_if_stopped)
        self.info = self._reader.info
        self.tags = self._reader.tags

    def blocks(self, start: int, frames: int | None) -> Iterator[Waveform]:
        """Decode block by block."""
        return self._reader.blocks(_BLOCK_FRAMES, start=start, frames=frames)

    def sha256(self) -> str | None:
        """None: the bytes have gone."""
        return None
