"""Audio files to float32 arrays `[C, T]`, whole or block by block.

soundfile decodes first (WAV, FLAC, Ogg, MP3); PyAV takes what it cannot open (MP4, M4A, MKV, several streams in one
file) and MP3 files without a length header, which libsndfile would cut short without a word. Everything that enters the
program passes these doors, so they refuse what is missing, empty, cut off or not a number; inside, arrays are trusted.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from sepgan.audio_containers import (
    MIN_FRAMES,
    audio_stream,
    cut_off,
    declared_frames,
    decode_all,
    decoded,
    info_of,
    open_container,
    require_finite,
    require_length,
    require_rate,
)
from sepgan.audio_containers import AudioInfo as AudioInfo
from sepgan.audio_headers import bytes_behind_data, has_mp3_length, has_ogg_end, missing_bytes
from sepgan.audio_layout import from_ogg_order, named_layout, simple_layout
from sepgan.errors import AudioError
from sepgan.resampling import Resampler as Resampler
from sepgan.resampling import Waveform as Waveform
from sepgan.resampling import recut
from sepgan.resampling import resample as resample

_log = logging.getLogger(__name__)

_UNKNOWN_FRAMES = 2**62  # libsndfile counts to twice as much where a FLAC file does not say how long it is
_MAX_SAMPLES_A_BYTE = 20_000  # FLAC needs 15 bytes for 65535 samples of silence in two channels
_LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_III")
_LOSSY_SLACK_S = 0.1
_CHUNK_SAMPLES = 131072  # in all channels, 1.5 s of stereo at 44.1 kHz: what is decoded at once when blocks are cut


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
            layout = simple_layout(file.channels) or _layout(path, file.channels)
            return AudioInfo(file.samplerate, file.channels, file.frames, codec, bits, layout)
    with open_container(path) as container:
        return info_of(container, audio_stream(container, path, stream or 0))


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
            waveform = _read_soundfile(file, path, 0, file.frames)
            if file.subtype in ("FLOAT", "DOUBLE"):
                require_finite(waveform, path, 0, rate)
    else:
        waveforms, rate = decode_all(path, [stream or 0])
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
    return decode_all(_readable(path), None)


def read_blocks(
    path: str | Path,
    block_frames: int,
    *,
    start: int = 0,
    frames: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: int | None = None,
) -> Iterator[Waveform]:
    """Decode a file block by block; memory does not grow with its length.

    Args:
        path: an audio file or a container with audio.
        block_frames: samples per block; the last one may be shorter.
        start: first sample to read.
        frames: how many samples to read at most; None for all.
        start_s: added to `start`, in seconds, rounded to the nearest sample.
        duration_s: in place of `frames`, in seconds: up to the sample nearest to `start_s + duration_s`.
        stream: number of the audio stream within a container; None for the first.

    Yields:
        Waveforms `[C, n]`; together they are what `read` gives.

    Raises:
        AudioError: as `read`, when the damage is reached; also when `start` lies behind the end.
    """
    path = _readable(path)
    if stream is None and (file := _open_soundfile(path)) is not None:
        start, frames = _range(file.samplerate, start, frames, start_s, duration_s)
        chunks = _decode_soundfile(file, path, start, frames)
    else:
        with open_container(path) as container:
            rate = audio_stream(container, path, stream or 0).rate
        start, frames = _range(rate, start, frames, start_s, duration_s)
        chunks = _decode_container(path, stream or 0, start)
    empty = True
    for block in recut(chunks, block_frames, frames):
        empty = False
        yield block
    if empty:
        raise AudioError(f"{path} holds no audio after sample {start}")


def _range(
    sample_rate: int, start: int, frames: int | None, start_s: float, duration_s: float | None
) -> tuple[int, int | None]:
    """Give the first sample and the count that seconds stand for."""
    first = start + round(start_s * sample_rate)
    return first, frames if duration_s is None else start + round((start_s + duration_s) * sample_rate) - first


def _readable(path: str | Path) -> Path:
    """Refuse what cannot be opened, before a decoder wraps the reason in its own words."""
    path = Path(path)
    try:
        if not path.exists():
            raise AudioError(f"{path} does not exist")
        if not path.is_file():
            raise AudioError(f"{path} is not a file")
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{path} is empty")
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from error
    return path


# soundfile


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read on, without looking back.

    soundfile seeks after each read to where it is already. In MP3 files that loses the bits that the next frames borrow
    from the last ones, and leaves a gap of silence.
    """

    def seekable(self) -> bool:
        """Keep soundfile from seeking of itself; `seek` works all the same."""
        return False


