"""The scripts in examples/ do what the README says of them, on trees made up here."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from examples import (
    collect_instrumental,
    electronic_basses,
    electronic_kits,
    electronic_voices,
    interpolate,
    label_stems,
    read_aloud,
)
from sepgan import checkpoint
from sepgan.data import scan
from sepgan.data.credits import ANY_USE, outside, read_credits
from sepgan.data.render.kits import read_kit
from sepgan.errors import CheckpointError, DatasetError, UsageError
from sepgan.recipe import SourceRecipe, load
from sepgan.separator import Separator
from tests import synth

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """An unpacked package with a song, a sound and a broken file, one with an archive, and the list of them."""
    root = tmp_path / "root"
    one = root / "usr/share/one"
    for name, seconds in (("Song one.wav", 2.0), ("click.wav", 0.2)):
        synth.write(one / name, synth.noise(seconds))
    (one / "broken.ogg").write_bytes(b"OggS and then nothing")
    (one / "notes.txt").write_text("no music")
    member = synth.write(tmp_path / "member.flac", synth.noise(2.0, seed=1))
    with zipfile.ZipFile(root / "usr/share/two.pk3", "w") as archive:
        archive.write(member, "music/menu.flac")
        archive.write(member, "sound/menu.flac")
    (tmp_path / "list.csv").write_text(
        "package,files,licence\none,usr/share/one/*,GPL 2\none,usr/share/*/Song*,MIT\n"
        "two,usr/share/*.pk3!music/*.flac,public domain\nthree,usr/share/three/*,MIT\n"
    )
    return root


def collect(root: Path, out: Path, model: Path, *more: str) -> None:
    given = ["--root", root, "--out", out, "--packages", root.parent / "list.csv", "--model", model, "--at-least-s", 1]
    collect_instrumental.main([str(word) for word in (*given, *more)])


def test_songs_are_linked_or_unpacked_and_their_licences_are_listed(
    packages: Path, even: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "music"
    collect(packages, out, even)
    names = sorted(path.name for path in (out / "train").iterdir())
    assert names == ["one__one__Song_one.wav", "two__music__menu.flac"]
    with (out / "licences.csv").open() as handle:
        rows = {row["track"]: (row["source"], row["licence"]) for row in csv.DictReader(handle)}
    assert rows == {
        "one__one__Song_one": ("Debian package one: usr/share/one/Song one.wav", "GPL 2"),
        "two__music__menu": ("Debian package two: usr/share/two.pk3!music/menu.flac", "public domain"),
    }
    told = capsys.readouterr().out
    assert "broken.ogg" in told
    assert "not there: three;" in told
    tracks = scan(SourceRecipe(kind="singles", root="music", stem="accompaniment"), {"music": out})
    assert {track.name for track in tracks} == read_credits(out).keys()
    collect(packages, out, even)  # again: nothing new
    assert sorted(path.name for path in (out / "train").iterdir()) == names


def test_songs_that_sound_like_singing_or_have_another_licence_are_left_out(
    packages: Path, even: Path, tmp_path: Path
) -> None:
    collect(packages, tmp_path / "quiet", even, "--at-most-db", "-13")
    assert not list((tmp_path / "quiet/train").iterdir())
    collect(packages, tmp_path / "free", even, "--licence", "public domain", "--licence", "MIT")
    assert [path.name for path in (tmp_path / "free/train").iterdir()] == ["two__music__menu.flac"]


def test_the_list_of_packages_names_files_and_licences_of_each() -> None:
    with (EXAMPLES / "instrumental_music.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert all(row["package"] and row["licence"] and not row["files"].startswith("/") for row in rows)
    free = {row["package"] for row in rows if not outside(row["licence"], ANY_USE)}
    assert free == {"fretsonfire-songs-sectoid", "ufoai-music"}
    allowed = load("clean").data.licences
    assert {"MIT", "public domain"} <= set(allowed) <= set(ANY_USE)


def test_a_text_is_read_aloud_by_free_voices(tmp_path: Path) -> None:
    text = "Too short.\n\nIt was a long day, and nobody came to see us.\n\n" + "One sentence of many. " * 40
    parts = read_aloud.paragraphs(text)
    assert parts[0].startswith("It was a long day")
    assert all(len(part) <= read_aloud.LONGEST for part in parts)
    assert " ".join(parts[1:]) == " ".join(text.split()[-160:])
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed")
    (tmp_path / "text").write_text(text)
    read_aloud.main([str(tmp_path / "text"), "--out", str(tmp_path / "voices"), "--limit", "2"])
    files = sorted((tmp_path / "voices/train").iterdir())
    assert [file.stem for file in files] == sorted(read_credits(tmp_path / "voices"))
    for file in files:
        waveform, _ = soundfile.read(file)
        assert len(waveform) > 16000
        assert np.abs(waveform).max() > 0.05
    assert not any(outside(licence, ANY_USE) for _, licence in read_credits(tmp_path / "voices").values())


def below(path: Path, hz: float) -> float:
    """Share of a sound's energy below a frequency."""
    waveform, rate = soundfile.read(path)
    power = np.square(np.abs(np.fft.rfft(waveform)))
    return float(power[np.fft.rfftfreq(len(waveform), 1 / rate) < hz].sum() / power.sum())


