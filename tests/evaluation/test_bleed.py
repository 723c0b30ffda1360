"""Bleedless and fullness against the definition written with torchaudio, and against the ways to cheat them."""

import librosa
import pytest
import torch
import torchaudio
from torch import Tensor

from sepgan.evaluation.bleed import bleedless_and_fullness
from tests import synth

RATE = 44100


def spelled_out(reference: Tensor, estimate: Tensor) -> tuple[float, float]:
    """The published definition for one source [C, T] at 44.1 kHz, by other means: torchaudio's scales and levels."""
    magnitude = torchaudio.transforms.Spectrogram(4096, hop_length=1024, power=1.0, pad_mode="constant")
    mel = torchaudio.transforms.MelScale(512, RATE, 0.0, RATE / 2, 2049, norm="slaney", mel_scale="slaney")
    levels = torchaudio.transforms.AmplitudeToDB("magnitude", top_db=80)
    difference = levels(mel(magnitude(estimate))) - levels(mel(magnitude(reference)))
    louder, softer = difference[difference > 0], -difference[difference < 0]
    return float(100 / (1 + louder.mean())), float(100 / (1 + softer.mean()))


def test_it_is_the_definition() -> None:
    song = synth.song(1.0)
    references = torch.from_numpy(song["vocals"])[None], torch.from_numpy(song["drums"])[None]
    reference = torch.cat(references)
    estimates = 0.8 * reference + 0.1 * reference.flip(0)
    found = bleedless_and_fullness(reference, estimates, RATE)
    for index in range(2):
        expected = spelled_out(reference[index], estimates[index])
        assert (float(found[0][index]), float(found[1][index])) == pytest.approx(expected, abs=0.02)
    filters = librosa.filters.mel(sr=RATE, n_fft=4096, n_mels=512)
    assert filters.max(1).min() > 0  # no band is empty


@pytest.mark.parametrize(("gain_db", "bleedless", "fullness"), [(6.0, 100 / 7, 100), (-3.0, 100, 25), (0.0, 100, 100)])
def test_a_gain_has_known_scores(gain_db: float, bleedless: float, fullness: float) -> None:
    reference = torch.randn(1, 2, RATE, generator=torch.Generator().manual_seed(0))
    found = bleedless_and_fullness(reference, 10 ** (gain_db / 20) * reference, RATE)
    assert (float(found[0]), float(found[1])) == pytest.approx((bleedless, fullness), abs=0.01)


def test_neither_score_can_be_had_for_nothing() -> None:
    """Silence does not bleed and is not full; the mixture is full and bleeds."""
    song = {stem: torch.from_numpy(wave) for stem, wave in synth.song(1.0).items()}
    reference, mixture = song["bass"][None], sum(song.values(), torch.zeros(()))[None]
    silent = [float(score) for score in bleedless_and_fullness(reference, torch.zeros_like(reference), RATE)]
    assert silent[0] == 100
    assert silent[1] < 3
    mixed = [float(score) for score in bleedless_and_fullness(reference, mixture, RATE)]
    assert mixed[0] < 10
    assert mixed[1] > silent[1] + 10


def test_short_and_silent_signals_are_defined() -> None:
    references, estimates = torch.ones(2, 1, 100), torch.ones(2, 1, 100)
    references[1] = 0
    bleedless, fullness = bleedless_and_fullness(references, estimates, RATE)
    assert bleedless.isnan().tolist() == fullness.isnan().tolist() == [False, True]
    assert float(bleedless[0]) == float(fullness[0]) == 100
