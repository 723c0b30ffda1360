"""Batches: the same excerpts however they are made, no bad file stops a run, and files are cut in place."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sepgan import audio
from sepgan.data import DATASETS, load_stems
from sepgan.data.direct import DirectSamples
from sepgan.data.excerpts import Batch, Excerpts, Song, Sound, open_songs
from sepgan.data.loading import ResidentExcerpts, batches
from sepgan.data.store import FULL_SCALE, ArraySamples, SampleStore, StoredSamples
from sepgan.data.track import AudioSource
from sepgan.errors import AudioError, DatasetError
from sepgan.recipe import DataRecipe, from_dict
from tests import synth

SAMPLES = 1500
ROUNDING = 3e-7  # absolute: float32 in another order
AAC_NOISE_DB = -30.0  # samples after a seek against those of the whole file, relative to them


def noise(seed: int, channels: int = 2) -> ArraySamples:
    counts = 3000 * np.random.default_rng(seed).standard_normal((channels, 4 * SAMPLES))
    return ArraySamples(counts.astype(np.int16))


def songs() -> list[list[Song]]:
    """A full song, a mono solo, and a mixture of unknown stems."""
    full = Song(tuple(Sound(noise(k), frozenset({k}), 22050.0) for k in range(4)))
    solo = Song((Sound(noise(9, channels=1), frozenset({3}), 22050.0),))
    unknown = Song((Sound(noise(10, channels=1), frozenset(), 11025.0),))
    return [[full], [solo], [unknown]]


def make(music: list[list[Song]] | None = None, *, channels: int = 2, **keys: Any) -> Excerpts:
    music = songs() if music is None else music
    config = DataRecipe(**{"pan": 0.5, "remix": 0.6, **keys})
    return Excerpts(
        music, [1.0] * len(music), config, stems=4, channels=channels, samples=SAMPLES, seed=3, first=5, count=99
    )


def close(one: Batch, other: Batch, tolerance: float = 0.0) -> None:
    for name, left, right in zip(Batch._fields, one, other, strict=True):
        assert left.shape == right.shape, name
        assert left.dtype == right.dtype, name
        assert float((left.float() - right.float()).abs().max()) <= tolerance, name


@pytest.mark.parametrize("channels", [1, 2])
def test_unlabelled_mixtures_are_marked_and_teach_nothing(channels: int) -> None:
    batch = make(channels=channels).batch(range(40))
    unknown = ~batch.supervised
    assert 5 < int(unknown.sum()) < 25  # a third of 40
    assert float(batch.groups[unknown].sum()) == 0.0
    assert float(batch.targets[unknown].abs().max()) == 0.0
    assert float(batch.mixture[unknown].abs().amax((1, 2)).min()) > 0.1
    assert set(batch.band_hz[unknown].tolist()) == {11025.0}
    assert torch.equal(batch.groups[batch.supervised].sum(1), torch.ones(int(batch.supervised.sum()), 4))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_batch_holds_its_excerpts(channels: int) -> None:
    excerpts = make(channels=channels)
    batch = excerpts.batch([7, 0, 7])
    assert len(batch.mixture) == 3
    for row, number in enumerate((7, 0, 7)):
        close(Batch(*(tensor[row] for tensor in batch)), excerpts[number])


@pytest.mark.parametrize("channels", [1, 2])
def test_stems_on_the_device_give_the_same_excerpts(channels: int) -> None:
    excerpts = make(channels=channels)
    resident = ResidentExcerpts(make(channels=channels), torch.device("cpu"))
    assert resident.bytes == 2 * 4 * SAMPLES * (4 * 2 + 1 + 1)
    close(resident.batch(range(30)), excerpts.batch(range(30)), ROUNDING)


@pytest.mark.gpu
def test_stems_on_a_gpu_give_the_same_excerpts() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    numbers = [list(range(4 * n, 4 * n + 4)) for n in range(5)]
    for here, there in zip(batches(make(), numbers), batches(make(resident=True), numbers, device="cuda"), strict=True):
        assert there.mixture.device.type == "cuda"
        close(Batch(*(tensor.cpu() for tensor in there)), here, 1e-6)


@pytest.mark.parametrize("way", ["workers", "resident"])
def test_batches_are_the_same_either_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [[0, 1], [2, 3], [4, 5]]
    plain = list(batches(make(), numbers))
    if way == "workers":
        assert multiprocessing.get_start_method() in ("fork", "forkserver", "spawn")
        other = list(batches(make(), numbers, workers=2))
    else:
        other = list(batches(make(resident=True), numbers))
    assert len(plain) == len(other) == 3
    for one, two in zip(plain, other, strict=True):
        close(one, two, ROUNDING)
    if way == "resident":  # where they do not fit, they stay where they are
        monkeypatch.setattr("sepgan.data.loading.free_bytes", lambda device: 100.0)
        for one, two in zip(plain, batches(make(resident=True), numbers), strict=True):
            close(one, two)


def test_a_resumed_run_goes_on_with_the_next_excerpt() -> None:
    whole = list(batches(make(), [[0, 1], [2, 3], [4, 5]], workers=1))
    late = list(batches(make(), [[4, 5]]))
    assert (len(whole), len(late)) == (3, 1)
    close(whole[2], late[0])


def test_augmentation_is_seeded_and_sees_crops_of_remixes_only() -> None:
    seen = []

    def louder(rng: np.random.Generator, crop: Any, covers: frozenset[int]) -> Any:
        seen.append(covers)
        return crop * np.float32(rng.uniform(0.1, 0.5))

    def augmented(remix: float) -> Batch:
        music = songs()[:1]
        config = DataRecipe(remix=remix)
        excerpts = Excerpts(
            music, [1.0], config, stems=4, channels=2, samples=SAMPLES, seed=3, first=0, count=9, augment=louder
        )
        return excerpts.batch(range(4))

    one = augmented(1.0)
    assert {frozenset({k}) for k in range(4)} == set(seen)
    close(one, augmented(1.0))
    assert float((one.targets.sum(1) - one.mixture).abs().max()) <= ROUNDING
    seen.clear()
    augmented(0.0)
    assert seen == []


class Broken(ArraySamples):
    """Sound on a disk that fails."""

    def window(self, start: int, stop: int) -> Any:
        raise OSError("input/output error")


def test_what_cannot_be_read_is_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    good = songs()[0]
    bad = [Song((Sound(Broken(noise(1).counts), frozenset({0}), 22050.0), *good[0].sounds[1:]))]
    excerpts = make([good * 9 + bad], remix=0.0, unreadable=0.5)
    batch = excerpts.batch(range(60))
    assert 0 < excerpts.failures < 20
    assert float(batch.mixture.abs().amax((1, 2)).min()) > 0.1, "another excerpt takes the place"
    assert float((batch.targets.sum(1) - batch.mixture).abs().max()) <= ROUNDING
    assert "an excerpt is skipped: input/output error" in caplog.text
    close(batch, make([good * 9 + bad], remix=0.0, unreadable=0.5).batch(range(60)))


def test_too_much_that_cannot_be_read_stops_the_run() -> None:
    bad = [Song((Sound(Broken(noise(1).counts), frozenset({0}), 22050.0), *songs()[0][0].sounds[1:]))]
    with pytest.raises(DatasetError, match=r"cannot be read"):
        make([bad]).batch(range(4))
    mostly = make([songs()[0] + bad], remix=0.0, unreadable=0.1)
    with pytest.raises(DatasetError, match=r"\d+ of \d+ excerpts cannot be read, the last one because: input/output"):
        mostly.batch(range(99))


def test_a_decoded_file_that_vanishes_is_an_unreadable_one(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path / "music", duration_s=0.3)
    recipe = from_dict({"name": "x", "data": {"train": [{"kind": "folder", "root": str(root)}]}})
    music = open_songs(recipe, {}, SampleStore(tmp_path / "cache", 44100), print)
    samples = music[0][0].sounds[0].samples
    assert isinstance(samples, StoredSamples)
    samples.path.write_bytes(samples.path.read_bytes()[:200])
    with pytest.raises(OSError, match="damaged"):
        samples.window(0, 10)
    samples.path.unlink()
    with pytest.raises(OSError, match="No such file"):
        samples.window(0, 10)


def test_tracks_that_cannot_be_decoded_are_left_out_up_to_a_share(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path / "music", {"train": {f"{n}": ("vocals",) for n in range(4)}}, duration_s=0.2)
    raw = {"name": "x", "data": {"train": [{"kind": "folder", "root": str(root)}]}}
    lines: list[str] = []
    (root / "train" / "2" / "vocals.wav").write_bytes(b"RIFF")
    (music,) = open_songs(from_dict(raw), {}, SampleStore(tmp_path / "cache", 44100), lines.append)
    assert len(music) == 3
    assert lines[0].endswith("3 tracks, 0.0 minutes, 1 unreadable and left out")
    (root / "train" / "3" / "vocals.wav").write_bytes(b"RIFF")
    with pytest.raises(
        DatasetError, match=r"2 of 4 tracks of folder '.*' cannot be read, the last one because: .*3/voc"
    ):
        open_songs(from_dict(raw), {}, SampleStore(tmp_path / "cache", 44100), lines.append)


def test_mixtures_alone_train_nothing(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path / "gtzan", duration_s=0.3)
    entry = {"kind": "gtzan", "root": str(root)}
    store = SampleStore(tmp_path / "cache", 44100)
    with pytest.raises(DatasetError, match="has no stems: it can feed `separate`, not this training; say `unlabelled"):
        open_songs(from_dict({"name": "x", "data": {"train": [entry]}}), {}, store, print)
    with pytest.raises(DatasetError, match="recipe 'x' has mixtures without stems only"):
        open_songs(from_dict({"name": "x", "data": {"train": [entry | {"unlabelled": True}]}}), {}, store, print)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_files_are_cut_where_asked(tmp_path: Path, suffix: str) -> None:
    synth.write(tmp_path / f"x{suffix}", synth.song(1.0)["vocals"])
    direct = DirectSamples(AudioSource(tmp_path / f"x{suffix}"))
    whole = direct.window(0, 10**9)
    assert (len(direct), direct.channels) == (44100, 2)
    np.testing.assert_allclose(direct.window(12345, 23456), whole[:, 12345:23456], atol=2e-4)
    assert direct.window(44000, 45000).shape == (2, 100)


def test_stem_files_are_cut_where_asked(tmp_path: Path) -> None:
    """Samples after a seek lie at their place: a shift by one sample would show at once.

    Not the drums: of noise AAC stores the level only, and what is filled in depends on all that was decoded before.
    """
    path = synth.stem_mp4(tmp_path / "x.stem.mp4", synth.song(4.0))
    streams, _ = audio.read_streams(path)
    for stream in (2, 4):
        direct = DirectSamples(AudioSource(path, stream))
        for start in (0, 1, 5000, 50_001, 120_000):
            truth = streams[stream][:, start : start + 40_000]
            error = direct.window(start, start + 40_000) - truth
            assert 10 * np.log10(np.square(error).sum() / np.square(truth).sum() + 1e-12) < AAC_NOISE_DB, (
                stream,
                start,
            )


def test_training_may_cut_from_the_files(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path / "music", duration_s=0.3)
    recipe = from_dict({"name": "x", "data": {"decode": "direct", "train": [{"kind": "folder", "root": str(root)}]}})
    music = open_songs(recipe, {}, SampleStore(tmp_path / "cache", 44100), print)
    assert not (tmp_path / "cache").exists()
    stored = open_songs(
        from_dict({"name": "x", "data": {"train": [{"kind": "folder", "root": str(root)}]}}),
        {},
        SampleStore(tmp_path / "cache", 44100),
        print,
    )
    for one, other in zip(music[0][0].sounds, stored[0][0].sounds, strict=True):
        decoded = other.samples.window(0, 5000) / FULL_SCALE
        np.testing.assert_allclose(one.samples.window(0, 5000), decoded, atol=1e-4)
    track = DATASETS["folder"](root, "train")[0]
    (root / "train" / "full" / "vocals.wav").unlink()
    vocals = next(sound for sound in music[0][0].sounds if sound.covers == frozenset({3}))
    with pytest.raises(AudioError, match="vocals"):
        vocals.samples.window(0, 100)
    with pytest.raises(AudioError):
        load_stems(track)
