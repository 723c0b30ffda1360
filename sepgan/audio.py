"""Audio files to float32 arrays `[C, T]`, whole or block by block.

soundfile decodes first (WAV, FLAC, Ogg, MP3); PyAV takes what it cannot open (MP4, M4A, MKV, several streams in one
file) and MP3 files without a length header, which libsndfile would cut short without a word. Everything that enters the
program passes these doors, so they refuse what is missing, empty, cut off or not a number; inside, arrays are trusted.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from sepgan.audio_headers import has_mp3_length, has_ogg_end, missing_riff_bytes
from sepgan.errors import AudioError
from sepgan.resampling import Resampler as Resampler
from sepgan.resampling import Waveform as Waveform
from sepgan.resampling import fit
from sepgan.resampling import resample as resample

_log = logging.getLogger(__name__)

_MIN_FRAMES = 2  # one sample has no rate, so it is no sound
_CHUNK_FRAMES = 65536  # 1.5 s at 44.1 kHz: what is decoded at once when blocks are cut
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
    """

    sample_rate: int
    channels: int
    frames: int | None
    codec: str
    bits: int | None

    @property
    def duration_s(self) -> float | None:
        """Length in seconds; None where the file declares none."""
        return None if self.frames is None else self.frames / self.sample_rate


def probe(path: str | Path, stream: int | None = None) -> AudioInfo:
    """Read what a file says about itself, without decoding it.

    Args:
        path: an audio file or a container with audio.
        stream: number of the audio stream within a container; None for the first.

    Raises:
        AudioError: the file is missing, empty or not audio.
    """
    path = _readable(path)
    if stream is None and (file := _open_soundfile(path)) is not None:
        with file:
            subtype = file.subtype.lower()
            codec = {"mpeg_layer_iii": "mp3"}.get(subtype, "flac" if file.format == "FLAC" else subtype)
            depth = subtype.rsplit("_", 1)[-1].lstrip("su")
            bits = int(depth) if subtype.startswith("pcm") else None
            return AudioInfo(file.samplerate, file.channels, file.frames, codec, bits)
    with _open_container(path) as container:
        audio = _audio_stream(container, path, stream or 0)
        codec = audio.codec_context.name
        depth = re.fullmatch(r"pcm_[su](\d+)\w*", codec)
        bits = int(depth[1]) if depth else None
        return AudioInfo(audio.rate, audio.channels, _declared_frames(container, audio), codec, bits)


def read(path: str | Path, *, stream: int | None = None, sample_rate: int | None = None) -> tuple[Waveform, int]:
    """Decode a whole file.

    Args:
        path: an audio file or a container with audio.
        stream: number of the audio stream within a container; None for the first.
        sample_rate: in Hz; resample to it. None keeps the file's own.

    Returns:
        The waveform `[C, T]` and its rate in Hz.

    Raises:
        AudioError: the file is missing, empty, cut off, not audio, or holds NaN or infinity.
    """
    path = _readable(path)
    if stream is None and (file := _open_soundfile(path)) is not None:
        with file:
            rate = file.samplerate
            samples = _read_soundfile(file, path, file.frames)
            waveform = np.ascontiguousarray(samples.T)
            if file.subtype in ("FLOAT", "DOUBLE"):
                _require_finite(waveform, path, 0, rate)
    else:
        waveforms, rate = _decode_all(path, [stream or 0])
        waveform = waveforms[0]
    if sample_rate is not None:
        return resample(waveform, rate, sample_rate), sample_rate
    return waveform, rate


def read_streams(path: str | Path) -> tuple[list[Waveform], int]:
    """Decode all audio streams of a container in one pass, such as the five of a `.stem.mp4`.

    Returns:
        The waveforms, `[C, T]` each and equally long (shorter ones are padded with zeros), and their rate in Hz.

    Raises:
        AudioError: the file is missing, damaged or has no audio, or its streams have different rates.
    """
    return _decode_all(_readable(path), None)