def test_computed_kits_are_whole_and_sound_as_they_are_called(tmp_path: Path) -> None:
    electronic_kits.main(["--out", str(tmp_path / "one"), "--kits", "2"])
    electronic_kits.main(["--out", str(tmp_path / "two"), "--kits", "1"])
    first, second = (tmp_path / "one" / name for name in ("01", "02"))
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two/01").iterdir())
    assert all((first / name).read_bytes() == (tmp_path / "two/01" / name).read_bytes() for name in files)
    for folder in (first, second):
        kit = read_kit(folder)
        assert len({instrument.drum for instrument in kit.instruments}) == len(electronic_kits.DRUMS)
        # Octaves are heard, not read off the name: what is not found at its pitch is left out.
        assert len(kit.basses) > electronic_kits.BASSES / 2
        assert all(12 <= bass.note <= 41 for bass in kit.basses)
        assert all(below(path, 800.0) > 0.8 for path in folder.glob("kick_*"))
        assert all(below(path, 2000.0) < 0.1 for path in folder.glob("hat_*"))
        for path in folder.iterdir():
            waveform, rate = soundfile.read(path)
            assert rate == electronic_kits.RATE
            assert np.abs(waveform).max() == pytest.approx(electronic_kits.PEAK, abs=1e-3)
            assert np.abs(waveform[-1]) < 1e-3, "a click at the end"
    assert first.joinpath("kick_1.flac").read_bytes() != second.joinpath("kick_1.flac").read_bytes()


def test_bass_lines_are_computed_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(electronic_basses, "SECONDS", 4.0)
    for out, seed in (("one", 0), ("two", 1)):
        electronic_basses.main(["--out", str(tmp_path / out), "--lines", "4", "--seed", str(seed)])
    files = sorted((tmp_path / "one/train").iterdir())
    assert [file.stem for file in files] == sorted(read_credits(tmp_path / "one"))
    assert not any(outside(licence, ANY_USE) for _, licence in read_credits(tmp_path / "one").values())
    assert files[1].read_bytes() == (tmp_path / "two/train/001.flac").read_bytes(), "the same seed"
    for file in files:
        waveform, rate = soundfile.read(file)
        assert waveform.shape == (4 * rate, 2)
        assert np.abs(waveform).max() == pytest.approx(electronic_basses.PEAK, abs=1e-3)
        spectrum = np.square(np.abs(np.fft.rfft(waveform, axis=0))).sum(1)
        below = spectrum[: 4 * 1000].sum() / spectrum.sum()  # 0.25 Hz a bin
        assert below > 0.7, "most of a bass lies below 1 kHz"
    found = scan(SourceRecipe(kind="singles", root="basses", stem="bass"), {"basses": tmp_path / "one"})
    assert len(found) == 4


def test_notes_of_a_bass_line_follow_each_other() -> None:
    bends = set()
    for seed in range(40):
        draw = np.random.default_rng(seed)
        notes = electronic_basses.riff(draw, 2)
        ends = [note.step + note.held for note in notes]
        assert all(end <= after.step for end, after in zip(ends, notes[1:], strict=False))
        assert ends[-1] <= 2 * electronic_basses.STEPS
        assert all(note.held > 0 and 26 <= note.midi <= 52 for note in notes)
        bends |= {note.bend for note in notes}
    assert {-12.0, 0.0, 12.0} <= bends, "some glide, some do not"


