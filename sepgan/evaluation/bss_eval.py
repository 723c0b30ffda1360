"""BSSEval version 4 in full: SDR, ISR, SIR and SAR of frames, with distortion filters fitted on the whole track.

An estimate is split into what a filter can make of its own true source (all channels), of all true sources, and the
rest:

    e = s + e_spatial + e_interference + e_artifacts
    P_j e = s + e_spatial                    projection on the source's own channels, delayed by 0 to L - 1 samples
    P e   = P_j e + e_interference           projection on the channels of all sources
    SDR = |s|^2 / |e - s|^2        ISR = |s|^2 / |P_j e - s|^2
    SIR = |P_j e|^2 / |P e - P_j e|^2        SAR = |P e|^2 / |e - P e|^2        (10 log10, dB)

Filters are the least-squares ones for the whole track; energies are those of a frame, filtered on its own. Where
museval factors one matrix per estimate and filters every frame in time, here one Cholesky factor serves all estimates
of a track, and frames stay in the frequency domain, where Parseval gives their energies.

Precision: correlations and factors are float64, because float32 is wrong by up to 11 dB. References without energy in
part of the band (MP3, AAC, equal channels) make the normal equations singular: museval's result then depends on
rounding, and moves by 0.02 dB when its input is scaled. Here the smallest diagonal load that lets the factorisation
succeed is added, so that what the references cannot explain stays unexplained.

Source: Vincent, Gribonval, Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006;
Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018; the reference implementation is
museval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sepgan.evaluation.metrics import MAXIMUM_DB, MINIMUM_DB, SilenceRule, check_shapes, decibels, frame_starts

FILTER_TAPS = 512  # of BSSEval since version 2
GPU_BLOCK = 1 << 18  # samples of each channel that keep a GPU busy
# Numbers that one operation handles on a CPU: few enough to stay in the cache, and for torch not to split them over
# threads, whose waits for each other cost more than they save.
_CPU_NUMBERS = 1 << 15
LONGEST_SPECTRUM = 1 << 17  # samples of a frame that is transformed whole
_LOADS = (0.0, 2e-16, 1e-15, 4e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9)  # of the mean energy of a channel


class _Energies(NamedTuple):
    """Energies [S, K] of the parts of the estimates, and where their ratios are undefined."""

    signal: Tensor  # s
    distortion: Tensor  # e - s
    spatial: Tensor  # P_j e - s
    image: Tensor  # P_j e
    interference: Tensor  # P e - P_j e
    projection: Tensor  # P e
    artifacts: Tensor  # e - P e
    unfiltered: Tensor  # e - P_j e
    undefined: Tensor


class _Band(NamedTuple):
    """A range of frequencies."""

    bins: slice
    weight: float  # of its energy
    whole: Tensor  # [K, S, C, F]
    own: Tensor  # [C, S, C, F]


@dataclass(frozen=True)
class BssScores:
    """Ratios in dB, each [S, K]: signal to distortion, spatial distortion (ISR), interference and artifacts."""

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor


class BssEval:
    """BSSEval v4 for one set of references; what depends only on them is computed once.

    Args:
        references: True sources [S, C, T]; silent ones explain nothing and have NaN scores.
        window: Samples per frame; one second in published tables.
        hop: Samples between frames; `window` when None.
        others: Further sources of the mixture [S', C, T] that can interfere but are not scored.
        taps: Length of the distortion filters.
        silence: Which frames are undefined.
        block_samples: Samples of each channel that are transformed at once; bounds the memory.

    Attributes:
        load: What was added to the diagonal of the normal equations to make them solvable, relative to the mean energy
        of
            a channel; 0 unless the references leave part of the band empty.

    Raises:
        ValueError: The signal is empty or not [S, C, T].
    """

    def __init__(
        self,
        references: Tensor,
        window: int,
        hop: int | None = None,
        *,
        others: Tensor | None = None,
        taps: int = FILTER_TAPS,
        silence: SilenceRule = SilenceRule.REFERENCE,
        block_samples: int | None = None,
    ) -> None:
        check_shapes(references, references)
        self.references = references
        self.window = min(window, references.shape[-1])
        self.hop = window if hop is None else hop
        self.taps = taps
        self.silence = silence
        self.block_samples = block_samples
        self._sources = references if others is None else torch.cat([references, others])
        channels = self._sources.flatten(0, 1)
        gram = _gram(correlate(channels, channels, taps, block_samples))
        width = references.shape[1] * taps
        self._whole, self.load = _factor(gram)
        self._own = []
        for first in range(0, len(references) * width, width):
            factor, load = _factor(gram[first : first + width, first : first + width])
            self._own.append(factor)
            self.load = max(self.load, load)

    def score(self, estimates: Tensor) -> BssScores:
        """Score estimates of every source, in the order of the references.

        Args:
            estimates: [S, C, T].

        Raises:
            ValueError: Their shape is not that of the references.
        """
        energies = self._energies(estimates)
        sdr = decibels(energies.signal, energies.distortion)
        isr = decibels(energies.signal, energies.spatial)
        sir = decibels(energies.image, energies.interference)
        sar = decibels(energies.projection, energies.artifacts)
        return BssScores(*(self._defined(ratio, energies.undefined.bool()) for ratio in (sdr, isr, sir, sar)))

    def score_sources(self, estimates: Tensor) -> BssScores:
        """Score as the older `bss_eval_sources` does, where a filtered source is as good as the source: no ISR.

        SDR = |P_j e|^2 / |e - P_j e|^2. It is blind to what a filter of `taps` can do, so it scores higher than the SDR
        of version 4, and the two must never share a column. Older tables have it for mono signals and one frame, the
        track.

        Args:
            estimates: [S, C, T].

        Raises:
            ValueError: Their shape is not that of the references.

        Source: BSS Eval 2.0 and 3.0, as in mir_eval.
        """
        energies = self._energies(estimates)
        sdr = decibels(energies.image, energies.unfiltered)
        sir = decibels(energies.image, energies.interference)
        sar = decibels(energies.projection, energies.artifacts)
        ratios = (sdr, torch.full_like(sdr, torch.nan), sir, sar)
        return BssScores(*(self._defined(ratio, energies.undefined.bool()) for ratio in ratios))

    def _defined(self, ratio: Tensor, undefined: Tensor) -> Tensor:
        capped = ratio if self.silence is SilenceRule.MUSEVAL else ratio.clamp(MINIMUM_DB, MAXIMUM_DB)
        return capped.masked_fill(undefined, torch.nan)

    def _energies(self, estimates: Tensor) -> _Energies:
        check_shapes(self.references, estimates)
        whole, own = self._filters(estimates)
        # A frame as long as a track is filtered piece by piece; a usual one stays in the frequency domain.
        pieces = self.window > LONGEST_SPECTRUM
        size = fast_length((LONGEST_SPECTRUM if pieces else self.window) + self.taps - 1)
        spectra = torch.fft.rfft(whole, size), torch.fft.rfft(own, size)
        bands = [] if pieces else _bands(*spectra, size)
        frames = []
        for start in frame_starts(self.references.shape[-1], self.window, self.hop):
            stop = start + self.window
            sources, estimate = self._sources[..., start:stop].double(), estimates[..., start:stop].double()
            if pieces:
                energies = self._measure_pieces(sources, estimate, *spectra, size)
            else:
                energies = _measure(sources, estimate, bands, size)
            frames.append(torch.cat([energies, self._undefined(sources, estimate, energies[0])]))
        return _Energies(*torch.stack(frames, -1).unbind(0))

    def _filters(self, estimates: Tensor) -> tuple[Tensor, Tensor]:
        """Least-squares filters to each estimate from all channels [K, S, C, L], and from its own [C, S, C, L]."""
        sources, channels, _ = estimates.shape
        lags = correlate(self._sources.flatten(0, 1), estimates.flatten(0, 1), self.taps, self.block_samples)
        right = lags.transpose(1, 2).reshape(-1, sources * channels)  # [K L, S C]
        whole = torch.cholesky_solve(right, self._whole)
        by_source = right[: sources * channels * self.taps].reshape(sources, channels * self.taps, sources, channels)
        own = [torch.cholesky_solve(by_source[j, :, j], factor) for j, factor in enumerate(self._own)]
        return (
            whole.reshape(-1, self.taps, sources, channels).permute(0, 2, 3, 1),
            torch.stack(own, 1).reshape(channels, self.taps, sources, channels).permute(0, 2, 3, 1),
        )

    def _measure_pieces(self, sources: Tensor, estimate: Tensor, whole: Tensor, own: Tensor, size: int) -> Tensor:
        """Energies of one long frame [8, S], by overlap-save over its pieces."""
        past, step = self.taps - 1, size - self.taps + 1
        # The filters ring on for `taps - 1` samples beyond the frame.
        length = estimate.shape[-1] + past
        blocks = -(-length // step)
        padding = blocks * step - estimate.shape[-1]
        sources = torch.nn.functional.pad(sources, (past, padding))
        estimate = torch.nn.functional.pad(estimate, (0, padding))
        total = torch.zeros(8, len(estimate), dtype=torch.float64, device=estimate.device)
        for start in range(0, blocks * step, step):
            piece = sources[..., start : start + size]
            filtered = _project(torch.fft.rfft(piece), whole, own)
            projection, image = (torch.fft.irfft(part, size)[..., past:] for part in filtered)
            true, found = piece[: len(estimate), :, past:], estimate[..., start : start + step]
            total += _part_energies(true, found, projection, image)
        return total

    def _undefined(self, sources: Tensor, estimate: Tensor, signal: Tensor) -> Tensor:
        """Ones [1, S] where the scores of a frame are undefined; `signal` is the energy of the references."""
        if self.silence is SilenceRule.MUSEVAL:
            silent = (sources.sum(-2) == 0).all(-1).any() | (estimate.sum(-2) == 0).all(-1).any()
            return silent.expand(1, len(estimate)).double()
        return (signal == 0)[None].double()


def correlate(references: Tensor, others: Tensor, lags: int, block_samples: int | None = None) -> Tensor:
    """Correlation of delayed references with other signals, `sum_t references[k, t - d] others[o, t]`, in float64.

    Args:
        references: [K, T].
        others: [O, T].
        lags: Delays 0 to `lags - 1` are returned.
        block_samples: Samples of each signal that are transformed at once; bounds the memory.

    Returns:
        [K, O, lags].

    >>> correlate(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0]]), 2).round().tolist()
    [[[2.0, 5.0]]]
    """
    if block_samples is None:
        rows = max(len(references), len(others))
        block_samples = GPU_BLOCK if references.device.type != "cpu" else _CPU_NUMBERS * 15 // 16 // rows
    size = fast_length(max(block_samples, 2 * lags))
    step = size - lags + 1  # the rest of each transform is what precedes the block, for the delays
    shape = len(references), len(others), size // 2 + 1
    spectrum = torch.zeros(shape, dtype=torch.complex128, device=references.device)
    for start in range(0, references.shape[-1], step):
        first = max(0, start - lags + 1)
        past = torch.nn.functional.pad(references[:, first : start + step].double(), (first - (start - lags + 1), 0))
        now = torch.nn.functional.pad(others[:, start : start + step].double(), (lags - 1, 0))
        past_spectra = torch.fft.rfft(past, size).conj().resolve_conj()
        now_spectra = torch.fft.rfft(now, size)
        for total, past_spectrum in zip(spectrum, past_spectra, strict=True):
            total.addcmul_(now_spectra, past_spectrum.expand_as(now_spectra))
    lagged: Tensor = torch.fft.irfft(spectrum, size)
    return lagged[..., :lags]


def fast_length(minimum: int) -> int:
    """The smallest even 2^a 3^b 5^c that is at least `minimum`: a length that is fast to transform.

    >>> fast_length(44100 + 511)
    45000
    """
    best = 2
    while best < minimum:
        best *= 2
    for three in range(12):
        for five in range(8):
            length = 2 * 3**three * 5**five
            while length < minimum:
                length *= 2
            best = min(best, length)
    return best


def _gram(lags: Tensor) -> Tensor:
    """The matrix of inner products of all delayed channels, [K L, K L], from their correlations [K, K, L]."""
    taps = lags.shape[-1]
    # The correlation at a negative delay is that of the exchanged pair: delays -(L - 1) ... L - 1.
    both = torch.cat([lags.transpose(0, 1)[..., 1:].flip(-1), lags], -1)
    hankel = both.unfold(-1, taps, 1)  # [k, k', a, b] -> delay a + b - (L - 1)
    toeplitz = hankel.flip(-1)  # delay a - b
    return toeplitz.permute(0, 2, 1, 3).reshape(len(lags) * taps, len(lags) * taps)


def _factor(gram: Tensor) -> tuple[Tensor, float]:
    """Cholesky factor of a Gram matrix that may be singular, and the relative load on the diagonal that it took."""
    diagonal = gram.diagonal()
    energy = diagonal.mean()
    # A silent channel has no energy at any delay; one on its diagonal makes its filter zero.
    empty = (diagonal == 0).double()
    for load in _LOADS:
        factor, failed = torch.linalg.cholesky_ex(gram + torch.diag(empty + load * energy))
        if not failed:
            return factor, load
    raise AssertionError("the Gram matrix of finite signals has a Cholesky factor under one of the loads")


def _bands(whole: Tensor, own: Tensor, size: int) -> list[_Band]:
    """Filters cut into bands that fit the cache, with what each counts in the energy of a real signal."""
    bins = whole.shape[-1]
    rows = whole[0, ..., 0].numel()
    step = max(1, _CPU_NUMBERS // rows - 1) if whole.device.type == "cpu" else bins
    cuts = [(slice(first, first + step), 2.0) for first in range(0, bins, step)]
    # The half of the spectrum that rfft gives stands for both, but these have no mirror image.
    cuts += [(slice(0, 1), -1.0)] + ([(slice(bins - 1, bins), -1.0)] if size % 2 == 0 else [])
    return [_Band(cut, weight, whole[..., cut].contiguous(), own[..., cut].contiguous()) for cut, weight in cuts]


def _measure(sources: Tensor, estimate: Tensor, bands: Sequence[_Band], size: int) -> Tensor:
    """Energies of one frame [8, S], by Parseval, times a constant."""
    spectra, found = torch.fft.rfft(sources, size), torch.fft.rfft(estimate, size)  # [S, C, F]
    total = torch.zeros(8, len(estimate), dtype=torch.float64, device=estimate.device)
    for bins, weight, whole, own in bands:
        heard = spectra[..., bins]
        projection, image = _project(heard, whole, own)
        parts = _part_energies(heard[: len(estimate)], found[..., bins], projection, image)
        total.add_(parts, alpha=weight)
    return total


def _project(spectra: Tensor, whole: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Projections of the estimates [S, C, F] on all sources and on their own: filters times spectra [S', C, F]."""
    projection = torch.zeros_like(whole[0])
    for filters, spectrum in zip(whole, spectra.flatten(0, 1), strict=True):
        projection.addcmul_(filters, spectrum.expand_as(filters))
    image = torch.zeros_like(own[0])
    for filters, spectrum in zip(own, spectra[: own.shape[1]].transpose(0, 1), strict=True):
        image.addcmul_(filters, spectrum[:, None].expand_as(filters))
    return projection, image


def _part_energies(true: Tensor, estimate: Tensor, projection: Tensor, image: Tensor) -> Tensor:
    """Energies [8, S] of the parts that `_Energies` names, in its order."""
    return torch.stack(
        [
            _energy(true),
            _energy(true - estimate),
            _energy(image - true),
            _energy(image),
            _energy(projection - image),
            _energy(projection),
            _energy(estimate - projection),
            _energy(estimate - image),
        ]
    )


def _energy(signal: Tensor) -> Tensor:
    """Sum of squares of all but the first axis, in one pass over the memory."""
    numbers = torch.view_as_real(signal) if signal.is_complex() else signal
    norm: Tensor = torch.linalg.vector_norm(numbers.flatten(1), dim=1)
    return norm.square()
