"""Songs that come through standard input, and stems that leave through standard output, as they come.

A pipe cannot be sought in and does not say how long it is. What is read: all that FFmpeg can decode from front to back
(WAV, FLAC, MP3, Ogg, AIFF; MP4 only with its index first). What is written: WAV, with the largest size in its header
where the length is not known, which players and FFmpeg take for "until the end".
"""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt

from sepgan.audio_containers import AudioInfo, audio_stream, cut_off, decoded, info_of, require_finite, require_length
from sepgan.audio_formats import BITS, SUBTYPES
from sepgan.audio_headers import index_comes_first, mp3_frames, wave_frames
from sepgan.audio_layout import mask_of
from sepgan.audio_tags import Tags, tags_of
from sepgan.audio_writer import as_integers, quantise
from sepgan.errors import AudioError, OutputError, UsageError
from sepgan.resampling import Waveform, recut

_POLL_S = 0.1  # how soon a pipe that has nothing to read notices that nobody waits any more
_HEAD_BYTES = 65536  # where the length of a WAV file stands, if it has one
_UNKNOWN_SIZE = 0xFFFFFFFF
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # tags of WAVE format chunks
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of the extensible format's subtypes
_LOSSLESS = ("wav", "flac", "aiff")  # FFmpeg's names of formats whose length is exact


