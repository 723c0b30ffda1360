"""The upper end of the scale: what masks and filters score that know the true sources.

All three work on one STFT of the mixture and keep its phase:

| name | estimate of source j in a bin | in SiSEC 2018 |
| --- | --- | --- |
| `irm` | ideal ratio mask, `|S_j| / sum_k |S_k| * X`, channel by channel | IRM1 |
| `ibm` | ideal binary mask: X where `|S_j| >= |X| / 2`, else 0, channel by channel | IBM1 |
| `mwf` | multichannel Wiener filter, `P_j R_j (sum_k P_k R_k)^-1 X`, all channels together | MWF |

In the Wiener filter `R_j` is the spatial covariance of a source at a frequency, the mean over frames of
`S_j S_j^H / |S_j|^2` with its trace set to the number of channels C, and `P_j = tr(R_j^-1 S_j S_j^H) / C` its power in
a bin: both from the true source in one step, without iterations. Mono signals make it the mask of powers (IRM2).

None is a bound: an estimator of the phase may pass them. Masks of the IBM may overlap, so that its estimates need not
sum to the mixture. SiSEC 2018 computed its oracles on windows of 2048 samples; longer ones, as here, suit tonal stems
better.

Source: Liutkus et al., "The 2016 Signal Separation Evaluation Campaign", LVA/ICA 2017; Stöter, Liutkus, Ito, "The 2018
Signal Separation Evaluation Campaign", LVA/ICA 2018; Duong, Vincent, Gribonval, "Under-determined reverberant audio
source separation using a full-rank spatial covariance model", IEEE TASLP 18(7), 2010 (the model of the Wiener filter).
"""

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sepgan.data.track import ACCOMPANIMENT
from sepgan.evaluation.pairing import VOCALS

ORACLES = ("irm", "ibm", "mwf")  # the first is the end of the scale of "gap closed"
N_FFT = 4096  # 93 ms at 44.1 kHz
HOP_LENGTH = 1024
REST_DB = -10.0  # what the references leave of the mixture is one more source from here on, relative to the mixture

_TINY = 1e-10  # magnitude below which a bin is silence and its mask does not matter
_TINY_POWER = 1e-9  # the same in the Wiener filter: 2e-16 of a sine of full scale, squared
_REGULAR = 1e-6  # added to the diagonal of a spatial covariance of trace C, which equal channels make singular
_BINS = 1 << 20  # of all signals that are transformed at once


def ideal_estimates(references: Mapping[str, Tensor], mixture: Tensor) -> dict[str, dict[str, Tensor]]:
    """Estimates of every oracle. The STFT is shared, and taken block by block, so that memory holds waveforms only.

    `accompaniment` beside its own parts is their sum. A lone stem, or stems that leave much of the mixture unexplained
    (`REST_DB`), are weighed against the rest of the mixture.

    Args:
        references: Stem -> true source [C, T].
        mixture: [C, T].

    Returns:
        Name of the oracle -> stem -> estimate [C, T], for every stem of the references.
    """
    sources = {stem: source for stem, source in references.items() if stem != ACCOMPANIMENT}
    derived = ACCOMPANIMENT in references and not set(sources) <= {VOCALS}
    if not derived:
        sources = dict(references)
    rest = mixture - torch.stack(list(sources.values())).sum(0)
    if len(sources) == 1 or rest.square().sum() > 10 ** (REST_DB / 10) * mixture.square().sum():
        sources[""] = rest
    stacked = torch.stack(list(sources.values()))  # [S, C, T]
    covariances = _covariances(stacked)
    outputs = {name: _Overlap(stacked) for name in ORACLES}
    for first, spectra in _spectra(torch.cat([stacked, mixture[None]])):
        estimates = _estimate(spectra[:-1], spectra[-1], covariances)
        for name, estimate in zip(ORACLES, estimates, strict=True):
            outputs[name].add(first, estimate)
    found = {}
    for name, output in outputs.items():
        estimates_of = dict(zip(sources, output.waveforms(), strict=True))
        if derived:
            parts = [estimate for stem, estimate in estimates_of.items() if stem != VOCALS]
            estimates_of[ACCOMPANIMENT] = torch.stack(parts).sum(0)
        found[name] = {stem: estimates_of[stem] for stem in references}
    return found


