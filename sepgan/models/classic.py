"""The classic spectrogram-mask U-Net.

Jansson et al., "Singing voice separation with deep U-Net convolutional networks" (ISMIR 2017), in the shape that
Spleeter made popular (Hennequin et al., JOSS 2020), with two changes: one network serves all stems through a softmax,
so the masks sum to one, and it sees logarithms of magnitudes with one normalisation a band, so that level and timbre
are learnt sooner.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.models.noise import mean_noise, sample_noise
from sepgan.recipe import GeneratorRecipe

LOG_FLOOR = 1e-3  # added to magnitudes before the logarithm: about -66 dB below a full-scale 4096-point Hann partial
LEAK = 0.2  # of the encoder's LeakyReLU, as in Jansson et al.


class ClassicUNet(nn.Module):
    """Magnitudes to one soft mask per stem.

    Args:
        config: Widths of the levels, kernel, strided or pooled descent, dropout.
        stems: Number of masks, S.
        bands: Number of frequency bands F that come in.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`, masks in [0, 1] that sum to 1 over S; any N.
    """

    def __init__(self, config: GeneratorRecipe, stems: int, bands: int) -> None:
        super().__init__()
        self.stems = stems
        self.channels = config.channels
        self.noise = config.noise
        seen = config.channels + 1 + config.noise.dimensions
        self.grid = 2 ** len(config.widths)
        self.normalise = nn.BatchNorm1d(bands)
        # Convolutions cannot tell low from high bands; a ramp over frequency lets them (Liu et al., CoordConv, 2018).
        self.register_buffer("position", torch.linspace(-1.0, 1.0, bands).view(1, 1, bands, 1), persistent=False)
        widths = config.widths
        sizes_in = (seen, *widths[:-1])
        self.encoder = nn.ModuleList(
            Down(size_in, size_out, config) for size_in, size_out in zip(sizes_in, widths, strict=True)
        )
        sizes_out = (*reversed(widths[:-1]), config.head_width)
        sizes_in = (widths[-1], *(2 * width for width in sizes_out[:-1]))
        self.decoder = nn.ModuleList(
            _Up(size_in, size_out, config.kernel, config.dropout if level < config.dropout_levels else 0.0)
            for level, (size_in, size_out) in enumerate(zip(sizes_in, sizes_out, strict=True))
        )
        self.head = nn.Conv2d(config.head_width + seen, stems * config.channels, 3, padding=1)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for magnitudes `[B, C, F, N]`."""
        batch, channels, bands, frames = magnitudes.shape
        features = self._features(magnitudes)
        x = functional.pad(features, (0, -frames % self.grid, 0, -bands % self.grid))
        x = x.contiguous(memory_format=torch.channels_last)
        padded = x
        skips: list[Tensor] = []
        for down in self.encoder:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.decoder:
            x = up(x)
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
        logits = self.head(torch.cat([x, padded], dim=1))[..., :bands, :frames]
        return torch.softmax(logits.reshape(batch, self.stems, channels, bands, frames), dim=1)

    def _features(self, magnitudes: Tensor) -> Tensor:
        """Normalised log magnitudes, the ramp over frequency, noise if any: `[B, C, F, N] -> [B, C + 1 + z, F, N]`."""
        batch, channels, bands, frames = magnitudes.shape
        logs = torch.log(magnitudes + LOG_FLOOR)
        # One mean and deviation a band, shared by channels: the band axis stands where BatchNorm1d wants its channels.
        flat = logs.transpose(1, 2).reshape(batch, bands, channels * frames)
        normalised = self.normalise(flat).reshape(batch, bands, channels, frames).transpose(1, 2)
        position = self.get_buffer("position").to(normalised.dtype).expand(batch, 1, bands, frames)
        if self.noise.dimensions == 0:
            return torch.cat([normalised, position], dim=1)
        shape = (batch, self.noise.dimensions, bands, frames)
        # A song must always give the same stems: the mean stands for the noise once training is over.
        noise = sample_noise(self.noise, shape) if self.training else torch.full(shape, mean_noise(self.noise))
        return torch.cat([normalised, position, noise.to(normalised)], dim=1)


class Down(nn.Sequential):
    """Halve both axes: a strided convolution, or a convolution and a maximum over 2 x 2."""

    def __init__(self, size_in: int, size_out: int, config: GeneratorRecipe) -> None:
        stride = 2 if config.downsample == "stride" else 1
        layers: list[nn.Module] = [
            nn.Conv2d(size_in, size_out, config.kernel, stride=stride, padding=config.kernel // 2, bias=False),
            nn.BatchNorm2d(size_out),
            nn.LeakyReLU(LEAK, inplace=True),
        ]
        if config.downsample == "pool":
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers)


class _Up(nn.Sequential):
    """Double both axes by a transposed convolution."""

    def __init__(self, size_in: int, size_out: int, kernel: int, dropout: float) -> None:
        super().__init__(
            nn.ConvTranspose2d(size_in, size_out, kernel, stride=2, padding=kernel // 2, output_padding=1, bias=False),
            nn.BatchNorm2d(size_out),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