def read_blocks(
    path: str | Path, block_frames: int, *, start: int = 0, frames: int | None = None, stream: int | None = None
) -> Iterator[Waveform]:
    """Decode a file block by block; memory does not grow with its length.

    Args:
        path: an audio file or a container with audio.
        block_frames: samples per block; the last one may be shorter.
        start: first sample to read.
        frames: how many samples to read at most; None for all.
        stream: number of the audio stream within a container; None for the first.

    Yields:
        Waveforms `[C, n]`; together they are what `read` gives.

    Raises:
        AudioError: as `read`, when the damage is reached; also when `start` lies behind the end.
    """
    path = _readable(path)
    if stream is None and (file := _open_soundfile(path)) is not None:
        chunks = _decode_soundfile(file, path, start, frames)
    else:
        chunks = _decode_container(path, stream or 0, start)
    empty = True
    for block in _recut(chunks, block_frames, frames):
        empty = False
        yield block
    if empty:
        raise AudioError(f"{path} holds no audio after sample {start}")


def _readable(path: str | Path) -> Path:
    """Refuse what cannot be opened, before a decoder wraps the reason in its own words."""
    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path} does not exist")
    if not path.is_file():
        raise AudioError(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{path} is empty")
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from error
    return path


def _cut_off(path: Path, found: int, declared: int) -> AudioError:
    return AudioError(f"{path} is cut off: it declares {declared} samples and holds {found}; fetch it again")


def _require_finite(waveform: Waveform, path: Path, position: int, sample_rate: int) -> None:
    if not np.isfinite(waveform).all():
        first = position + int(np.argmin(np.isfinite(waveform).all(axis=0)))
        raise AudioError(f"{path} holds NaN or infinity at {first / sample_rate:.3f} s; export it again")


# soundfile


def _open_soundfile(path: Path) -> soundfile.SoundFile | None:
    """Open with soundfile; None where PyAV has to try."""
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError):  # TypeError: soundfile takes a name like take.raw for headerless
        return None
    if file.format == "MP3" and not has_mp3_length(path):
        file.close()
        return None
    try:
        if file.frames < _MIN_FRAMES:
            raise AudioError(f"{path} holds {file.frames} samples; at least {_MIN_FRAMES} are needed")
        if file.format in ("WAV", "WAVEX") and (missing := missing_riff_bytes(path)) > 0:
            raise AudioError(f"{path} is cut off: {missing} bytes of its samples are missing; fetch it again")
        if file.format == "OGG" and not has_ogg_end(path):
            _log.warning("%s has no end mark: it may be cut off", path)
    except AudioError:
        file.close()
        raise
    return file


def _read_soundfile(file: soundfile.SoundFile, path: Path, frames: int) -> Waveform:
    """Decode exactly `frames` samples as `[n, C]`."""
    position = file.tell()
    try:
        samples: Waveform = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path} is damaged after {position / file.samplerate:.1f} s: {error}") from error
    if len(samples) < frames:
        raise _cut_off(path, position + len(samples), file.frames)
    return samples


def _decode_soundfile(file: soundfile.SoundFile, path: Path, start: int, frames: int | None) -> Iterator[Waveform]:
    with file:
        position = min(start, file.frames)
        end = file.frames if frames is None else min(start + frames, file.frames)
        file.seek(position)
        while position < end:
            chunk = _read_soundfile(file, path, min(_CHUNK_FRAMES, end - position)).T
            if file.subtype in ("FLOAT", "DOUBLE"):
                _require_finite(chunk, path, position, file.samplerate)
            position += chunk.shape[1]
            yield chunk


def _recut(chunks: Iterable[Waveform], block_frames: int, frames: int | None) -> Iterator[Waveform]:
    """Join and cut chunks to blocks of `block_frames` samples and the rest, `frames` in all at most."""
    held: list[Waveform] = []
    count = 0
    left = frames
    for chunk in chunks:
        if left is not None:
            chunk = chunk[:, :left]
            left -= chunk.shape[1]
        held.append(chunk)
        count += chunk.shape[1]
        if count >= block_frames:
            joined = np.concatenate(held, axis=1)
            whole = count - count % block_frames
            for begin in range(0, whole, block_frames):
                yield np.ascontiguousarray(joined[:, begin : begin + block_frames])
            held = [joined[:, whole:]]
            count -= whole
        if left == 0:
            break
    if count:
        yield np.concatenate(held, axis=1)


