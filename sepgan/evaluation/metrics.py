"""Measures of separation in closed form: framewise, global and scale-invariant SDR, and the mean squared error.

All take `references, estimates` of shape [..., S, C, T] and return one value per item and source, ratios in dB; the
channels of a source count as one signal. They compute in float64 on the device of the references and never average over
sources or items.

What happens where the ratio alone would be undefined:

| case | result |
| --- | --- |
| silent reference (every sample exactly zero) | NaN: nothing to measure against, counted in reports; MSE is defined |
| silent estimate of an active reference | 0 dB; SI-SDR, which ignores scale, `MINIMUM_DB` |
| perfect estimate | `MAXIMUM_DB`, and better ones are shown as that; MSE 0 |
| NaN in either | NaN (`evaluate` refuses audio that is not finite) |
| shorter than one window | one frame of what there is |

Dropping only what has no reference means that a system cannot remove its hard frames by writing silence. museval does
drop those, for every source at once; `SilenceRule.MUSEVAL` does the same.
"""

from collections.abc import Iterator
from enum import Enum

import torch
from torch import Tensor

MAXIMUM_DB = 100.0  # below the rounding of 16-bit files (98 dB) nobody can tell estimates apart
MINIMUM_DB = -100.0
MDX_EPSILON = 1e-7  # energy added to both sides of the global SDR by the rules of MDX 2021 and SDX 2023

# Of all sources and channels together: copies stay in the cache, and torch does not split so few over threads, whose
# waits for each other would cost more than they save, many times more on a busy machine.
_BLOCK_SAMPLES = 1 << 15


class SilenceRule(str, Enum):
    """Which frames of a framewise metric are undefined (NaN)."""

    REFERENCE = "reference"
    """The frames of a source in which its own reference is silent."""
    MUSEVAL = "museval"
    """As museval: the frames of all sources in which any reference or estimate is silent; no cap at `MAXIMUM_DB`.

    Silent is where the channels sum to zero, so a signal in opposite phase counts as silent too.
    """


def frame_starts(samples: int, window: int, hop: int) -> range:
    """Where the frames of a signal start; samples beyond the last whole window are left out, as museval does.

    Args:
        samples: Length of the signal.
        window: Length of a frame, in samples.
        hop: Distance between frames, in samples.

    >>> list(frame_starts(25, 10, 5))
    [0, 5, 10, 15]
    >>> list(frame_starts(7, 10, 5))
    [0]
    """
    count = (samples - window + hop) // hop if window < samples else 1
    return range(0, count * hop, hop)


def framewise_sdr(
    references: Tensor,
    estimates: Tensor,
    window: int,
    hop: int | None = None,
    *,
    silence: SilenceRule = SilenceRule.REFERENCE,
) -> Tensor:
    """Signal-to-distortion ratio of each frame, `10 log10(|s|^2 / |s - e|^2)` in dB: the SDR of BSSEval v4 (images).

    In BSSEval v4 the filters of the decomposition cancel in the SDR, so that it is this plain ratio. The median over
    frames of 1 s, then over tracks, is the number that tables of MUSDB18 and SiSEC 2018 show ("cSDR").

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.
        window: Samples per frame; one second in published tables.
        hop: Samples between frames; `window` when None.
        silence: Which frames are undefined.

    Returns:
        [..., S, K] in dB for K frames.

    Raises:
        ValueError: Shapes differ or the signal is empty.

    Source: Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.

    >>> references = torch.ones(1, 1, 8)
    >>> framewise_sdr(references, 0.9 * references, window=4).round(decimals=3)
    tensor([[20., 20.]], dtype=torch.float64)
    """
    check_shapes(references, estimates)
    hop = window if hop is None else hop
    frames = []
    for start in frame_starts(references.shape[-1], window, hop):
        true, estimate = (signal[..., start : start + window] for signal in (references, estimates))
        signal, distortion = _zeros(references), _zeros(references)
        for true_block, estimate_block in blocks(true, estimate):
            signal += energy(true_block)
            distortion += energy(true_block - estimate_block)
        ratio = decibels(signal, distortion)
        if silence is SilenceRule.MUSEVAL:
            undefined = ((true.sum(-2) == 0).all(-1) | (estimate.sum(-2) == 0).all(-1)).any(-1, keepdim=True)
        else:
            undefined = signal == 0
            ratio = ratio.clamp(MINIMUM_DB, MAXIMUM_DB)
        frames.append(ratio.masked_fill(undefined, torch.nan))
    return torch.stack(frames, -1)


