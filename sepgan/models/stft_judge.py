"""A discriminator on complex spectra of waveforms at several resolutions.

The multi-scale STFT discriminator of EnCodec (Défossez et al., "High fidelity neural audio compression", 2022, section
3.4 and figure 2), made conditional: the same network at each scale sees real and imaginary parts, so it hears what
magnitudes alone do not show, such as smeared attacks and unsteady phase.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sepgan.models.judgement import ACTIVATIONS, LEAK, Judgement, Surroundings, normed, run_layers
from sepgan.recipe.adversary import DiscriminatorRecipe

DILATIONS = (1, 2, 4)  # in time, of the layers that halve frequency


class StftDiscriminator(nn.Module):
    """Judge waveforms by their spectra, one network a scale.

    Args:
        config: Sizes of the transforms, width (the first of `widths`), compression, condition, labels.
        around: Number of stems S and of channels C.

    Shape:
        mixture `[P, C, T]`, stem `[P, C, T]`, label `[P]` (0 .. S-1) -> one scale a transform, `[P, 1, F', N']`.
    """

    def __init__(self, config: DiscriminatorRecipe, around: Surroundings) -> None:
        super().__init__()
        self.config = config
        seen = 2 * around.channels * (2 if config.conditional else 1)
        self.scales = nn.ModuleList(_Scale(n_fft, seen, config, around.stems) for n_fft in config.n_ffts)

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor) -> Judgement:
        """Score `stem` given `mixture` at all scales."""
        if self.config.conditional:
            assert mixture is not None, "a conditional discriminator sees the mixture"
            stem = torch.cat([stem, mixture], dim=1)
        parts = [scale(stem, label) for scale in self.scales]
        features = tuple(layer for _, layers in parts for layer in layers)
        return Judgement(tuple(ACTIVATIONS[self.config.activation](scores) for scores, _ in parts), features)


class _Scale(nn.Module):
    """One resolution: waveforms `[P, C', T]` to scores `[P, 1, F', N']` and hidden features."""

    window: Tensor

    def __init__(self, n_fft: int, seen: int, config: DiscriminatorRecipe, stems: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.power = config.power
        width, spectral = config.widths[0], config.spectral_norm
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        # Kernels are (frequency, time); the axes are [P, channels, F, N].
        self.first = normed(nn.Conv2d(seen, width, (9, 3), padding=(4, 1)), spectral)
        self.label = nn.Embedding(stems, width) if config.labels == "embedding" else None
        layers: list[nn.Module] = [nn.LeakyReLU(LEAK)]
        for dilation in DILATIONS:
            padding = (4, dilation)
            conv = nn.Conv2d(width, width, (9, 3), stride=(2, 1), dilation=(1, dilation), padding=padding)
            layers += [normed(conv, spectral), nn.LeakyReLU(LEAK)]
        layers += [normed(nn.Conv2d(width, width, 3, padding=1), spectral), nn.LeakyReLU(LEAK)]
        layers.append(normed(nn.Conv2d(width, 1, 3, padding=1), spectral))
        self.rest = nn.Sequential(*layers)

    def forward(self, waveforms: Tensor, label: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        # With few channels, kernels for channels that lie together are about 1.5 times as fast on a CPU.
        x = self.first(self._spectra(waveforms).contiguous(memory_format=torch.channels_last))
        if self.label is not None:
            x = x + self.label(label)[:, :, None, None]
        return run_layers(list(self.rest), x)

    def _spectra(self, waveforms: Tensor) -> Tensor:
        """Compressed spectra `[P, 2 C', F, N]`: `X |X|^(power - 1)`, so that quiet detail counts too."""
        items, channels, samples = waveforms.shape
        spectra = torch.stft(
            waveforms.float().reshape(items * channels, samples),
            self.n_fft,
            hop_length=self.n_fft // 4,
            window=self.window,
            normalized=True,
            pad_mode="constant",
            return_complex=True,
        )
        parts = torch.view_as_real(spectra)  # real arithmetic: the modulus of a complex zero has no gradient
        level = (parts.square().sum(-1, keepdim=True) + 1e-8) ** (0.5 * (self.power - 1))
        parts = (parts * level).movedim(-1, 1)
        return parts.reshape(items, 2 * channels, *parts.shape[-2:])
