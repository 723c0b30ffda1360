"""The short-time Fourier transform and the bands: properties, then agreement with librosa and torchaudio."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from sepgan.errors import RecipeError
from sepgan.frontend import LinearBands, MelBands, OverlapAdd, Stft, build_bands, mel_weights
from sepgan.recipe import FrontendRecipe, from_dict
from sepgan.separator import Separator
from tests import synth

ROUND_TRIP_DB = -120.0  # error energy relative to the signal's
SAME_SPECTRUM_DB = -110.0  # two float32 transforms of the same frames
SAME_WEIGHTS = 1e-6  # absolute; filters peak at 1
SUM_OF_MASKS = 1e-5  # absolute
SAME_BY_TORCHAUDIO = 2e-5  # absolute: torchaudio computes edges in float32


def error_db(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """Energy of the difference relative to the wanted one's, in dB."""
    wanted, got = wanted.to(torch.complex128), got.to(torch.complex128)
    ratio = (wanted - got).abs().square().sum() / wanted.abs().square().sum()
    return float(10 * torch.log10(ratio.clamp_min(1e-30)))


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 6000),
    channels=st.integers(1, 8),
    sizes=st.sampled_from([(64, 16), (512, 128), (600, 200), (1000, 313), (4096, 1024)]),
    seed=st.integers(0, 99),
)
def test_the_inverse_gives_back_the_waveform(samples: int, channels: int, sizes: tuple[int, int], seed: int) -> None:
    waveform = torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))
    stft = Stft(*sizes)
    assert error_db(waveform, stft.inverse(stft(waveform), samples)) <= ROUND_TRIP_DB


def test_a_signal_that_ends_just_before_the_next_frame_comes_back() -> None:
    """With a hop of half a window the last sample lies on the foot of one window; recipes therefore allow a third."""
    waveform = torch.randn(2, 3 * 1365 + 1364, generator=torch.Generator().manual_seed(0))
    stft = Stft(4096, 1365)
    returned = stft.inverse(stft(waveform), waveform.shape[-1])
    assert error_db(waveform[:, -8:], returned[:, -8:]) <= -100.0


def test_any_leading_axes_are_kept() -> None:
    spectrum = Stft(256, 64)(torch.zeros(2, 3, 4, 1000))
    assert spectrum.shape == (2, 3, 4, 129, 16)
    assert Stft(256, 64).inverse(spectrum, 1000).shape == (2, 3, 4, 1000)


@pytest.mark.parametrize(("n_fft", "hop_length", "samples"), [(2048, 512, 30000), (1024, 200, 1999), (256, 64, 257)])
def test_the_spectrum_is_that_of_librosa(n_fft: int, hop_length: int, samples: int) -> None:
    waveform = synth.noise(1.0, seed=1)[:, :samples]
    wanted = librosa.stft(
        waveform.astype(np.float64), n_fft=n_fft, hop_length=hop_length, window="hann", center=True, pad_mode="constant"
    )
    got = Stft(n_fft, hop_length)(torch.from_numpy(waveform))
    assert got.shape == wanted.shape
    assert error_db(torch.from_numpy(wanted), got) <= SAME_SPECTRUM_DB


def test_the_spectrum_is_that_of_torchaudio() -> None:
    waveform = torch.from_numpy(synth.noise(0.5, seed=2))
    transform = torchaudio.transforms.Spectrogram(1024, hop_length=256, power=None, pad_mode="constant")
    assert error_db(transform(waveform), Stft(1024, 256)(waveform)) <= SAME_SPECTRUM_DB


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "bands"), [(44100, 4096, 320), (44100, 2048, 96), (16000, 512, 40), (22050, 1024, 80)]
)
def test_mel_filters_are_those_of_librosa_and_torchaudio(sample_rate: int, n_fft: int, bands: int) -> None:
    weights = mel_weights(sample_rate, n_fft, bands)
    by_librosa = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=bands, fmin=0.0, htk=True, norm=None, dtype=np.float64
    )
    by_torchaudio = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate).T
    np.testing.assert_allclose(weights.numpy(), by_librosa, rtol=0, atol=SAME_WEIGHTS)
    # torchaudio keeps edges in float32, which near the top of the band shifts a slope by some 1e-5 of its height.
    np.testing.assert_allclose(weights.numpy(), by_torchaudio.numpy(), rtol=0, atol=100 * SAME_BY_TORCHAUDIO)
    assert float((weights - by_torchaudio).abs().median()) <= SAME_BY_TORCHAUDIO


BANDS = [
    pytest.param(LinearBands(257, 257), id="all bins"),
    pytest.param(LinearBands(257, 100), id="lowest bins"),
    pytest.param(LinearBands(257, 16), id="fewer than are averaged"),
    pytest.param(MelBands(16000, 512, 40), id="mel"),
    pytest.param(MelBands(44100, 512, 32), id="mel, wide"),
]


@pytest.mark.parametrize("bands", BANDS)
def test_masks_that_sum_to_one_over_bands_do_so_over_bins(bands: LinearBands | MelBands) -> None:
    logits = torch.randn(3, 4, 2, bands.bands, 7, generator=torch.Generator().manual_seed(3))  # [B, S, C, bands, N]
    masks = bands.to_bins(torch.softmax(4 * logits, dim=1))
    assert masks.shape == (3, 4, 2, 257, 7)
    assert float(masks.min()) >= 0.0
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS


