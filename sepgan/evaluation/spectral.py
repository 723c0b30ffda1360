"""Distances between spectra, and leakage into silence: what a ratio of energies does not hear.

Ratios of waveforms rank separators with an adversary wrongly; the multi-resolution STFT distance agrees far better with
listeners. All take `references, estimates` of shape [..., S, C, T], compute in float64 on the device of the references,
and return [..., S]. A silent reference is NaN unless it is said otherwise.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sepgan.evaluation.metrics import MINIMUM_DB, check_shapes, decibels

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window: those of Parallel WaveGAN
LSD_FFT, LSD_HOP = 2048, 512
LSD_RANGE_DB = 80.0  # below the loudest bin of the reference everything counts as silence
SILENCE_DBFS = -60.0
SILENCE_S = 0.5  # a pause that one hears as such
_SILENCE_BLOCK_S = 0.01

_POWER_FLOOR = 1e-8  # of a bin, as in the published implementations
_BLOCK_SAMPLES = 1 << 20  # of frames, after windowing, that are transformed at once


def multi_resolution_stft(references: Tensor, estimates: Tensor) -> Tensor:
    """Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes.

    The mean over channels and `RESOLUTIONS` of `||S| - |E||_F / ||S||_F + mean |ln |S| - ln |E||`; no unit, 0 is best.
    It depends on the level of both signals.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.

    Returns:
        [..., S].

    Raises:
        ValueError: Shapes differ or the signal is empty.

    Source: Yamamoto, Song, Kim, "Parallel WaveGAN", ICASSP 2020, equations 3 to 6.
    """
    check_shapes(references, estimates)
    distances = []
    for n_fft, hop_length, window_length in RESOLUTIONS:
        power, difference, logarithm = (_per_channel(references) for _ in range(3))
        count = 0
        for true, estimate in _magnitudes(references, estimates, n_fft, hop_length, window_length):
            power += true.square().sum((-2, -1))
            difference += (true - estimate).square().sum((-2, -1))
            logarithm += (true.log() - estimate.log()).abs().sum((-2, -1))
            count += true.shape[-1] * true.shape[-2]
        distances.append((difference / power).sqrt() + logarithm / count)
    distance = torch.stack(distances).mean(0).mean(-1)
    return distance.masked_fill(_silent(references), torch.nan)


def log_spectral_distance(references: Tensor, estimates: Tensor) -> Tensor:
    """Log-spectral distance: root mean square over bins of the difference of levels, mean over frames and channels.

    Levels more than `LSD_RANGE_DB` below the loudest bin of the reference count as that, so that silence has no say.
    0 is best.

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.

    Returns:
        [..., S] in dB.

    Raises:
        ValueError: Shapes differ or the signal is empty.

    Source: Gray, Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976.
    """
    check_shapes(references, estimates)
    peak = _per_channel(references)
    for true, _ in _magnitudes(references, references, LSD_FFT, LSD_HOP, LSD_FFT):
        peak = torch.maximum(peak, true.amax((-2, -1)))
    floor = (peak.amax(-1, keepdim=True) * 10 ** (-LSD_RANGE_DB / 20))[..., None, None]
    total, frames = _per_channel(references), 0
    for true, estimate in _magnitudes(references, estimates, LSD_FFT, LSD_HOP, LSD_FFT):
        level = 20 * (torch.maximum(true, floor).log10() - torch.maximum(estimate, floor).log10())
        total += level.square().mean(-2).sqrt().sum(-1)
        frames += level.shape[-1]
    return (total / frames).mean(-1).masked_fill(_silent(references), torch.nan)


def silence_leakage(references: Tensor, estimates: Tensor, mixture: Tensor, sample_rate: int) -> Tensor:
    """Energy that an estimate puts where its source pauses, against the mixture's there, in dB; lower is better.

    A pause is a stretch of at least `SILENCE_S` in which the reference stays below `SILENCE_DBFS` (RMS of 10 ms, all
    channels).

    Args:
        references: True sources [..., S, C, T].
        estimates: Estimated sources, same shape.
        mixture: [..., C, T].
        sample_rate: In Hz.

    Returns:
        [..., S] in dB, at least `MINIMUM_DB`; NaN for a source that never pauses while the mixture sounds.

    Raises:
        ValueError: Shapes differ or the signal is empty.
    """
    check_shapes(references, estimates)
    block = max(1, round(_SILENCE_BLOCK_S * sample_rate))
    level = _block_energy(references, block) / (block * references.shape[-2])
    quiet = (level < 10 ** (SILENCE_DBFS / 10)).double()
    run = min(max(1, round(SILENCE_S / _SILENCE_BLOCK_S)), quiet.shape[-1])
    # Opening: erode to where a whole pause starts, dilate back to all blocks of it.
    starts = quiet.unfold(-1, run, 1).amin(-1)
    pause = torch.nn.functional.pad(starts, (run - 1, run - 1)).unfold(-1, run, 1).amax(-1)
    leaked = (_block_energy(estimates, block) * pause).sum(-1)
    masked = (_block_energy(mixture, block).unsqueeze(-2) * pause).sum(-1)
    return decibels(leaked, masked).clamp(min=MINIMUM_DB).masked_fill(masked == 0, torch.nan)


def _magnitudes(
    references: Tensor, estimates: Tensor, n_fft: int, hop_length: int, window_length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Magnitudes [..., S, C, F, N] of both, some frames at a time; frames are centred, with zeros beyond the ends."""
    window = torch.hann_window(window_length, dtype=torch.float64, device=references.device)
    left = (n_fft - window_length) // 2
    window = torch.nn.functional.pad(window, (left, n_fft - window_length - left))
    samples = references.shape[-1]
    frames = samples // hop_length + 1
    step = max(1, _BLOCK_SAMPLES // (n_fft * max(1, references[..., 0].numel())))
    for first in range(0, frames, step):
        count = min(step, frames - first)
        start = first * hop_length - n_fft // 2
        stop = start + (count - 1) * hop_length + n_fft
        padding = (max(0, -start), max(0, stop - samples))
        spectra = []
        for signal in (references, estimates):
            excerpt = torch.nn.functional.pad(signal[..., max(0, start) : min(samples, stop)].double(), padding)
            power = torch.fft.rfft(excerpt.unfold(-1, n_fft, hop_length) * window).abs().square()
            spectra.append(power.clamp(min=_POWER_FLOOR).sqrt().transpose(-2, -1))
        yield spectra[0], spectra[1]


def _per_channel(references: Tensor) -> Tensor:
    return torch.zeros(references.shape[:-1], dtype=torch.float64, device=references.device)


def _silent(references: Tensor) -> Tensor:
    return (references == 0).flatten(-2).all(-1)


def _block_energy(signal: Tensor, block: int) -> Tensor:
    """Energy over channels of blocks of samples [..., blocks]; a rest shorter than a block joins the last, padded."""
    padded = torch.nn.functional.pad(signal, (0, -signal.shape[-1] % block))
    blocks = padded.reshape(*padded.shape[:-1], -1, block)
    return blocks.double().square().sum((-3, -1))
