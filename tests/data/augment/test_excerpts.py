"""Effects within training excerpts: every excerpt is what its number says, and targets still sum to the mixture."""

import numpy as np
import torch

from sepgan.data.augment import Augmenter
from sepgan.data.excerpts import Excerpts, Song, Sound
from sepgan.data.store import FULL_SCALE, ArraySamples
from sepgan.recipe import AugmentationRecipe, DataRecipe
from tests import synth


def _excerpts(augmentation: AugmentationRecipe, remix: float = 1.0) -> Excerpts:
    songs = []
    for seed in range(3):
        stems = synth.song(0.5, seed=seed).values()
        sounds = [
            Sound(ArraySamples((stem * FULL_SCALE).astype(np.int16)), frozenset({index}), 22050.0)
            for index, stem in enumerate(stems)
        ]
        songs.append(Song(tuple(sounds)))
    config = DataRecipe(remix=remix, gain_db=(-3.0, 0.0), augmentation=augmentation)
    augment = Augmenter(augmentation, synth.SAMPLE_RATE) if augmentation.active else None
    return Excerpts(
        [songs], [1.0], config, stems=4, channels=2, samples=8192, seed=5, first=0, count=20, augment=augment
    )  # fmt: skip


ALL = AugmentationRecipe(polarity=0.5, speed=0.5, tempo=0.5, eq=0.5, reverb=0.5, lowpass=0.5, quantise=0.5)


def test_effects_change_stems_and_nothing_else() -> None:
    plain, changed = _excerpts(AugmentationRecipe()), _excerpts(ALL)
    different = 0
    for index in range(6):
        before, after = plain[index], changed[index]
        assert after.mixture.shape == before.mixture.shape
        assert torch.equal(after.groups, before.groups)
        assert torch.allclose(after.targets.sum(0), after.mixture, atol=1e-5)
        different += int(not torch.allclose(after.mixture, before.mixture, atol=1e-3))
    assert different >= 5


def test_an_excerpt_depends_on_its_number_alone() -> None:
    one, two = _excerpts(ALL), _excerpts(ALL)
    whole = one.batch([0, 1, 2, 3])
    assert torch.equal(two[3].targets, whole.targets[3])
    assert torch.equal(two[0].targets, whole.targets[0])


def test_songs_that_are_not_remixed_stay_as_they_are() -> None:
    plain, changed = _excerpts(AugmentationRecipe(), remix=0.0), _excerpts(ALL, remix=0.0)
    assert torch.equal(plain[0].mixture, changed[0].mixture)
