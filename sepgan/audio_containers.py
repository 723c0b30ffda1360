"""What FFmpeg decodes: containers with one audio stream or several, and anything that comes through a pipe.

PyAV's classes are typed loosely across releases, hence Any.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from sepgan.audio_encoders import UNSAFE_PLANES
from sepgan.audio_layout import named_layout
from sepgan.errors import AudioError
from sepgan.resampling import Waveform, fit

MIN_FRAMES = 2  # one sample has no rate, so it is no sound

_RATES = (1000, 1_000_000)  # Hz
_LOSSLESS = ("alac", "flac", "ape", "tta", "wavpack", "mlp", "truehd")
_DURATION_SLACK_S = 0.1  # MP4 durations may differ from the decoded length by a few codec frames
_FULL_SCALE = {"uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: samples per channel as the file declares it; None where it declares none.
        codec: name in small letters, such as "pcm_16", "flac", "vorbis", "mp3", "aac".
        bits: PCM depth where the codec has one.
        layout: which speakers the channels belong to, such as "5.1"; None where the file does not say.
    """

    sample_rate: int
    channels: int
    frames: int | None
    codec: str
    bits: int | None
    layout: str | None = None

    @property
    def duration_s(self) -> float | None:
        """Length in seconds; None where the file declares none."""
        return None if self.frames is None else self.frames / self.sample_rate


def cut_off(name: object, found: int, declared: int) -> AudioError:
    """Say that a file ends too early."""
    return AudioError(f"{name} is cut off: it declares {declared} samples and holds {found}; fetch it again")


def require_finite(waveform: Waveform, name: object, position: int, sample_rate: int) -> None:
    """Refuse samples that are no numbers, and tell where the first is."""
    if not np.isfinite(waveform).all():
        first = position + int(np.argmin(np.isfinite(waveform).all(axis=0)))
        raise AudioError(f"{name} holds NaN or infinity at {first / sample_rate:.3f} s; export it again")


def require_length(name: object, found: int, declared: int | None, sample_rate: int) -> None:
    """Refuse what ends before the length it declares, and what is no sound at all."""
    if declared is not None and found < declared - _DURATION_SLACK_S * sample_rate:
        raise cut_off(name, found, declared)
    if found < MIN_FRAMES:
        raise AudioError(f"{name} holds {found} samples; at least {MIN_FRAMES} are needed")


def require_rate(name: object, sample_rate: int) -> None:
    """Refuse rates that no sound has, which damaged headers declare."""
    if not _RATES[0] <= sample_rate <= _RATES[1]:
        low, high = _RATES
        raise AudioError(f"{name} declares {sample_rate} Hz, and sound has {low} to {high} Hz; its header is damaged")


def open_container(path: Path) -> Any:
    """Open a file with PyAV."""
    try:
        # An absolute path cannot be taken for a protocol, as "data:x.m4a" can.
        return av.open(str(path.absolute()), metadata_errors="replace")
    except (av.FFmpegError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, av.FFmpegError) else "its name"
        raise AudioError(f"{path} is not audio that can be decoded ({reason})") from error


def audio_stream(container: Any, name: object, stream: int) -> Any:
    """Give an audio stream by its number among those."""
    count = len(container.streams.audio)
    if count == 0:
        raise AudioError(f"{name} holds no audio")
    if stream >= count:
        raise AudioError(f"{name} has {count} audio streams; there is no stream {stream}")
    audio = container.streams.audio[stream]
    if audio.codec_context is None or not audio.rate or not audio.channels:
        raise AudioError(f"{name} holds audio that cannot be decoded: its codec is not known")
    require_rate(name, audio.rate)
    return audio


def info_of(container: Any, stream: Any) -> AudioInfo:
    """Tell what a container says about one of its audio streams."""
    codec = stream.codec_context.name
    depth = re.fullmatch(r"pcm_[su](\d+)\w*", codec)
    bits = int(depth[1]) if depth else None
    if codec in _LOSSLESS:
        # FFmpeg hands out 32 bits for all that is more than 16; what is coded has 24.
        bits = {"s16": 16, "s32": 24}.get(stream.codec_context.format.name.removesuffix("p"))
    layout = named_layout(stream.layout.name, stream.channels)
    frames = declared_frames(container, stream)
    return AudioInfo(stream.rate, stream.channels, frames, codec, bits, layout)