def test_voices_are_cut_up_and_placed_wide(tmp_path: Path) -> None:
    synth.folder_tree(tmp_path / "songs")
    voice = tmp_path / "solo/voice.wav"
    voice.parent.mkdir()
    seconds = np.arange(0, 4, 1 / 16000)
    soundfile.write(voice, 0.3 * np.sin(2 * np.pi * 220 * seconds) * (seconds % 1 < 0.6), 16000)
    found = electronic_voices.voices_in([tmp_path])
    assert voice in found
    assert {path.stem for path in found if "songs" in path.parts} == {"vocals"}
    for out in ("one", "two"):
        electronic_voices.main(
            [str(voice.parent), "--out", str(tmp_path / out), "--songs", "3", "--licence", "CC0 1.0"]
        )
    files = sorted((tmp_path / "one/train").iterdir())
    assert [file.stem for file in files] == sorted(read_credits(tmp_path / "one"))
    assert read_credits(tmp_path / "one")["000"] == ("solo/voice.wav", "CC0 1.0")
    songs = [soundfile.read(file)[0] for file in files]
    for file, song in zip(files, songs, strict=True):
        assert (tmp_path / "two/train" / file.name).read_bytes() == file.read_bytes()
        assert song.shape == (electronic_voices.SONG_S * electronic_voices.RATE, 2)
        assert np.abs(song).max() == pytest.approx(electronic_voices.PEAK, abs=1e-3)
    assert max(np.abs(song[:, 0] - song[:, 1]).max() for song in songs) > 0.1, "none is wide"
    assert not np.array_equal(songs[0], songs[1])
    with pytest.raises(DatasetError, match="no recording below"):
        electronic_voices.voices_in([tmp_path / "one/none"])


