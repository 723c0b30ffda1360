"""Excerpts and the store: what is mixed sums, nothing unknown is taught, and item `i` is item `i`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sepgan.data import DATASETS, Track
from sepgan.data.excerpts import Batch, Excerpts, Song, Sound, covers_of, merge_covers, open_songs
from sepgan.data.store import FULL_SCALE, ArraySamples, Maps, SampleStore, StoredSamples, native_band_hz
from sepgan.data.track import AudioSource
from sepgan.errors import AudioError, DatasetError, OutputError
from sepgan.recipe import DataRecipe, SourceRecipe, from_dict
from sepgan.separator import Separator
from sepgan.training.losses import grouped_l1
from sepgan.training.spectra import analyse
from tests import synth

STEMS = synth.STEMS  # drums, bass, other, vocals
SAME = 2e-7  # absolute: float32 rounding of sums below 1
SAMPLES = 2000

Counts = npt.NDArray[np.int16]


def constant(level: float, *, samples: int = 3 * SAMPLES, channels: int = 2) -> ArraySamples:
    """A sound whose every sample is `level`, so that a mixture tells what is in it."""
    return ArraySamples(np.full((channels, samples), round(level * FULL_SCALE), dtype=np.int16))


def noise(seed: int, *, samples: int = 3 * SAMPLES, channels: int = 2) -> ArraySamples:
    counts = 2000 * np.random.default_rng(seed).standard_normal((channels, samples))
    return ArraySamples(counts.astype(np.int16))


def stacked(*levels: float) -> ArraySamples:
    """Channels of different levels."""
    return ArraySamples(np.concatenate([constant(level, channels=1).counts for level in levels]))


def full_song(seed: int, band_hz: float = 22050.0) -> Song:
    return Song(tuple(Sound(noise(4 * seed + k), frozenset({k}), band_hz) for k in range(4)))


def pair(seed: int, band_hz: float = 8000.0) -> Song:
    return Song(
        (
            Sound(noise(100 + seed, channels=1), frozenset({0, 1, 2}), band_hz),
            Sound(noise(200 + seed, channels=1), frozenset({3}), band_hz),
        )
    )


def solo(seed: int) -> Song:
    return Song((Sound(noise(300 + seed, channels=1), frozenset({3}), 22050.0),))


def make(songs: list[list[Song]], *, channels: int = 2, count: int = 30, first: int = 0, **keys: Any) -> Excerpts:
    return Excerpts(
        songs,
        [1.0] * len(songs),
        DataRecipe(**keys),
        stems=4,
        channels=channels,
        samples=SAMPLES,
        seed=7,
        first=first,
        count=count,
    )


def groups_of(batch: Batch) -> list[list[int]]:
    return [row.nonzero()[:, 0].tolist() for row in batch.groups if row.any()]


CORPORA = {
    "songs": [[full_song(0), full_song(1)]],
    "pairs": [[pair(0), pair(1)]],
    "solo voices in a band": [[full_song(0)], [solo(0), solo(1)]],
    "everything": [[full_song(0), full_song(1)], [pair(0)], [solo(0)]],
}


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("remix", [0.0, 1.0])
def test_targets_sum_to_the_mixture_and_groups_share_out_the_stems(name: str, channels: int, remix: float) -> None:
    excerpts = make(CORPORA[name], channels=channels, remix=remix, drop_stem=0.2, pan=0.5)
    for index in range(len(excerpts)):
        batch = excerpts[index]
        assert batch.mixture.shape == (channels, SAMPLES)
        assert batch.targets.shape == (4, channels, SAMPLES)
        assert float((batch.targets.sum(0) - batch.mixture).abs().max()) <= SAME
        assert float(batch.mixture.abs().max()) <= 1.0
        assert torch.equal(batch.groups.sum(0), torch.ones(4)), "every stem is in exactly one group"
        unused = batch.groups.sum(1) == 0
        assert float(batch.targets[unused].abs().sum()) == 0.0


def test_pairs_are_vocals_and_the_rest() -> None:
    excerpts = make(CORPORA["pairs"])
    for index in range(len(excerpts)):
        assert groups_of(excerpts[index]) == [[0, 1, 2], [3]]


def test_a_solo_recording_gets_a_band_around_it_even_without_remixing() -> None:
    excerpts = make(CORPORA["solo voices in a band"], remix=0.0, count=60)
    alone = [batch for batch in (excerpts[i] for i in range(60)) if float(batch.targets[:3].abs().max()) == 0.0]
    assert alone == []


def test_songs_keep_together_without_remixing() -> None:
    """Two songs of different constants: no excerpt may hold both."""
    songs = [Song(tuple(Sound(constant(level), frozenset({k}), 22050.0) for k in range(4))) for level in (0.05, 0.1)]
    excerpts = make([songs], remix=0.0)
    for index in range(len(excerpts)):
        levels = np.unique(excerpts[index].targets.numpy())
        assert len(levels) == 1
        assert min(abs(float(levels[0]) - level) for level in (0.05, 0.1)) <= 1 / FULL_SCALE


def test_remixing_draws_from_several_songs_within_the_gain_range() -> None:
    songs = [Song(tuple(Sound(constant(level), frozenset({k}), 22050.0) for k in range(4))) for level in (0.01, 0.1)]
    excerpts = make([songs], remix=1.0, gain_db=(-1.0, 1.0), swap_channels=0.0, count=60)
    mixed = 0
    for index in range(60):
        levels = excerpts[index].targets[:, 0, 0]
        origin = levels > 0.05  # the songs lie 20 dB apart, the gains at most 2 dB
        gains_db = 20 * torch.log10(levels / torch.where(origin, 0.1, 0.01))
        assert float(gains_db.abs().max()) <= 1.1  # dB; 0.1 for rounding 0.01 to a count
        mixed += int(origin.any() and not origin.all())
    assert mixed > 30


def test_dropped_stems_are_silent_and_known_to_be() -> None:
    excerpts = make(CORPORA["songs"], remix=1.0, drop_stem=0.5, count=60)
    silent = [int((excerpts[i].targets.abs().amax((1, 2)) == 0).sum()) for i in range(60)]
    assert 1.5 < np.mean(silent) < 2.5  # of 4 stems
    assert groups_of(excerpts[0]) == [[0], [1], [2], [3]]


@pytest.mark.parametrize("keys", [{"pan": 0.5, "swap_channels": 0.5}, {"pan": 1.0, "swap_channels": 0.0}])
def test_panning_and_swapping_keep_sums_and_move_sound(keys: dict[str, Any]) -> None:
    excerpts = make([[pair(0), pair(1)]], remix=1.0, **keys)
    panned = 0
    for index in range(len(excerpts)):
        batch = excerpts[index]
        assert float((batch.targets.sum(0) - batch.mixture).abs().max()) <= SAME
        panned += int(not torch.equal(batch.targets[1, 0], batch.targets[1, 1]))  # the vocals, the second group
    assert panned > 0.9 * len(excerpts)


def test_swapping_exchanges_left_and_right() -> None:
    song = Song((Sound(stacked(0.1, 0.0), frozenset({0}), 22050.0),))
    never, always = (make([[song]], remix=1.0, swap_channels=share)[0].targets[0] for share in (0.0, 1.0))
    assert float(never[1].abs().max()) == 0.0
    assert torch.equal(never, always.flip(0))


def test_mono_becomes_stereo_and_stereo_mono() -> None:
    mono = make([[Song((Sound(noise(1, channels=1), frozenset({0}), 22050.0),))]], remix=0.0)[0]
    assert torch.equal(mono.mixture[0], mono.mixture[1])
    averaged = make([[Song((Sound(stacked(0.2, 0.1), frozenset({0}), 22050.0),))]], channels=1, remix=0.0)[0]
    assert float((averaged.mixture - 0.15).abs().max()) <= 1 / FULL_SCALE


def test_of_more_channels_the_first_two_are_taken() -> None:
    batch = make([[Song((Sound(stacked(0.1, 0.2, 0.3), frozenset({0}), 22050.0),))]], remix=0.0)[0]
    assert [round(float(channel.mean()), 3) for channel in batch.mixture] == [0.1, 0.2]


def test_a_song_shorter_than_an_excerpt_is_padded() -> None:
    short = Song((Sound(constant(0.1, samples=300), frozenset({0}), 22050.0),))
    mixture = make([[short]], remix=0.0)[0].mixture
    assert mixture.shape == (2, SAMPLES)
    assert float(mixture[:, 300:].abs().max()) == 0.0
    assert float(mixture[:, :300].min()) > 0.09


def test_crops_prefer_sound_to_silence() -> None:
    """A tenth of the song sounds; of three tries at least one hits it more often than one try would."""
    counts = np.zeros((2, 100 * SAMPLES), dtype=np.int16)
    counts[:, 45 * SAMPLES : 55 * SAMPLES] = 3000
    excerpts = make([[Song((Sound(ArraySamples(counts), frozenset({0}), 22050.0),))]], remix=0.0, count=300)
    heard = np.mean([float(excerpts[i].mixture.abs().max()) > 0 for i in range(300)])
    assert 0.2 < heard < 0.4  # 1 - 0.89 ** 3 = 0.30; one try would give 0.11


def test_loud_mixtures_are_turned_down_as_a_whole() -> None:
    song = Song(tuple(Sound(constant(1.0), frozenset({k}), 22050.0) for k in range(4)))
    batch = make([[song]], remix=0.0)[0]
    assert float(batch.mixture.max()) == 1.0
    assert float((batch.targets - 0.25).abs().max()) <= SAME


def test_the_band_is_the_smallest_of_the_sources_used() -> None:
    excerpts = make([[full_song(0, 22050.0)], [full_song(1, 8000.0)]], remix=0.0)
    assert {float(excerpts[i].band_hz) for i in range(30)} == {22050.0, 8000.0}
    mixed = make([[full_song(0, 22050.0)], [full_song(1, 8000.0)]], remix=1.0, count=60)
    bands = [float(mixed[i].band_hz) for i in range(60)]
    assert np.mean(np.array(bands) == 8000.0) > 0.8  # all four stems wide: 1 in 16


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_an_excerpt_depends_on_its_number_alone() -> None:
    whole, late = make(CORPORA["everything"], count=20), make(CORPORA["everything"], first=12, count=8)
    for index in range(8):
        assert equal(late[index], whole[12 + index])
    assert equal(whole[3], whole[3])
    assert not torch.equal(whole[3].mixture, whole[4].mixture)


def test_workers_change_nothing() -> None:
    excerpts = make(CORPORA["everything"], count=6)
    alone = list(DataLoader(excerpts, batch_size=2))
    shared = list(DataLoader(excerpts, batch_size=2, num_workers=2, multiprocessing_context="fork"))
    assert len(alone) == 3
    for one, other in zip(alone, shared, strict=True):
        assert equal(Batch(*one), Batch(*other))


def track(*stems: str) -> Track:
    return Track("song", "train", {stem: AudioSource(Path(f"{stem}.wav")) for stem in stems})


def source(**keys: Any) -> SourceRecipe:
    return SourceRecipe.model_validate({"kind": "folder", "root": "music"} | keys)


@pytest.mark.parametrize(
    ("stems", "absent", "covers"),
    [
        (STEMS, "in_other", {"drums": {0}, "bass": {1}, "other": {2}, "vocals": {3}}),
        (("drums", "other", "vocals"), "in_other", {"drums": {0}, "other": {1, 2}, "vocals": {3}}),
        (("other",), "in_other", {"other": {0, 1, 2, 3}}),
        (("drums", "other", "vocals"), "silent", {"drums": {0}, "other": {2}, "vocals": {3}}),
        (("drums", "vocals"), "in_other", {"drums": {0}, "vocals": {3}}),
        (("vocals", "accompaniment"), "in_other", {"vocals": {3}, "accompaniment": {0, 1, 2}}),
    ],
)
def test_what_a_file_covers(stems: tuple[str, ...], absent: str, covers: dict[str, set[int]]) -> None:
    assert covers_of(track(*stems), source(absent=absent), STEMS) == covers


def test_accompaniment_may_be_a_stem_of_the_model() -> None:
    covers = covers_of(track("vocals", "accompaniment"), source(), ("accompaniment", "vocals"))
    assert covers == {"vocals": {1}, "accompaniment": {0}}
    covers = covers_of(track("drums", "bass", "other", "vocals"), source(absent="silent"), ("accompaniment", "vocals"))
    assert covers == {"drums": {0}, "bass": {0}, "other": {0}, "vocals": {1}}
    with pytest.raises(DatasetError, match="kazoo"):
        covers_of(track("vocals", "kazoo"), source(), ("accompaniment", "vocals"))


def test_a_stem_that_the_recipe_does_not_know() -> None:
    with pytest.raises(DatasetError, match="'song' has a stem 'kazoo' that the recipe does not know: stems are drums"):
        covers_of(track("drums", "kazoo"), source(), STEMS)


def test_merging_joins_what_overlaps() -> None:
    merged = merge_covers([frozenset({0, 1}), frozenset({1, 2}), frozenset({3})], 5)
    assert merged == [{0, 1, 2}, {3}, {4}]


def recipe_of(root: Path, **keys: Any) -> Any:
    return from_dict({"name": "x", "data": {"train": [{"kind": "folder", "root": str(root), **keys}]}})


def test_songs_are_opened_with_what_is_known_of_them(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path / "music", duration_s=0.2, sample_rate=16000, channels=1)
    lines: list[str] = []
    ((full, partial),) = open_songs(recipe_of(root), {}, SampleStore(tmp_path / "cache", 44100), lines.append)
    assert [sound.covers for sound in full.sounds] == [{1}, {0}, {2}, {3}]  # files in alphabetical order
    assert [set(sound.covers) for sound in partial.sounds] == [{0}, {1, 2}, {3}]
    assert {sound.band_hz for sound in full.sounds} == {8000.0}
    assert len(full.sounds[0].samples) == round(0.2 * 44100)
    assert lines == [f"{root}/train *: 2 tracks, 0.0 minutes"]
    ((wide, _),) = open_songs(recipe_of(root, band_hz=5000), {}, SampleStore(tmp_path / "cache", 44100), lines.append)
    assert wide.sounds[0].band_hz == 5000.0


def test_a_track_without_stems_cannot_train(tmp_path: Path) -> None:
    synth.write(tmp_path / "train" / "song" / "mixture.wav", synth.noise(0.1))
    with pytest.raises(DatasetError, match=r"'song' of folder '.*' has no stems: it can feed `separate`"):
        open_songs(recipe_of(tmp_path), {}, SampleStore(tmp_path / "cache", 44100), print)


@pytest.fixture
def music(tmp_path: Path) -> Track:
    (found,) = DATASETS["folder"](synth.folder_tree(tmp_path / "music", duration_s=0.2), "valid")
    return found


def test_the_store_keeps_what_was_decoded(tmp_path: Path, music: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SampleStore(tmp_path / "cache", 44100)
    first = store.open(music)
    stem = synth.song(0.2, seed=2)["drums"]  # the third song of the tree
    np.testing.assert_allclose(first["drums"][:].T / FULL_SCALE, stem, atol=2 / FULL_SCALE)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4

    def refuse(*_: object) -> None:
        raise AssertionError("decoded twice")

    monkeypatch.setattr("sepgan.data.store.load_track", refuse)
    again = SampleStore(tmp_path / "cache", 44100).open(music)
    np.testing.assert_array_equal(again["drums"][100:200], first["drums"][100:200])


def test_a_changed_file_is_decoded_anew(tmp_path: Path, music: Track) -> None:
    store = SampleStore(tmp_path / "cache", 44100)
    store.open(music)
    drums = music.stems["drums"]
    assert isinstance(drums, AudioSource)
    synth.write(drums.path, synth.tone(1000, 0.2))
    os.utime(drums.path, (1, 1))
    np.testing.assert_allclose(store.open(music)["drums"][:].T / FULL_SCALE, synth.tone(1000, 0.2), atol=1e-4)


def test_another_rate_is_decoded_anew(tmp_path: Path, music: Track) -> None:
    lengths = [len(SampleStore(tmp_path / "cache", rate).open(music)["drums"]) for rate in (44100, 22050)]
    assert lengths == [8820, 4410]


def test_half_a_file_of_a_killed_run_is_not_used(tmp_path: Path, music: Track) -> None:
    store = SampleStore(tmp_path / "cache", 44100)
    whole = store.open(music)["drums"]
    kept = whole[:]
    whole.path.with_name(f".{whole.path.name}.1.tmp").write_bytes(whole.path.read_bytes()[:100])
    whole.path.unlink()
    np.testing.assert_array_equal(store.open(music)["drums"][:], kept)


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, music: Track) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"store '.*cache' cannot be written: .*data.cache"):
        SampleStore(tmp_path / "cache", 44100).open(music)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    waveform = synth.noise(0.1)
    waveform[0, 5] = np.nan
    synth.write(tmp_path / "train" / "song" / "drums.wav", waveform, subtype="FLOAT")
    (found,) = DATASETS["folder"](tmp_path, "train")
    with pytest.raises(AudioError, match="drums"):
        SampleStore(tmp_path / "cache", 44100).open(found)
    assert not list(tmp_path.glob("cache/*.npy"))


def test_few_files_stay_open(tmp_path: Path, music: Track) -> None:
    """A memory map keeps a handle: recipes with a thousand stems used to exceed the default limit of a process."""
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        handles = Path("/dev/fd")
    maps = Maps(limit=2)
    files = [samples.path for samples in SampleStore(tmp_path / "cache", 44100).open(music).values()]
    before = len(list(handles.iterdir()))
    samples = [StoredSamples(file, maps) for file in files]
    for _ in range(3):
        assert all(one.window(10, 20).shape == (2, 10) for one in samples)
    assert len(list(handles.iterdir())) <= before + 3  # one of them is the listing's own


def test_the_band_of_a_track_is_half_its_own_rate(tmp_path: Path) -> None:
    found = DATASETS["pairs"](synth.pairs_tree(tmp_path, duration_s=0.1), "train")
    assert native_band_hz(found[0]) == 8000.0


def test_16_khz_sources_teach_nothing_above_8_khz(tmp_path: Path) -> None:
    """The estimate is of the whole band; the gradient of the loss must end where the source does."""
    root = synth.pairs_tree(tmp_path / "pairs", duration_s=0.5)
    recipe = from_dict(
        {
            "name": "x",
            "frontend": {"n_fft": 512, "hop_length": 128},
            "generator": {"widths": [8]},
            "data": {"train": [{"kind": "pairs", "root": str(root)}]},
        }
    )
    songs = open_songs(recipe, {}, SampleStore(tmp_path / "cache", 44100), print)
    batch = next(iter(DataLoader(make(songs), batch_size=4)))
    spectra = analyse(Separator(recipe), Batch(*batch), "magnitude", judged=False)
    estimates: Tensor = torch.rand(4, 4, *spectra.mixture.shape[1:], requires_grad=True)
    loss = grouped_l1(estimates, spectra.targets, spectra.groups, spectra.mixture, spectra.band_mask)
    (gradient,) = torch.autograd.grad(loss, estimates)
    bin_hz = torch.arange(257) * 44100 / 512
    assert float(gradient[..., bin_hz > 8000, :].abs().max()) == 0.0
    assert float(gradient[..., bin_hz <= 8000, :].abs().max()) > 0.0
