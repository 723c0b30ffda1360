"""A contract that every dataset keeps, on synthetic trees and on miniatures of the real ones; then bad input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sepgan import audio
from sepgan.data import DATASETS, AudioSource, Track, load_mixture, load_stems, scan
from sepgan.data.lists import write_list
from sepgan.data.musdb18 import VALIDATION
from sepgan.errors import AudioError, DatasetError
from sepgan.recipe import SourceRecipe
from tests import synth

SUM_DB = -60.0  # mixture file against the sum of its stems: 16-bit rounding of five files
AAC_SUM_DB = -15.0  # the mixture of a .stem.mp4 is coded by itself; Falcon 69 reaches only -15.4 dB
DURATION_S = 0.3
ONE_STEP = 2**-15  # of 16-bit samples

MUSDB = set(synth.STEMS)
PAIR = {"vocals", "accompaniment"}
TREES: dict[str, Callable[[Path], Path]] = {
    "folder": lambda root: synth.folder_tree(root, duration_s=DURATION_S),
    "gtzan": lambda root: synth.gtzan_tree(root, duration_s=DURATION_S),
    "list": lambda root: list_of(synth.folder_tree(root / "music", duration_s=DURATION_S)),
    "maps": lambda root: synth.maps_tree(root, duration_s=DURATION_S),
    "musdb18": lambda root: synth.musdb18_tree(root, duration_s=DURATION_S),
    "musdb18hq": lambda root: synth.musdb18hq_tree(root, duration_s=DURATION_S),
    "pairs": lambda root: synth.pairs_tree(root, duration_s=DURATION_S),
    "singles": lambda root: synth.singles_tree(root, duration_s=DURATION_S),
    "stem_folders": lambda root: synth.stem_folders_tree(root, duration_s=DURATION_S),
}


def list_of(root: Path) -> Path:
    """The songs of a folder as a JSON list."""
    write_list(root / "list.json", [*DATASETS["folder"](root, "train"), *DATASETS["folder"](root, "valid")])
    return root / "list.json"


def check_contract(tracks: list[Track], split: str, sum_db: float) -> None:
    """What holds for the tracks of any dataset."""
    assert tracks
    names = [track.name for track in tracks]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for track in tracks:
        assert track.split == split
        if track.damage:
            with pytest.raises(AudioError):
                load_mixture(track)
            continue
        if not track.stems:
            mixture, sample_rate = load_mixture(track)
            assert sample_rate == 22050
            assert mixture.shape[0] == 1
            assert float(np.abs(mixture).max()) > 0.01
            continue
        stems, sample_rate = load_stems(track)
        assert stems.keys() == track.stems.keys()
        assert sample_rate >= 8000
        shapes = {waveform.shape for waveform in stems.values()}
        assert len(shapes) == 1
        channels, samples = next(iter(shapes))
        assert channels in (1, 2)
        assert samples > 0.1 * sample_rate
        for waveform in stems.values():
            assert waveform.dtype == np.float32
            assert np.isfinite(waveform).all()
        mixture, mixture_rate = load_mixture(track)
        assert (mixture.shape, mixture_rate) == ((channels, samples), sample_rate)
        total = np.sum(list(stems.values()), axis=0)
        error_db = 10 * np.log10(np.sum((mixture - total) ** 2) / np.sum(mixture**2) + 1e-30)
        assert error_db <= (sum_db if track.mixture else -100.0), track.name


def test_every_dataset_has_a_tree_here() -> None:
    assert TREES.keys() == DATASETS.keys()


@pytest.mark.parametrize("kind", sorted(DATASETS))
def test_contract_on_synthetic_trees(tmp_path: Path, kind: str) -> None:
    root = TREES[kind](tmp_path)
    check_contract(DATASETS[kind](root, "train"), "train", AAC_SUM_DB if kind == "musdb18" else SUM_DB)


@pytest.mark.parametrize(
    ("kind", "folder", "split", "stems"),
    [
        ("musdb18", "fixtures/musdb18", "train", MUSDB),
        ("musdb18", "fixtures/musdb18", "test", MUSDB),
        ("musdb18hq", "fixtures/musdb18hq", "train", MUSDB),
        ("musdb18hq", "fixtures/musdb18hq", "test", MUSDB),
        ("folder", "stems", "valid", None),
        ("pairs", "pairs", "valid", PAIR),
        ("singles", "vocals", "train", {"solo"}),
        ("gtzan", "fixtures/gtzan", "train", set()),
        ("gtzan", "fixtures/gtzan", "all", set()),
        ("maps", "fixtures/maps", "train", {"piano"}),
        ("maps", "fixtures/maps", "valid", {"piano"}),
        ("maps", "fixtures/maps", "test", {"piano"}),
    ],
)
def test_contract_on_real_music(shared_data: Path, kind: str, folder: str, split: str, stems: set[str] | None) -> None:
    tracks = DATASETS[kind](shared_data / folder, split)
    if stems is not None:
        assert {frozenset(track.stems) for track in tracks} == {frozenset(stems)}
    chosen = [track for track in tracks if not track.name.startswith("Everything")]  # minutes long: too slow here
    check_contract(chosen[:3], split, AAC_SUM_DB)


def test_both_forms_of_musdb18_hold_the_same_music(shared_data: Path) -> None:
    (packed,) = DATASETS["musdb18"](shared_data / "fixtures" / "musdb18", "test")
    (wave,) = DATASETS["musdb18hq"](shared_data / "fixtures" / "musdb18hq", "test")
    assert packed.name == wave.name == "The Easton Ellises - Falcon 69"
    assert list(packed.stems) == list(wave.stems) == list(synth.STEMS)
    decoded, _ = load_stems(packed)
    written, _ = load_stems(wave)
    for stem, waveform in written.items():
        # The decoded peaks exceed full scale, where the 16-bit files are clipped.
        np.testing.assert_allclose(np.clip(decoded[stem], -1, 1), waveform, rtol=0, atol=ONE_STEP, err_msg=stem)


def test_absent_stems_are_absent(tmp_path: Path) -> None:
    tracks = DATASETS["folder"](synth.folder_tree(tmp_path, duration_s=DURATION_S), "train")
    assert {track.name: set(track.stems) for track in tracks} == {
        "full": MUSDB,
        "no bass": {"drums", "other", "vocals"},
    }
    assert all(track.mixture is None for track in tracks)


def test_the_mixture_is_the_sum_where_there_is_no_file(tmp_path: Path) -> None:
    (track,) = DATASETS["folder"](synth.folder_tree(tmp_path, duration_s=DURATION_S), "valid")
    stems, _ = load_stems(track)
    mixture, _ = load_mixture(track)
    np.testing.assert_allclose(mixture, sum(stems.values()), atol=1e-6)


def test_a_mixture_alone_is_a_track_without_stems(tmp_path: Path) -> None:
    synth.write(tmp_path / "train" / "song" / "mixture.wav", synth.noise(DURATION_S))
    (track,) = DATASETS["folder"](tmp_path, "train")
    assert dict(track.stems) == {}
    assert load_mixture(track)[0].shape == (2, round(DURATION_S * 44100))
    with pytest.raises(DatasetError, match="track 'song' has no stems: it can feed `separate`, not"):
        load_stems(track)


def test_stems_are_resampled_together(tmp_path: Path) -> None:
    track = DATASETS["pairs"](synth.pairs_tree(tmp_path, duration_s=DURATION_S), "train")[0]
    stems, sample_rate = load_stems(track, 44100)
    assert sample_rate == 44100
    assert {waveform.shape for waveform in stems.values()} == {(1, round(DURATION_S * 44100))}


def test_musdb18_splits(tmp_path: Path) -> None:
    held_out = sorted(VALIDATION)[0]
    assert len(VALIDATION) == 14
    for kind, make in (("musdb18", synth.musdb18_tree), ("musdb18hq", synth.musdb18hq_tree)):
        root = make(tmp_path / kind, train=("Z - Last", held_out, "B - Two"), test=("T - One",), duration_s=0.1)
        found = {split: [track.name for track in DATASETS[kind](root, split)] for split in ("train", "valid", "test")}
        assert found == {"train": ["B - Two", "Z - Last"], "valid": [held_out], "test": ["T - One"]}
        assert len(DATASETS[kind](root, "train+valid")) == 3


def test_musdb18hq_takes_only_the_four_stems(tmp_path: Path) -> None:
    """Some copies hold an accompaniment beside the stems, which would count the same music twice."""
    root = synth.musdb18hq_tree(tmp_path, train=("A - One",), duration_s=0.1)
    synth.write(root / "train" / "A - One" / "accompaniment.wav", synth.noise(0.1))
    (track,) = DATASETS["musdb18hq"](root, "train")
    assert list(track.stems) == list(synth.STEMS)
    assert track.mixture is not None


def test_rubbish_beside_the_music_is_passed_over(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, {"train": {"song": ("drums", "vocals")}}, duration_s=DURATION_S)
    song = root / "train" / "song"
    (song / "._drums.wav").write_bytes(b"\x00\x05\x16\x07AppleDouble")
    (song / "notes.txt").write_text("louder")
    (song / "sub").mkdir()
    (root / "train" / ".cache").mkdir()
    (root / "train" / "empty").mkdir()
    (track,) = DATASETS["folder"](root, "train")
    assert set(track.stems) == {"drums", "vocals"}


@pytest.mark.parametrize("kind", sorted(DATASETS))
def test_a_folder_that_does_not_exist(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DatasetError, match=r"does not exist: .*--data or --root"):
        DATASETS[kind](tmp_path / "nowhere", "train")


@pytest.mark.parametrize("kind", sorted(set(DATASETS) - {"list"}))
def test_an_empty_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DatasetError, match=r"no track in|no recording in") as caught:
        DATASETS[kind](tmp_path, "train")
    assert str(tmp_path) in str(caught.value)
    assert "train" in str(caught.value)


@pytest.mark.parametrize("kind", ["musdb18", "musdb18hq"])
def test_musdb18_has_no_other_splits(tmp_path: Path, kind: str) -> None:
    with pytest.raises(
        DatasetError, match=r"MUSDB18 has no split 'dev': choose one of train, valid, train\+valid, test"
    ):
        DATASETS[kind](tmp_path, "dev")


def test_musdb18_without_its_validation_songs(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none of the 14 validation songs"):
        DATASETS["musdb18"](synth.musdb18_tree(tmp_path, duration_s=0.1), "valid")


@pytest.mark.parametrize("kind", ["folder", "pairs", "singles", "stem_folders"])
def test_a_wrong_split_names_those_that_are_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "valid").mkdir()
    with pytest.raises(DatasetError, match="has no split 'dev': it holds train, valid"):
        DATASETS[kind](tmp_path, "dev")


def test_two_files_of_one_stem(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, {"train": {"song": ("drums", "vocals")}}, duration_s=DURATION_S)
    synth.write(root / "train" / "song" / "Drums.flac", synth.noise(DURATION_S))
    with pytest.raises(DatasetError, match=r"holds both .*[dD]rums.* and .*[dD]rums.*: keep one of them"):
        DATASETS["folder"](root, "train")


def test_a_pair_that_lacks_a_side(tmp_path: Path) -> None:
    root = synth.pairs_tree(tmp_path, duration_s=DURATION_S)
    (root / "train" / "bob_1_01" / "vocals.wav").unlink()
    with pytest.raises(DatasetError, match=r"'bob_1_01' .* has accompaniment: expected vocals and accompaniment"):
        DATASETS["pairs"](root, "train")


def test_a_musdb18hq_song_that_lacks_a_stem(tmp_path: Path) -> None:
    root = synth.musdb18hq_tree(tmp_path, duration_s=0.1)
    (root / "train" / "B - Two" / "bass.wav").unlink()
    with pytest.raises(DatasetError, match=r"B - Two' lacks bass: MUSDB18-HQ songs have four stems"):
        DATASETS["musdb18hq"](root, "train")


def test_stems_of_different_length_or_rate(tmp_path: Path) -> None:
    synth.write(tmp_path / "train" / "song" / "drums.wav", synth.noise(0.3))
    synth.write(tmp_path / "train" / "song" / "vocals.wav", synth.noise(0.2))
    (track,) = DATASETS["folder"](tmp_path, "train")
    with pytest.raises(DatasetError, match=r"stems of 'song' differ \(.*make them equal in rate and length"):
        load_stems(track)
    synth.write(tmp_path / "train" / "song" / "vocals.wav", synth.noise(0.3), sample_rate=48000)
    with pytest.raises(DatasetError, match=r"\[44100, 48000\] Hz"):
        load_stems(track)


def test_a_stem_that_is_not_audio(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, {"train": {"song": ("drums", "vocals")}}, duration_s=DURATION_S)
    (root / "train" / "song" / "drums.wav").write_bytes(b"not audio at all")
    (track,) = DATASETS["folder"](root, "train")
    with pytest.raises(AudioError, match=r"drums\.wav"):
        load_stems(track)


def test_a_stem_mp4_with_too_few_streams(tmp_path: Path) -> None:
    synth.write(tmp_path / "train" / "A - One.wav", synth.noise(0.3))
    (tmp_path / "train" / "A - One.wav").rename(tmp_path / "train" / "A - One.stem.mp4")
    (track,) = DATASETS["musdb18"](tmp_path, "train")
    with pytest.raises(DatasetError, match="has 1 audio streams, stream 1 is missing"):
        load_stems(track)


def source(**keys: object) -> SourceRecipe:
    return SourceRecipe.model_validate({"kind": "folder", "root": "music"} | keys)


def test_scan_finds_folders_by_name_and_by_path(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, duration_s=DURATION_S)
    by_name = scan(source(), {"music": root})
    assert [track.name for track in by_name] == ["full", "no bass"]
    assert scan(source(root=str(root)), {}) == by_name
    assert [track.name for track in scan(source(include="no*"), {"music": root})] == ["no bass"]


def test_scan_spreads_a_limit_evenly(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, {"train": {f"{n}": ("vocals",) for n in range(9)}}, duration_s=0.01)
    assert [track.name for track in scan(source(limit=3), {"music": root})] == ["0", "3", "6"]


def test_singles_are_recordings_of_the_stem_that_the_recipe_names(tmp_path: Path) -> None:
    root = synth.singles_tree(tmp_path, duration_s=DURATION_S)
    tracks = scan(source(kind="singles", stem="bass"), {"music": root})
    assert [set(track.stems) for track in tracks] == [{"bass"}, {"bass"}]


def test_singles_without_labels_are_whole_songs(tmp_path: Path) -> None:
    root = synth.singles_tree(tmp_path, duration_s=DURATION_S)
    tracks = scan(source(kind="singles", unlabelled=True), {"music": root})
    named = scan(source(kind="singles"), {"music": root})
    assert [track.name for track in tracks] == [track.name for track in named]
    for track, alone in zip(tracks, named, strict=True):
        assert not track.stems
        np.testing.assert_array_equal(load_mixture(track)[0], load_stems(alone)[0]["vocals"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"kind": "musdb"},
            "dataset kind 'musdb' is unknown: choose one of folder, gtzan, list, maps, musdb18, ",
        ),
        ({"root": "stems"}, "the recipe needs dataset 'stems': give its folder with --data stems=PATH"),
        ({"include": "Beatles*"}, r"no track of '.*' \(train\) matches 'Beatles\*'"),
    ],
)
def test_scan_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], message: str
) -> None:
    """A folder `stems` in the working folder, as `make demo` leaves it, is not taken for the dataset of that name."""
    (tmp_path / "stems").mkdir()
    monkeypatch.chdir(tmp_path)
    root = synth.folder_tree(tmp_path, duration_s=DURATION_S)
    with pytest.raises(DatasetError, match=message):
        scan(source(**keys), {"music": root})


def test_the_files_of_the_trees_are_what_they_say(tmp_path: Path) -> None:
    """A check of the contract's own ground: pairs are 16 kHz mono, the rest 44.1 kHz."""
    track = DATASETS["pairs"](synth.pairs_tree(tmp_path, duration_s=DURATION_S), "valid")[0]
    vocals = track.stems["vocals"]
    assert isinstance(vocals, AudioSource)
    info = audio.probe(vocals.path)
    assert (info.sample_rate, info.channels) == (16000, 1)
