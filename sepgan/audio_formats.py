"""The formats that can be written: what each can hold, and a plan that is tried before anything is computed."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile

from sepgan.audio_encoders import Encoder, PyavEncoder, SoundfileEncoder
from sepgan.audio_layout import speakers
from sepgan.errors import UsageError

SUBTYPES = {"float32": "FLOAT", "int24": "PCM_24", "int16": "PCM_16"}
BITS = {"int16": 16, "int24": 24}
# fmt: off
AUDIO_SUFFIXES = frozenset(
    {
        ".aac", ".aif", ".aifc", ".aiff", ".alac", ".au", ".caf", ".flac", ".m4a", ".m4v", ".mka", ".mkv",
        ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav",
        ".wave", ".webm", ".wma", ".wmv", ".wv",
    }
)
# fmt: on
"""What files with audio usually end in, for searching folders; whether it is audio, opening it tells."""

_ANY_RATE: tuple[int, ...] = ()
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_ALAC = {"int24": "s32p", "int16": "s16p"}
_FLAC = {"int24": "PCM_24", "int16": "PCM_16"}
_ANY_CHANNELS = 1024  # libsndfile's limit

# Nominal rates of Vorbis' qualities 0, 0.1, ... 1 for 44.1 kHz stereo, in kbit/s (vorbis.com, encoder settings).
_VORBIS_KBPS = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)
_MP3_KBPS = {32000: (32, 320), 16000: (8, 160), 8000: (8, 64)}  # from this sample rate on: MPEG-1, -2 and -2.5
_AAC_FRAME_BITS = 6144  # at most, for each channel and 1024 samples (ISO/IEC 14496-3, 4.5.3.3)
_OPUS_KBPS = (6, 256)  # a channel, as libsndfile spreads them over its levels

# Layouts of FFmpeg's encoders where a file does not say which it has, and where they know the speakers by another name.
_UNTOLD_LAYOUT = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_ALAC_LAYOUT = {7: "6.1(back)", 8: "7.1(wide)"}
_OTHER_NAME = {"5.0(side)": "5.0", "5.1(side)": "5.1"}

_TRIAL_FRAMES = 9600


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: what `--format` calls it.
        suffix: of its files.
        container: libsndfile's name of it, or FFmpeg's where there is a codec.
        codings: the library's name of the coding for each subtype; formats that code with loss have one under "".
        codec: FFmpeg's encoder; "" where libsndfile writes.
        rates: those it can hold, in Hz; empty for any.
        resamples: whether songs of other rates are resampled to the highest.
        max_channels: how many it can hold.
        bitrates_kbps: the range for stereo at 44.1 kHz; None where there is nothing to choose.
        holds_tags: whether tags can be written into it.
        one_file: whether all stems go into one file.
    """

    name: str
    suffix: str
    container: str
    codings: Mapping[str, str]
    codec: str = ""
    rates: tuple[int, ...] = _ANY_RATE
    resamples: bool = False
    max_channels: int = _ANY_CHANNELS
    bitrates_kbps: tuple[int, int] | None = None
    holds_tags: bool = True
    one_file: bool = False

    @property
    def lossy(self) -> bool:
        """Whether it codes with loss, and chooses its own depth."""
        return "" in self.codings

    @property
    def subtypes(self) -> tuple[str, ...]:
        """The depths that it can hold; none where it chooses."""
        return tuple(name for name in self.codings if name)


_LIST = (
    Format("wav", ".wav", "WAV", SUBTYPES),
    Format("rf64", ".wav", "RF64", SUBTYPES),
    Format("w64", ".w64", "W64", SUBTYPES, holds_tags=False),
    Format("aiff", ".aiff", "AIFF", SUBTYPES),
    Format("flac", ".flac", "FLAC", _FLAC, max_channels=8),
    Format("alac", ".m4a", "ipod", _ALAC, "alac", max_channels=8),
    Format("m4a", ".m4a", "ipod", {"": "fltp"}, "aac", _AAC_RATES, max_channels=8, bitrates_kbps=(16, 529)),
    Format("mp3", ".mp3", "MP3", {"": "MPEG_LAYER_III"}, rates=_MP3_RATES, max_channels=2, bitrates_kbps=(32, 320)),
    Format("ogg", ".ogg", "OGG", {"": "VORBIS"}, max_channels=8, bitrates_kbps=(64, 500)),
    Format(
        *("opus", ".opus", "OGG", {"": "OPUS"}),
        rates=_OPUS_RATES,
        resamples=True,
        max_channels=8,
        bitrates_kbps=(12, 512),
    ),
    Format(
        *("stem.mp4", ".stem.mp4", "mp4", {"": "fltp"}, "aac", _AAC_RATES),
        max_channels=8,
        bitrates_kbps=(16, 529),
        one_file=True,
    ),
    Format("stem.alac", ".stem.mp4", "mp4", _ALAC, "alac", max_channels=8, one_file=True),
)
FORMATS: dict[str, Format] = {form.name: form for form in _LIST}


