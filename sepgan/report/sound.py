"""Waveforms as players: excerpts compressed so that they fit in a page.

Ogg Vorbis keeps the exact number of samples and knows every sample rate, so that tracks stay locked to each other; MP3
pads. It is what libsndfile writes and Chromium, Firefox and Safari (18.4 and later) decode.
"""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import soundfile

from sepgan.report.blocks import Mode, Player, PlayerGroup, Spectrogram

Waveform = npt.NDArray[np.float32]

COMPRESSION = 0.4  # Vorbis quality 6, about 190 kbit/s in stereo: separation errors are far louder than its own
FADE_S = 0.005  # at both ends, so that an excerpt that starts inside a wave does not click
_BLOCK = 16384  # samples handed to the encoder at once; libsndfile overflows its stack on long ones


def player_group(
    name: str,
    tracks: Sequence[tuple[str, Waveform, int]],
    *,
    note: str = "",
    mode: Mode = "switch",
    compare: Sequence[str] = (),
    spectrograms: Sequence[Spectrogram] = (),
) -> PlayerGroup:
    """Players of one excerpt. All are turned down by one shared gain where one would clip, and never turned up.

    Args:
        name: Heading of the group.
        tracks: Label, waveform [C, T] and sample rate in Hz of each; all of one duration. More than two channels are
            mixed to one.
        note: A sentence under the heading.
        mode: What is heard at first.
        compare: Labels offered for a blind comparison.
        spectrograms: Pictures shown under the players, over the same time.

    Raises:
        ValueError: There are no tracks, labels repeat, durations differ, or a label to compare is unknown.
    """
    labels = [label for label, _, _ in tracks]
    if not tracks or len(set(labels)) < len(labels):
        raise ValueError(f"a group of players needs tracks of different labels, got {labels}")
    if len(compare) == 1 or not set(compare) <= set(labels):
        raise ValueError(f"only tracks of the group can be compared, two or more: got {list(compare)} of {labels}")
    durations_s = [waveform.shape[-1] / rate for _, waveform, rate in tracks]
    if max(durations_s) - min(durations_s) > 1 / min(rate for _, _, rate in tracks):
        raise ValueError(f"tracks of a group must have one duration, got {durations_s} s")
    heard = [_heard(waveform) for _, waveform, _ in tracks]
    gain = 1 / max(1.0, *(float(np.abs(waveform).max(initial=0)) for waveform in heard))
    players = [
        Player(label, encode(gain * waveform, rate)) for (label, _, rate), waveform in zip(tracks, heard, strict=True)
    ]
    return PlayerGroup(name, players, min(durations_s), note, mode, tuple(compare), tuple(spectrograms))


def encode(waveform: Waveform, sample_rate: int) -> bytes:
    """Compress a waveform to an Ogg Vorbis file of the same number of samples, faded at its ends.

    Args:
        waveform: [C, T], within -1 and 1.
        sample_rate: In Hz.
    """
    samples = waveform.shape[-1]
    fade = min(round(FADE_S * sample_rate), samples // 2)
    envelope = np.ones(samples, np.float32)
    envelope[:fade] = np.arange(fade) / max(fade, 1)
    envelope[samples - fade :] = envelope[:fade][::-1]
    faded = (waveform * envelope).T
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", sample_rate, len(waveform), format="OGG", subtype="VORBIS", compression_level=COMPRESSION
    ) as writer:
        for start in range(0, samples, _BLOCK):
            writer.write(faded[start : start + _BLOCK])
    return file.getvalue()


def _heard(waveform: Waveform) -> Waveform:
    """What two loudspeakers can play of a waveform."""
    return waveform if len(waveform) <= 2 else waveform.mean(0, keepdims=True)
