"""Rendering songs with the real synthesiser, and what happens where it is missing or fails."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from sepgan import cli
from sepgan.data import DATASETS, load_stems
from sepgan.data.render import fluidsynth, midi
from sepgan.data.render.batch import choose, render_all
from sepgan.data.render.performance import PLAIN, draw
from sepgan.data.render.song import PEAK, RenderSettings, SoundFont, balance, plan_jobs, render_song, sha256_of
from sepgan.data.store import SampleStore
from sepgan.data.tags import name_of_key, tags_of
from sepgan.errors import DatasetError, OutputError, UsageError
from tests.data.render.instruments import midi_file, soundfont

Waveform = NDArray[np.float32]
ONE_STEP = 2 / 2**15  # of 16 bits, with dither
SHIFTED_STEPS = {"bass": 110.0, "other": 329.63}  # Hz of the notes 45 and 64


@pytest.fixture
def settings(tmp_path: Path) -> RenderSettings:
    font = soundfont(tmp_path / "saw.sf2")
    return RenderSettings((SoundFont(font, sha256_of(font)),), ranges=PLAIN, licence="CC0 1.0")


def _tone(samples: int) -> Waveform:
    return np.tile(np.sin(np.arange(samples) / 20), (2, 1)).astype(np.float32)


def _strongest_hz(waveform: Waveform, sample_rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform.mean(0) * np.hanning(waveform.shape[1])))
    return float(np.argmax(spectrum) * sample_rate / waveform.shape[1])


def test_a_song_becomes_a_folder_that_the_dataset_reads(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    (job,) = plan_jobs(tmp_path / "midi", 1)
    seconds = render_song(job, tmp_path / "out/train", settings, synthesiser)
    (track,) = DATASETS["folder"](tmp_path / "out", "train")
    stems, rate = load_stems(track)
    assert track.name == "song"
    assert rate == 44100
    assert set(stems) == {"drums", "bass", "other"}
    assert {stem.shape for stem in stems.values()} == {(2, round(seconds * 44100))}
    assert np.abs(sum(stems.values())).max() == pytest.approx(PEAK, abs=4 * ONE_STEP)
    # Each stem holds its own note and no other: a stem that held the whole song would have the strongest of all.
    for stem, frequency_hz in SHIFTED_STEPS.items():
        assert _strongest_hz(stems[stem][:, :44100], rate) == pytest.approx(frequency_hz, rel=0.01)
    # The drum sounds from 0.5 s on.
    assert np.abs(stems["drums"][:, :20000]).max() <= ONE_STEP
    assert np.abs(stems["drums"][:, 22050:30000]).max() > 0.1
    provenance = json.loads((tmp_path / "out/train/song/provenance.json").read_text())
    assert provenance["licence"] == "CC0 1.0"
    assert provenance["midi"] == {"file": "song.mid", "sha256": sha256_of(tmp_path / "midi/song.mid")}
    assert provenance["soundfont"]["sha256"] == settings.soundfonts[0].sha256
    assert set(provenance["stems"]) == {"drums", "bass", "other"}
    assert "version" not in provenance["made_by"]["fluidsynth"]
    tempo = 120 * provenance["performance"]["tempo"]
    found = tags_of(track, {}, {}, SampleStore(tmp_path / "store", 44100))  # told, so nothing is decoded
    assert found.tempo_bpm == pytest.approx(tempo, abs=0.1)
    assert name_of_key(found) == provenance["tags"]["key"] != ""


def test_stems_sum_to_what_the_synthesiser_makes_of_the_whole(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    """The effects of fluidsynth are linear, so stems rendered apart must add up to the song rendered at once."""
    score = midi.read(midi_file(tmp_path / "song.mid", [(0, 45, 0, 2), (1, 64, 0, 2), (1, 67, 1, 1)]))
    performance = draw("song", 0, 0, 1, midi.STEMS, PLAIN)
    apart = midi.split(score, performance)
    # The whole, with the bass as a program that counts as `other`: the SoundFont plays all programs alike.
    whole = midi.split(
        midi.read(
            midi_file(tmp_path / "whole.mid", [(0, 45, 0, 2), (1, 64, 0, 2), (1, 67, 1, 1)], programs=[(0, 0), (1, 24)])
        ),
        performance,
    )
    font = settings.soundfonts[0].path

    def play(file: object) -> Waveform:
        return fluidsynth.play(synthesiser, file, font, performance, 44100)[:, :88200]

    total = play(apart["bass"]) + play(apart["other"])
    assert set(whole) == {"other"}
    error = np.square(total - play(whole["other"])).sum() / np.square(total).sum()
    assert 10 * np.log10(error) < -50


def test_the_same_seed_gives_the_same_bytes_and_another_take_others(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    settings = RenderSettings(settings.soundfonts, seed=3)
    first, second = plan_jobs(tmp_path / "midi", 2)
    assert second.folder == "song (take 2)"
    for out in ("one", "two"):
        render_song(first, tmp_path / out, settings, synthesiser)
    render_song(second, tmp_path / "one", settings, synthesiser)

    def content(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    assert content("one/song") == content("two/song")
    assert content("one/song") != content("one/song (take 2)")


def test_silent_stems_are_left_out() -> None:
    performance = draw("song", 0, 0, 1, midi.STEMS, PLAIN)
    loud = _tone(44100)
    stems = balance(
        {"drums": loud, "bass": loud * np.float32(1e-5), "other": np.zeros((2, 50000), np.float32)}, performance
    )
    assert set(stems) == {"drums"}
    assert np.abs(stems["drums"]).max() == pytest.approx(PEAK, abs=1e-3)
    assert balance({"drums": np.zeros((2, 10), np.float32)}, performance) == {}


def test_levels_are_made_equal_and_then_spread_by_the_gains() -> None:
    """Loudness counts where a stem plays: a short loud stem must not be raised over a long one."""
    tone = _tone(10 * 16384)
    brief = tone * np.float32(0.01)
    brief[:, 2 * 16384 :] = 0
    performance = draw("song", 0, 0, 1, midi.STEMS, PLAIN)
    performance = replace(performance, level=True, gains_db={"drums": 0.0, "bass": -6.0, "other": 0.0})
    stems = balance({"drums": tone, "bass": brief}, performance)
    ratio_db = 20 * np.log10(np.abs(stems["bass"]).max() / np.abs(stems["drums"]).max())
    assert ratio_db == pytest.approx(-6.0, abs=0.05)


def test_a_set_goes_on_where_it_stopped(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    out = tmp_path / "out"
    midi_file(tmp_path / "midi/a.mid")
    midi_file(tmp_path / "midi/b.mid", [(1, 60, 0, 1)])
    midi_file(tmp_path / "midi/copy of a.mid")
    midi_file(tmp_path / "midi/short.mid", [(1, 60, 0, 0.5)])
    (tmp_path / "midi/bad.mid").write_bytes(b"no MIDI")
    planned = plan_jobs(tmp_path / "midi", 1)
    first = choose(planned, out, settings, 0.4, False)
    assert [job.name for job in first.todo] == ["a", "b"]
    assert [line.split(" ")[0] for line in first.left_out] == ["copy", "short.mid"]
    assert "bad.mid" in first.unreadable[0]
    render_song(first.todo[0], out, settings, synthesiser)
    written = (out / "a/bass.flac").stat().st_mtime_ns
    # What an interrupted run leaves is hidden and does not count as a song.
    (out / ".b.1234.partial").mkdir()
    second = choose(planned, out, settings, 0.4, False)
    assert [job.name for job in second.todo] == ["b"]
    assert second.kept == 1
    reports: list[tuple[int, int]] = []
    outcome = render_all(
        second.todo, out, settings, synthesiser, ThreadPoolExecutor(2), lambda *r: reports.append(r[:2])
    )
    assert outcome.rendered == 1
    assert outcome.failures == ()
    assert reports == [(1, 1)]
    assert (out / "a/bass.flac").stat().st_mtime_ns == written
    assert choose(planned, out, settings, 0.4, False).todo == ()
    with pytest.raises(UsageError, match="--overwrite"):
        choose(planned, out, RenderSettings(settings.soundfonts, seed=1), 0.4, False)
    assert len(choose(planned, out, RenderSettings(settings.soundfonts, seed=1), 0.4, True).todo) == 2


def test_pictures_show_notes_and_sound(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    midi_file(tmp_path / "midi/song.mid", [(0, 45, 0, 2)], programs=[(0, 33)])
    (job,) = plan_jobs(tmp_path / "midi", 1)
    render_song(job, tmp_path / "out", settings, synthesiser, pictures=True)
    assert sorted(path.name for path in (tmp_path / "out/song").iterdir()) == [
        "bass.flac", "bass.png", "provenance.json",
    ]  # fmt: skip
    picture = np.asarray(Image.open(tmp_path / "out/song/bass.png").convert("RGB"), dtype=int)
    upper, lower = np.array_split(picture, 2)
    coloured = (np.ptp(upper, axis=2) > 60).sum()
    assert coloured > 100  # the note
    assert len(np.unique(lower.reshape(-1, 3), axis=0)) > 100  # the spectrogram


def _program(path: Path, body: str) -> str:
    """A program that behaves as `body` says after it has named its version."""
    head = f"#!{sys.executable}\nimport sys\nif '--version' in sys.argv:\n    print('FluidSynth runtime version 9.9')\n"
    path.write_text(f"{head}    sys.exit()\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.stderr.write('no room for voices'); sys.exit(3)", "exit 3.*no room for voices"),
        ("", "failed"),
        ("open(sys.argv[sys.argv.index('-F') + 1], 'w').write('x' * 100)", "no readable sound"),
    ],
)
def test_a_synthesiser_that_fails_is_quoted(tmp_path: Path, settings: RenderSettings, body: str, message: str) -> None:
    synthesiser = fluidsynth.find_synthesiser(_program(tmp_path / "broken", body))
    midi_file(tmp_path / "midi/song.mid")
    jobs = plan_jobs(tmp_path / "midi", 1)
    with pytest.raises(DatasetError, match=message):
        render_song(jobs[0], tmp_path / "out", settings, synthesiser)
    outcome = render_all(jobs, tmp_path / "out", settings, synthesiser, ThreadPoolExecutor(1), lambda *_: None)
    assert outcome.rendered == 0
    assert len(outcome.failures) == 1
    assert not (tmp_path / "out").exists()


def test_silence_is_no_song(tmp_path: Path, settings: RenderSettings) -> None:
    body = (
        "import numpy, soundfile\nsoundfile.write(sys.argv[sys.argv.index('-F') + 1], numpy.zeros((99, 2)), 44100, "
        "subtype='FLOAT')"
    )
    synthesiser = fluidsynth.find_synthesiser(_program(tmp_path / "mute", body))
    midi_file(tmp_path / "midi/song.mid")
    with pytest.raises(DatasetError, match="General MIDI SoundFont"):
        render_song(plan_jobs(tmp_path / "midi", 1)[0], tmp_path / "out", settings, synthesiser)


def test_an_output_that_cannot_be_written_stops_the_set(tmp_path: Path, settings: RenderSettings) -> None:
    body = (
        "import numpy, soundfile\nsoundfile.write(sys.argv[sys.argv.index('-F') + 1], numpy.ones((99, 2)), 44100, "
        "subtype='FLOAT')"
    )
    synthesiser = fluidsynth.find_synthesiser(_program(tmp_path / "loud", body))
    midi_file(tmp_path / "midi/song.mid")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        render_all(
            plan_jobs(tmp_path / "midi", 1), tmp_path / "out", settings, synthesiser, ThreadPoolExecutor(1), print
        )


def test_a_missing_synthesiser_is_explained() -> None:
    with pytest.raises(UsageError, match="apt install fluidsynth"):
        fluidsynth.find_synthesiser("no-such-program")
    with pytest.raises(UsageError, match="names no version"):
        fluidsynth.find_synthesiser("true")


@pytest.mark.parametrize("content", [None, b"", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_soundfont_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "font.sf2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="SoundFont"):
        fluidsynth.check_soundfont(path)


def test_names_do_not_collide(tmp_path: Path) -> None:
    for name in ("one.mid", "one.midi", "album/one.mid"):
        midi_file(tmp_path / name)
    assert len({job.folder for job in plan_jobs(tmp_path, 2)}) == 6


def test_command_line(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    (tmp_path / "midi/bad.mid").write_bytes(b"no MIDI")
    font = str(settings.soundfonts[0].path)
    call = [str(tmp_path / "midi"), "-o", str(tmp_path / "out"), "-s", font, "--shortest", "0"]
    call = ["data", "render", *call]
    assert cli.run(call) == 1  # one of two failed
    assert "1 rendered, 0 there already, 0 left out, 1 failed" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "out/song/bass.flac").channels == 2
    (tmp_path / "midi/bad.mid").unlink()
    assert cli.run(call) == 0
    assert "0 rendered, 1 there already" in capsys.readouterr().err
    assert cli.run([*call, "--seed", "1"]) == UsageError.exit_code
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run([*call, "--format", "mp3"]) == UsageError.exit_code
    assert "flac, wav, ogg" in capsys.readouterr().err
