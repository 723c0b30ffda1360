"""Tempo and key of songs: what is told comes first, what is estimated is estimated once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sepgan.data import scan, tags
from sepgan.data.augment import Tags
from sepgan.data.opening import open_songs
from sepgan.data.store import FULL_SCALE, ArraySamples, SampleStore
from sepgan.data.track import AudioSource, Track
from sepgan.errors import DatasetError, SepganError
from sepgan.recipe import SourceRecipe, from_dict
from tests import synth

RATE = synth.SAMPLE_RATE


@pytest.mark.parametrize(
    ("text", "key", "minor"), [("C", 0, False), ("F# major", 6, False), ("Bbm", 10, True), ("Cb", 11, False)]
)
def test_keys_are_read(text: str, key: int, minor: bool) -> None:
    assert tags.parse_key(text) == Tags(key=key, minor=minor)


def test_every_key_is_read_as_it_is_written() -> None:
    for key in range(12):
        for minor in (False, True):
            assert tags.parse_key(tags.name_of_key(Tags(key=key, minor=minor))) == Tags(key=key, minor=minor)


@pytest.mark.parametrize(
    ("line", "named"),
    [("a,fast,C", "fast"), ("a,0,C", "'0'"), ("a,nan,C", "nan"), ("a,100,H", "'H'"), ("a,,\na,,", "twice")],
)
def test_a_line_that_makes_no_sense_is_named(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / tags.FILE).write_text(f"track,tempo_bpm,key\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"tags\.csv.*line {1 + len(line.splitlines())}: .*{named}"):
        tags.read_tags(tmp_path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / tags.FILE).write_text("track,bpm\na,100\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="track, tempo_bpm, key"):
        tags.read_tags(tmp_path)


def chord_progression(bpm: float, transposed: int, seconds: float = 16.0) -> dict[str, ArraySamples]:
    """I-IV-V-I with a click on each beat."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    beat = (time_s * bpm / 60).astype(int)
    chords = np.array([[0, 4, 7], [5, 9, 12], [7, 11, 14], [0, 4, 7]]) + 60 + transposed
    notes = chords[beat // 4 % 4]
    tones = sum(np.sin(2 * np.pi * 440 * 2 ** ((notes[:, k] - 69) / 12) * time_s) for k in range(3)) / 8
    clicks = 0.5 * np.random.default_rng(0).standard_normal(len(time_s)) * np.exp(-((time_s * bpm / 60) % 1) * 40)
    return {
        stem: ArraySamples((wave[None] * FULL_SCALE / 2).astype(np.int16))
        for stem, wave in (("drums", clicks), ("other", tones))
    }


@pytest.mark.parametrize(("bpm", "transposed"), [(100.0, 0), (120.0, 5)])
def test_tempo_and_key_are_estimated(bpm: float, transposed: int) -> None:
    found = tags.estimate(chord_progression(bpm, transposed), RATE)
    assert (found.key, found.minor) == (transposed, False)
    assert found.tempo_bpm is not None
    octave = np.log2(found.tempo_bpm / bpm)
    assert abs(octave - round(octave)) < 0.04


def test_singing_alone_has_no_tempo_and_drums_have_no_key() -> None:
    sounds = chord_progression(100.0, 0, seconds=6.0)
    alone = tags.estimate({"vocals": sounds["other"]}, RATE)
    assert alone.tempo_bpm is None
    assert alone.key is not None
    assert tags.estimate({"drums": sounds["drums"]}, RATE).key is None
    assert tags.of_stem(Tags(100.0, 3, True), "drums") == Tags(100.0)


def test_silence_has_neither() -> None:
    assert tags.estimate({"other": ArraySamples(np.zeros((1, RATE), np.int16))}, RATE) == Tags()


@pytest.fixture
def song(tmp_path: Path) -> Path:
    folder = tmp_path / "set" / "train" / "one"
    for stem in ("drums", "other"):
        synth.write(folder / f"{stem}.wav", synth.noise(0.5, seed=ord(stem[0])))
    return folder


def told(folder: Path, store: SampleStore, **labels: str) -> Tags:
    (track,) = scan(SourceRecipe(kind="folder", root=str(folder.parent.parent)), {})
    track = Track(track.name, track.split, track.stems, labels=labels)
    return tags.tags_of(track, tags.read_tags(folder.parent.parent), store.open(track), store)


def test_what_is_told_comes_before_estimates(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SampleStore(tmp_path / "store", RATE)
    monkeypatch.setattr(tags, "estimate", lambda *_: Tags(99.0, 1))
    assert told(song, store) == Tags(99.0, 1)
    provenance = song / tags.PROVENANCE
    provenance.write_text(json.dumps({"song": "made before tags were written"}), encoding="utf-8")
    assert told(song, store) == Tags(99.0, 1)
    provenance.write_text(json.dumps({"tags": {"tempo_bpm": 120.0, "key": "D minor"}}), encoding="utf-8")
    assert told(song, store) == Tags(120.0, 2, True)
    (song.parent.parent / tags.FILE).write_text("track,tempo_bpm,key\none,140,\n", encoding="utf-8")
    assert told(song, store) == Tags(140.0)
    assert told(song, store, key="G") == Tags(key=7)
    with pytest.raises(DatasetError, match=r"label of 'one'.*'H'"):
        told(song, store, key="H")
    provenance.write_text("{", encoding="utf-8")
    (song.parent.parent / tags.FILE).unlink()
    with pytest.raises(DatasetError, match=r"provenance\.json"):
        told(song, store)


def test_a_song_is_listened_to_once_wherever_it_lies(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    def estimate(*given: Any) -> Tags:
        heard.append(given)
        return Tags(99.0, 1, True)

    monkeypatch.setattr(tags, "estimate", estimate)
    assert told(song, SampleStore(tmp_path / "store", RATE)) == Tags(99.0, 1, True)
    moved = tmp_path / "elsewhere"
    shutil.copytree(song.parent.parent, moved)
    assert told(moved / "train" / "one", SampleStore(tmp_path / "store", RATE)) == Tags(99.0, 1, True)
    assert len(heard) == 1
    synth.write(song / "other.wav", synth.noise(0.5, seed=77))
    told(song, SampleStore(tmp_path / "store", RATE))
    assert len(heard) == 2
    for file in (tmp_path / "store" / "known").iterdir():
        file.write_text("[", encoding="utf-8")
    told(song, SampleStore(tmp_path / "store", RATE))
    assert len(heard) == 3


def test_swapped_stems_are_another_song(song: Path, tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "store", RATE)
    one, other = AudioSource(song / "drums.wav"), AudioSource(song / "other.wav")
    straight, crossed = ({"drums": one, "other": other}, {"drums": other, "other": one})
    assert store.content_key(Track("a", "", straight)) == store.content_key(Track("b", "train", straight))
    assert store.content_key(Track("a", "", straight)) != store.content_key(Track("a", "", crossed))


def test_songs_are_listened_to_only_where_a_recipe_asks(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = song.parent.parent
    raw = {"name": "x", "stems": ["drums", "other"], "data": {"train": [{"kind": "folder", "root": str(root)}]}}
    (root / tags.FILE).write_text("nonsense", encoding="utf-8")
    lines: list[str] = []
    ((plain,),) = open_songs(from_dict(raw), {}, SampleStore(tmp_path / "store", 44100), lines.append)
    assert all(sound.tags == Tags() for sound in plain.sounds)
    assert len(lines) == 1
    raw["data"]["match"] = {"key": True}  # type: ignore[index]
    with pytest.raises(SepganError, match=r"tags\.csv"):
        open_songs(from_dict(raw), {}, SampleStore(tmp_path / "store", 44100), lines.append)
    (root / tags.FILE).write_text("track,tempo_bpm,key\nuno,100,C\n", encoding="utf-8")
    monkeypatch.setattr(tags, "estimate", lambda *_: Tags(None, 1))
    ((matched,),) = open_songs(from_dict(raw), {}, SampleStore(tmp_path / "store", 44100), lines.append)
    assert [sound.tags.key for sound in matched.sounds] == [None, 1]
    assert "the tempo of 0 and the key of 1 of 1 tracks" in lines[-1]
    assert "names none of its tracks" in caplog.text
