"""Encoder weights passed from a discriminator to the generator.

A claim of some tutorials is that a generator gains from the encoder of its discriminator, which has learnt what real
stems look like. Here it can be tested: not at all, copied every so many steps with the generator training on in
between, or tied, where the discriminator alone trains the weights and the generator follows at every step. Weights that
both train with opposed losses are not offered: the two gradients would pull at the same numbers.
"""

from __future__ import annotations

import torch
from torch import nn

from sepgan.errors import RecipeError


def pass_encoder(discriminator: nn.Module, generator: nn.Module) -> None:
    """Copy the discriminator's encoder into the generator's."""
    with torch.no_grad():
        _encoder(generator).load_state_dict(_encoder(discriminator).state_dict())


def tie_encoder(discriminator: nn.Module, generator: nn.Module) -> None:
    """Let the generator start from the discriminator's encoder, and take those weights out of its training."""
    pass_encoder(discriminator, generator)
    _encoder(generator).requires_grad_(False)


def _encoder(network: nn.Module) -> nn.Module:
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise RecipeError(
            f"adversary.share_encoder: {type(network).__name__} has no encoder; use generator.kind 'classic'"
        )
    return encoder
