"""GTZAN: the published split, the artists, and the files that spoil a naive reader."""

import importlib
from pathlib import Path

import pytest

from sepgan.data import load_mixture, scan
from sepgan.data.gtzan import GENRES, filtered, gtzan
from sepgan.errors import DatasetError
from sepgan.recipe import SourceRecipe
from tests import synth

DURATION_S = 0.2


def names(root: Path, split: str) -> list[str]:
    return [track.name for track in gtzan(root, split)]


def test_the_filtered_lists_are_those_of_torchaudio() -> None:
    lists = importlib.import_module("torchaudio.datasets.gtzan")
    for part in ("train", "valid", "test"):
        assert filtered(part) == set(getattr(lists, f"filtered_{part}"))
    sizes = [len(filtered(part)) for part in ("train", "valid", "test")]
    assert sizes == [443, 197, 290]
    assert len(filtered("train") | filtered("valid") | filtered("test")) == 930
    assert {name.partition(".")[0] for name in filtered("test")} == set(GENRES)


@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_splits_and_genres(tmp_path: Path, suffix: str) -> None:
    clips = ("blues.00029", "jazz.00000", "rock.00038", "rock.00010", "pop.00015")  # train, train, valid, test, none
    root = synth.gtzan_tree(tmp_path, clips=clips, duration_s=DURATION_S, suffix=suffix)
    assert names(root, "train") == ["blues.00029", "jazz.00000"]
    assert names(root, "valid") == ["rock.00038"]
    assert names(root, "test") == ["rock.00010"]
    assert names(root, "train+valid") == ["blues.00029", "jazz.00000", "rock.00038"]
    assert names(root, "all") == sorted(clips)
    assert [track.labels["genre"] for track in gtzan(root, "train")] == ["blues", "jazz"]
    assert all(not track.stems for track in gtzan(root, "all"))


@pytest.mark.parametrize("folder", ["", "genres_original"])
def test_other_places_of_the_genres(tmp_path: Path, folder: str) -> None:
    root = synth.gtzan_tree(tmp_path, duration_s=DURATION_S)
    if folder:
        (root / "genres").rename(root / folder)
        assert names(root, "train") == ["blues.00029", "jazz.00000"]
    else:
        assert names(root / "genres", "train") == ["blues.00029", "jazz.00000"]


def test_clips_of_odd_lengths_keep_them(tmp_path: Path) -> None:
    for number, length in ((2, 6611), (3, 6603)):
        clip = synth.noise(0.3, sample_rate=22050, channels=1)[:, :length]
        synth.write(tmp_path / f"genres/pop/pop.0000{number}.wav", clip, sample_rate=22050)
    mixtures = [load_mixture(track) for track in gtzan(tmp_path, "train")]
    assert [(mixture.shape, rate) for mixture, rate in mixtures] == [((1, 6611), 22050), ((1, 6603), 22050)]


def test_rubbish_is_passed_over_and_two_forms_of_a_clip_are_one(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path, duration_s=DURATION_S)
    (root / "genres/blues/._blues.00029.wav").write_bytes(b"\x00\x05\x16\x07AppleDouble")
    (root / "genres/blues/blues.00029.mf").write_text("#")
    (root / "genres/blues/blues.29.wav").write_bytes(b"")
    synth.write(root / "genres/blues/blues.00029.au", synth.noise(0.1, channels=1))
    (clip,) = [track for track in gtzan(root, "all") if track.name.startswith("blues")]
    assert clip.mixture is not None
    assert load_mixture(clip)[0].shape == (1, 4410)  # the .au


def test_the_undecodable_clip_is_known_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """jazz.00054 is cut off in its header in the usual copies, and stands in the list for training."""
    root = synth.gtzan_tree(tmp_path, clips=("jazz.00054", "jazz.00000"), duration_s=DURATION_S)
    assert [bool(track.damage) for track in gtzan(root, "train")] == [False, False]
    broken = root / "genres/jazz/jazz.00054.wav"
    broken.write_bytes(broken.read_bytes()[:22])
    assert [bool(track.damage) for track in gtzan(root, "train")] == [False, True]
    usable = scan(SourceRecipe(kind="gtzan", root="gtzan", unlabelled=True), {"gtzan": root})
    assert [track.name for track in usable] == ["jazz.00000"]
    assert "jazz.00054 is left out" in caplog.text


def test_real_clips_with_the_broken_one(shared_data: Path) -> None:
    tracks = gtzan(shared_data / "fixtures/gtzan", "all")
    assert len(tracks) == 32  # without the AppleDouble file
    assert [track.name for track in tracks if track.damage] == ["jazz.00054"]
    assert {track.labels["genre"] for track in tracks} == set(GENRES)


def test_lists_and_artists_of_ones_own(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path, duration_s=DURATION_S)
    (root / "artist_train.txt").write_text("blues/blues.00029.wav\tblues\nrock.00010\n")
    (root / "artists.csv").write_text("clip,artist\nrock.00010,Somebody\n")
    assert names(root, "artist:train") == ["blues.00029", "rock.00010"]
    assert [track.labels.get("artist") for track in gtzan(root, "artist:train")] == [None, "Somebody"]


def test_bad_input(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path, duration_s=DURATION_S)
    with pytest.raises(DatasetError, match="GTZAN has no split 'dev': choose one of train, valid"):
        gtzan(root, "dev")
    with pytest.raises(DatasetError, match=r"split 'artist:test' needs the list '.*artist_test\.txt'"):
        gtzan(root, "artist:test")
    (root / "own_test.txt").write_text("nothing\n")
    with pytest.raises(DatasetError, match=r"list '.*own_test\.txt' names no clip"):
        gtzan(root, "own:test")
    (root / "artists.csv").write_text("name,who\nrock.00010,Somebody\n")
    with pytest.raises(DatasetError, match="expected the columns clip and artist"):
        gtzan(root, "all")
