"""Regularisers of a game, as pure functions, all to be added to a loss that is minimised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TINY = 1e-12


def squared_gradients(score: Tensor, at: Tensor) -> Tensor:
    """Squared norm of each item's gradient, `[P]`.

    Args:
        score: One number an item, `[P]`, with a graph.
        at: What it was computed from, `[P, ...]`.
    """
    (gradient,) = torch.autograd.grad(score.sum(), at, create_graph=True)
    return gradient.float().flatten(1).square().sum(1)


def zero_centred_penalty(score: Tensor, at: Tensor, gamma: float) -> Tensor:
    """R1 (at real examples) or R2 (at generated ones): `gamma / 2 * E |grad C|^2`.

    Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018, eq. 9 and 10. Taken every k
    steps and k times as large it is *lazy* (Karras et al., CVPR 2020, section 3.1).
    """
    return 0.5 * gamma * squared_gradients(score, at).mean()


def one_centred_penalty(score: Tensor, at: Tensor, weight: float) -> Tensor:
    """Gradient penalty: `lambda * E (|grad C| - 1)^2`, at points between real and generated ones.

    Gulrajani et al., "Improved training of Wasserstein GANs", NIPS 2017, eq. 3.
    """
    norm = (squared_gradients(score, at) + TINY).sqrt()
    return weight * (norm - 1.0).square().mean()


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A random point on the line between each real and generated example, a leaf that gradients reach."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    return torch.lerp(real.detach(), fake.detach(), share).requires_grad_(True)


def clip_weights(network: nn.Module, bound: float) -> None:
    """Clamp all weights to [-bound, bound] in place (Arjovsky et al., ICML 2017, algorithm 1)."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.clamp_(-bound, bound)


def instance_noise(values: Tensor, scale: Tensor | float, non_negative: bool) -> Tensor:
    """Add normal noise to what is judged, so that real and generated ones overlap.

    Sonderby et al., ICLR 2017, section 4; Arjovsky and Bottou, ICLR 2017, section 3.

    Args:
        values: `[P, ...]`.
        scale: Deviation, a number or one an item `[P]`.
        non_negative: Whether values are magnitudes, which stay so by taking absolute values.
    """
    if isinstance(scale, Tensor):
        scale = scale.reshape(-1, *[1] * (values.ndim - 1))
    noisy = values + torch.randn_like(values) * scale
    return noisy.abs() if non_negative else noisy


def instance_noise_at(step: int, deviation: float, steps: int) -> float:
    """The deviation at a step: it falls linearly to zero over `steps`, or stays where that is 0."""
    return deviation * max(0.0, 1.0 - step / steps) if steps else deviation


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor], paired: bool) -> Tensor:
    """Distance of a discriminator's hidden features, the mean over its layers.

    Pairs: `mean |h(x) - h(G)| / mean |h(x)|` (Larsen et al., ICML 2016, in the form of EnCodec). Otherwise, between the
    means over the batch: `mean (E h(x) - E h(G))^2 / mean h(x)^2` (Salimans et al., NIPS 2016, section 3.1).
    """
    terms = [_paired(x.detach(), g) if paired else _of_means(x.detach(), g) for x, g in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def _paired(real: Tensor, fake: Tensor) -> Tensor:
    return (real - fake).abs().float().mean() / real.abs().float().mean().clamp_min(TINY)


def _of_means(real: Tensor, fake: Tensor) -> Tensor:
    return (real.float().mean(0) - fake.float().mean(0)).square().mean() / real.float().square().mean().clamp_min(TINY)


def moment_distance(real: Tensor, fake: Tensor, label: Tensor | None) -> Tensor:
    """Distance of mean and deviation between real and generated examples, relative to the deviation of the real ones.

    For points `[P, D]` one mean and deviation a dimension, over the batch; for anything with a time axis `[P, ..., T]`
    over batch and time. Stems are told apart by their label. The means are over a batch, so the distance of a batch is
    no sum over its examples.
    """
    labels = torch.zeros(len(real), device=real.device) if label is None else label
    terms = [_moments(real[labels == stem].detach(), fake[labels == stem]) for stem in torch.unique(labels)]
    return torch.stack(terms).mean()


def _moments(real: Tensor, fake: Tensor) -> Tensor:
    axes = (0, -1) if real.ndim > 2 else (0,)
    wanted, got = (
        torch.stack([x.mean(axes), (x.var(axes, correction=0) + TINY).sqrt()]) for x in (real.float(), fake.float())
    )
    return (wanted - got).abs().mean() / (wanted[1].mean() + 1e-6)
