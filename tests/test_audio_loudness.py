"""Loudness and peaks: against pyloudnorm, against the standard's own figures, and the same however sound is cut."""

import math

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepgan.audio_loudness import LoudnessMeter
from tests import synth

AGREE_LU = 0.1  # two meters of the same standard
SINE_LUFS = -3.01  # BS.1770-4: a full-scale sine of 997 Hz in one channel
TRUE_PEAK_DB = 0.2  # ripple of the standard's interpolating filter, and a little of its edges


def measure(samples: npt.NDArray[np.float32], sample_rate: int, layout: str | None = None) -> float:
    meter = LoudnessMeter(sample_rate, samples.shape[0], layout)
    meter.push(samples)
    return meter.integrated_lufs()


def with_rests(sample_rate: int, channels: int) -> npt.NDArray[np.float32]:
    """Sound whose gates matter: loud, quiet and silent parts."""
    parts = [synth.noise(2.0, sample_rate=sample_rate, channels=channels, seed=seed) for seed in range(3)]
    gains = np.array([1, 0.01, 0, 0.5], np.float32)
    return np.concatenate([gain * part for gain, part in zip(gains, [*parts[:2], *parts[1:]], strict=True)], axis=1)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_it_agrees_with_pyloudnorm(sample_rate: int, channels: int) -> None:
    samples = with_rests(sample_rate, channels)
    expected = pyloudnorm.Meter(sample_rate).integrated_loudness(samples.T.astype(np.float64))
    assert measure(samples, sample_rate) == pytest.approx(expected, abs=AGREE_LU)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000, 192000])
def test_a_sine_at_full_scale_is_where_the_standard_puts_it(sample_rate: int) -> None:
    tone = 2 * synth.tone(997.0, 3.0, sample_rate=sample_rate, channels=1)
    assert measure(tone, sample_rate) == pytest.approx(SINE_LUFS, abs=AGREE_LU / 2)


def test_halving_the_amplitude_is_6_lu_and_a_second_channel_3() -> None:
    samples = synth.noise(2.0, channels=1)
    whole = measure(samples, 44100)
    assert measure(np.float32(0.5) * samples, 44100) == pytest.approx(whole - 6.02, abs=0.01)
    assert measure(np.concatenate((samples, samples)), 44100) == pytest.approx(whole + 3.01, abs=0.01)


def test_an_lfe_does_not_count_and_surrounds_count_more() -> None:
    sound, silence = synth.noise(2.0, channels=1)[0], np.zeros(2 * 44100, np.float32)
    alone = measure(sound[None], 44100)
    for place, expected in ((0, alone), (2, alone), (3, -math.inf), (4, alone + 1.5)):
        channels = [silence] * 6
        channels[place] = sound
        assert measure(np.stack(channels), 44100, "5.1") == pytest.approx(expected, abs=0.02)
        assert measure(np.stack(channels), 44100) == pytest.approx(expected, abs=0.02)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([8000, 11025, 44100]),
    st.lists(st.integers(0, 9000), min_size=1, max_size=8),
)
def test_cuts_change_nothing(sample_rate: int, lengths: list[int]) -> None:
    samples = synth.noise(sum(lengths) / 1000 + 0.05, sample_rate=1000)
    whole, cut = (LoudnessMeter(sample_rate, 2, true_peak=True) for _ in range(2))
    whole.push(samples)
    for block in np.split(samples, np.cumsum(lengths), axis=1):
        cut.push(block)
        cut.integrated_lufs()  # asking on the way changes nothing either
    assert cut.integrated_lufs() == pytest.approx(whole.integrated_lufs(), abs=1e-3)
    assert cut.sample_peak == whole.sample_peak == pytest.approx(float(np.abs(samples).max()))
    assert cut.true_peak == pytest.approx(whole.true_peak, rel=1e-5)


def test_silence_and_short_sound() -> None:
    assert measure(np.zeros((2, 44100), np.float32), 44100) == -math.inf
    assert LoudnessMeter(44100, 2).integrated_lufs() == -math.inf
    short = measure(synth.tone(997.0, 0.1, channels=1), 44100)
    assert short == pytest.approx(SINE_LUFS - 6.02, abs=0.5)


def test_true_peaks_lie_between_samples() -> None:
    """A sine of a quarter of the rate, sampled 45 degrees off its crests, shows 3 dB too little."""
    time = np.arange(48000)
    tone = np.sin(np.pi / 2 * time + np.pi / 4)[None].astype(np.float32)
    tone *= np.float32(0.5) * np.hanning(48000).astype(np.float32)
    meter = LoudnessMeter(48000, 1, true_peak=True)
    meter.push(tone)
    assert meter.sample_peak == pytest.approx(0.5 * math.sqrt(0.5), rel=1e-3)
    assert meter.true_peak is not None
    assert 20 * math.log10(meter.true_peak / 0.5) == pytest.approx(0, abs=TRUE_PEAK_DB)
    assert LoudnessMeter(48000, 1).true_peak is None


def test_a_constant_adds_nothing() -> None:
    """The weighting takes it away; float32 must not bring it back."""
    quiet = 0.001 * synth.noise(5.0, channels=1)
    meter = LoudnessMeter(44100, 1)
    for second in np.split(quiet + np.float32(0.9), 5, axis=1):
        meter.push(second)
    expected = pyloudnorm.Meter(44100).integrated_loudness((quiet + 0.9).T.astype(np.float64))
    assert meter.integrated_lufs() == pytest.approx(expected, abs=AGREE_LU)