class PipeReader:
    """A song that is read once, from front to back.

    Attributes:
        info: what it says about itself.
        tags: its tags, as far as they come before the sound.
    """

    def __init__(
        self, file: BinaryIO, name: str = "standard input", raise_if_stopped: Callable[[], None] | None = None
    ) -> None:
        """Read the head of the song.

        Args:
            file: a binary file that need not be able to seek; nobody has read from it or does so meanwhile.
            name: what messages call it.
            raise_if_stopped: called again and again while a pipe has nothing to read; what it raises ends the wait.
                (Not on Windows, where such a wait cannot be ended.)

        Raises:
            AudioError: it is empty, not audio, or not audio that can be decoded from front to back.
        """
        self._name = name
        self._source = _Forward(file, raise_if_stopped)
        with self._source.interruptible():
            self._open()
        self._taken = False

    def blocks(self, block_frames: int, *, start: int = 0, frames: int | None = None) -> Iterator[Waveform]:
        """Decode block by block; this can be done once.

        Args:
            block_frames: samples per block; the last one may be shorter.
            start: first sample to give.
            frames: how many samples to give at most; None for all.

        Yields:
            Waveforms `[C, n]`.

        Raises:
            AudioError: the song is damaged, cut off or holds NaN, or `start` lies behind its end.
        """
        if self._taken:
            raise AudioError(f"{self._name} has been read already; a pipe can be read once")
        self._taken = True
        empty = True
        for block in recut(self._chunks(start), block_frames, frames):
            empty = False
            yield block
        if empty:
            raise AudioError(f"{self._name} holds no audio after sample {start}")

    def close(self) -> None:
        """Let go of the decoder; the file stays open."""
        self._container.close()

    def _open(self) -> None:
        name = self._name
        try:
            self._container: Any = av.open(self._source, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            if not self._source.head:
                raise AudioError(f"{name} is empty") from error
            self._require_index()
            raise AudioError(f"{name} is not audio that can be decoded ({error.strerror})") from error
        try:
            self._require_index()
            self._stream = audio_stream(self._container, name, 0)
            self.info = self._info()
            self.tags: Tags = tags_of(self._container)
        except BaseException:
            self.close()
            raise

    def _require_index(self) -> None:
        head = bytes(self._source.head)
        if head[4:8] == b"ftyp" and not index_comes_first(head):
            raise AudioError(f"{self._name} is an MP4 file with its index at the end; give its name instead")

    def _info(self) -> AudioInfo:
        info = info_of(self._container, self._stream)
        frames = info.frames
        if self._container.format.name == "wav":
            frames = wave_frames(bytes(self._source.head))
        elif self._container.format.name == "mp3":
            frames = mp3_frames(bytes(self._source.head))
        elif self._container.format.name in _LOSSLESS and self._stream.duration is not None:
            frames = round(self._stream.duration * self._stream.time_base * self._stream.rate)
        return AudioInfo(info.sample_rate, info.channels, frames, info.codec, info.bits, info.layout)

    def _chunks(self, start: int) -> Iterator[Waveform]:
        position = 0
        with self._source.interruptible():
            for _, whole in decoded(self._container, self._name, [self._stream]):
                # What encoders append to fill a last frame does not count.
                samples = whole if self.info.frames is None else whole[:, : max(0, self.info.frames - position)]
                require_finite(samples, self._name, position, self.info.sample_rate)
                skip = max(0, start - position)
                position += samples.shape[1]
                if skip < samples.shape[1]:
                    yield samples[:, skip:]
            require_length(self._name, position, None, self.info.sample_rate)
            if self.info.frames is not None and position < self.info.frames:
                raise cut_off(self._name, position, self.info.frames)


class PipeWriter:
    """Write one stem to a pipe as WAV; there is no taking back, so `abort` can only stop."""

    def __init__(
        self,
        file: BinaryIO,
        sample_rate: int,
        channels: int,
        *,
        subtype: str = "float32",
        frames: int | None = None,
        layout: str | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare the header, which goes out with the first block.

        Args:
            file: where to write.
            sample_rate: in Hz.
            channels: number of channels, in WAVE order.
            subtype: "float32", "int24" or "int16" (dithered).
            frames: the length where it is known, which is then written into the header.
            layout: of the channels; None where it is not known.
            seed: of the dither.

        Raises:
            UsageError: the subtype is unknown.
        """
        if subtype not in SUBTYPES:
            raise UsageError(f"subtype {subtype!r} is not one of {', '.join(SUBTYPES)}")
        self._file = file
        self._bits = BITS.get(subtype)
        self._noise = np.random.default_rng(seed) if self._bits == 16 else None
        self._promised = frames
        self._frames = 0
        self._header = _wave_header(sample_rate, channels, self._bits, frames, layout)

    def write(self, block: npt.NDArray[np.float32]) -> None:
        """Send samples `[C, n]`; integer formats clip what lies outside [-1, 1)."""
        if self._bits is not None:
            self.write_steps(quantise(block, self._bits, self._noise))
        else:
            self._send(np.ascontiguousarray(block.T, "<f4").tobytes(), block.shape[1])

    def write_steps(self, steps: npt.NDArray[np.int32]) -> None:
        """Send samples `[C, n]` that `quantise` has rounded already."""
        assert self._bits is not None
        integers = np.ascontiguousarray(as_integers(steps, self._bits).T)
        if self._bits == 24:
            # The lowest of the four bytes is empty.
            data = integers.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        else:
            data = integers.astype("<i2").tobytes()
        self._send(data, steps.shape[1])

    def commit(self) -> None:
        """Send what waits.

        Raises:
            OutputError: other samples were written than the header had promised, or the reader went away.
        """
        self._send(b"", 0)
        if self._promised is not None and self._frames != self._promised:
            raise OutputError(f"standard output got {self._frames} samples; its header promised {self._promised}")
        self._guarded(self._file.flush)

    def abort(self) -> None:
        """Stop; what has been sent is gone."""

    def __enter__(self) -> "PipeWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit unless an exception passes."""
        if kind is None:
            self.commit()

    def _send(self, data: bytes, frames: int) -> None:
        self._guarded(lambda: self._file.write(self._header + data))
        self._header = b""
        self._frames += frames

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except BrokenPipeError as error:
            raise OutputError("standard output was closed by the program that reads it") from error
        except OSError as error:
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error


class _Forward:
    """A file that can only be read on; it remembers its head, for what FFmpeg does not tell."""

    def __init__(self, file: BinaryIO, raise_if_stopped: Callable[[], None] | None) -> None:
        self._file = file
        self._raise_if_stopped = raise_if_stopped
        self._interruption: BaseException | None = None
        self.head = bytearray()

    def read(self, count: int) -> bytes:
        """Give the next bytes; none once the wait for them was interrupted."""
        if self._interruption is not None:
            return b""
        try:
            data = self._next(count)
        except Exception:
            raise
        except BaseException as interruption:
            self._interruption = interruption
            return b""
        if len(self.head) < _HEAD_BYTES:
            self.head += data[: _HEAD_BYTES - len(self.head)]
        return data

    def _next(self, count: int) -> bytes:
        if self._raise_if_stopped is None:
            return self._file.read(count)
        self._raise_if_stopped()
        try:
            number = self._file.fileno()
        except OSError:  # no file of the system's
            return self._file.read(count)
        if sys.platform == "win32":
            return self._file.read(count)
        while not select.select([number], [], [], _POLL_S)[0]:
            self._raise_if_stopped()
        return os.read(number, count)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Pass on an interruption of `read`, which FFmpeg's callback would swallow and take for the end of the song."""
        try:
            yield
        except Exception:
            if self._interruption is None:
                raise
        if self._interruption is not None:
            raise self._interruption


def _wave_header(sample_rate: int, channels: int, bits: int | None, frames: int | None, layout: str | None) -> bytes:
    """Make what stands before the samples of a WAV file (Microsoft, *Multiple channel audio data and WAVE files*)."""
    width = bits or 32
    align = channels * width // 8
    tag = _FLOAT if bits is None else _PCM

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little")

    rates = number(channels, 2) + number(sample_rate, 4) + number(sample_rate * align, 4) + number(align, 2)
    if channels > 2:
        mask = mask_of(layout) if layout is not None else 0
        extension = number(22, 2) + number(width, 2) + number(mask, 4) + number(tag, 2) + _GUID_TAIL
        form = number(_EXTENSIBLE, 2) + rates + number(width, 2) + extension
    else:
        form = number(tag, 2) + rates + number(width, 2) + (number(0, 2) if bits is None else b"")
    size = _UNKNOWN_SIZE if frames is None else frames * align
    # "WAVE", the two heads of chunks, and the format.
    whole = size + 4 + 8 + len(form) + 8
    if frames is None or whole >= _UNKNOWN_SIZE:
        size = whole = _UNKNOWN_SIZE
    return b"RIFF" + number(whole, 4) + b"WAVEfmt " + number(len(form), 4) + form + b"data" + number(size, 4)