def test_a_chopped_voice_repeats_itself_exactly() -> None:
    voice = np.random.default_rng(0).standard_normal(10 * electronic_voices.RATE).astype(np.float32)
    repeated = 0
    for seed in range(4):
        chopped = electronic_voices.chop(voice, np.random.default_rng(seed))
        assert np.isfinite(chopped).all()
        spectrum = np.fft.rfft(chopped, 2 * len(chopped))
        likeness = np.fft.irfft(np.square(np.abs(spectrum)))
        # Noise is like itself nowhere else, unless it was played again.
        repeated += likeness[electronic_voices.RATE // 20 : 2 * electronic_voices.RATE].max() > 0.2 * likeness[0]
    assert repeated >= 2


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A graph of HT-Demucs' shape that finds everything in the drums, by its spectrum, and nothing by its waveform."""
    onnx = pytest.importorskip("onnx")
    nodes, tensors = onnx.helper, onnx.TensorProto
    spectrum = [1, 4, 2048, label_stems.FRAMES]
    zeros = {name: nodes.make_tensor(name, tensors.FLOAT, [1], [0.0]) for name in ("nothing", "silence")}
    constant = [
        nodes.make_node("ConstantOfShape", ["rest_shape"], ["rest"], value=zeros["nothing"]),
        nodes.make_node("ConstantOfShape", ["waveform_shape"], ["waveforms"], value=zeros["silence"]),
        nodes.make_node("Unsqueeze", ["spectrum", "axis"], ["drums"]),
        nodes.make_node("Concat", ["drums", "rest"], ["spectra"], axis=1),
    ]
    shapes = {"rest_shape": [1, 3, *spectrum[1:]], "waveform_shape": [1, 4, 2, label_stems.SAMPLES], "axis": [1]}
    graph = nodes.make_graph(
        constant,
        "teacher",
        [
            nodes.make_tensor_value_info("mixture", tensors.FLOAT, [1, 2, label_stems.SAMPLES]),
            nodes.make_tensor_value_info("spectrum", tensors.FLOAT, spectrum),
        ],
        [
            nodes.make_tensor_value_info("spectra", tensors.FLOAT, [1, 4, *spectrum[1:]]),
            nodes.make_tensor_value_info("waveforms", tensors.FLOAT, shapes["waveform_shape"]),
        ],
        [nodes.make_tensor(name, tensors.INT64, [len(shape)], shape) for name, shape in shapes.items()],
    )
    path = tmp_path / "teacher.onnx"
    model = nodes.make_model(graph, opset_imports=[nodes.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def test_a_teacher_labels_excerpts_of_music_without_stems(teacher: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    music, out = tmp_path / "music", tmp_path / "labelled"
    synth.write(music / "train/long song.wav", synth.noise(20.0, seed=1))
    synth.write(music / "train/left out.wav", synth.noise(1.0, seed=2))
    synth.write(music / "train/pair/accompaniment.wav", synth.noise(2.0, seed=3)[:1])
    synth.write(music / "train/pair/vocals.wav", synth.noise(2.0, seed=4)[:1])
    (music / "licences.csv").write_text("track,source,licence\nlong song,a friend,CC0 1.0\n")
    given = [str(teacher), str(music), "--out", str(out), "--excerpts", "2", "--skip", "left*"]
    label_stems.main(given)
    tracks = sorted(path.name for path in (out / "train").iterdir())
    assert tracks == ["long song__0", "long song__1", "pair__0"]
    waveforms = {
        name: soundfile.read(out / f"train/long song__1/{name}.flac", dtype="float64")[0].T
        for name in ("drums", "bass", "other")
    }
    true = soundfile.read(music / "train/long song.wav", dtype="float64")[0].T
    first = round(0.75 * true.shape[1] - label_stems.SAMPLES / 2)
    true = true[:, first : first + label_stems.SAMPLES]
    level = np.sqrt(np.square(true).mean())
    scale = np.sqrt(np.square(sum(waveforms.values())).mean()) / level  # one for all, so that nothing clips
    rounding = 3 / 2**15  # full scale: of three files of 16 bits
    assert np.abs(sum(waveforms.values()) - scale * true).max() <= rounding
    inside = slice(4096, -4096)  # two frames are missing at either end
    assert np.abs(waveforms["drums"] - scale * true)[:, inside].max() <= 0.05 * level  # all but the highest bin
    assert np.abs(waveforms["bass"]).max() <= rounding
    assert soundfile.info(out / "train/pair__0/drums.flac").frames == 2 * 44100
    listed = read_credits(out)
    assert listed["long song__0"] == (
        "a friend, stems by HT-Demucs",
        "CC0 1.0; HT-Demucs (weights for personal and research use)",
    )
    assert outside(listed["pair__0"][1], ANY_USE)  # none of it is for `clean`
    found = scan(SourceRecipe(kind="folder", root="labelled", absent="silent"), {"labelled": out})
    assert {track.name for track in found} == set(tracks)
    written = (out / "train/pair__0/other.flac").stat().st_mtime_ns
    label_stems.main(given)  # again: nothing new
    assert (out / "train/pair__0/other.flac").stat().st_mtime_ns == written


def test_weights_between_two_models(even: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, weights = checkpoint.read(even)
    start, out = tmp_path / "start.safetensors", tmp_path / "between.safetensors"
    checkpoint.write(start, header, {name: torch.ones_like(value) for name, value in weights.items()})
    interpolate.main([str(even), str(start), "--share", "0.25", "--shares", "head=0", "--out", str(out)])
    _, between = checkpoint.read(out)
    assert {name.split(".")[0] == "head": float(value.max()) for name, value in between.items()} == {
        True: 0,
        False: 0.25,
    }
    assert "0.25 of the way" in capsys.readouterr().out
    Separator.load(out)


def test_softened_heads_and_what_both_models_heard(even: Path, tmp_path: Path) -> None:
    header, weights = checkpoint.read(even)
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    model, start, out = (tmp_path / f"{name}.safetensors" for name in ("model", "start", "out"))
    checkpoint.write(model, header.model_copy(update={"training_data": ({"title": "B"}, {"title": "C"})}), ones)
    checkpoint.write(start, header.model_copy(update={"training_data": ({"title": "A"}, {"title": "B"})}), ones)
    head = next(name.rpartition(".")[0] for name in weights if name.startswith("head"))
    changes = ["--soften", f"{head}=0.5", "--lower", f"{head}=0.2"]
    interpolate.main([str(model), str(start), *changes, "--out", str(out)])
    found, between = checkpoint.read(out)
    for name, value in between.items():
        expected = {f"{head}.weight": 0.5, f"{head}.bias": 0.3}.get(name, 1.0)
        assert float(value.max()) == pytest.approx(expected, abs=1e-3), name
    assert [entry["title"] for entry in found.training_data] == ["A", "B", "C"]
    for wrong in (f"{head}=2", f"{head}=x", head, "nothing=0.5"):
        with pytest.raises(UsageError, match=r"--soften|has no such part"):
            interpolate.main([str(model), str(start), "--soften", wrong, "--out", str(tmp_path / "never")])


def test_weights_of_other_shapes_are_refused(even: Path, tmp_path: Path) -> None:
    header, weights = checkpoint.read(even)
    other = tmp_path / "other.safetensors"
    checkpoint.write(other, header, {name: value.flatten()[:1] for name, value in weights.items()})
    with pytest.raises(CheckpointError, match="other names or shapes"):
        interpolate.main([str(even), str(other), "--out", str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()
