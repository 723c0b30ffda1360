"""The augmentation of a recipe: what happens to each stem of a remix."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.section import Section

Range = tuple[float, float]


class MatchRecipe(Section):
    """Which properties the sounds of a remix are to share. Nothing is matched until one is true."""

    key: bool = Field(False, description="bring sounds into one key by shifting their pitch; drums stay")
    tempo: bool = Field(False, description="bring sounds to one tempo by stretching; half and double fit too")
    semitones: int = Field(3, ge=0, le=6, description="largest shift; 0 takes only sounds that fit as they are")
    tempo_share: float = Field(0.15, ge=0, le=0.4, description="largest relative change of tempo")

    @property
    def active(self) -> bool:
        """Whether anything is matched."""
        return self.key or self.tempo


class AugmentationRecipe(Section):
    """How often each effect is used, and how strong it may be. All are off until their probability is above 0."""

    polarity: float = Field(0.0, ge=0, le=1, description="probability of turning a stem upside down")
    speed: float = Field(0.0, ge=0, le=1, description="probability of another speed: pitch and tempo together")
    speed_share: float = Field(0.06, gt=0, lt=0.5, description="most relative change; 0.06 is about a semitone")
    pitch: float = Field(0.0, ge=0, le=1, description="probability of another pitch at the same tempo")
    pitch_semitones: float = Field(2.0, gt=0, le=12)
    tempo: float = Field(0.0, ge=0, le=1, description="probability of another tempo at the same pitch")
    tempo_share: float = Field(0.1, gt=0, lt=0.5)
    distortion: float = Field(0.0, ge=0, le=1, description="probability of an amplifier that clips softly")
    distortion_db: Range = Field((0.0, 30.0), description="gain before it, over a root mean square of full scale")
    eq: float = Field(0.0, ge=0, le=1, description="probability of an equaliser: two shelves and two peaks")
    eq_db: float = Field(6.0, gt=0, le=24, description="most gain or loss of each of its filters")
    reverb: float = Field(0.0, ge=0, le=1, description="probability of a room: decaying noise, louder in the bass")
    reverb_s: Range = Field((0.2, 1.2), description="time in which it decays by 60 dB")
    reverb_db: Range = Field((-24.0, -8.0), description="its energy beside that of the dry sound")
    lowpass: float = Field(0.0, ge=0, le=1, description="probability of a cut of high frequencies, as a codec makes")
    lowpass_hz: Range = (6000.0, 16000.0)
    quantise: float = Field(0.0, ge=0, le=1, description="probability of coarse steps")
    quantise_bits: tuple[int, int] = (8, 12)
    codec: float = Field(0.0, ge=0, le=1, description="probability of a round trip through a lossy codec (processor)")
    codecs: tuple[Literal["mp3", "aac"], ...] = Field(("mp3", "aac"), min_length=1)
    codec_kbps: tuple[int, int] = Field((48, 160), description="bit rate of a stereo sound")

    @model_validator(mode="after")
    def _check(self) -> AugmentationRecipe:
        for key in ("distortion_db", "reverb_s", "reverb_db", "lowpass_hz", "quantise_bits", "codec_kbps"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"augmentation.{key} must rise from lowest to highest, got [{low}, {high}]")
        for key in ("reverb_s", "lowpass_hz"):
            if getattr(self, key)[0] <= 0:
                raise ValueError(f"augmentation.{key} must be above 0, got {list(getattr(self, key))}")
        if not 2 <= self.quantise_bits[0] <= self.quantise_bits[1] <= 24:
            raise ValueError(f"augmentation.quantise_bits must be 2 to 24, got {list(self.quantise_bits)}")
        if not 32 <= self.codec_kbps[0] <= self.codec_kbps[1] <= 320:
            raise ValueError(f"augmentation.codec_kbps must be 32 to 320, got {list(self.codec_kbps)}")
        return self

    @property
    def active(self) -> bool:
        """Whether anything can happen at all."""
        names = ("polarity", "speed", "pitch", "tempo", "distortion", "eq", "reverb", "lowpass", "quantise", "codec")
        return any(getattr(self, name) > 0 for name in names)
