"""What is measured of a sound, frame by frame."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.section import Section


class FramingRecipe(Section):
    """How a waveform of any number of channels is cut into frames."""

    frame_length: int = Field(2048, ge=2, description="samples; 46 ms at 44.1 kHz")
    hop_length: int = Field(512, ge=1, description="samples from one frame to the next; at most half a frame")
    window: Literal["periodic", "symmetric"] = Field(
        "periodic", description="Hann window: one period of a cosine, or the same from zero to zero"
    )

    @model_validator(mode="after")
    def _check(self) -> FramingRecipe:
        if 2 * self.hop_length > self.frame_length:
            raise ValueError(
                f"hop_length must be at most half of frame_length {self.frame_length}, or frames lose what lies "
                f"between them; got {self.hop_length}"
            )
        return self


class FeatureRecipe(Section):
    """The columns of a feature matrix; those set to 0 are left out."""

    sample_rate: int = Field(44100, ge=1000, description="Hz")
    framing: FramingRecipe = FramingRecipe()
    pre_emphasis: float = Field(0.0, ge=0, lt=1, description="0.97 is usual for speech; 0 is none")
    mel_bands: int = Field(26, ge=1, description="bands of log-mel and of MFCC")
    log_mel: bool = Field(True, description="whether the bands themselves are columns")
    cepstrum: int = Field(0, ge=0, description="coefficients of the real cepstrum")
    mfcc: int = Field(13, ge=0, description="coefficients; at most as many as bands")
    deltas: int = Field(2, ge=0, le=2, description="derivatives of MFCC over time: none, first, first and second")
    contrast: int = Field(0, ge=0, le=8, description="octaves of spectral contrast from 200 Hz on (librosa)")

    @model_validator(mode="after")
    def _check(self) -> FeatureRecipe:
        if self.mfcc > self.mel_bands:
            raise ValueError(f"mfcc must be at most mel_bands ({self.mel_bands}), got {self.mfcc}")
        if self.cepstrum > self.framing.frame_length // 2 + 1:
            raise ValueError(f"cepstrum must be at most half a frame, got {self.cepstrum}")
        if self.contrast and 200 * 2**self.contrast > self.sample_rate / 2:
            raise ValueError(f"contrast: {self.contrast} octaves above 200 Hz pass half of {self.sample_rate} Hz")
        if not (self.log_mel or self.cepstrum or self.mfcc or self.contrast):
            raise ValueError("features: nothing is asked for; set log_mel, cepstrum, mfcc or contrast")
        return self
