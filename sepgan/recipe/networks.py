"""The front-end and the generator of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sepgan.recipe.noise import NoiseRecipe
from sepgan.recipe.section import Section

BANDSPLIT = {"widths": (32, 64, 256), "dropout": 0.0}  # where a recipe says nothing


class FrontendRecipe(Section):
    """The short-time Fourier transform and the view of it that the networks see."""

    sample_rate: int = Field(44100, ge=8000, description="Hz")
    n_fft: int = Field(4096, ge=64, description="93 ms at 44.1 kHz")
    hop_length: int = Field(1024, ge=16)
    mel_bands: int | None = Field(None, ge=16, description="network sees mel bands; masks return to linear bins")
    bins: int | None = Field(None, ge=16, description="network sees the lowest bins; above, the mean of its top masks")

    @model_validator(mode="after")
    def _check(self) -> FrontendRecipe:
        if self.mel_bands and self.bins:
            raise ValueError("frontend.mel_bands and frontend.bins exclude each other: set one of them to null")
        if self.n_fft % 2:
            raise ValueError(f"frontend.n_fft must be even, got {self.n_fft}")
        if self.hop_length * 3 > self.n_fft:
            # With less overlap the last samples of a song lie on the foot of a single window.
            raise ValueError("frontend.hop_length must be at most n_fft / 3, or the inverse is not exact")
        if self.bins and self.bins > self.n_fft // 2 + 1:
            raise ValueError(f"frontend.bins must be at most n_fft / 2 + 1 = {self.n_fft // 2 + 1}")
        return self


class GeneratorRecipe(Section):
    """The network from magnitudes to masks."""

    kind: str = "classic"
    channels: int = Field(2, ge=1, le=2, description="2: stereo pairs seen together; other inputs channel by channel")
    widths: tuple[int, ...] = Field((16, 32, 64, 128, 256, 512), min_length=1, description="channels a level")
    kernel: int = Field(5, ge=3)
    downsample: Literal["stride", "pool"] = "stride"
    dropout: float = Field(0.5, ge=0, lt=1)
    dropout_levels: int = Field(3, ge=0, description="decoder levels with dropout, deepest first")
    head_width: int = Field(16, ge=4, description="channels of the last decoder level")
    noise: NoiseRecipe = Field(NoiseRecipe(), description="classic: random channels beside the mixture, in training")
    bottleneck: int = Field(144, ge=1, description="branched: channels below the deepest level")
    full_resolution: bool = Field(False, description="branched: a last level of head_width channels, slower by half")
    branches: tuple[int, ...] = Field(
        (), description="branched: stems read by each decoder, in the recipe's order; the first may have none: the rest"
    )
    nested: bool = Field(False, description="branched: stems of one branch share what stems with a branch each leave")
    subbands: int = Field(4, ge=1, description="bandsplit: equal parts of the spectrum that become channels")
    strides: tuple[int, ...] = Field((4, 8), description="bandsplit: shortening of frequency from level to level")
    dual_path: int = Field(3, ge=0, description="bandsplit: layers over frequency and time at the deepest level")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """A kind may have defaults of its own."""
        if isinstance(given, Mapping) and given.get("kind") == "bandsplit":
            return BANDSPLIT | dict(given)
        return given

    @model_validator(mode="after")
    def _check(self) -> GeneratorRecipe:
        if self.kernel % 2 == 0:
            raise ValueError(f"generator.kernel must be odd, got {self.kernel}")
        if min(self.widths) < 1:
            raise ValueError(f"generator.widths must be at least 1 each, got {list(self.widths)}")
        if self.noise.dimensions and self.kind != "classic":
            raise ValueError(
                f"generator.noise needs generator.kind 'classic', got '{self.kind}': set noise.dimensions to 0"
            )
        if min(self.strides, default=1) < 1:
            raise ValueError(f"generator.strides must be at least 1 each, got {list(self.strides)}")
        if min(self.branches, default=1) < 1:
            raise ValueError(f"generator.branches must be at least 1 each, got {list(self.branches)}")
        return self