@dataclass(frozen=True)
class OutputPlan:
    """What a file will be.

    Attributes:
        format: the format.
        subtype: "float32", "int24" or "int16"; None where the format codes with loss.
        sample_rate: as coded, in Hz; Opus may have another than the song.
        channels: number of channels.
        bitrate: in kbit/s; None for the encoder's default.
        layout: of the channels; None where the song does not say.
    """

    format: Format
    subtype: str | None
    sample_rate: int
    channels: int
    bitrate: int | None
    layout: str | None

    @property
    def lossy(self) -> bool:
        """Whether it codes with loss."""
        return self.format.lossy

    @property
    def bits(self) -> int | None:
        """Depth of integers; None for floats and where the format codes with loss."""
        return None if self.subtype is None else BITS.get(self.subtype)

    def open(
        self, target: Path | BinaryIO, *, streams: int = 1, big: bool = False, words: Mapping[str, str] | None = None
    ) -> Encoder:
        """Open an encoder.

        Args:
            target: where to write.
            streams: how many audio streams.
            big: whether the file may grow over 4 GB, for which WAV files need another head.
            words: title, artist and so on, of formats that hold them before the samples.
        """
        form, coding = self.format, self.format.codings[self.subtype or ""]
        if form.codec:
            return PyavEncoder(
                *(target, form.container, form.codec, coding, self.sample_rate, self._ffmpeg_layout()),
                streams=streams,
                bitrate_kbps=self.bitrate,
            )
        container = form.container
        if container == "WAV":
            # Only these heads have room for a layout.
            container = "RF64" if big else "WAVEX" if self.layout and self.channels > 2 else container
        return SoundfileEncoder(
            *(target, container, coding, self.sample_rate, self.channels),
            compression=None if self.bitrate is None else self._compression(self.bitrate),
            constant=form.name == "mp3",
            words=words,
        )

    def _ffmpeg_layout(self) -> str:
        if self.layout is not None:
            return _OTHER_NAME.get(self.layout, self.layout)
        untold = _UNTOLD_LAYOUT[self.channels]
        return _ALAC_LAYOUT.get(self.channels, untold) if self.format.codec == "alac" else untold

    def _compression(self, kbps: int) -> float:
        """Find libsndfile's level of compression for a bit rate."""
        low, high = bitrate_range(self.format, self.sample_rate, self.channels)
        if self.format.name == "ogg":
            qualities = np.linspace(0, 1, len(_VORBIS_KBPS))
            return float(1 - np.interp(kbps * high / _VORBIS_KBPS[-1], _VORBIS_KBPS, qualities)) if high else 0.0
        return min((high - kbps) / (high - low), 0.999)


def bitrate_range(form: Format, sample_rate: int, channels: int) -> tuple[int, int]:
    """Give the lowest and the highest bit rate of a format that has any, in kbit/s."""
    if form.codec == "aac":
        return 8 * channels, _AAC_FRAME_BITS * channels * sample_rate // 1024 // 1000
    if form.name == "mp3":
        return next(limits for rate, limits in _MP3_KBPS.items() if sample_rate >= rate)
    if form.name == "opus":
        return _OPUS_KBPS[0] * channels, _OPUS_KBPS[1] * channels
    share = channels / 2 * min(1.0, sample_rate / 44100)
    return round(_VORBIS_KBPS[0] * share), round(_VORBIS_KBPS[-1] * share)


