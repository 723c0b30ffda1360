"""What happens to a stem, as a few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sepgan.data.augment.distortion import Distortion
from sepgan.data.augment.filters import Band, Room
from sepgan.data.augment.warp import Warp
from sepgan.recipe import AugmentationRecipe

LONGEST_DELAY_S = 0.03  # before a room answers
_SHELVES_HZ = (60.0, 300.0), (3000.0, 10000.0)  # where the low and the high shelf may begin
_PEAKS_HZ = (150.0, 8000.0)
_PEAK_Q = (0.5, 2.0)
_SPEAKER_HZ = (3500.0, 8000.0)  # of guitar amplifiers
_DAMP_HZ = (2000.0, 10000.0)  # above it a room decays faster
_EFFECTS = ("polarity", "speed", "pitch", "tempo", "eq", "reverb", "lowpass", "codec", "quantise", "distortion")


@dataclass(frozen=True)
class Drawn:
    """The effects on one stem, in the order in which they are applied.

    Attributes:
        polarity: -1 turns the waveform upside down.
        warp: Pitch and tempo.
        distortion: Of an amplifier.
        bands: Of the equaliser.
        room: Reverberation.
        lowpass_hz: Cut above it.
        codec: Name and bit rate in kbit/s.
        bits: Of a quantiser.
    """

    polarity: int = 1
    warp: Warp = Warp()  # noqa: RUF009  frozen, so it can be shared
    distortion: Distortion | None = None
    bands: tuple[Band, ...] = ()
    room: Room | None = None
    lowpass_hz: float | None = None
    codec: tuple[str, int] | None = None
    bits: int | None = None


def draw(config: AugmentationRecipe, rng: np.random.Generator) -> Drawn:
    """Draw the effects on one stem.

    Every effect takes its numbers from the generator whether it is used or not, so that switching one on or off leaves
    the others as they were.
    """
    used = dict(zip(_EFFECTS, rng.random(len(_EFFECTS)), strict=True))
    unit = iter(rng.random(24))

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(next(unit))

    def octaves(low: float, high: float) -> float:
        return low * math.pow(high / low, float(next(unit)))

    def either(name: str) -> bool:
        return bool(used[name] < getattr(config, name))

    speed = 1 + between(-config.speed_share, config.speed_share)
    pitch = 2 ** (between(-config.pitch_semitones, config.pitch_semitones) / 12)
    tempo = 1 + between(-config.tempo_share, config.tempo_share)
    warp = Warp(
        pitch=(speed if either("speed") else 1.0) * (pitch if either("pitch") else 1.0),
        tempo=(speed if either("speed") else 1.0) * (tempo if either("tempo") else 1.0),
    )
    gains_db = [between(-config.eq_db, config.eq_db) for _ in range(4)]
    bands = (
        Band("low", octaves(*_SHELVES_HZ[0]), gains_db[0]),
        Band("high", octaves(*_SHELVES_HZ[1]), gains_db[1]),
        Band("peak", octaves(*_PEAKS_HZ), gains_db[2], between(*_PEAK_Q)),
        Band("peak", octaves(*_PEAKS_HZ), gains_db[3], between(*_PEAK_Q)),
    )
    room = Room(
        decay_s=between(*config.reverb_s),
        level_db=between(*config.reverb_db),
        damp_hz=octaves(*_DAMP_HZ),
        delay_s=between(0.0, LONGEST_DELAY_S),
        seed=int(rng.integers(2**32)),
    )
    lowpass_hz = octaves(*config.lowpass_hz)
    codec = (config.codecs[int(next(unit) * len(config.codecs))], round(between(*config.codec_kbps)))
    low, high = config.quantise_bits
    bits = low + int(next(unit) * (high - low + 1))
    distortion = Distortion(between(*config.distortion_db), octaves(*_SPEAKER_HZ))
    return Drawn(
        polarity=-1 if either("polarity") else 1,
        warp=warp,
        distortion=distortion if either("distortion") else None,
        bands=bands if either("eq") else (),
        room=room if either("reverb") else None,
        lowpass_hz=lowpass_hz if either("lowpass") else None,
        codec=codec if either("codec") else None,
        bits=bits if either("quantise") else None,
    )
