"""Strokes of a drum and notes of a bass, averaged wave by wave below 350 Hz.

A mask leaves the mixture its phase, and where a kick and a bass note lie upon each other that is the phase of neither.
But the kick comes again beside other notes. Where its strokes are moved until they lie upon each other, their waves add
up and those of all else do not: synchronous averaging (Braun, "The extraction of periodic waveforms by time domain
averaging", Acustica, 1975), though without a clock. Strokes are found where the stem rises, and each is averaged with
those most like it, as non-local means do with patches of an image (Buades, Coll and Morel, CVPR 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sepgan.frontend import OverlapAdd, Stft

HIGHEST_HZ = 350.0  # above, no two strokes are alike: skins and cymbals rattle, strings are plucked elsewhere
SLOPE = 0.15  # of it, to both sides
ROOM = 1.9  # times it are below half of the rate, at least
ROUNDS = 2  # each stem gains from what the other gained
# What begins, in the compressed levels of a stem.
WATCHED_S, STEP_S, RISE_S, APART_S = 0.046, 0.006, 0.017, 0.05
COMPRESSION = 30.0  # so that soft strokes count
LEAST_RISE = 0.12  # of the largest
# What is alike, if moved by as much as a beginning may be wrong: the first part counts most, and all frequencies.
BEFORE_S, COMPARED_S, JITTER_S, DECAY_S = 0.028, 0.2, 0.012, 0.15
WHITENING, SMOOTHING_HZ = 0.5, 40.0  # of the power of the spectrum that is taken out
NEIGHBOURS, LEAST_NEIGHBOURS, LEAST_ALIKE = 10, 3, 0.5
FALL = 6.0  # of the weight: strokes at right angles count exp(-FALL)
# What is averaged, and how much of the mean a stem is given for how much of it the mixtures have, as multiples of what
# the stem has. Half as much again was lost by a mask; many times as much is something else that comes with each stroke,
# and where the rest comes with it every time, nobody knows.
AFTER_S, FADE_S = 0.25, 0.006
FOUND, GIVEN = (1.0, 1.6, 2.2, 4.0, 6.0), (1.0, 1.6, 1.0, 1.0, 0.5)
SURE = 3.0  # power of how little alike the rest is
TAKEN = 0.7  # of the way from a stroke to the mean
SHARED_S = 0.093  # in which other stems lose or win what one wins or loses
_EPS = 1e-12


def slowest(rate: float, divisor: int) -> int:
    """By how much a rate can be divided to be that of `corrections`, where that has to divide a number too.

    >>> slowest(44100, 1024), slowest(16000, 1024), slowest(44100, 441)
    (32, 8, 21)
    """
    most = max(1, int(rate / (2 * ROOM * HIGHEST_HZ)))
    return max(times for times in range(1, most + 1) if divisor % times == 0)


def corrections(stems: Tensor, striking: Sequence[int], rate: float) -> Tensor:
    """What is to be added to stems so that strokes are what their likes have in common.

    Args:
        stems: Waveforms that sum to the mixture, `[S, C, n]`, S at least 2.
        striking: Numbers of the stems that are averaged, one after the other. The others win or lose, by power, what
            these lose or win; where they have little themselves, little changes hands.
        rate: Of the waveforms in Hz, above twice `HIGHEST_HZ`; the lower, the faster.

    Returns:
        `[S, C, n]`, of which the sum over S is zero, with little above `HIGHEST_HZ`.
    """
    if stems.shape[-1] < round((BEFORE_S + AFTER_S + 2 * JITTER_S) * rate):
        return torch.zeros_like(stems)  # not one stroke fits
    found = low = _low(stems, rate)
    strokes: dict[int, _Strokes | None] = {}
    for _ in range(ROUNDS):
        for stem in striking:
            if stem not in strokes:
                strokes[stem] = _strokes(found[stem], rate)
            alike = strokes[stem]
            if alike is not None:
                found = found + _shared(found, stem, _change(found, stem, alike), rate)
    return found - low


@dataclass(frozen=True)
class _Strokes:
    """What begins in a stem.

    Attributes:
        begins: Samples, `[H]`.
        alike: Numbers of those most like each, `[H, N]`.
        near: Where these begin if they are moved to lie upon it, `[H, N]`.
        weights: Of these, `[H, N]`, with sum 1 or, where there are too few, 0.
        lasting: From 0 to 1 and back to 0, where the next begins, `[H, length]`.
    """

    begins: Tensor
    alike: Tensor
    near: Tensor
    weights: Tensor
    lasting: Tensor


def _low(waves: Tensor, rate: float) -> Tensor:
    count = _fast_length(waves.shape[-1])
    spectrum = torch.fft.rfft(waves, n=count)
    hz = torch.arange(spectrum.shape[-1], device=waves.device) * (rate / count)
    down = ((hz / HIGHEST_HZ - (1 - SLOPE)) / (2 * SLOPE)).clamp(0, 1)
    low: Tensor = torch.fft.irfft(spectrum * torch.cos(down * (torch.pi / 2)).square(), n=count)
    return low[..., : waves.shape[-1]]


def _fast_length(samples: int) -> int:
    """So many samples, or up to a sixteenth more: of a number with small factors, whose transform is fast.

    As `scipy.fft.next_fast_len`, but separation imports no scipy.

    >>> _fast_length(71584), _fast_length(17)
    (73728, 17)
    """
    step = 1 << max(0, samples.bit_length() - 5)
    return -(-samples // step) * step


def _strokes(wave: Tensor, rate: float) -> _Strokes | None:
    """Find what begins in `[C, n]`, and which of it is alike; None where too little begins."""
    before, after, jitter, fade = (max(1, round(s * rate)) for s in (BEFORE_S, AFTER_S, JITTER_S, FADE_S))
    length, count = before + after, wave.shape[-1]
    begins = _begins(wave, rate) - before
    begins = begins[(begins >= jitter) & (begins < count - length - jitter)]
    if len(begins) <= LEAST_NEIGHBOURS:
        return None
    likeness, moved = _likeness(_whitened(wave.mean(0), rate), begins, rate)
    most, alike = likeness.topk(min(NEIGHBOURS, len(begins) - 1), dim=1)
    weights = torch.exp(FALL * (most - 1)) * (most > LEAST_ALIKE)
    weights *= ((weights > 0).sum(1) >= LEAST_NEIGHBOURS)[:, None] / (weights.sum(1, keepdim=True) + _EPS)
    time = torch.arange(length, device=wave.device)
    ends = torch.cat([begins[1:] - begins[:-1], begins.new_tensor([length])]).clamp_max(length)
    lasting = ((time + 1) / fade).clamp_max(1) * ((ends[:, None] - time) / fade).clamp(0, 1)
    return _Strokes(begins, alike, begins[alike] + moved.gather(1, alike).long(), weights, lasting)


def _begins(wave: Tensor, rate: float) -> Tensor:
    """Samples at which something begins in `[C, n]`: where levels rise more than anywhere near."""
    step = max(1, round(STEP_S * rate))
    watched = Stft(2 * round(WATCHED_S * rate / 2), step).to(wave.device)
    levels = watched(wave).abs().sum(0)  # [F, N]
    levels = torch.log1p(COMPRESSION * levels / (levels.amax() + _EPS))
    over, apart = (max(1, round(seconds * rate / step)) for seconds in (RISE_S, APART_S))
    rises = (levels[:, over:] - levels[:, :-over]).clamp_min(0).sum(0)
    highest = functional.max_pool1d(rises[None], 2 * apart + 1, 1, apart)[0]
    usual = rises.median()
    heard = (rises == highest) & (rises > usual + LEAST_RISE * (torch.quantile(rises, 0.995) - usual))
    return (heard.nonzero()[:, 0] + over) * step


def _whitened(wave: Tensor, rate: float) -> Tensor:
    """A wave `[n]` some of whose power, smoothed over frequencies, is the same everywhere."""
    count = _fast_length(len(wave))
    spectrum = torch.fft.rfft(wave, n=count)
    half = max(1, round(SMOOTHING_HZ / 2 * count / rate))
    power = functional.pad(_power(spectrum), (half + 1, half)).cumsum(0)
    power = power[2 * half + 1 :] - power[: -2 * half - 1]
    power = power / (power.amax() + _EPS) + 1e-4
    whitened: Tensor = torch.fft.irfft(spectrum / power ** (WHITENING / 2), n=count)
    return whitened[: len(wave)]


def _likeness(wave: Tensor, begins: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """The cosine of each stroke in `[n]` and each other that is moved as is best, and by how much: `[H, H]` both."""
    length, jitter = round(COMPARED_S * rate), max(1, round(JITTER_S * rate))
    time = torch.arange(-jitter, length + jitter, device=wave.device)
    strokes = wave[begins[:, None] + time] * torch.exp((BEFORE_S - time / rate).clamp_max(0) / DECAY_S)
    energies = functional.pad(strokes.square().cumsum(1), (1, 0))
    sizes = (energies[:, length:] - energies[:, :-length]).clamp_min(0).sqrt()  # wherever they begin
    least = 1e-4 * sizes[:, jitter].amax() + _EPS
    middle = strokes[:, jitter : jitter + length] / (sizes[:, jitter, None] + least)
    most = wave.new_full((len(begins), len(begins)), -1.0)
    moved = torch.zeros(most.shape, dtype=torch.int16, device=wave.device)
    for by in range(2 * jitter + 1):
        cosine = middle @ (strokes[:, by : by + length] / (sizes[:, by, None] + least)).T
        moved.masked_fill_(cosine > most, by - jitter)
        torch.maximum(most, cosine, out=most)
    return most.fill_diagonal_(-1.0), moved


def _change(found: Tensor, stem: int, strokes: _Strokes) -> Tensor:
    """What would make each stroke of a stem the mean of those like it, until the next begins: `[C, n]`."""
    length = strokes.lasting.shape[1]
    windows, heard = (wave.unfold(-1, length, 1) for wave in (found[stem], found.sum(0)))
    own = windows[:, strokes.begins]  # [C, H, length]
    weights = strokes.weights / (own.square().sum((0, 2)).sqrt()[strokes.alike] + _EPS)
    mean, all_mean = ((weights[:, None] @ each[:, strokes.near]).squeeze(2) for each in (windows, heard))
    shape = mean * (strokes.lasting > 0)
    size = _product(shape, own) / (_product(shape, shape) + _EPS)
    given = _given((_product(shape, all_mean) + _EPS) / (_product(shape, mean) + _EPS))
    apart = (1 - _together(weights, heard[:, strokes.begins] - own, strokes.alike, all_mean - mean, mean)) ** SURE
    size *= torch.where(given > 1, 1 + (given - 1) * apart, given)
    change = (size[:, None] * mean - own) * (strokes.lasting * (strokes.weights.sum(1, keepdim=True) > 0))
    places = strokes.begins[:, None] + torch.arange(length, device=found.device)
    return torch.zeros_like(found[stem]).index_add(1, places.flatten(), change.flatten(1))


def _together(weights: Tensor, rests: Tensor, alike: Tensor, rest: Tensor, mean: Tensor) -> Tensor:
    """How alike the rest is wherever a stroke comes again, from 0 by chance to 1: a riff lets no one tell them apart.

    Args:
        weights: Of those most like each stroke, `[H, N]`.
        rests: The mixture without the stem at each stroke, `[C, H, length]`.
        alike: Which of them are most like each, `[H, N]`.
        rest: Their weighted sums, `[C, H, length]`, of which what is like `mean` does not count: a mask took it away.
        mean: The same of the stem.
    """
    rest = rest - mean * (_product(rest, mean) / (_product(mean, mean) + _EPS))[:, None]
    powers = _product(rests, rests)[alike]
    chance, same = (weights.square() * powers).sum(1), weights.sum(1) * (weights * powers).sum(1)
    return ((_product(rest, rest) - chance) / (same - chance + _EPS)).clamp(0, 1)


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Of strokes `[C, H, length]`, each with its like: `[H]`."""
    return (first * second).sum((0, 2))