@pytest.mark.parametrize("bands", BANDS)
def test_bands_are_sums_of_bins_and_know_their_frequency(bands: LinearBands | MelBands) -> None:
    sample_rate = 16000 if bands.bands == 40 else 44100
    bins = torch.rand(2, 257, 5, generator=torch.Generator().manual_seed(4))
    assert bands(bins).shape == (2, bands.bands, 5)
    assert float((bands(bins) + bands(2 * bins) - bands(3 * bins)).abs().max()) <= 1e-3
    centres_hz = bands.centres_hz(sample_rate)
    assert centres_hz.shape == (bands.bands,)
    assert bool((centres_hz.diff() > 0).all())
    # A tone in the middle of a band is loudest in that band.
    for band in (bands.bands // 2, bands.bands - 2):
        spectrum = torch.zeros(257, 1)
        spectrum[round(float(centres_hz[band]) * 512 / sample_rate)] = 1.0
        assert abs(int(bands(spectrum)[:, 0].argmax()) - band) <= 1


def test_masks_above_the_lowest_bins_repeat_the_mean_of_the_highest() -> None:
    masks = torch.arange(100.0).reshape(100, 1)
    extended = LinearBands(257, 100).to_bins(masks)
    assert torch.equal(extended[:100], masks)
    assert torch.equal(extended[100:], torch.full((157, 1), (68 + 99) / 2))


def test_a_constant_mask_over_mel_bands_is_constant_over_bins() -> None:
    masks = MelBands(44100, 4096, 320).to_bins(torch.full((320, 3), 0.3))
    assert float((masks - 0.3).abs().max()) <= SUM_OF_MASKS


def test_too_many_mel_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="200 mel bands are too many for n_fft 512 at 44100 Hz"):
        mel_weights(44100, 512, 200)


def test_a_recipe_with_too_many_mel_bands_is_refused_at_the_door() -> None:
    raw = {"name": "x", "frontend": {"n_fft": 512, "hop_length": 128, "mel_bands": 200}}
    with pytest.raises(RecipeError, match=r"frontend.mel_bands: 200 mel bands are too many .*raise frontend.n_fft"):
        Separator(from_dict(raw))


def test_the_recipe_chooses_the_bands() -> None:
    assert isinstance(build_bands(FrontendRecipe(n_fft=512, hop_length=128, mel_bands=32)), MelBands)
    lowest = build_bands(FrontendRecipe(n_fft=512, hop_length=128, bins=100))
    whole = build_bands(FrontendRecipe(n_fft=512, hop_length=128))
    assert (lowest.bands, whole.bands) == (100, 257)


def test_tables_follow_the_module_and_stay_out_of_checkpoints() -> None:
    mel_tables = ["weights", "spread", "lower", "lower_share", "upper", "upper_share"]
    for module, tables in ((Stft(256, 64), ["window"]), (MelBands(16000, 512, 40), mel_tables)):
        assert module.state_dict() == {}
        assert sorted(name for name, _ in module.named_buffers()) == sorted(tables)
        module.to(torch.float64)
        real = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        assert all(buffer.dtype == torch.float64 for buffer in real)
        module.to("meta")
        assert all(buffer.device.type == "meta" for buffer in module.buffers())


@settings(max_examples=20, deadline=None)
@given(
    samples=st.integers(1, 6000),
    sizes=st.sampled_from([(64, 16), (512, 128), (600, 200), (1000, 313)]),
    at_once=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_overlap_add_gives_back_the_waveform(samples: int, sizes: tuple[int, int], at_once: int, seed: int) -> None:
    waveform = torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(seed))
    stft = Stft(*sizes)
    frames = stft.frames(waveform)
    assert error_db(stft(waveform), frames.mT) <= SAME_SPECTRUM_DB
    canvas = OverlapAdd(stft, (2, 3), frames.shape[-2])
    for first in range(0, frames.shape[-2], at_once):
        part = slice(first, first + at_once)
        canvas.add(frames[0, :, part], first, (0,))
        canvas.add(frames[1, :, part], first, (1,))
    assert error_db(waveform, canvas.waveform(samples)) <= ROUND_TRIP_DB


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 20000), sizes=st.sampled_from([(64, 16), (512, 128), (600, 200)]), data=st.data())
def test_some_frames_are_those_of_all(samples: int, sizes: tuple[int, int], data: st.DataObject) -> None:
    waveform, stft = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples)), Stft(*sizes)
    frames = stft.frames(waveform)
    assert frames.shape[-2] == stft.count(samples)
    first = data.draw(st.integers(0, frames.shape[-2] - 1))
    last = data.draw(st.integers(first, frames.shape[-2] - 1))
    part = stft.frames(waveform, range(first, last + 1))
    assert error_db(frames[:, first : last + 1], part) <= SAME_SPECTRUM_DB


@pytest.mark.parametrize("bands", [LinearBands(257, 100), LinearBands(257, 257), MelBands(44100, 2048, 80)])
def test_masks_come_to_frames_as_to_bins(bands: LinearBands | MelBands) -> None:
    masks = torch.rand(2, 3, bands.bands, 11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bands.to_frames(masks), bands.to_bins(masks).mT, rtol=0, atol=SAME_WEIGHTS)
