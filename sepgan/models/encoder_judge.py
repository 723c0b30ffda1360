"""A discriminator whose trunk has the shape of the classic U-Net's encoder, so that weights can pass between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sepgan.models.classic import LOG_FLOOR, Down
from sepgan.models.judgement import ACTIVATIONS, Judgement, Surroundings, normed
from sepgan.recipe.adversary import DiscriminatorRecipe


class EncoderDiscriminator(nn.Module):
    """Judge stems with the encoder of the classic U-Net and a head of its own.

    The generator's encoder sees the mixture alone, so this one sees the stem alone: it is unconditional and not told
    which stem it looks at. It has batch normalisation, as that encoder has.

    Args:
        config: Spectral normalisation (of the head) and activation; the widths are the generator's.
        around: Channels and the generator's recipe.

    Shape:
        stem `[P, C, F, N]` -> one scale of scores `[P, 1, F', N']`; mixture and label are not looked at.
    """

    def __init__(self, config: DiscriminatorRecipe, around: Surroundings) -> None:
        super().__init__()
        assert around.generator is not None, "the encoder's shape comes from the generator"
        self.config = config
        widths = around.generator.widths
        self.unused = around.generator.noise.dimensions  # channels where the generator's encoder sees noise
        sizes_in = (around.channels + 1 + self.unused, *widths[:-1])
        self.encoder = nn.ModuleList(
            Down(size_in, size_out, around.generator) for size_in, size_out in zip(sizes_in, widths, strict=True)
        )
        self.head = normed(nn.Conv2d(widths[-1], 1, 3, padding=1), config.spectral_norm)

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor | None) -> Judgement:
        """Score each patch of `stem`."""
        logs = torch.log(stem + LOG_FLOOR)
        ramp = torch.linspace(-1.0, 1.0, stem.shape[2], device=stem.device, dtype=stem.dtype)
        ramp = ramp[:, None].expand(len(stem), 1, -1, stem.shape[3])
        x = torch.cat([logs, ramp, *[torch.zeros_like(ramp)] * self.unused], dim=1)
        features = []
        for down in self.encoder:
            x = down(x)
            features.append(x)
        return Judgement((ACTIVATIONS[self.config.activation](self.head(x)),), tuple(features))