def _open_soundfile(path: Path) -> _SoundFile | None:
    """Open with soundfile; None where PyAV has to try."""
    try:
        file = _SoundFile(path)
    # TypeError: it takes a name like take.raw for headerless
    except (soundfile.SoundFileError, TypeError, UnicodeError):
        _require_whole(path)
        return None
    try:
        if (file.format == "MP3" and not has_mp3_length(path)) or file.frames > _UNKNOWN_FRAMES:
            file.close()
            return None
        if file.frames * file.channels > _MAX_SAMPLES_A_BYTE * path.stat().st_size:
            raise AudioError(
                f"{path} declares {file.frames} samples, more than its size can hold; its header is damaged"
            )
        if file.format in ("WAV", "WAVEX") and (behind := bytes_behind_data(path)) > 0:
            _log.warning("%s has %d bytes behind its samples that its header does not count", path, behind)
            if file.frames == 0:
                file.close()
                return None
        if file.frames < MIN_FRAMES:
            raise AudioError(f"{path} holds {file.frames} samples; at least {MIN_FRAMES} are needed")
        _require_whole(path)
        require_rate(path, file.samplerate)
        if file.format == "OGG" and not has_ogg_end(path):
            _log.warning("%s has no end mark: it may be cut off", path)
    except BaseException:
        file.close()
        raise
    return file


def _require_whole(path: Path) -> None:
    if (missing := missing_bytes(path)) > 0:
        raise AudioError(f"{path} is cut off: {missing} bytes of its samples are missing; fetch it again")


def _layout(path: Path, channels: int) -> str | None:
    """Name the layout of a file with more channels than two, which libsndfile does not tell."""
    try:
        with open_container(path) as container:
            return named_layout(audio_stream(container, path, 0).layout.name, channels)
    except AudioError:
        return None


def _read_soundfile(file: _SoundFile, path: Path, position: int, frames: int) -> Waveform:
    """Decode `frames` samples as `[C, n]`, in WAVE order, of a file that stands at `position`; less at a lossy end."""
    try:
        samples: Waveform = file.read(frames, dtype="float32", always_2d=True).T
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path} is damaged after {position / file.samplerate:.1f} s: {error}") from error
    if (missing := frames - samples.shape[1]) > 0:
        # Encoders may count more than they write; what is missing then is shorter than a frame or two.
        if file.subtype not in _LOSSY or missing > _LOSSY_SLACK_S * file.samplerate:
            raise cut_off(path, position + samples.shape[1], file.frames)
        _log.warning("%s ends %d samples before the %d that it declares", path, missing, file.frames)
    return np.ascontiguousarray(from_ogg_order(samples) if file.format == "OGG" else samples)


def _decode_soundfile(file: _SoundFile, path: Path, start: int, frames: int | None) -> Iterator[Waveform]:
    chunk_frames = max(1, _CHUNK_SAMPLES // file.channels)
    with file:
        position = min(start, file.frames)
        end = file.frames if frames is None else min(start + frames, file.frames)
        if file.format == "MP3":
            # For the same reason as above: only going there sample by sample is exact.
            for begin in range(0, position, chunk_frames):
                _read_soundfile(file, path, begin, min(chunk_frames, position - begin))
        elif position:
            try:
                file.seek(position)
            except soundfile.SoundFileError as error:
                raise AudioError(f"{path} is damaged before {position / file.samplerate:.1f} s: {error}") from error
        while position < end:
            wanted = min(chunk_frames, end - position)
            chunk = _read_soundfile(file, path, position, wanted)
            if file.subtype in ("FLOAT", "DOUBLE"):
                require_finite(chunk, path, position, file.samplerate)
            position += chunk.shape[1]
            if chunk.shape[1]:
                yield chunk
            if chunk.shape[1] < wanted:
                return


def _decode_container(path: Path, number: int, start: int) -> Iterator[Waveform]:
    """Decode one audio stream of a container from sample `start` on."""
    with open_container(path) as container:
        stream = audio_stream(container, path, number)
        position = 0
        # No seek: AAC fills in noise that depends on all that was decoded before.
        for _, samples in decoded(container, path, [stream]):
            require_finite(samples, path, position, stream.rate)
            skip = max(0, start - position)
            position += samples.shape[1]
            if skip < samples.shape[1]:
                yield samples[:, skip:]
        require_length(path, position, declared_frames(container, stream), stream.rate)
