"""GAN losses as pure functions.

One sign convention: a higher score means *more real*, and all losses are minimised. `r` are the scores C(x) of real
examples and `f` the scores C(G) of generated ones, of any shape, without an activation unless a loss says so; E is the
mean over all of them; sigma is the logistic function. `softplus(-s) = -log(sigma(s))` is how logarithms of the
logistic function are taken here, exact far from zero.

What each loss expects of the discriminator's output stands in `sepgan.recipe.adversary.GAN_LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


class Constants(NamedTuple):
    """Numbers of the recipe that some losses use."""

    real_label: float = 1.0  # 1 minus the one-sided smoothing (Salimans et al., NIPS 2016)
    margin: float = 1.0


class GanLoss(NamedTuple):
    """Both sides of a game."""

    discriminator: Callable[[Tensor, Tensor, Constants], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    compares: bool = False  # whether the generator's side needs the scores of real examples


def cross_entropy_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Binary cross-entropy: `-E log sigma(r) - E log(1 - sigma(f))`.

    Goodfellow et al., NIPS 2014, eq. 1. With smoothing, real examples have the label y < 1:
    `-E[y log sigma(r) + (1 - y) log(1 - sigma(r))]`.
    """
    label = constants.real_label
    return (label * softplus(-real) + (1 - label) * softplus(real)).mean() + softplus(fake).mean()


def minimax_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Saturating: `E log(1 - sigma(f))`, the same number the discriminator raises (Goodfellow et al. 2014, eq. 1).

    Its gradient `-sigma(f)` vanishes exactly where help is needed, where the discriminator is sure. Also printed as
    "vanilla", "original" or "zero-sum" GAN.
    """
    return -softplus(fake).mean()


def non_saturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Non-saturating: `-E log sigma(f)` (Goodfellow et al. 2014, section 3). Also printed as "BCE" or "log D trick".

    >>> float(non_saturating_generator(torch.zeros(1), torch.zeros(1)))  # log 2
    0.6931471824645996
    """
    return softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Least squares: `(E(r - 1)^2 + E f^2) / 2` (Mao et al., ICCV 2017, eq. 9 with a=0, b=1). Also "LSGAN".

    >>> float(least_squares_discriminator(torch.ones(2), torch.zeros(2), Constants()))
    0.0
    """
    return 0.5 * ((real - constants.real_label).square().mean() + fake.square().mean())


def least_squares_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Least squares: `E(f - 1)^2 / 2` (Mao et al., ICCV 2017, eq. 9 with c=1).

    >>> float(least_squares_generator(torch.ones(2), torch.zeros(2)))
    0.5
    """
    return 0.5 * (fake - 1.0).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Hinge: `E max(0, 1 - r) + E max(0, 1 + f)` (Lim and Ye 2017; Miyato et al., ICLR 2018, eq. 16)."""
    return relu(1.0 - real).mean() + relu(1.0 + fake).mean()


def critic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """The generator's side of hinge, margin and Wasserstein losses: `-E f`."""
    return -fake.mean()


def margin_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Margin of energies: `E e(x) + E max(0, m - e(G))` with the energy `e = -score >= 0`.

    Zhao et al., "Energy-based GAN", ICLR 2017, eq. 1 and 2. Needs the activation `energy`, or the first term has no
    lower bound. Also printed as "EBGAN"; some call the hinge loss a margin loss too.
    """
    return -real.mean() + relu(constants.margin + fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Wasserstein: `E f - E r`, minus an estimate of the earth mover's distance (Arjovsky et al., ICML 2017, eq. 2).

    True only of a critic that is held Lipschitz: by clipped weights, as there, by a gradient penalty ("WGAN-GP",
    Gulrajani et al., NIPS 2017, eq. 3; such critics are also called "Lipschitz GAN", though Zhou et al., ICML 2019, use
    that name for a wider family), or by spectral normalisation.
    """
    return fake.mean() - real.mean()


def relativistic_average_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Relativistic average: `-E log sigma(r - E f) - E log sigma(E r - f)`.

    Jolicoeur-Martineau, ICLR 2019, section 4 ("RaSGAN"; some tutorials print "relaxed"). Means over the batch enter
    inside the logarithm, so the loss of a batch is no sum over its examples.
    """
    return softplus(-(real - fake.mean())).mean() + softplus(fake - real.mean()).mean()


def relativistic_average_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Relativistic average with both sides exchanged: `-E log sigma(f - E r) - E log sigma(E f - r)`."""
    return softplus(-(fake - real.mean())).mean() + softplus(real - fake.mean()).mean()


def relativistic_pairing_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """Relativistic pairing: `-E log sigma(r - f)` over pairs, with as many real as generated examples.

    Jolicoeur-Martineau, ICLR 2019, section 4 ("RSGAN", "RpGAN"); with R1 and R2 that of "R3GAN" (Huang et al., NeurIPS
    2024, section 2).
    """
    return softplus(fake - real).mean()


def relativistic_pairing_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Relativistic pairing with both sides exchanged: `-E log sigma(f - r)`."""
    return softplus(real - fake).mean()


def textbook_discriminator(real: Tensor, fake: Tensor, constants: Constants) -> Tensor:
    """A pair often printed in tutorials: `-E log(sigma(r) + 1)/2 - E log(sigma(-f) + 1)/2`.

    What is wrong with it: the 1 stands inside the logarithm, where `log(1 - sigma(f))` was meant. A logarithm of
    something between 1 and 2 lies between 0 and log 2, so being sure and wrong costs no more than log(2)/2, and the
    gradient, `sigma' / (2 (1 + sigma))`, at most 0.086, vanishes on *both* sides: a discriminator that is sure and
    wrong never learns, and neither does a generator that is found out.
    """
    return -0.5 * torch.log(torch.sigmoid(real) + 1).mean() - 0.5 * torch.log(torch.sigmoid(-fake) + 1).mean()


def textbook_generator(real: Tensor, fake: Tensor) -> Tensor:
    """The other side as printed: `-E log(sigma(f) + 1)/2 - E log(sigma(-r) + 1)/2`; no gradient comes from `r`."""
    return -0.5 * torch.log(torch.sigmoid(fake) + 1).mean() - 0.5 * torch.log(torch.sigmoid(-real) + 1).mean()


LOSSES: dict[str, GanLoss] = {
    "minimax": GanLoss(cross_entropy_discriminator, minimax_generator),
    "non_saturating": GanLoss(cross_entropy_discriminator, non_saturating_generator),
    "least_squares": GanLoss(least_squares_discriminator, least_squares_generator),
    "hinge": GanLoss(hinge_discriminator, critic_generator),
    "margin": GanLoss(margin_discriminator, critic_generator),
    "wasserstein": GanLoss(wasserstein_discriminator, critic_generator),
    "wasserstein_gp": GanLoss(wasserstein_discriminator, critic_generator),
    "relativistic_average": GanLoss(relativistic_average_discriminator, relativistic_average_generator, compares=True),
    "relativistic_pairing": GanLoss(relativistic_pairing_discriminator, relativistic_pairing_generator, compares=True),
    "textbook": GanLoss(textbook_discriminator, textbook_generator, compares=True),
}