def declared_frames(container: Any, stream: Any) -> int | None:
    """Length in samples, from the containers whose word can be taken: elsewhere it is an estimate from the bit rate."""
    if "mp4" not in container.format.name or stream.duration is None:
        return None
    frames: int = round(stream.duration * stream.time_base * stream.rate)
    return frames


def decode_all(path: Path, numbers: list[int] | None) -> tuple[list[Waveform], int]:
    """Decode the numbered audio streams of a container, or all of them, in one pass."""
    with open_container(path) as container:
        streams = [audio_stream(container, path, number) for number in numbers or [0]]
        if numbers is None:
            streams = list(container.streams.audio)  # at least one: the line above looked
        rates = {stream.rate for stream in streams}
        if len(rates) > 1:
            raise AudioError(f"{path} has audio streams of different sample rates: {sorted(rates)} Hz")
        parts: dict[int, list[Waveform]] = {stream.index: [] for stream in streams}
        for index, samples in decoded(container, path, streams):
            parts[index].append(samples)
        declared = [declared_frames(container, stream) for stream in streams]
        rate: int = rates.pop()
    lengths = [sum(part.shape[1] for part in stream_parts) for stream_parts in parts.values()]
    for length, promise in zip(lengths, declared, strict=True):
        require_length(path, length, promise, rate)
    waveforms = []
    for stream_parts in parts.values():
        waveform = fit(np.concatenate(stream_parts, axis=1), max(lengths))
        require_finite(waveform, path, 0, rate)
        waveforms.append(waveform)
    return waveforms, rate


def decoded(container: Any, name: object, streams: list[Any]) -> Iterator[tuple[int, Waveform]]:
    """Give stream index and samples `[C, n]` of each decoded frame."""
    channels: dict[int, int] = {}
    # The last packet of a stream may say that it is shorter than a frame, which FFmpeg does not heed.
    waiting: dict[int, tuple[Waveform, int]] = {}
    try:
        for packet in container.demux(*streams):
            index = packet.stream.index
            promised = _packet_frames(container, packet)
            for frame in packet.decode():
                samples = _samples(frame)
                if channels.setdefault(index, samples.shape[0]) != samples.shape[0]:
                    raise AudioError(f"{name} changes its number of channels on the way")
                if index in waiting:
                    yield index, waiting.pop(index)[0]
                waiting[index] = samples, promised
        for index, (samples, promised) in waiting.items():
            yield index, samples[:, :promised] if promised else samples
    except av.FFmpegError as error:
        raise AudioError(f"{name} is damaged ({error.strerror})") from error


def _packet_frames(container: Any, packet: Any) -> int:
    """Samples that the last packet of a stream says to hold; 0 of all others, and where the file is not exact.

    It is where the packet ends at the very sample at which the edit list does. MUSDB18's files round the latter to
    another clock, and all readers take their last frame whole.
    """
    stream = packet.stream
    exact = "mp4" in container.format.name and stream.time_base is not None and stream.time_base * stream.rate == 1
    if not exact or packet.pts is None or stream.duration is None:
        return 0
    frames: int = packet.duration or 0
    return frames if packet.pts + frames == (stream.start_time or 0) + stream.duration else 0


def _samples(frame: Any) -> Waveform:
    """Samples of a decoded frame as float32 `[C, n]`."""
    channels = len(frame.layout.channels)
    if frame.format.is_planar and channels >= UNSAFE_PLANES:
        (frame,) = av.AudioResampler(format=frame.format.packed.name).resample(frame)
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    scale = _FULL_SCALE.get(array.dtype.name)
    if scale is not None:
        array = array.astype(np.float64) / scale - (1.0 if array.dtype == np.uint8 else 0.0)
    return array.astype(np.float32, copy=False)  # type: ignore[no-any-return]