def _given(found: Tensor) -> Tensor:
    """`GIVEN` for `FOUND`, and straight lines in between."""
    at, given = (found.new_tensor(values) for values in (FOUND, GIVEN))
    found = found.clamp(at[0], at[-1])
    upper = torch.searchsorted(at, found).clamp_min(1)
    return torch.lerp(given[upper - 1], given[upper], (found - at[upper - 1]) / (at[upper] - at[upper - 1]))


def _shared(found: Tensor, stem: int, change: Tensor, rate: float) -> Tensor:
    """Some of a change `[C, n]` of one stem, and what the others lose or win by it: `[S, C, n]`.

    Where others have less than would change, the strokes differ by themselves, and they may.
    """
    length = 4 * round(SHARED_S * rate / 4)
    stft = Stft(length, length // 4).to(found.device)
    bins = min(length // 2 + 1, math.ceil((1 + SLOPE) * HIGHEST_HZ / rate * length) + 2)
    powers = _power(stft.frames(found)[..., :bins])  # [S, C, N, bins]
    powers[stem] = 0.0
    spectrum = stft.frames(change)[..., :bins]
    total = powers.sum(0) + _EPS
    spectrum = spectrum * (TAKEN * total / (total + _power(spectrum)))
    shares = spectrum.new_zeros(*powers.shape[:-1], length // 2 + 1)
    torch.mul(spectrum, powers / -total, out=shares[..., :bins])
    shares[stem, ..., :bins] = spectrum
    canvas = OverlapAdd(stft, found.shape[:2], spectrum.shape[1])
    canvas.add(shares, 0)
    return canvas.waveform(found.shape[-1])


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()
