"""Features against librosa, and what a matrix of them is used for."""

import librosa
import numpy as np
import pydantic
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray

from sepgan.errors import RecipeError
from sepgan.features import FeatureMatrix, cepstrum, deltas, log_mel, mfcc, pre_emphasis, spectral_contrast
from sepgan.frontend import mel_weights
from sepgan.recipe import FeatureRecipe, FramingRecipe
from tests import synth

SAMPLE_RATE = 44100
LIBROSA_DB = 0.01  # how far levels may differ from librosa's, in dB; coefficients and deltas are in dB too
CONTRAST_DB = 0.01
SAMPLES = 20 * 512  # whole steps, so that librosa counts the same frames


@pytest.fixture(scope="module")
def sound() -> NDArray[np.float32]:
    return synth.mixture(synth.song(0.5, channels=2))[:, :SAMPLES]


def _matrix(**values: object) -> FeatureMatrix:
    return FeatureMatrix(FeatureRecipe.model_validate(values))


def _librosa_mel_db(sound: NDArray[np.float32], bands: int) -> NDArray[np.float32]:
    mel = librosa.feature.melspectrogram(
        y=sound, sr=SAMPLE_RATE, n_fft=2048, hop_length=512, pad_mode="constant", n_mels=bands, htk=True, norm=None
    )
    return np.asarray(librosa.power_to_db(mel, top_db=None))


@pytest.mark.parametrize("bands", [1, 26, 64])
def test_log_mel_equals_librosa(sound: NDArray[np.float32], bands: int) -> None:
    found = _matrix(mel_bands=bands, mfcc=0)(torch.from_numpy(sound))
    assert found.shape == (2, 21, bands)
    assert np.abs(found.numpy().swapaxes(-1, -2) - _librosa_mel_db(sound, bands)).max() < LIBROSA_DB


def test_mfcc_and_deltas_equal_librosa(sound: NDArray[np.float32]) -> None:
    matrix = _matrix(mel_bands=26, mfcc=13)
    found = matrix.features(torch.from_numpy(sound))
    expected = librosa.feature.mfcc(S=_librosa_mel_db(sound, 26), n_mfcc=13)
    for kind, values in {
        "mfcc": expected,
        "delta_mfcc": librosa.feature.delta(expected),
        "delta2_mfcc": librosa.feature.delta(expected, order=2),
    }.items():
        assert np.abs(found.group(kind).numpy().swapaxes(-1, -2) - values).max() < LIBROSA_DB, kind


def test_pre_emphasis_equals_librosa_after_the_first_sample(sound: NDArray[np.float32]) -> None:
    found = pre_emphasis(torch.from_numpy(sound)).numpy()
    assert np.abs(found - librosa.effects.preemphasis(sound))[:, 1:].max() < 1e-6
    assert np.array_equal(found[:, 0], sound[:, 0])


def test_spectral_contrast_is_librosas(sound: NDArray[np.float32]) -> None:
    found = _matrix(log_mel=False, mfcc=0, contrast=6)(torch.from_numpy(sound)).numpy()
    expected = librosa.feature.spectral_contrast(
        y=sound, sr=SAMPLE_RATE, n_fft=2048, hop_length=512, n_bands=6, pad_mode="constant"
    )
    # librosa takes 10 log10 of magnitudes, so that its contrast is half the difference in level.
    assert np.abs(found.swapaxes(-1, -2) - expected).max() < CONTRAST_DB


def test_the_cepstrum_finds_a_pitch() -> None:
    """A pulse train of 200 Hz has its peak at 1 / 200 s."""
    pulses = np.zeros((1, 8192), np.float32)
    pulses[0, :: SAMPLE_RATE // 200] = 1.0
    magnitude = np.abs(np.fft.rfft(pulses[:, :4096] * scipy.signal.windows.hann(4096)))
    found = cepstrum(torch.from_numpy(magnitude), 1000).numpy()[0]
    assert abs(int(np.argmax(found[100:])) + 100 - SAMPLE_RATE // 200) <= 1
    log = np.log(np.maximum(magnitude, 1e-5))
    assert np.allclose(found, np.fft.irfft(log)[0, :1000], atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 3), (2, 20, 3), (4, 2, 20, 3)])
@pytest.mark.parametrize("order", [1, 2])
def test_deltas_of_polynomials_are_their_derivatives(shape: tuple[int, ...], order: int) -> None:
    time = torch.arange(20.0, dtype=torch.float64)[:, None].expand(shape)
    polynomial = 3 * time if order == 1 else 0.5 * time**2
    assert torch.allclose(deltas(polynomial, order), torch.full(shape, 3.0 if order == 1 else 1.0, dtype=torch.float64))


def test_deltas_need_enough_frames() -> None:
    with pytest.raises(ValueError, match="at least 9 frames, got 4"):
        deltas(torch.zeros(4, 3))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_columns_have_names_and_any_number_of_channels_is_one_path(channels: int) -> None:
    matrix = _matrix(cepstrum=4, contrast=3, pre_emphasis=0.97)
    sound = torch.from_numpy(synth.noise(0.2, channels=channels))
    features = matrix.features(sound)
    assert features.values.shape == (channels, matrix.framing.count(8820), len(features.names))
    assert len(features.names) == 26 + 4 + 3 * 13 + 4
    assert len(set(features.names)) == len(features.names)
    assert torch.equal(features.column("mfcc_3"), features.group("mfcc")[..., 3])
    assert features.group("cepstrum").shape[-1] == 4
    assert features.rate_hz == pytest.approx(86.13, abs=0.01)
    assert torch.allclose(features.values[-1], matrix(sound[-1:])[0], atol=1e-3)
    with pytest.raises(KeyError, match="no feature 'mfcc_13'"):
        features.column("mfcc_13")


def test_features_can_be_learnt_through() -> None:
    matrix = _matrix(cepstrum=4)
    sound = torch.from_numpy(synth.noise(0.2)).requires_grad_()
    matrix(sound).square().mean().backward()
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    assert float(sound.grad.abs().max()) > 0


def test_measures_take_any_leading_axes() -> None:
    power = torch.rand(2, 3, 4, 1025)
    levels_db = log_mel(power, mel_weights(SAMPLE_RATE, 2048, 26))
    assert levels_db.shape == (2, 3, 4, 26)
    assert mfcc(levels_db, 13).shape == (2, 3, 4, 13)
    assert spectral_contrast(power, SAMPLE_RATE, 6).shape == (2, 3, 4, 7)
    assert float(log_mel(torch.zeros(1, 1025), mel_weights(SAMPLE_RATE, 2048, 26)).max()) == pytest.approx(-100)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mfcc": 30}, "at most mel_bands"),
        ({"log_mel": False, "mfcc": 0}, "nothing is asked for"),
        ({"contrast": 8}, "pass half of 44100"),
        ({"cepstrum": 2000}, "half a frame"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        FeatureRecipe.model_validate(values)


def test_too_many_bands_are_refused() -> None:
    with pytest.raises(RecipeError, match="too many"):
        FeatureMatrix(FeatureRecipe(mel_bands=200, framing=FramingRecipe(frame_length=512, hop_length=128)))
