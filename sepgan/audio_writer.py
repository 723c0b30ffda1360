"""Audio files that appear whole or not at all: rounding to integers, a writer beside its target, a staged folder."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
import soundfile
from mutagen import MutagenError

from sepgan.audio_formats import BITS as BITS
from sepgan.audio_formats import FORMATS, OutputPlan, plan_output
from sepgan.audio_formats import SUBTYPES as SUBTYPES
from sepgan.audio_headers import clear_time_stamp, pin_ogg_serial, set_channel_mask
from sepgan.audio_layout import mask_of
from sepgan.audio_tags import Tags, write_tags
from sepgan.errors import OutputError, UsageError
from sepgan.resampling import Resampler

CONTAINERS = {form.name: form.container for form in FORMATS.values()}
LOSSY = {form.name: form.codings[""] for form in FORMATS.values() if form.lossy}

_RIFF_LIMIT = 4_000_000_000  # bytes; a WAV counts them in 32 bits, so that longer files are written as RF64
_FULL_BYTES = 1_000_000  # a disk with less room than this is full
_HELD_BYTES = 32 << 20  # at most, that are on no disk: libsndfile waits for all of them when it closes a file


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

    Attributes:
        path: the target.
        plan: what the file will be.
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
        file_format: str | None = None,
        bitrate: int | None = None,
        layout: str | None = None,
        tags: Tags | None = None,
    ) -> None:
        """Open the temporary file.

        Args:
            path: the target.
            sample_rate: in Hz.
            channels: number of channels, in WAVE order.
            subtype: "float32", "int24" or "int16" (dithered); formats that code with loss have their own.
            frames: expected length: WAV files over 4 GB become RF64, which has to be known at the start.
            seed: of the dither.
            file_format: a name of `FORMATS`; None for the one that the suffix names.
            bitrate: in kbit/s, of formats that code with loss; None for the encoder's default.
            layout: of the channels, such as "5.1", where the format can tell; None where it is not known.
            tags: written where the format can hold them.

        Raises:
            UsageError: the format cannot hold this.
            OutputError: the file cannot be created.
        """
        self.path = Path(path)
        self.plan = plan_output(
            *(file_format or format_of(self.path), subtype, sample_rate, channels), bitrate=bitrate, layout=layout
        )
        self._bits = self.plan.bits
        self._noise = np.random.default_rng(seed) if self._bits == 16 else None
        self._tags = tags or Tags()
        self._frames = 0
        self._held = 0
        self._resampler: Resampler | None = None
        if self.plan.sample_rate != sample_rate:
            self._resampler = Resampler(sample_rate, self.plan.sample_rate, channels)
        big = (frames or 0) * channels * (self._bits or 32) // 8 > _RIFF_LIMIT
        with output_errors(self.path):
            self._temporary = create_temporary(self.path)
            words = self._tags.wav_words() if self.plan.format.container in ("WAV", "RF64") else {}
            try:
                self._encoder = self.plan.open(self._temporary, big=big, words=words)
            except BaseException:
                self._temporary.unlink()
                raise
        self._tag_format = "rf64" if big else self.plan.format.name

    def write(self, block: npt.NDArray[np.float32]) -> None:
        """Append samples `[C, n]`; integer formats clip what lies outside [-1, 1)."""
        if self._bits is not None:
            self.write_steps(quantise(block, self._bits, self._noise))
        else:
            self._append(block if self._resampler is None else self._resampler.push(block))

    def write_steps(self, steps: npt.NDArray[np.int32]) -> None:
        """Append samples `[C, n]` that `quantise` has rounded already."""
        assert self._bits is not None
        self._append(as_integers(steps, self._bits))

    def _append(self, block: npt.NDArray[np.generic]) -> None:
        with output_errors(self.path):
            self._encoder.write(block)
            self._held += block.nbytes  # or less, where the format takes less
            if self._held > _HELD_BYTES:
                _to_disk(self._temporary)
                self._held = 0
        self._frames += block.shape[1]

    def commit(self) -> None:
        """Finish the file and give it its name, replacing what had it.

        Raises:
            OutputError: the file could not be finished, or does not hold all samples, as on a full disk.
        """
        if self._resampler is not None:
            self._append(self._resampler.flush())
            self._resampler = None
        with output_errors(self.path):
            self._encoder.close()
            require_frames(self._temporary, self.path, self.plan, self._frames)
            finish_file(self._temporary, self.plan)
            write_tags(self._temporary, self._tags, self._tag_format)
            self._temporary.replace(self.path)

    def abort(self) -> None:
        """Remove what has been written; after `commit` nothing happens."""
        self._encoder.abort()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "AudioWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or abort when an exception passes."""
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()