def global_sdr(references: Tensor, estimates: Tensor) -> Tensor:
    """SDR of the whole track ("uSDR"), `10 log10((|s|^2 + eps) / (|s - e|^2 + eps))` in dB, eps = `MDX_EPSILON`.

    A silent estimate scores exactly 0 dB. A silent reference is NaN here, where the challenges score it about -70 dB or
    lower: a system should not lose a mean over songs to one that has no such stem.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.

    Returns:
        [..., S] in dB, at most `MAXIMUM_DB`.

    Raises:
        ValueError: Shapes differ or the signal is empty.

    Source: Mitsufuji et al., "Music Demixing Challenge 2021", Frontiers in Signal Processing 2022, equation 1.
    """
    check_shapes(references, estimates)
    signal, distortion = _zeros(references), _zeros(references)
    for true, estimate in blocks(references, estimates):
        signal += energy(true)
        distortion += energy(true - estimate)
    ratio = decibels(signal + MDX_EPSILON, distortion + MDX_EPSILON).clamp(MINIMUM_DB, MAXIMUM_DB)
    return ratio.masked_fill(signal == 0, torch.nan)


def si_sdr(references: Tensor, estimates: Tensor) -> Tensor:
    """Scale-invariant SDR of the whole track, `10 log10(|a s|^2 / |a s - e|^2)` in dB with `a = <e, s> / |s|^2`.

    One scale for all channels of a source, so that a wrong balance between channels counts as distortion. The mean of
    every channel is removed first.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.

    Returns:
        [..., S] in dB, between `MINIMUM_DB` and `MAXIMUM_DB`.

    Raises:
        ValueError: Shapes differ or the signal is empty.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 3.
    """
    check_shapes(references, estimates)
    samples = references.shape[-1]
    signal, power, product = _zeros(references), _zeros(references), _zeros(references)
    true_sum = torch.zeros(references.shape[:-1], dtype=torch.float64, device=references.device)
    estimate_sum = torch.zeros_like(true_sum)
    for true, estimate in blocks(references, estimates):
        true_sum += true.sum(-1)
        estimate_sum += estimate.sum(-1, dtype=torch.float64)
        signal += energy(true)
        power += energy(estimate)
        product += (true * estimate).sum((-2, -1))
    silent = power == 0
    signal -= true_sum.square().sum(-1) / samples
    product -= (true_sum * estimate_sum).sum(-1) / samples
    scale = (product / signal)[..., None, None]
    offset = (scale * true_sum[..., None] - estimate_sum[..., None]) / samples
    distortion = _zeros(references)
    # A second pass, because |e|^2 - |a s|^2 loses all digits for a good estimate.
    for true, estimate in blocks(references, estimates):
        distortion += energy(scale * true - estimate - offset)
    ratio = decibels(product.square() / signal, distortion)
    ratio = ratio.masked_fill(silent & (signal > 0), MINIMUM_DB)
    return ratio.clamp(MINIMUM_DB, MAXIMUM_DB).masked_fill(signal <= 0, torch.nan)


def mean_squared_error(references: Tensor, estimates: Tensor) -> Tensor:
    """Mean of the squared error over all samples and channels, where full scale is 1; 0 is best.

    It depends on the level of a song, so it ranks systems on one set and says little between sets. A silent reference
    is defined here: it scores the power of what the estimate has instead of silence.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.

    Returns:
        [..., S], no unit.

    Raises:
        ValueError: Shapes differ or the signal is empty.
    """
    check_shapes(references, estimates)
    distortion = _zeros(references)
    for true, estimate in blocks(references, estimates):
        distortion += energy(true - estimate)
    return distortion / (references.shape[-1] * references.shape[-2])


def check_shapes(references: Tensor, estimates: Tensor) -> None:
    """Refuse tensors that are not both [..., S, C, T].

    Raises:
        ValueError: Shapes differ or the signal is empty.
    """
    if references.shape != estimates.shape:
        raise ValueError(
            f"references have shape {tuple(references.shape)}, estimates {tuple(estimates.shape)}; expected the same"
        )
    if references.dim() < 3 or references.shape[-1] == 0:
        raise ValueError(f"expected references of shape [..., S, C, T] with T > 0, got {tuple(references.shape)}")


def _zeros(references: Tensor) -> Tensor:
    return torch.zeros(references.shape[:-2], dtype=torch.float64, device=references.device)


def energy(signal: Tensor) -> Tensor:
    """Energy of sources [..., C, T] in float64, [...]."""
    # The norm converts, squares and sums in one pass, where the three apart would write everything three times.
    norm: Tensor = torch.linalg.vector_norm(signal, dim=(-2, -1), dtype=torch.float64)
    return norm.square()


def decibels(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Ratio of two energies in dB; infinite for x / 0, NaN for 0 / 0."""
    return 10 * torch.log10(numerator / denominator)


def blocks(references: Tensor, estimates: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both signals, the first in float64, a block of samples at a time, so that memory does not grow with their length.

    What is computed of both is float64 by promotion.
    """
    rows = max(1, references[..., 0].numel())
    length = max(1, _BLOCK_SAMPLES // rows) if references.device.type == "cpu" else references.shape[-1]
    for start in range(0, references.shape[-1], length):
        yield references[..., start : start + length].double(), estimates[..., start : start + length]
