"""Averages of strokes, wave by wave: what must hold of any song, and that they are worth taking where masks fail."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sepgan import inference, synchronous
from sepgan.engine import Engine
from sepgan.frontend import Stft
from sepgan.separator import Separator
from sepgan.synchronous import FOUND, GIVEN, HIGHEST_HZ, SLOPE, corrections

RATE = 1378.125
SECONDS = 30
LENGTH = round(SECONDS * RATE)
SUM_ERROR = 1e-5  # of waveforms, relative to the loudest; single precision
BY_SIZE = 1e-3  # relative: so much more or less may change if all is so many times as loud
ABOVE_DB = -40.0  # of changes beyond the slope, relative to all of them; windows spread them a little
NEARER_DB = 2.0  # at least, for a kick that masks with the phase of the mixture cannot give
STAY_DB = -40.0  # of what a stem alone may lose to silent ones, relative to it
PLUMBING_DB = -40.0  # of the error of what is moved, relative to it; the ends of what is heard are not whole
DIFFER_DB = -25.0  # of what changes strokes that have nothing in common, relative to them


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def beginnings(seed: int = 0) -> list[int]:
    """Samples half a second apart, never quite in time."""
    draws = torch.Generator().manual_seed(seed)
    times = 0.3 + 0.5 * torch.arange(2 * SECONDS - 2) + 0.02 * torch.rand(2 * SECONDS - 2, generator=draws)
    return [round(float(time) * RATE) for time in times]


def strokes(seed: int = 0) -> Tensor:
    """A kick that falls from 120 to 50 Hz, again and again, never quite as loud: `[n]`."""
    draws = torch.Generator().manual_seed(seed)
    wave = torch.zeros(LENGTH)
    time = torch.arange(round(0.2 * RATE)) / RATE
    kick = torch.sin(2 * math.pi * (50 * time + 70 / 40 * (1 - torch.exp(-40 * time)))) * torch.exp(-time / 0.06)
    for begin in beginnings(seed):
        wave[begin : begin + len(kick)] += kick * (0.7 + 0.6 * float(torch.rand(1, generator=draws)))
    return wave


def notes(seed: int = 1) -> Tensor:
    """A bass that plays other notes all the time, `[n]`."""
    draws = torch.Generator().manual_seed(seed)
    wave = torch.empty(0)
    while len(wave) < LENGTH:
        time = torch.arange(round((0.2 + float(torch.rand(1, generator=draws))) * RATE)) / RATE
        pitch = 40 * 2 ** (2 * float(torch.rand(1, generator=draws)))
        wave = torch.cat([wave, torch.sin(2 * math.pi * (pitch * time + float(torch.rand(1, generator=draws))))])
    return wave[:LENGTH]


def masked(true: Tensor) -> Tensor:
    """What ideal masks leave of stems `[S, n]`: the phase of their sum, in stereo `[S, 2, n]`."""
    stft = Stft(128, 32)
    sizes = stft(true).abs()
    stems = stft.inverse(stft(true.sum(0)) * sizes / (sizes.sum(0) + 1e-9), true.shape[-1])
    return stems[:, None].expand(-1, 2, -1).contiguous()


def level_db(wave: Tensor, beside: Tensor) -> float:
    return float(10 * torch.log10(wave.square().sum() / beside.square().sum() + 1e-20))


def test_a_kick_under_a_bass_comes_back() -> None:
    """Nearer to the truth than ideal masks bring it, and so is what it lay upon."""
    true = torch.stack([strokes(), 2 * notes(), 0.01 * noise(LENGTH)])
    found = masked(true)
    better = found + corrections(found, [0, 1], RATE)
    for stem in (0, 1):
        was, now = (level_db(each[stem, 0] - true[stem], true[stem]) for each in (found, better))
        assert now < was - NEARER_DB


@pytest.mark.parametrize("striking", [[0], [1, 0], [0, 1, 2]])
def test_sums_stay(striking: list[int]) -> None:
    found = masked(torch.stack([strokes(), notes(), noise(LENGTH)]))
    change = corrections(found, striking, RATE)
    assert float(change.abs().amax()) > SUM_ERROR
    assert float(change.sum(0).abs().amax()) < SUM_ERROR * float(found.abs().amax())


def test_channels_are_treated_alike() -> None:
    found = masked(torch.stack([strokes(), notes(), noise(LENGTH)]))
    found[:, 1] *= 0.5
    change = corrections(found, [0, 1], RATE)
    assert torch.allclose(corrections(found.flip(1), [0, 1], RATE).flip(1), change, atol=SUM_ERROR)


@pytest.mark.parametrize("gain", [1e-3, 100.0])
def test_loudness_does_not_matter(gain: float) -> None:
    found = masked(torch.stack([strokes(), notes()]))
    change = corrections(found, [0, 1], RATE)
    louder = corrections(gain * found, [0, 1], RATE) / gain
    assert level_db(louder - change, change) < 20 * math.log10(BY_SIZE)


def test_nothing_changes_above() -> None:
    found = masked(torch.stack([strokes(), notes(), noise(LENGTH)]))
    change = corrections(found, [0, 1], RATE)
    spectrum = torch.fft.rfft(change)
    hz = torch.fft.rfftfreq(change.shape[-1], 1 / RATE)
    above = spectrum * (hz > (1 + 2 * SLOPE) * HIGHEST_HZ)
    assert level_db(above.abs(), spectrum.abs()) < ABOVE_DB


def test_a_stem_alone_keeps_what_makes_its_strokes_differ() -> None:
    """What differs from stroke to stroke must be somewhere, and there is nobody else to have played it."""
    alone = (strokes() + 0.3 * noise(LENGTH) * (strokes().abs() > 0.01))[None, None].expand(-1, 2, -1)
    found = torch.cat([alone, 1e-4 * noise(2, 2, alone.shape[-1])])
    change = corrections(found, [0, 1], RATE)
    assert level_db(change[0], found[0]) < STAY_DB


def test_strokes_with_nothing_in_common_stay() -> None:
    """Only so much happens as chance makes bursts of noise alike."""
    bursts = noise(LENGTH, seed=5) * strokes().abs()
    found = torch.stack([bursts, notes()])[:, None]
    change = corrections(found, [0], RATE)
    assert level_db(change[0], found[0]) < DIFFER_DB


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 0.29, 0.5])
def test_what_is_too_short_stays(seconds: float) -> None:
    found = noise(3, 2, round(seconds * RATE))
    assert torch.equal(corrections(found, [0, 1], RATE), torch.zeros_like(found))


@pytest.mark.parametrize("stems", [torch.zeros(3, 1, 9000), torch.ones(3, 2, 9000)])
def test_where_nothing_begins_all_stays(stems: Tensor) -> None:
    change = corrections(stems, [0, 1], RATE)
    assert float(change.abs().amax()) == 0.0


def test_beginnings_are_where_strokes_begin() -> None:
    found, true = synchronous._begins(strokes()[None], RATE), torch.tensor(beginnings())
    assert len(found) == len(true)
    assert bool(((found - true).abs() < synchronous.JITTER_S * RATE).all())


def test_likeness_by_hand() -> None:
    """Cosines of strokes at every place, one pair after the other."""
    wave, begins = noise(3000), torch.tensor([300, 900, 1500, 2400])
    most, moved = synchronous._likeness(wave, begins, RATE)
    length, jitter = round(synchronous.COMPARED_S * RATE), round(synchronous.JITTER_S * RATE)
    time = torch.arange(-jitter, length + jitter) / RATE
    envelope = torch.exp(-(time - synchronous.BEFORE_S).clamp_min(0) / synchronous.DECAY_S)
    around = [wave[begin - jitter : begin + length + jitter] * envelope for begin in begins.tolist()]
    for first in range(len(begins)):
        for second in range(len(begins)):
            if first == second:
                continue
            middle = around[first][jitter : jitter + length]
            cosines = [
                float(functional.cosine_similarity(middle, around[second][by : by + length], dim=0))
                for by in range(2 * jitter + 1)
            ]
            assert float(most[first, second]) == pytest.approx(max(cosines), abs=BY_SIZE)
            assert int(moved[first, second]) == cosines.index(max(cosines)) - jitter


def test_given_follows_its_table() -> None:
    assert synchronous._given(torch.tensor(FOUND)).tolist() == pytest.approx(GIVEN)
    assert synchronous._given(torch.tensor([0.0, 1.3, 99.0])).tolist() == pytest.approx([1.0, 1.3, GIVEN[-1]])


def test_a_rest_is_alike_where_it_comes_with_every_stroke() -> None:
    """Nearly 1 for the same riff each time, nearly 0 for other notes, whatever the masks left of the stroke itself."""
    stroke, riff, others = noise(1, 1, 300), noise(1, 1, 300, seed=1), noise(1, 20, 300, seed=2)
    weights, alike = torch.full((20, 10), 0.1), (torch.arange(20)[:, None] + torch.arange(1, 11)) % 20
    for rests, low, high in ((riff.expand(1, 20, 300), 0.75, 1.0), (others, 0.0, 0.2), (0 * others, 0.0, 0.01)):
        left = rests + 0.5 * stroke
        found = synchronous._together(weights, left, alike, left[:, alike].mean(2), stroke.expand(1, 20, 300))
        assert float(found.min()) >= low
        assert float(found.max()) <= high


def test_corrections_reach_the_outputs_they_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone that goes from bass to drums at the low rate, heard at the song's, in phase and as loud."""
    rate, hz, seconds = 44100, 110.0, 3.0
    begin = 0.5

    def tone(time: Tensor) -> Tensor:
        return torch.sin(2 * math.pi * hz * time) * torch.sin(math.pi * time / seconds).clamp_min(0).square()

    def moved(stems: Tensor, striking: Sequence[int], low: float) -> Tensor:
        assert list(striking) == [0, 1]
        wave = tone(torch.arange(stems.shape[-1]) / low + begin).expand(stems.shape[1], -1)
        return torch.stack([wave, -wave, *torch.zeros(2, *wave.shape)])

    def separated() -> Tensor:
        kept = [slice(round(begin * rate), round((seconds - begin) * rate))]
        return Engine(separator).separate(mixture, [("drums",), ("vocals", "bass")], kept=kept)[0]

    separator = Separator.load("default")
    mixture = 0.1 * noise(1, 2, round(seconds * rate))
    monkeypatch.setattr(inference, "corrections", lambda stems, *rest: torch.zeros_like(stems))
    before = separated()
    monkeypatch.setattr(inference, "corrections", moved)
    change = separated() - before
    # The first frame that is heard is the first to have a part in what is kept.
    first = separator.stft.reaching(slice(round(begin * rate), rate)).start * separator.stft.hop_length
    expected = tone((torch.arange(change.shape[-1]) + round(begin * rate) - first) / rate + begin).expand(2, -1)
    assert level_db(change - torch.stack([expected, -expected]), expected) < PLUMBING_DB