def _estimate(sources: Tensor, mixture: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spectra [S, C, N, F] of each oracle, from those of the sources and of the mixture [C, N, F]."""
    magnitudes = sources.abs()
    ratio = magnitudes / (magnitudes.sum(0) + _TINY) * mixture
    binary = (magnitudes >= 0.5 * mixture.abs()) * mixture
    return ratio, binary, _wiener(sources, mixture, covariances)


def _covariances(sources: Tensor) -> Tensor:
    """Spatial covariance [S, C, C, F] of sources [S, C, T], complex128, with trace C."""
    count, channels = sources.shape[:2]
    shape = (count, channels, channels, N_FFT // 2 + 1)
    total = torch.zeros(shape, dtype=torch.complex128, device=sources.device)
    for _, spectra in _spectra(sources):
        weighted = spectra / (spectra.abs().square().mean(1, keepdim=True) + _TINY_POWER)
        for first, second in itertools.product(range(channels), repeat=2):
            product = weighted[:, first] * spectra[:, second].conj()
            total[:, first, second] += product.sum(-2, dtype=total.dtype)
    total = (total + total.transpose(1, 2).conj()) / 2  # Hermitian but for rounding
    identity = torch.eye(channels, dtype=total.dtype, device=total.device)[..., None]
    trace = (total * identity).sum((1, 2)).real[:, None, None]
    # A source that is silent at a frequency has no direction there, and no power that would need one.
    scaled = torch.where(trace > 0, channels * total / trace.clamp(min=_TINY_POWER**2), identity)
    return scaled + _REGULAR * identity


def _wiener(sources: Tensor, mixture: Tensor, covariances: Tensor) -> Tensor:
    """The filter's estimates [S, C, N, F]. Channel by channel: batched products of small matrices take far longer."""
    channels = range(len(mixture))
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariances.permute(0, 3, 1, 2)))  # R^-1 = W^H W, triangular
    whitening = whitening.permute(2, 3, 0, 1).to(sources.dtype)  # [C, C, S, F]
    powers = sources.real.new_zeros(sources[:, 0].shape)  # [S, N, F]
    for first in channels:
        whitened = sum(whitening[first, one][:, None] * sources[:, one] for one in range(first + 1))
        powers += torch.as_tensor(whitened).abs().square() / len(channels)
    total = torch.zeros(len(mixture), *mixture.shape, dtype=torch.complex128, device=mixture.device)
    for power, spatial in zip(powers.double(), covariances, strict=True):
        for first, second in itertools.product(channels, repeat=2):
            total[first, second].addcmul_(power.to(total.dtype), spatial[first, second].expand_as(power))
    solved = _solve(total, mixture.to(total.dtype))  # large where R is nearly singular: it must not be rounded yet
    filtered = torch.empty_like(sources)
    for power, spatial, out in zip(powers, covariances, filtered, strict=True):
        for first in channels:
            found = torch.zeros_like(solved[0])
            for second in channels:
                found.addcmul_(solved[second], spatial[first, second].expand_as(found))
            out[first] = power * found
    return filtered


def _solve(matrices: Tensor, right: Tensor) -> Tensor:
    """Solutions [C, N, F] of Hermitian systems [C, C, N, F]; one and two channels without a library call for each."""
    if len(right) == 1:
        one: Tensor = right / (matrices[0, 0].real + _TINY_POWER)
        return one
    if len(right) == 2:
        (a, b), (c, d) = matrices
        a, d = a.real + _TINY_POWER, d.real + _TINY_POWER
        two: Tensor = torch.stack([d * right[0] - b * right[1], a * right[1] - c * right[0]]) / (a * d - (b * c).real)
        return two
    identity = torch.eye(len(right), dtype=matrices.dtype, device=matrices.device)
    loaded = matrices.permute(2, 3, 0, 1) + _TINY_POWER * identity
    solution: Tensor = torch.linalg.solve(loaded, right.permute(1, 2, 0)).permute(2, 0, 1)
    return solution


def _window(signal: Tensor) -> Tensor:
    return torch.hann_window(N_FFT, dtype=signal.dtype, device=signal.device)


def _spectra(signals: Tensor) -> Iterator[tuple[int, Tensor]]:
    """First frame, and the frames from there on [..., N, F], of signals [..., T]; centred, zeros beyond the ends."""
    samples = signals.shape[-1]
    frames = samples // HOP_LENGTH + 1
    step = max(1, _BINS // (N_FFT * signals[..., 0].numel()))
    window = _window(signals)
    for first in range(0, frames, step):
        start = first * HOP_LENGTH - N_FFT // 2
        stop = start + (min(step, frames - first) - 1) * HOP_LENGTH + N_FFT
        piece = signals[..., max(0, start) : min(samples, stop)]
        piece = torch.nn.functional.pad(piece, (max(0, -start), max(0, stop - samples)))
        yield first, torch.fft.rfft(piece.unfold(-1, N_FFT, HOP_LENGTH) * window)


class _Overlap:
    """Collects spectra, frame by frame, and adds them up to waveforms."""

    def __init__(self, signals: Tensor) -> None:
        self._samples = signals.shape[-1]
        self._window = _window(signals)
        # Rows of one hop each: frame n lies on rows n to n + 3.
        rows = self._samples // HOP_LENGTH + N_FFT // HOP_LENGTH
        self._sum = signals.new_zeros(*signals.shape[:-1], rows, HOP_LENGTH)
        self._weight = signals.new_zeros(rows, HOP_LENGTH)

    def add(self, first: int, spectra: Tensor) -> None:
        waves = torch.fft.irfft(spectra, N_FFT) * self._window  # [..., N, n_fft]
        waves = waves.reshape(*waves.shape[:-1], -1, HOP_LENGTH)
        squared = self._window.square().reshape(-1, HOP_LENGTH)
        for row in range(waves.shape[-2]):
            place = slice(first + row, first + row + waves.shape[-3])
            self._sum[..., place, :] += waves[..., row, :]
            self._weight[place] += squared[row]

    def waveforms(self) -> Tensor:
        here = slice(N_FFT // 2, N_FFT // 2 + self._samples)
        return self._sum.flatten(-2)[..., here] / self._weight.flatten()[here].clamp(min=_TINY)
