"""Features side by side in one matrix whose columns have names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sepgan.errors import RecipeError
from sepgan.features.framing import Framing
from sepgan.features.measures import cepstrum, deltas, log_mel, mfcc, pre_emphasis, spectral_contrast
from sepgan.frontend import mel_weights
from sepgan.recipe import FeatureRecipe


@dataclass(frozen=True)
class Features:
    """A matrix `[..., C, N, K]` and what its K columns are.

    Attributes:
        values: The matrix.
        names: Of the columns, such as `log_mel_0`, `mfcc_12`, `delta2_mfcc_0`.
        rate_hz: Frames per second.
    """

    values: Tensor
    names: tuple[str, ...]
    rate_hz: float

    def column(self, name: str) -> Tensor:
        """Return one column, `[..., C, N]`.

        Raises:
            KeyError: There is none of this name.
        """
        if name not in self.names:
            raise KeyError(f"no feature '{name}': there are {', '.join(self.names)}")
        return self.values[..., self.names.index(name)]

    def group(self, kind: str) -> Tensor:
        """Return all columns of one kind, such as `mfcc`, `[..., C, N, k]`."""
        columns = [index for index, name in enumerate(self.names) if name.rpartition("_")[0] == kind]
        return self.values[..., columns]


class FeatureMatrix(nn.Module):
    """Measures what a recipe asks for, of waveforms of any number of channels.

    Args:
        config: Which features.

    Shape:
        `forward`: `[..., C, T] -> [..., C, N, K]`, `N = 1 + ceil(T / hop_length)`, `K = len(names)`.

    Raises:
        RecipeError: There are more mel bands than the bins of a frame can tell apart.
    """

    weights: Tensor

    def __init__(self, config: FeatureRecipe) -> None:
        super().__init__()
        self.config = config
        self.framing = Framing(config.framing)
        try:
            weights = mel_weights(config.sample_rate, config.framing.frame_length, config.mel_bands)
        except ValueError as error:
            raise RecipeError(f"features.mel_bands: {error}; lower it or raise framing.frame_length") from error
        self.register_buffer("weights", weights, persistent=False)
        self.names = _names(config)

    def forward(self, waveform: Tensor) -> Tensor:
        """Measure a waveform."""
        emphasised = pre_emphasis(waveform, self.config.pre_emphasis) if self.config.pre_emphasis else waveform
        return self.measure(self.framing.spectra(emphasised).abs())

    def measure(self, magnitude: Tensor) -> Tensor:
        """Measure magnitudes `[..., C, N, F]`, such as a feature store holds: `[..., C, N, K]`."""
        config = self.config
        levels_db = log_mel(magnitude.square(), self.weights)
        columns = [levels_db] if config.log_mel else []
        if config.cepstrum:
            columns.append(cepstrum(magnitude, config.cepstrum))
        if config.mfcc:
            coefficients = mfcc(levels_db, config.mfcc)
            columns += [coefficients, *(deltas(coefficients, order) for order in range(1, config.deltas + 1))]
        if config.contrast:
            columns.append(spectral_contrast(magnitude, config.sample_rate, config.contrast))
        return torch.cat(columns, -1)

    def features(self, waveform: Tensor) -> Features:
        """Measure a waveform and name the columns."""
        rate_hz = self.config.sample_rate / self.config.framing.hop_length
        return Features(self(waveform), self.names, rate_hz)


def _names(config: FeatureRecipe) -> tuple[str, ...]:
    counts = {
        "log_mel": config.mel_bands * config.log_mel,
        "cepstrum": config.cepstrum,
        "mfcc": config.mfcc,
        "delta_mfcc": config.mfcc * (config.deltas >= 1),
        "delta2_mfcc": config.mfcc * (config.deltas >= 2),
        "contrast": config.contrast and config.contrast + 1,
    }
    return tuple(f"{kind}_{index}" for kind, count in counts.items() for index in range(count))
