"""What is measured on stems: the meters find what was planted, and nothing where nothing is."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sepgan.separation.meters import BandwidthMeter, PresenceMeter, SeamMeter
from sepgan.streaming import separate_stream, whole
from tests import synth
from tests.separation.fake import Audio

RATE_HZ = 16000


def blocks(samples: Audio, length: int) -> list[Audio]:
    return [samples[..., begin : begin + length] for begin in range(0, samples.shape[-1], length)]


@pytest.mark.parametrize("length", [100, 16000, 100000])
def test_presence_follows_a_stem_that_comes_and_goes(length: int) -> None:
    """Stem 0 rests in the second second, stem 1 leaks at -35 dB throughout; the fourth second is silent, and short."""
    stems = np.zeros((2, 2, round(3.5 * RATE_HZ)), np.float32)
    stems[0] = synth.noise(3.5, sample_rate=RATE_HZ)
    stems[0, :, RATE_HZ : 2 * RATE_HZ] *= 0.001
    rest = synth.noise(3.5, seed=1, sample_rate=RATE_HZ)
    stems[1] = rest * 10 ** (-35 / 20)
    mixture = stems.sum(0) + rest
    stems[..., 3 * RATE_HZ :] = 1e-6
    mixture[:, 3 * RATE_HZ :] = 2e-6
    meter = PresenceMeter(2, RATE_HZ, 2)
    for song, parts in zip(blocks(mixture, length), blocks(stems, length), strict=True):
        meter.push(song, parts)
    assert meter.scores().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]


def test_presence_is_straight_in_decibels_between() -> None:
    mixture = synth.noise(1.0, sample_rate=RATE_HZ)
    meter = PresenceMeter(1, RATE_HZ, 2)
    meter.push(mixture, mixture[None] * np.float32(10 ** (-20 / 20)))
    assert meter.scores()[0, 0] == pytest.approx(0.5, abs=0.01)


def test_nothing_has_no_seconds() -> None:
    assert PresenceMeter(3, RATE_HZ, 2).scores().shape == (3, 0)


@pytest.mark.parametrize("frequency_hz", [300.0, 3000.0, 7500.0])
def test_bandwidth_of_a_tone_is_its_frequency(frequency_hz: float) -> None:
    tone = synth.tone(frequency_hz, 3.0, sample_rate=RATE_HZ)[:, 1000:]
    meter = BandwidthMeter(2, RATE_HZ)
    for block in blocks(np.stack((tone, 0 * tone)), 9999):
        meter.push(block)
    found, silence = meter.hertz()
    assert found == pytest.approx(frequency_hz, abs=60)  # within 70 dB, a Hann window is 15 bins wide
    assert silence == 0


def test_bandwidth_of_something_short_is_known_too() -> None:
    meter = BandwidthMeter(1, RATE_HZ)
    meter.push(synth.noise(0.01, sample_rate=RATE_HZ)[None])
    assert meter.hertz()[0] > 7000


HOP, OVERLAP = 3000, 1000


def seam_db(samples: Audio, length: int = 3000) -> list[float | None]:
    meter = SeamMeter(samples.shape[0], RATE_HZ, HOP, (0, OVERLAP))
    for block in blocks(samples, length):
        meter.push(block)
    return meter.decibels()


def test_a_smooth_signal_has_no_seams_and_a_cut_one_has() -> None:
    tone = synth.tone(447.0, 2.0, sample_rate=RATE_HZ)
    cut = tone.copy()
    cut[:, 2 * HOP : 3 * HOP] *= -1  # a hard cut at two seams
    smooth_db, cut_db = seam_db(np.stack((tone, cut)))
    assert smooth_db == pytest.approx(0, abs=0.5)
    assert cut_db is not None
    assert cut_db > 10


@pytest.mark.parametrize("length", [1, 77, 3000, 50000])
def test_seams_are_found_whatever_the_blocks_are(length: int) -> None:
    noise = synth.noise(0.7, sample_rate=RATE_HZ)
    noise[:, HOP] += 3.0
    noise[:, HOP + OVERLAP] += 3.0
    click_db = seam_db(noise[None], length)[0]
    assert click_db == pytest.approx(seam_db(noise[None])[0])
    assert click_db is not None
    assert click_db > 5


def test_a_click_elsewhere_is_no_seam() -> None:
    noise = synth.noise(1.0, sample_rate=RATE_HZ)
    noise[:, HOP + 500] += 1.0
    level_db = seam_db(noise[None])[0]
    assert level_db is not None
    assert abs(level_db) < 2


def test_no_seams_and_silence_have_no_level() -> None:
    assert seam_db(synth.noise(0.1, sample_rate=RATE_HZ)[None]) == [None]
    assert seam_db(np.zeros((1, 2, 16000), np.float32)) == [None]


@pytest.mark.parametrize(("overlap", "low", "high"), [(0, 10.0, 80.0), (1500, -1.0, 1.0)])
def test_segments_without_overlap_are_heard_and_with_overlap_are_not(overlap: int, low: float, high: float) -> None:
    """A network whose gain drifts within a segment jumps back at every joint."""

    def drift(mixture: torch.Tensor) -> torch.Tensor:
        return (mixture * torch.linspace(0.5, 1.0, mixture.shape[-1])).unsqueeze(1)

    song: list[npt.NDArray[np.float32]] = [synth.tone(447.0, 3.0, sample_rate=RATE_HZ)]
    meter = SeamMeter(1, RATE_HZ, 3000, (0, overlap))
    for stems in separate_stream(whole(drift), song, segment=3000 + overlap, overlap=overlap):
        meter.push(stems.numpy())
    level_db = meter.decibels()[0]
    assert level_db is not None
    assert low < level_db < high