def as_integers(steps: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.generic]:
    """Clip steps and put them where encoders take them: 16 bits as they are, 24 bits at the top of 32."""
    full_scale = 2 ** (bits - 1)
    steps = np.clip(steps, -full_scale, full_scale - 1)
    return steps.astype(np.int16) if bits == 16 else steps << 8


def format_of(path: Path) -> str:
    """Name the format that a suffix stands for.

    Raises:
        UsageError: it stands for none.

    >>> format_of(Path("song.stem.mp4")), format_of(Path("song.m4a"))
    ('stem.mp4', 'm4a')
    """
    name = path.name.lower()
    # The first of those with this suffix, but m4a is AAC to most people.
    found = [form.name for form in FORMATS.values() if name.endswith(form.suffix) and form.name != "alac"]
    if not found:
        suffixes = dict.fromkeys(form.suffix[1:] for form in FORMATS.values())
        raise UsageError(f"{path.name}: the format must be one of {', '.join(suffixes)}")
    return found[0]


def _to_disk(path: Path) -> None:
    """Wait until the disk has what was written to a file, on systems that can be asked for no more than that."""
    if not hasattr(os, "fdatasync"):  # macOS, Windows
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def create_temporary(path: Path) -> Path:
    """Create the hidden file beside a target into which it is written.

    The libraries that write would not say why they cannot.

    Raises:
        OSError: it cannot be created, or the target could not have its name.
    """
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
    # Long names are cut, so that there is room for what is added.
    kept = path.name.encode("utf-8")[:200].decode("utf-8", "ignore")
    temporary = path.with_name(f".{kept}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.open("xb").close()
    return temporary


def finish_file(path: Path, plan: OutputPlan) -> None:
    """Set what the libraries leave open or random in a file that has been closed."""
    if plan.format.codec:
        return
    if plan.format.container == "OGG":
        pin_ogg_serial(path)
        return
    clear_time_stamp(path)
    if plan.layout is not None and plan.channels > 2:
        set_channel_mask(path, mask_of(plan.layout))


def require_frames(path: Path, target: Path, plan: OutputPlan, frames: int) -> None:
    """Refuse a closed file that does not hold what was written: libraries close files on full disks silently."""
    try:
        if plan.format.codec:
            with av.open(str(path.absolute())) as container:
                lengths = {stream.duration or 0 for stream in container.streams.audio}
        else:
            lengths = {soundfile.info(path).frames}
    except (soundfile.SoundFileError, av.FFmpegError):
        lengths = {0}
    if lengths != {frames}:
        # A file without its end does not know how long it is.
        arrived = "not all" if max(lengths) > frames else min(lengths)
        raise OutputError(f"{target} cannot be written: {arrived} of {frames} samples arrived; is the disk full?")


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
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    except (soundfile.SoundFileError, MutagenError) as error:
        # libsndfile says "System error" and no more.
        full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < _FULL_BYTES
        said = str(error).partition("\n")[0].replace("System error.", "the system refused it; is the disk full?")
        reason = "No space left on device" if full else said or "unknown error"
        raise OutputError(f"{path} cannot be written: {reason}") from error
