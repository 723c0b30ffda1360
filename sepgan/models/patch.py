"""Patch discriminators on magnitudes: of one stem, or of all stems together.

Isola et al., "Image-to-image translation with conditional adversarial networks" (CVPR 2017): many small judgements over
patches of time and frequency instead of one over the whole. Given the mixture too, a stem must be plausible for this
mixture and not merely plausible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sepgan.models.judgement import ACTIVATIONS, LEAK, Judgement, Surroundings, compress, normed, run_layers
from sepgan.recipe.adversary import DiscriminatorRecipe

KERNEL = 4


class PatchDiscriminator(nn.Module):
    """Judge stems patch by patch.

    One network may serve all stems; which one it looks at is then told by a learnt bias after the first convolution.
    Spectral normalisation keeps it Lipschitz, and no batch statistics tie the judgements of a batch together.

    Args:
        config: Widths of the levels, how many of the last keep the resolution, compression, condition, labels.
        around: Number of stems S and of channels C.

    Shape:
        mixture `[P, C, F, N]`, stem `[P, C, F, N]`, label `[P]` (0 .. S-1) -> one scale of scores `[P, 1, F', N']`.
    """

    def __init__(self, config: DiscriminatorRecipe, around: Surroundings) -> None:
        super().__init__()
        self.config = config
        self.label = nn.Embedding(around.stems, config.widths[0]) if config.labels == "embedding" else None
        seen = around.channels * (2 if config.conditional else 1)
        self.first, self.rest = _patch_layers(config, seen)

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor) -> Judgement:
        """Score each patch of `stem` given `mixture`."""
        x = compress(stem, self.config.power)
        if self.config.conditional:
            assert mixture is not None, "a conditional discriminator sees the mixture"
            x = torch.cat([x, compress(mixture, self.config.power)], dim=1)
        x = self.first(x)
        if self.label is not None:
            x = x + self.label(label)[:, :, None, None]
        scores, features = run_layers(list(self.rest), x)
        return Judgement((ACTIVATIONS[self.config.activation](scores),), features)


class ContextDiscriminator(nn.Module):
    """Judge all stems of a mixture together, patch by patch.

    Postolache et al., "Adversarial permutation invariant training for universal sound separation" (ICASSP 2023): the
    generated side holds some real stems, so that what counts is how the stems fit each other. A stem's place among the
    channels tells which one it is.

    Args:
        config: As for the patch discriminator; labels are not needed.
        around: Number of stems S and of channels C.

    Shape:
        mixture `[P, C, F, N]`, stem `[P, S, C, F, N]` -> one scale of scores `[P, 1, F', N']`.
    """

    def __init__(self, config: DiscriminatorRecipe, around: Surroundings) -> None:
        super().__init__()
        self.config = config
        self.first, self.rest = _patch_layers(config, around.channels * (around.stems + int(config.conditional)))

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor | None) -> Judgement:
        """Score each patch of all stems given `mixture`."""
        x = compress(stem.flatten(1, 2), self.config.power)
        if self.config.conditional:
            assert mixture is not None, "a conditional discriminator sees the mixture"
            x = torch.cat([x, compress(mixture, self.config.power)], dim=1)
        scores, features = run_layers(list(self.rest), self.first(x))
        return Judgement((ACTIVATIONS[self.config.activation](scores),), features)


def _patch_layers(config: DiscriminatorRecipe, seen: int) -> tuple[nn.Module, nn.Sequential]:
    """The first convolution of a patch network, and all after it."""
    widths = config.widths
    strides = [2] * (len(widths) - config.flat_levels) + [1] * config.flat_levels
    first = normed(nn.Conv2d(seen, widths[0], KERNEL, stride=strides[0], padding=1), config.spectral_norm)
    layers: list[nn.Module] = [nn.LeakyReLU(LEAK)]
    for size_in, size_out, stride in zip(widths, widths[1:], strides[1:], strict=False):
        layers += [
            normed(nn.Conv2d(size_in, size_out, KERNEL, stride=stride, padding=1), config.spectral_norm),
            nn.LeakyReLU(LEAK),
        ]
    layers.append(normed(nn.Conv2d(widths[-1], 1, 3, padding=1), config.spectral_norm))
    return first, nn.Sequential(*layers)
