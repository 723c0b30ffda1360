"""The two libraries that encode audio, behind one interface: libsndfile for most formats, FFmpeg for MP4 files."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
import numpy.typing as npt
import soundfile

from sepgan.audio_layout import to_ogg_order

Block = npt.NDArray[np.generic]

UNSAFE_PLANES = 8  # with so many planes or more, PyAV reads behind their list (18.1 does); packed frames have one
_WRITE_SAMPLES = 131072  # in all channels: libsndfile's Vorbis encoder overflows the stack when it is handed more


class Encoder(Protocol):
    """Takes samples and leaves a file."""

    def write(self, block: Block, stream: int = 0) -> None:
        """Append samples `[C, n]` to a stream: float32, int16, or int32 with 24 bits at the top."""

    def close(self) -> None:
        """Write what waits and the end of the file."""

    def abort(self) -> None:
        """Let go of the file, whatever state it is in."""


class SoundfileEncoder:
    """What libsndfile writes: one stream of PCM, FLAC, Vorbis, Opus or MP3."""

    def __init__(
        self,
        target: Path | BinaryIO,
        container: str,
        coding: str,
        sample_rate: int,
        channels: int,
        *,
        compression: float | None = None,
        constant: bool = False,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """Open the file.

        Args:
            target: where to write.
            container: libsndfile's name of the format.
            coding: libsndfile's name of the subtype.
            sample_rate: in Hz.
            channels: number of channels.
            compression: libsndfile's level from 0 (best quality) to 1; None for its default.
            constant: hold the bit rate that the level stands for.
            words: title, artist and so on, of formats that hold them before the samples.
        """
        self._ogg = container == "OGG"
        self._frames_at_once = max(1, _WRITE_SAMPLES // channels)
        mode = "CONSTANT" if constant else None
        self._file = soundfile.SoundFile(
            target,
            "w",
            sample_rate,
            channels,
            coding,
            format=container,
            compression_level=compression,
            bitrate_mode=mode if compression is not None else None,
        )
        for name, text in (words or {}).items():
            setattr(self._file, name, text)

    def write(self, block: Block, stream: int = 0) -> None:
        """Append samples `[C, n]`; there is only stream 0."""
        if self._ogg:
            block = to_ogg_order(block)
        for begin in range(0, block.shape[1], self._frames_at_once):
            self._file.write(np.ascontiguousarray(block[:, begin : begin + self._frames_at_once].T))

    def close(self) -> None:
        """Write what waits and the end of the file."""
        self._file.close()

    def abort(self) -> None:
        """Let go of the file; it may be on a full disk, which has already spoken."""
        try:
            self._file.close()
        except soundfile.SoundFileError:
            return


class PyavEncoder:
    """What FFmpeg writes: MP4 files with AAC or ALAC in one stream or several.

    Encoders start with silence of their own and end on a whole frame; an edit list tells players what to leave out. It
    counts in the movie's time scale, which is set to the sample rate here: in FFmpeg's milliseconds it would be off.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        container: str,
        codec: str,
        sample_format: str,
        sample_rate: int,
        layout: str,
        *,
        streams: int = 1,
        bitrate_kbps: int | None = None,
    ) -> None:
        """Open the file.

        Args:
            target: where to write.
            container: FFmpeg's name of the format.
            codec: FFmpeg's name of the encoder.
            sample_format: FFmpeg's name of what it takes: "fltp", "s16p" or "s32p".
            sample_rate: in Hz.
            layout: of the channels of each stream.
            streams: how many, all alike.
            bitrate_kbps: of each stream; None for the encoder's default.
        """
        self._rate = sample_rate
        self._sample_format = sample_format
        self._layout = layout
        options = {"movie_timescale": str(sample_rate)}
        # An absolute path cannot be taken for a protocol, as "data:x.m4a" can.
        where = str(target.absolute()) if isinstance(target, Path) else target
        self._container: Any = av.open(where, "w", format=container, container_options=options)
        self._streams: list[Any] = []
        self._held: list[list[Block]] = [[] for _ in range(streams)]
        self._written = [0] * streams
        try:
            for _ in range(streams):
                stream: Any = self._container.add_stream(codec, rate=sample_rate, layout=layout)
                stream.codec_context.format = sample_format
                if bitrate_kbps is not None:
                    stream.bit_rate = 1000 * bitrate_kbps
                self._streams.append(stream)
            for stream in self._streams:
                stream.codec_context.open()
            self._container.start_encoding()
        except BaseException:
            self.abort()
            raise
        self._frame = self._streams[0].codec_context.frame_size

    def write(self, block: Block, stream: int = 0) -> None:
        """Append samples `[C, n]` to a stream; those that fill no frame wait."""
        held = self._held[stream]
        held.append(block)
        waiting = sum(part.shape[1] for part in held)
        if waiting >= self._frame:
            joined = np.concatenate(held, axis=1)
            whole = waiting - waiting % self._frame
            for begin in range(0, whole, self._frame):
                self._encode(joined[:, begin : begin + self._frame], stream)
            self._held[stream] = [joined[:, whole:].copy()]

    def close(self) -> None:
        """Write what waits and the end of the file."""
        for number, stream in enumerate(self._streams):
            rest = np.concatenate(self._held[number], axis=1) if self._held[number] else np.zeros((1, 0))
            if rest.shape[1]:
                self._encode(rest, number)
            self._container.mux(stream.encode(None))
        self._container.close()

    def abort(self) -> None:
        """Let go of the file; closing writes its end, for which there may be no room."""
        try:
            self._container.close()
        except (av.FFmpegError, OSError):
            return

    def _encode(self, samples: Block, number: int) -> None:
        frame: Any
        if samples.shape[0] < UNSAFE_PLANES:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), self._sample_format, self._layout)  # type: ignore[arg-type]
        else:
            packed = np.ascontiguousarray(samples.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, self._sample_format[:-1], self._layout)
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written[number]
        self._written[number] += samples.shape[1]
        if samples.shape[0] >= UNSAFE_PLANES:
            (frame,) = av.AudioResampler(format=self._sample_format).resample(frame)
        self._container.mux(self._streams[number].encode(frame))