def plan_output(
    file_format: str,
    subtype: str,
    sample_rate: int,
    channels: int,
    *,
    bitrate: int | None = None,
    layout: str | None = None,
) -> OutputPlan:
    """Decide what a file will be, and try it on a moment of sound in memory.

    Args:
        file_format: a name of `FORMATS`.
        subtype: "float32", "int24" or "int16"; formats that code with loss take any and choose themselves.
        sample_rate: of the song, in Hz.
        channels: number of channels.
        bitrate: in kbit/s, of formats that code with loss; None for the encoder's default.
        layout: of the channels; None where the song does not say.

    Raises:
        UsageError: the format cannot hold this; the line names the nearest that can.
    """
    if file_format not in FORMATS:
        raise UsageError(f"{file_format!r} is no format that can be written; choose one of {', '.join(FORMATS)}")
    if subtype not in SUBTYPES:
        raise UsageError(f"subtype {subtype!r} is not one of {', '.join(SUBTYPES)}")
    form = FORMATS[file_format]
    if (refusal := _refusal(form, subtype, sample_rate, channels)) is not None:
        raise UsageError(f"{refusal}; {_advice(form, subtype, sample_rate, channels)}")
    if layout is not None and len(speakers(layout)) != channels:
        raise UsageError(f"the layout {layout} has {len(speakers(layout))} channels; the song has {channels}")
    coded_rate = sample_rate if not form.rates or sample_rate in form.rates else form.rates[-1]
    if bitrate is not None:
        if form.bitrates_kbps is None:
            raise UsageError(f"{form.name} files have no bit rate to choose; leave it out or choose another")
        low, high = bitrate_range(form, coded_rate, channels)
        if not low <= bitrate <= high:
            nearest = min(max(bitrate, low), high)
            raise UsageError(f"{form.name} files cannot have {bitrate} kbit/s here; the nearest is {nearest}")
    plan = OutputPlan(form, None if form.lossy else subtype, coded_rate, channels, bitrate, layout)
    if (failure := _failure(plan)) is not None:
        what = f"{channels} channels" + (f" ({layout})" if layout else "") + f" at {sample_rate} Hz"
        rate = f" and {bitrate} kbit/s" if bitrate else ""
        raise UsageError(f"{form.name} files cannot hold {what}{rate} ({failure}); choose wav")
    return plan


def _refusal(form: Format, subtype: str, sample_rate: int, channels: int) -> str | None:
    """Say what the format cannot hold, by its own rules."""
    if not form.lossy and subtype not in form.subtypes:
        return f"{form.name} files cannot hold {subtype} samples"
    if not 1 <= channels <= form.max_channels:
        return f"{form.name} files cannot hold {channels} channels, only up to {form.max_channels}"
    if form.rates and sample_rate not in form.rates and not form.resamples:
        nearest = min(form.rates, key=lambda rate: abs(rate - sample_rate))
        return f"{form.name} files cannot hold a rate of {sample_rate} Hz (the nearest is {nearest} Hz)"
    return None


def _advice(form: Format, subtype: str, sample_rate: int, channels: int) -> str:
    """Name the nearest thing that works: another depth in the same format, then another format of the same kind."""
    for depth in form.subtypes:
        if _refusal(form, depth, sample_rate, channels) is None:
            return f"choose {depth}, or wav"
    kind = [other for other in FORMATS.values() if other.one_file == form.one_file and other.name != form.name]
    for candidate in sorted(kind, key=lambda candidate: candidate.lossy != form.lossy):
        if _refusal(candidate, subtype, sample_rate, channels) is None:
            return f"choose {candidate.name}"
    return "choose wav"


def _failure(plan: OutputPlan) -> str | None:
    """Say why the library does not write such a file, or None when a moment of sound came back whole."""
    tone = 0.1 * np.sin(np.arange(_TRIAL_FRAMES) * 0.05)
    if plan.bits is not None:
        samples = (tone * 2**31).astype(np.int32) if plan.bits > 16 else (tone * 2**15).astype(np.int16)
    else:
        samples = tone.astype(np.float32)
    memory = io.BytesIO()
    try:
        encoder = plan.open(memory)
        encoder.write(np.tile(samples, (plan.channels, 1)))
        encoder.close()
        memory.seek(0)
        if plan.format.codec:
            with av.open(memory) as container:
                stream = container.streams.audio[0]
                found = (stream.rate, stream.channels, stream.duration)
        else:
            with soundfile.SoundFile(memory) as file:
                found = (file.samplerate, file.channels, file.frames)
    except (soundfile.SoundFileError, av.FFmpegError, ValueError, OSError) as error:
        return str(error).splitlines()[0]
    expected = (plan.sample_rate, plan.channels, _TRIAL_FRAMES)
    return None if found == expected else f"a trial gave rate, channels and length {found} for {expected}"
