"""Remixes that match: heard in the excerpts, not read from the plans alone."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sepgan.data.augment import Tags
from sepgan.data.excerpts import Batch, Excerpts, Song, Sound
from sepgan.data.loading import ResidentExcerpts, batches
from sepgan.data.store import FULL_SCALE, ArraySamples
from sepgan.recipe import DataRecipe
from tests import synth

RATE = synth.SAMPLE_RATE
SAMPLES = 2 * RATE
BASE_HZ = (220.0, 550.0, 1370.0)  # of each stem in C
KEYS = (0, 2, 5, 10)
TEMPI = (90.0, 100.0, 112.0, 50.0)


def song(key: int, bpm: float, *, told: bool = True) -> Song:
    """Three stems, each one tone that is struck on every beat."""
    time_s = np.arange(3 * SAMPLES) / RATE
    shape = np.exp(-((time_s * bpm / 60) % 1) * 6)
    sounds = []
    for stem, base_hz in enumerate(BASE_HZ):
        wave = 0.2 * shape * np.sin(2 * np.pi * base_hz * 2 ** (key / 12) * time_s)
        counts = (np.stack([wave, 0.5 * wave]) * FULL_SCALE).astype(np.int16)
        tags = Tags(bpm, key) if told else Tags()
        sounds.append(Sound(ArraySamples(counts), frozenset({stem}), RATE / 2, tags))
    return Song(tuple(sounds))


def make(songs: list[Song], match: dict[str, Any], *, channels: int = 2, first: int = 0, **keys: Any) -> Excerpts:
    config = DataRecipe(remix=1.0, match=match, gain_db=(-3.0, 3.0), **keys)
    return Excerpts(
        [songs], [1.0], config, stems=3, channels=channels, samples=SAMPLES, seed=3, first=first, count=20
    )  # fmt: skip


def keys_heard(batch: Batch) -> list[float]:
    """Semitones of each stem above its tone in C."""
    found = []
    for target, base_hz in zip(batch.targets, BASE_HZ, strict=True):
        spectrum = torch.fft.rfft(target[0] * torch.hann_window(SAMPLES), 4 * SAMPLES).abs()
        found.append(12 * np.log2(float(spectrum.argmax()) * RATE / (4 * SAMPLES) / base_hz))
    return found


def beats_heard(batch: Batch) -> list[float]:
    """Beats per minute of each stem, by the distance that its envelope repeats at."""
    found = []
    for target in batch.targets:
        power = target[0].square()[: SAMPLES // 64 * 64].reshape(-1, 64).mean(1)
        power = power - power.mean()
        similar = torch.fft.irfft(torch.fft.rfft(power, 2 * len(power)).abs().square())[: len(power)]
        least = round(0.4 * RATE / 64)  # 150 beats per minute
        found.append(60 * RATE / 64 / (least + int(similar[least : round(0.85 * RATE / 64)].argmax())))
    return found


def spread(values: list[float]) -> float:
    return max(values) - min(values)


def test_stems_of_a_remix_sound_in_one_key() -> None:
    songs = [song(key, 100.0) for key in (0, 2, 3)]
    matched, plain = make(songs, {"key": True}), make(songs, {})
    assert max(spread(keys_heard(matched[index])) for index in range(8)) < 0.1
    assert max(spread(keys_heard(plain[index])) for index in range(8)) > 1.5
    assert {round(keys_heard(matched[index])[0]) for index in range(8)} == {0, 2, 3}  # the first is left as it is


def test_stems_of_a_remix_sound_in_one_tempo() -> None:
    songs = [song(0, bpm) for bpm in (90.0, 100.0)]
    matched, plain = make(songs, {"tempo": True}), make(songs, {})
    assert max(spread(beats_heard(matched[index])) for index in range(6)) < 4.0  # smeared attacks
    assert max(spread(beats_heard(plain[index])) for index in range(6)) > 7.0
    assert max(spread(keys_heard(matched[index])) for index in range(6)) < 0.1


def test_key_and_tempo_together_and_targets_sum_to_the_mixture() -> None:
    songs = [song(key, bpm) for key, bpm in ((0, 92.0), (2, 100.0))]
    excerpts = make(songs, {"key": True, "tempo": True}, swap_channels=0.5)
    for index in range(6):
        batch = excerpts[index]
        assert spread(keys_heard(batch)) < 0.1
        assert spread(beats_heard(batch)) < 4.0
        assert torch.allclose(batch.targets.sum(0), batch.mixture, atol=1e-5)
        assert float(batch.targets[:, :, -2000:].abs().amax((1, 2)).min()) > 1e-3  # no silence at the end


def test_what_is_too_far_is_not_chosen() -> None:
    excerpts = make([song(0, 100.0), song(6, 100.0)], {"key": True})
    plans = [excerpts.planner.draw(np.random.default_rng(index)) for index in range(20)]
    keys = [{placement.sound.tags.key for placement in plan.placements} for plan in plans]
    assert all(len(found) == 1 for found in keys)
    assert set().union(*keys) == {0, 6}


def test_without_shifts_sounds_that_fit_are_chosen() -> None:
    music = [song(key, bpm) for key, bpm in itertools.product((0, 2), (100.0, 108.0))]
    excerpts = make(music, {"key": True, "tempo": True, "semitones": 0, "tempo_share": 0.0})
    for index in range(20):
        plan = excerpts.planner.draw(np.random.default_rng(index))
        assert len({placement.sound.tags for placement in plan.placements}) == 1
        assert not any(placement.warp.active for placement in plan.placements)


def test_what_has_no_match_stays_as_it_is() -> None:
    low, high = song(0, 100.0), song(6, 100.0)
    mixed = [Song(low.sounds[:1]), Song(high.sounds[1:])]
    plans = [make(mixed, {"key": True}).planner.draw(np.random.default_rng(index)) for index in range(5)]
    assert all(len(plan.placements) == 3 for plan in plans)
    unknown = make([song(key, 100.0, told=False) for key in (0, 2)], {"key": True, "tempo": True})
    plans += [unknown.planner.draw(np.random.default_rng(index)) for index in range(5)]
    assert not any(placement.warp.active for plan in plans for placement in plan.placements)


def test_a_band_around_a_solo_comes_to_the_solo() -> None:
    solo = Song(song(0, 100.0).sounds[2:])
    config = DataRecipe(remix=0.0, match={"key": True})
    excerpts = Excerpts(
        [[solo], [song(2, 100.0)]], [50.0, 1.0], config, stems=3, channels=2, samples=SAMPLES, seed=3, first=0, count=9
    )  # fmt: skip
    for index in range(3):
        assert np.allclose(keys_heard(excerpts[index]), 0.0, atol=0.1)


def test_an_excerpt_depends_on_its_number_alone() -> None:
    music = [song(key, bpm) for key, bpm in zip(KEYS, TEMPI, strict=True)]
    match = {"key": True, "tempo": True}
    straight, resumed = make(music, match), make(music, match, first=5)
    for one, other in zip(straight[7], resumed[2], strict=True):
        assert torch.equal(one, other)
    (batch,) = batches(straight, [[7, 8]], workers=1)
    assert torch.equal(batch.mixture[0], straight[7].mixture)


@pytest.mark.parametrize("channels", [1, 2])
def test_stems_on_the_device_give_the_same_excerpts(channels: int) -> None:
    music = [song(key, bpm) for key, bpm in zip(KEYS, TEMPI, strict=True)]
    excerpts = make(music, {"key": True, "tempo": True}, channels=channels, swap_channels=0.5)
    expected, found = excerpts.batch([0, 1, 2]), ResidentExcerpts(excerpts, torch.device("cpu")).batch([0, 1, 2])
    assert torch.allclose(expected.mixture, found.mixture, atol=1e-4)
    assert torch.allclose(expected.targets, found.targets, atol=1e-4)


def test_songs_shorter_than_an_excerpt_are_padded() -> None:
    def shortened(sound: Sound) -> Sound:
        return replace(sound, samples=ArraySamples(sound.samples.window(0, RATE)))

    short = [Song(tuple(shortened(sound) for sound in song(key, 100.0).sounds)) for key in (0, 2)]
    excerpts = make(short, {"key": True})
    for found in (excerpts.batch([0, 1, 2, 3]), ResidentExcerpts(excerpts, torch.device("cpu")).batch([0, 1, 2, 3])):
        assert bool(found.mixture.isfinite().all())
        assert float(found.mixture[..., RATE + 4096 :].abs().max()) < 1e-3


def test_a_song_plays_faster_or_slower_as_one() -> None:
    def excerpts(most: float) -> Excerpts:
        config = DataRecipe(remix=0.0, song_speed=most)
        return Excerpts(
            [[song(0, 100.0)]], [1.0], config, stems=3, channels=2, samples=SAMPLES, seed=3, first=0, count=9
        )  # fmt: skip

    varied, plain = excerpts(0.1), excerpts(0.0)
    heard = np.array([keys_heard(varied[index]) for index in range(9)])
    assert np.ptp(heard, axis=1).max() < 0.1  # semitones: all stems alike
    assert np.ptp(heard, axis=0).min() > 1.5  # and each excerpt by itself
    assert 12 * np.log2(0.9) - 0.1 < heard.min()
    assert heard.max() < 12 * np.log2(1.1) + 0.1
    assert np.abs(keys_heard(plain[0])).max() < 0.1
    batch = varied.batch(range(9))
    assert torch.allclose(batch.targets.sum(1), batch.mixture, atol=1e-5)