# PyAV. Its classes are typed loosely across releases, hence Any.


def _open_container(path: Path) -> Any:
    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise AudioError(f"{path} is not audio that can be decoded ({error.strerror})") from error


def _audio_stream(container: Any, path: Path, stream: int) -> Any:
    count = len(container.streams.audio)
    if count == 0:
        raise AudioError(f"{path} holds no audio")
    if stream >= count:
        raise AudioError(f"{path} has {count} audio streams; there is no stream {stream}")
    return container.streams.audio[stream]


def _declared_frames(container: Any, stream: Any) -> int | None:
    """Length in samples, from the containers whose word can be taken: elsewhere it is an estimate from the bit rate."""
    if "mp4" not in container.format.name or stream.duration is None:
        return None
    frames: int = round(stream.duration * stream.time_base * stream.rate)
    return frames


def _samples(frame: Any) -> Waveform:
    """Samples of a decoded frame as float32 `[C, n]`."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, len(frame.layout.channels)).T
    scale = _FULL_SCALE.get(array.dtype.name)
    if scale is not None:
        array = array.astype(np.float64) / scale - (1.0 if array.dtype == np.uint8 else 0.0)
    return array.astype(np.float32, copy=False)  # type: ignore[no-any-return]


def _decode_all(path: Path, numbers: list[int] | None) -> tuple[list[Waveform], int]:
    """Decode the numbered audio streams of a container, or all of them, in one pass."""
    with _open_container(path) as container:
        streams = [_audio_stream(container, path, number) for number in numbers or [0]]
        if numbers is None:
            streams = list(container.streams.audio)  # at least one: the line above looked
        rates = {stream.rate for stream in streams}
        if len(rates) > 1:
            raise AudioError(f"{path} has audio streams of different sample rates: {sorted(rates)} Hz")
        parts: dict[int, list[Waveform]] = {stream.index: [] for stream in streams}
        for index, samples in _decoded(container, path, streams):
            parts[index].append(samples)
        declared = [_declared_frames(container, stream) for stream in streams]
        rate: int = rates.pop()
    lengths = [sum(part.shape[1] for part in stream_parts) for stream_parts in parts.values()]
    for length, promise in zip(lengths, declared, strict=True):
        _require_length(path, length, promise, rate)
    waveforms = []
    for stream_parts in parts.values():
        waveform = fit(np.concatenate(stream_parts, axis=1), max(lengths))
        _require_finite(waveform, path, 0, rate)
        waveforms.append(waveform)
    return waveforms, rate


def _decode_container(path: Path, number: int, start: int) -> Iterator[Waveform]:
    """Decode one audio stream of a container from sample `start` on."""
    with _open_container(path) as container:
        stream = _audio_stream(container, path, number)
        position = 0
        # No seek: AAC fills in noise that depends on all that was decoded before.
        for _, samples in _decoded(container, path, [stream]):
            _require_finite(samples, path, position, stream.rate)
            skip = max(0, start - position)
            position += samples.shape[1]
            if skip < samples.shape[1]:
                yield samples[:, skip:]
        _require_length(path, position, _declared_frames(container, stream), stream.rate)


def _decoded(container: Any, path: Path, streams: list[Any]) -> Iterator[tuple[int, Waveform]]:
    """Give stream index and samples `[C, n]` of each decoded frame."""
    channels: dict[int, int] = {}
    try:
        for packet in container.demux(*streams):
            for frame in packet.decode():
                samples = _samples(frame)
                index = packet.stream.index
                if channels.setdefault(index, samples.shape[0]) != samples.shape[0]:
                    raise AudioError(f"{path} changes its number of channels on the way")
                yield index, samples
    except av.FFmpegError as error:
        raise AudioError(f"{path} is damaged ({error.strerror})") from error


def _require_length(path: Path, found: int, declared: int | None, sample_rate: int) -> None:
    if declared is not None and found < declared - _DURATION_SLACK_S * sample_rate:
        raise _cut_off(path, found, declared)
    if found < _MIN_FRAMES:
        raise AudioError(f"{path} holds {found} samples; at least {_MIN_FRAMES} are needed")
