"""Lists of files, sums of files, and names that a recipe gives to stems."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sepgan import audio
from sepgan.data import DATASETS, load_mixture, load_stems, load_track, scan
from sepgan.data.lists import tracks_of_list, write_list
from sepgan.data.track import AudioSource, Part, Sum, Track
from sepgan.errors import AudioError, DatasetError
from sepgan.recipe import SourceRecipe
from tests import synth

ROUNDING = 2e-4  # of 16-bit files and their sums


def tone(path: Path, hz: float, duration_s: float = 0.2, **keys: Any) -> np.ndarray[Any, Any]:
    waveform = synth.tone(hz, duration_s, **keys)
    synth.write(path, waveform, sample_rate=keys.get("sample_rate", 44100))
    return waveform


def test_csv_adds_up_the_lines_of_a_stem(tmp_path: Path) -> None:
    kick, snare = tone(tmp_path / "a" / "kick.wav", 60), tone(tmp_path / "a" / "snare.wav", 200)
    voice = tone(tmp_path / "voice.wav", 400)
    rows = ["track,split,stem,path,gain_db", "Song,train,drums,a/kick.wav,", "Song,train,drums,a/snare.wav,-6"]
    rows += ["Song,train,vocals,voice.wav,", "Other,test,vocals,voice.wav,"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    (track,) = DATASETS["list"](tmp_path / "list.csv", "train")
    stems, rate = load_stems(track)
    assert (track.name, rate, list(stems)) == ("Song", 44100, ["drums", "vocals"])
    np.testing.assert_allclose(stems["drums"], kick + 10 ** (-6 / 20) * snare, atol=ROUNDING)
    np.testing.assert_allclose(load_mixture(track)[0], kick + 10 ** (-6 / 20) * snare + voice, atol=2 * ROUNDING)


def test_json_places_files_in_time(tmp_path: Path) -> None:
    note = tone(tmp_path / "note.wav", 400, 0.1)
    mono = tone(tmp_path / "mono.wav", 300, 0.1, sample_rate=22050, channels=1)
    entry = {
        "name": "Song",
        "duration_s": 0.25,
        "stems": {
            "notes": [{"path": "note.wav", "start_s": 0.05}, {"path": "note.wav", "start_s": 0.2}, "mono.wav"],
            "rest": "note.wav",
        },
    }
    (tmp_path / "list.json").write_text(json.dumps([entry]))
    (track,) = tracks_of_list(tmp_path / "list.json", "")
    stems, rate = load_stems(track)
    assert rate == 44100  # that of the richest part
    assert {stem.shape for stem in stems.values()} == {(2, 11025)}  # padded and cut to the length of the song
    np.testing.assert_allclose(stems["notes"][:, 8820:], note[:, :2205], atol=ROUNDING)
    np.testing.assert_allclose(stems["rest"][:, :4410], note, atol=ROUNDING)
    assert float(np.abs(stems["rest"][:, 4410:]).max()) == 0.0
    assert mono.shape == (1, 2205)
    assert float(np.abs(stems["notes"][:, :2000]).max()) > 0.4  # the mono part goes to both channels
    np.testing.assert_array_equal(stems["notes"][0], stems["notes"][1])


def test_a_list_is_written_as_it_is_read(tmp_path: Path) -> None:
    tone(tmp_path / "x.wav", 100)
    source = AudioSource(tmp_path.resolve() / "x.wav")
    summed = Sum((Part(source, 0.5, -3.0), Part(AudioSource(source.path, 2))), 4.0)
    tracks = [Track("a", "train", {"one": summed}, None, {"key": "C"}), Track("b", "test", {"two": source}, source)]
    write_list(tmp_path / "list.json", tracks)
    assert tracks_of_list(tmp_path.resolve() / "list.json", "train") == tracks[:1]
    assert tracks_of_list(tmp_path.resolve() / "list.json", "test") == tracks[1:]
    assert "/" not in json.loads((tmp_path / "list.json").read_text())[1]["stems"]["two"], "paths are relative"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot be read: Expecting value"),
        ('[{"stems": {"a": "x.wav"}}]', "key 'name' is missing"),
        ('[{"name": "a", "stems": {}}]', "track 'a' has no stems"),
        ('[{"name": "a", "stem": {"a": "x.wav"}}]', "key 'stem' is unknown"),
        ('[{"name": "a", "stems": {"a": {"path": "x.wav", "at": 3}}}]', "key 'at' is unknown"),
        ('[{"name": "a", "stems": {"a": {"path": "x.wav", "start_s": -1}}}]', "start_s must be 0 or more"),
        ('[{"name": "a", "duration_s": 0, "stems": {"a": "x.wav"}}]', "duration_s must be above 0"),
        ('[{"name": "a", "stems": {"a": "x.wav"}}, {"name": "a", "stems": {"a": "x.wav"}}]', "two tracks named 'a'"),
        ('[{"name": "a", "stems": {"a": "gone.wav"}}]', r"names '.*gone\.wav' in track 'a', which does not exist"),
        ('[{"name": "a", "split": "test", "stems": {"a": "x.wav"}}]', "for split 'train': it has test"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    tone(tmp_path / "x.wav", 100)
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        tracks_of_list(tmp_path / "list.json", "train")


def test_bad_csv(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("song,stem,path\na,b,c\n")
    with pytest.raises(DatasetError, match="key 'track' is missing"):
        tracks_of_list(tmp_path / "list.csv", "")
    (tmp_path / "list.csv").write_text("track,split,stem,path\na,train,b,c\na,test,d,e\n")
    with pytest.raises(DatasetError, match="track 'a' stands in two splits"):
        tracks_of_list(tmp_path / "list.csv", "")


def test_parts_of_three_and_two_channels_cannot_be_added(tmp_path: Path) -> None:
    for channels in (2, 3):
        tone(tmp_path / f"{channels}.wav", 100, channels=channels)
    parts = tuple(Part(AudioSource(tmp_path / f"{channels}.wav")) for channels in (2, 3))
    with pytest.raises(AudioError, match=r"2\.wav' has 2 channels: expected 1 or 3"):
        load_stems(Track("a", "", {"b": Sum(parts)}))


def source(**keys: Any) -> SourceRecipe:
    return SourceRecipe.model_validate({"kind": "folder", "root": "music"} | keys)


def test_a_recipe_renames_adds_up_and_leaves_out(tmp_path: Path) -> None:
    song = tmp_path / "train" / "song"
    waves = {stem: tone(song / f"{stem}.wav", hz) for stem, hz in {"voice": 300, "kick": 60, "snare": 200}.items()}
    tone(song / "hum.wav", 50)
    tone(song / "mixture.wav", 999)
    names = {"voice": "vocals", "kick": "drums", "snare": "drums", "hum": None}
    (track,) = scan(source(map=names), {"music": tmp_path})
    stems, _ = load_stems(track)
    assert set(stems) == {"vocals", "drums"}
    np.testing.assert_allclose(stems["drums"], waves["kick"] + waves["snare"], atol=ROUNDING)
    assert track.mixture is None, "the mixture file still holds the hum"
    (renamed,) = scan(source(map={"voice": "vocals"}), {"music": tmp_path})
    assert set(renamed.stems) == {"vocals", "kick", "snare", "hum"}
    assert renamed.mixture is not None


def test_an_accompaniment_beside_its_parts_counts_once(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, {"train": {"song": synth.STEMS}}, duration_s=0.2)
    stems = synth.song(0.2, seed=0)
    accompaniment = synth.mixture({stem: wave for stem, wave in stems.items() if stem != "vocals"})
    synth.write(root / "train" / "song" / "accompaniment.wav", accompaniment)
    (track,) = DATASETS["folder"](root, "train")
    np.testing.assert_allclose(load_mixture(track)[0], synth.mixture(stems), atol=4 * ROUNDING)
    everything = {stem: "music" for stem in (*synth.STEMS, "accompaniment")}
    (mapped,) = scan(source(map=everything), {"music": root})
    np.testing.assert_allclose(load_stems(mapped)[0]["music"], synth.mixture(stems), atol=4 * ROUNDING)


def test_a_container_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synth.musdb18_tree(tmp_path, train=("A - One",), duration_s=0.3)
    (track,) = DATASETS["musdb18"](tmp_path, "train")
    calls = []
    decode = audio.read_streams

    def counted(path: Path) -> Any:
        calls.append(path)
        return decode(path)

    monkeypatch.setattr("sepgan.audio.read_streams", counted)
    stems, mixture, _ = load_track(track)
    assert len(calls) == 1
    assert list(stems) == list(synth.STEMS)
    assert mixture is not None
    np.testing.assert_array_equal(mixture, load_mixture(track)[0])
    assert len(calls) == 1, "of a single stream only that one is decoded"


def test_musdb18_tells_what_is_known_of_its_songs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = synth.musdb18hq_tree(tmp_path, train=("A - One",), test=("PR - Oh No",), duration_s=0.1)
    (track,) = DATASETS["musdb18hq"](root, "train")
    assert track.labels["artist"] == "A"
    assert track.labels["title"] == "One"
    assert "academic" in track.labels["licence"]
    (found,) = scan(source(kind="musdb18hq", split="test"), {"music": root})
    assert found.name == "PR - Oh No"
    assert "PR - Oh No: erratum: the left channel" in caplog.text
