"""Songs rendered on kits, through the code and the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from sepgan import audio, cli
from sepgan.data.render import fluidsynth, midi
from sepgan.data.render.band import Band, play_band
from sepgan.data.render.kits import (
    ONE_SHOTS,
    SOUNDFONT,
    assign,
    read_kit,
)
from sepgan.data.render.performance import PLAIN, draw
from sepgan.data.render.song import RenderSettings, SoundFont, is_done, plan_jobs, render_song, sha256_of
from sepgan.errors import DatasetError, UsageError
from tests.data.render.instruments import midi_file, soundfont
from tests.data.render.kit_makers import click, hits, one_shots, play

RATE = 44100


@pytest.fixture
def settings(tmp_path: Path) -> RenderSettings:
    font = soundfont(tmp_path / "saw.sf2")
    kit = read_kit(one_shots(tmp_path / "kit"))
    return RenderSettings((SoundFont(font, sha256_of(font)),), seed=3, kits=(kit,))


def test_songs_on_kits_say_so_and_repeat(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    jobs = plan_jobs(tmp_path / "midi", 2)
    for out in ("one", "two"):
        for job in jobs:
            render_song(job, tmp_path / out, settings, synthesiser)
    bands = {}
    for job in jobs:
        folder = tmp_path / "one" / job.folder
        for path in folder.iterdir():
            assert path.read_bytes() == (tmp_path / "two" / job.folder / path.name).read_bytes()
        band = json.loads((folder / "provenance.json").read_text())["band"]
        bands[job] = band["kit"] and band
        assert is_done(job, tmp_path / "one", settings)
    job, band = next((job, band) for job, band in bands.items() if band)
    assert list(bands.values()).count(None) == 1
    assert band["kit"] == {"name": "kit", "kind": ONE_SHOTS, "sha256": settings.kits[0].sha256}
    assert band["sounds"]["kick"] == ["bd_one.wav"]
    assert band["bass"] is None
    click(tmp_path / "kit/bd_one.wav", 0.25)
    changed = RenderSettings(settings.soundfonts, seed=3, kits=(read_kit(tmp_path / "kit"),))
    with pytest.raises(UsageError, match="--overwrite"):
        is_done(job, tmp_path / "one", changed)


def test_songs_without_kits_are_as_they_were(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    """Kits draw from seeds of their own: bass and other of a song sound the same up to the one gain of all stems."""
    midi_file(tmp_path / "midi/song.mid")
    without = RenderSettings(settings.soundfonts, seed=3)
    for job in plan_jobs(tmp_path / "midi", 2):
        render_song(job, tmp_path / "with", settings, synthesiser)
        render_song(job, tmp_path / "without", without, synthesiser)
        stories = [
            json.loads((tmp_path / out / job.folder / "provenance.json").read_text()) for out in ("with", "without")
        ]
        assert stories[0]["performance"] == stories[1]["performance"]
        assert "band" not in stories[1]
        stems = [audio.read(tmp_path / out / job.folder / "other.flac")[0][:, :RATE] for out in ("with", "without")]
        assert np.corrcoef(stems[0][0], stems[1][0])[0, 1] > 0.9999
        if stories[0]["band"]["kit"] is None:
            files = [(tmp_path / out / job.folder / "drums.flac").read_bytes() for out in ("with", "without")]
            assert files[0] == files[1]


def test_plain_songs_keep_the_level_of_their_drums(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    levels = set()
    for job in plan_jobs(tmp_path / "midi", 2):  # one of them on the kit
        plain = RenderSettings(settings.soundfonts, ranges=PLAIN, kits=settings.kits)
        render_song(job, tmp_path / "out", plain, synthesiser)
        stems = json.loads((tmp_path / "out" / job.folder / "provenance.json").read_text())["stems"]
        levels.add(round(stems["drums"]["rms_db"] - stems["other"]["rms_db"]))
    assert max(levels) - min(levels) < 12


def test_soundfonts_of_drums_alone_play_them(tmp_path: Path, synthesiser: fluidsynth.Synthesiser) -> None:
    """Channel 10 looks for bank 128; a font whose drums are its only program, in bank 0, is played on another."""
    content = soundfont(tmp_path / "melodic.sf2").read_bytes()
    moved = content.replace(b"drums".ljust(20, b"\0") + b"\0\0\x80\0", b"drums".ljust(20, b"\0") + b"\x01\0\0\0")
    assert moved != content
    (tmp_path / "melodic.sf2").write_bytes(moved)
    kit = read_kit(tmp_path / "melodic.sf2")
    assert kit.kind == SOUNDFONT
    assert fluidsynth.drum_preset(kit.path) == (0, 0, "saw")
    assert fluidsynth.drum_preset(soundfont(tmp_path / "drums.sf2")) == (128, 0, "drums")
    performance = draw("song", 0, 0, 1, midi.STEMS, PLAIN)
    played = midi.split(midi.read(midi_file(tmp_path / "a.mid", [(9, 38, 1, 1)])), performance)
    stems = play_band(played, Band(kit), synthesiser, tmp_path / "drums.sf2", performance, RATE)
    assert set(stems) == {"drums"}
    assert not np.abs(stems["drums"][:, : RATE // 3]).max() > 1e-3
    assert np.abs(stems["drums"][:, RATE // 2 : RATE]).max() > 0.01


def test_the_command_refuses_a_kit_without_a_hi_hat(
    tmp_path: Path, synthesiser: fluidsynth.Synthesiser, settings: RenderSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    midi_file(tmp_path / "midi/song.mid")
    call = ["data", "render", str(tmp_path / "midi"), "-o", str(tmp_path / "out"), "--shortest", "0"]
    call += ["-s", str(settings.soundfonts[0].path)]
    bad = one_shots(tmp_path / "bad", "bd_one", "sn_one")
    assert cli.run([*call, "--kit", str(bad)]) == DatasetError.exit_code
    said = capsys.readouterr().err
    assert str(bad) in " ".join(said.split()) or "bad" in said
    assert "no hi-hat" in said
    assert cli.run([*call, "--kit", str(tmp_path / "kit"), "--takes", "2"]) == 0
    assert "2 rendered" in capsys.readouterr().err


def test_real_one_shots(shared_data: Path) -> None:
    folder = shared_data / "drums/oneshots"
    if not folder.is_dir():
        pytest.skip("shared test data absent: set SEPGAN_TEST_DATA")
    kit = read_kit(folder)
    struck = assign(kit, np.random.default_rng(0))
    assert {36, 38, 42, 45, 46, 49, 51} <= set(struck)
    assert {bass.note % 12 for bass in kit.basses} == {0, 5}  # as they are called
    sound = play(hits((0.1, 36), (0.5, 38), (0.9, 42), (1.3, 49)), struck)
    for at_s in (0.1, 0.5, 0.9, 1.3):
        begin = round(at_s * RATE)
        assert np.abs(sound[:, begin : begin + 8820]).max() > 0.1
