"""SI-SIR and SI-SAR: what of the error of a scaled source is interference, and what no source explains.

Where SI-SDR asks how much of an estimate is not the scaled source, these two say why:

    e = a s + e_interference + e_artifacts,        a = <e, s> / |s|^2
    P e = a s + e_interference                     orthogonal projection on the span of all sources
    SI-SIR = |a s|^2 / |e_interference|^2          SI-SAR = |a s|^2 / |e_artifacts|^2        (10 log10, dB)

so that 10^(-SI-SDR/10) = 10^(-SI-SIR/10) + 10^(-SI-SAR/10). There are no filters: the span holds one scale for each
source, all its channels together.

Source: Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?", ICASSP 2019, equations 5 to 7.
"""

import torch
from torch import Tensor

from sepgan.evaluation.metrics import MAXIMUM_DB, MINIMUM_DB, blocks, check_shapes, decibels, energy

_DEPENDENT = 1e-10  # of the largest eigenvalue, below which sources count as linearly dependent


def si_sir_and_sar(references: Tensor, estimates: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scale-invariant ratios to interference and to artifacts, of the whole track. The mean of channels is removed.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.
        others: Further sources of the mixture [..., S', C, T] that can interfere but are not scored.

    Returns:
        SI-SIR and SI-SAR, each [..., S] in dB, between `MINIMUM_DB` and `MAXIMUM_DB`. A silent reference is NaN; a
        silent estimate of another scores `MINIMUM_DB`, as in SI-SDR.

    Raises:
        ValueError: Shapes differ or the signal is empty.

    >>> wave = torch.eye(4, dtype=torch.float64)[:2, None] - 0.25  # two sources
    >>> [round(float(ratio[0]), 3) for ratio in si_sir_and_sar(wave, wave + 0.1 * wave.flip(0))]
    [20.217, 100.0]
    """
    check_shapes(references, estimates)
    sources = references if others is None else torch.cat([references, others], -3)
    count, samples = references.shape[-3], references.shape[-1]
    sums, estimate_sums = sources.double().sum(-1), estimates.double().sum(-1)  # [..., K, C]
    gram = -(sums @ sums.mT) / samples  # [..., K, K]
    products = -(sums @ estimate_sums.mT) / samples  # [..., K, S]
    for true, estimate in blocks(sources, estimates):
        flat = true.flatten(-2)
        gram += flat @ flat.mT
        products += flat @ estimate.double().flatten(-2).mT
    power = gram.diagonal(dim1=-2, dim2=-1)
    target = products.diagonal(dim1=-2, dim2=-1) / power[..., :count]  # [..., S]
    # Sources of unit energy, so that a soft one is not taken for a dependent one; silent ones explain nothing.
    unit = torch.where(power > 0, power, 1).rsqrt() * (power > 0)
    inverse = torch.linalg.pinv(unit[..., None] * gram * unit[..., None, :], rtol=_DEPENDENT, hermitian=True)
    weights = unit[..., None] * (inverse @ (unit[..., None] * products))  # [..., K, S]
    offset = (weights.mT @ sums - estimate_sums) / samples  # [..., S, C]
    artifacts = torch.zeros_like(target)
    # A second pass, because |e|^2 - |P e|^2 loses all digits for a good estimate.
    for true, estimate in blocks(sources, estimates):
        explained = (weights.mT @ true.flatten(-2)).unflatten(-1, true.shape[-2:])
        artifacts += energy(explained - estimate - offset[..., None])
    index = torch.arange(count, device=weights.device)
    weights[..., index, index] -= target
    interference = (weights * (gram @ weights)).sum(-2).clamp(min=0)
    signal = target.square() * power[..., :count]
    ratios = []
    for error in (interference, artifacts):
        ratio = decibels(signal, error).masked_fill((estimates == 0).flatten(-2).all(-1), MINIMUM_DB)
        ratio = ratio.clamp(MINIMUM_DB, MAXIMUM_DB)
        ratios.append(ratio.masked_fill(~(power[..., :count] > 0), torch.nan))
    return ratios[0], ratios[1]
