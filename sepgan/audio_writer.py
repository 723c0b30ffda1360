"""Audio files that appear whole or not at all: rounding to integers, a writer beside its target, a staged folder."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import soundfile

from sepgan.errors import OutputError, UsageError

CONTAINERS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}
LOSSY = {"ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
BITS = {"int16": 16, "int24": 24}
SUBTYPES = {"float32": "FLOAT", "int24": "PCM_24", "int16": "PCM_16"}

_RIFF_LIMIT = 4_000_000_000  # bytes; a WAV counts them in 32 bits, so that longer files are written as RF64
_WRITE_FRAMES = 65536  # libsndfile's Vorbis encoder overflows the stack when it is handed minutes at once


def quantise(
    waveform: npt.NDArray[np.float32], bits: int, noise: np.random.Generator | None = None
) -> npt.NDArray[np.int32]:
    """Round samples to the steps of an integer format.

    Args:
        waveform: samples of any shape. Those beyond full scale become steps that the format does not have.
        bits: depth of the format.
        noise: adds triangular dither of +-1 step before rounding, so that the error is noise and not distortion
            (Lipshitz, Wannamaker and Vanderkooy, 1992). Samples that lie on a step already stay: they have no error,
            and silence stays silent.

    >>> quantise(np.array([-2.0, 0.25, 0.99999], np.float32), 16).tolist()
    [-65536, 8192, 32768]
    """
    scaled = waveform * np.float32(2 ** (bits - 1))
    steps = np.rint(scaled)
    if noise is not None:
        shape = scaled.shape
        dither = noise.random(shape, np.float32) - noise.random(shape, np.float32)
        steps = np.where(steps == scaled, steps, np.rint(scaled + dither))
    integers: npt.NDArray[np.int32] = steps.astype(np.int32)
    return integers


class AudioWriter:
    """Write blocks of samples to a temporary file beside the target; `commit` gives it its name, `abort` removes it.

    As a context manager it commits at the end, and aborts when an exception passes.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        *,
        subtype: str = "int24",
        frames: int | None = None,
        seed: int = 0,
    ) -> None:
        """Open the temporary file.

        Args:
            path: the target; its suffix names the container: .wav .flac .ogg .mp3.
            sample_rate: in Hz.
            channels: number of channels.
            subtype: "float32", "int24" or "int16" (dithered); containers that code with loss have their own.
            frames: expected length: WAV files over 4 GB become RF64, which has to be known at the start.
            seed: of the dither.

        Raises:
            UsageError: the container cannot hold this.
            OutputError: the file cannot be created.
        """
        self.path = Path(path)
        kind = self.path.suffix[1:].lower()
        if kind not in CONTAINERS:
            raise UsageError(f"{self.path.name}: the format must be one of {', '.join(CONTAINERS)}")
        if subtype not in SUBTYPES:
            raise UsageError(f"subtype {subtype!r} is not one of {', '.join(SUBTYPES)}")
        self._bits = None if kind in LOSSY else BITS.get(subtype)
        self._noise = np.random.default_rng(seed) if self._bits == 16 else None
        container, coding = CONTAINERS[kind], LOSSY.get(kind, SUBTYPES[subtype])
        if not soundfile.check_format(container, coding):
            raise UsageError(f"{kind} files cannot hold {subtype} samples; choose wav or another subtype")
        if kind == "wav" and (frames or 0) * channels * (self._bits or 32) // 8 > _RIFF_LIMIT:
            container = "RF64"
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with output_errors(self.path):
            # Created by us first: soundfile would not say why it cannot.
            self._temporary.open("xb").close()
        try:
            self._file = soundfile.SoundFile(self._temporary, "w", sample_rate, channels, coding, format=container)
        except (soundfile.SoundFileError, ValueError) as error:
            self._temporary.unlink()
            raise UsageError(f"{kind} files cannot hold {channels} channels at {sample_rate} Hz ({error})") from error

    def write(self, block: npt.NDArray[np.float32]) -> None:
        """Append samples `[C, n]`; integer formats clip what lies outside [-1, 1)."""
        if self._bits is None:
            self._append(block)
        else:
            self.write_steps(quantise(block, self._bits, self._noise))

    def write_steps(self, steps: npt.NDArray[np.int32]) -> None:
        """Append samples `[C, n]` that `quantise` has rounded already."""
        assert self._bits is not None
        full_scale = 2 ** (self._bits - 1)
        steps = np.clip(steps, -full_scale, full_scale - 1)
        # libsndfile takes integers from the top of their type.
        self._append(steps.astype(np.int16) if self._bits == 16 else steps << 8)

    def _append(self, block: npt.NDArray[np.generic]) -> None:
        with output_errors(self.path):
            for begin in range(0, block.shape[1], _WRITE_FRAMES):
                self._file.write(np.ascontiguousarray(block[:, begin : begin + _WRITE_FRAMES].T))

    def commit(self) -> None:
        """Finish the file and give it its name, replacing what had it."""
        with output_errors(self.path):
            self._file.close()
            _clear_time_stamp(self._temporary)
            self._temporary.replace(self.path)

    def abort(self) -> None:
        """Remove what has been written; after `commit` nothing happens."""
        with contextlib.suppress(soundfile.SoundFileError):  # a full disk may already have spoken
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "AudioWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or abort when an exception passes."""
        if kind is None:
            self.commit()
        else:
            self.abort()


class StagedFolder:
    """A folder whose files appear together: they are written into a hidden one beside it, which is renamed at the end.

    Leaving the context without `commit` removes the hidden folder, and the parents that had to be made for it.
    """

    def __init__(self, target: Path, needed_bytes: int = 0) -> None:
        """Name the target folder and how much room its disk must have."""
        self._target = target
        self._needed_bytes = needed_bytes
        self._committed = False
        self._made: list[Path] = []
        self.path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")

    def __enter__(self) -> "StagedFolder":
        """Make the hidden folder.

        Raises:
            OutputError: it cannot be made, or the disk has too little room.
        """
        try:
            with output_errors(self._target):
                for folder in reversed([self.path, *self.path.parents]):
                    if not folder.exists():
                        folder.mkdir()
                        self._made.append(folder)
                free_bytes = shutil.disk_usage(self.path).free
            if self._target.exists() and not self._target.is_dir():
                raise OutputError(f"{self._target} cannot be written: a file has this name")
            if free_bytes < self._needed_bytes:
                needed_gb, free_gb = self._needed_bytes / 1e9, free_bytes / 1e9
                raise OutputError(f"{self._target} needs {needed_gb:.2f} GB; the disk has {free_gb:.2f} GB left")
        except BaseException:
            self._remove()
            raise
        return self

    def commit(self) -> None:
        """Give the files their place: at once where the target does not exist yet, else one by one in name order."""
        with output_errors(self._target):
            if self._target.exists():
                for file in sorted(self.path.iterdir()):
                    file.replace(self._target / file.name)
                self.path.rmdir()
            else:
                self.path.rename(self._target)
        self._committed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove everything unless it has been committed."""
        if not self._committed:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                folder.rmdir()


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Say in one line which output could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    except soundfile.SoundFileError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _clear_time_stamp(path: Path) -> None:
    """Zero the time of writing in the PEAK chunk of float WAV files: the same samples must give the same bytes."""
    with path.open("r+b") as file:
        head = file.read(4096)
        # "PEAK", size, version, time stamp: 4 bytes each
        chunk = head.find(b"PEAK") if head[:4] in (b"RIFF", b"RF64") else -1
        if 0 <= chunk < head.find(b"data"):
            file.seek(chunk + 12)
            file.write(bytes(4))
