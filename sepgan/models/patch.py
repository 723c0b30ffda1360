"""A conditional patch discriminator on magnitudes.

Isola et al., "Image-to-image translation with conditional adversarial networks" (CVPR 2017): many small judgements over
patches of time and frequency instead of one over the whole. It sees the stem together with the mixture, so a stem
must be plausible for this mixture and not merely plausible.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sepgan.recipe import AdversaryRecipe

LEAK = 0.2
KERNEL = 4


class PatchDiscriminator(nn.Module):
    """Judge stems, given their mixture, patch by patch.

    One network serves all stems; which one it looks at is told by a learnt bias after the first convolution. Spectral
    normalisation (Miyato et al., 2018) keeps it Lipschitz, and no batch statistics tie the judgements of a batch
    together.

    Args:
        config: Widths of the levels and the compression of magnitudes.
        stems: Number of different stems, S.
        channels: Audio channels C.

    Shape:
        mixture `[P, C, F, N]`, stem `[P, C, F, N]`, label `[P]` (0 .. S-1) -> scores `[P, 1, F', N']`, without bounds.
    """

    def __init__(self, config: AdversaryRecipe, stems: int, channels: int) -> None:
        super().__init__()
        self.power = config.power
        widths = config.widths
        self.first = spectral_norm(nn.Conv2d(2 * channels, widths[0], KERNEL, stride=2, padding=1))
        self.label = nn.Embedding(stems, widths[0])
        layers: list[nn.Module] = [nn.LeakyReLU(LEAK)]
        for size_in, size_out in pairwise(widths):
            layers += [
                spectral_norm(nn.Conv2d(size_in, size_out, KERNEL, stride=2, padding=1)),
                nn.LeakyReLU(LEAK),
            ]
        layers.append(spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
        self.rest = nn.Sequential(*layers)

    def forward(self, mixture: Tensor, stem: Tensor, label: Tensor) -> Tensor:
        """Score each patch of `stem` given `mixture`; higher means more real."""
        pair = torch.cat([self._compress(stem), self._compress(mixture)], dim=1)
        hidden = self.first(pair) + self.label(label)[:, :, None, None]
        scores: Tensor = self.rest(hidden)
        return scores

    def _compress(self, magnitudes: Tensor) -> Tensor:
        # The small constant bounds the slope of the power at zero, where its gradient is infinite.
        return (magnitudes + 1e-4) ** self.power
