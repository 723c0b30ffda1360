"""`sepgan separate` with options that act together, on tiny models in files."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sepgan import audio, cli
from tests import synth
from tests.separation.fake import NULL_DBFS, STEMS, contents, dbfs, write
from tests.separation.tiny_model import write_model

RATE_HZ = 44100


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models" / "one.safetensors")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write(tmp_path / "in" / "song.wav", synth.mixture(synth.song(1.5)), RATE_HZ)


def run(*arguments: str | Path) -> int:
    return cli.run([str(argument) for argument in arguments])


def test_a_dry_run_tells_the_files_and_writes_none(
    tmp_path: Path, model: Path, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wanted = ("--out", out, "--model", model, "--stems", "vocals,drums", "--int16")
    assert run("separate", song, *wanted, "--dry-run") == 0
    said = capsys.readouterr().err
    assert not out.exists()
    assert run("separate", song, *wanted) == 0
    for name in contents(out / "song"):
        assert str(out / "song" / name) in said
    size = sum(path.stat().st_size for path in out.rglob("*.wav"))
    told = re.search(r"\(1\.5 s\) -> .*: about ([\d.]+) MB in \d+ s\n1 of 1 songs would be separated", said)
    assert told is not None
    assert float(told[1]) == pytest.approx(size / 1e6, abs=0.05)


def test_a_dry_run_tells_what_would_fail_and_what_is_done(
    tmp_path: Path, model: Path, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--out", tmp_path / "out", "--model", model)
    assert run("separate", song, *wanted) == 0
    broken = song.with_name("broken.wav")
    broken.write_text("no sound")
    capsys.readouterr()
    assert run("separate", song, broken, *wanted, "--dry-run", "--skip-existing") == 1
    said = capsys.readouterr().err
    assert f"{song}: done already, would be skipped" in said
    assert f"{broken}: would fail: " in said
    assert "0 of 2 songs would be separated" in said
    assert run("separate", broken, *wanted, "--dry-run") == 3
    assert run("separate", song, *wanted, "--dry-run") == 2  # its files exist


def test_repetitions_null_and_are_verified(
    tmp_path: Path, model: Path, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, manifests = {}, {}
    for name, more in {"plain": (), "averaged": ("--repetition", "2")}.items():
        assert run("separate", song, "--out", tmp_path / name, "--model", model, "--float32", *more) == 0
        folder = tmp_path / name / "song"
        made[name] = {stem: audio.read(folder / f"{stem}.wav")[0] for stem in STEMS}
        assert dbfs(sum(made[name].values()) - audio.read(song)[0]) <= NULL_DBFS
        manifests[name] = json.loads((folder / "manifest.json").read_text())["options"]["engine"]
    for stem in STEMS:
        assert dbfs(made["averaged"][stem] - made["plain"][stem]) > -80
    assert manifests["averaged"] == {**manifests["plain"], "repetition": 2}, "and older manifests mean what they meant"
    # Windows are as long as they are, whatever is asked for.
    assert (
        run("separate", song, "--out", tmp_path / "long", "--model", model, "--repetition", "2", "--segment", "99") == 0
    )
    long, usual = (json.loads((tmp_path / name / "song/manifest.json").read_text()) for name in ("long", "averaged"))
    assert long["engine"]["segment"] == usual["engine"]["segment"]
    capsys.readouterr()
    paths = [tmp_path / name / "song" / "manifest.json" for name in made]
    assert run("separate", "--verify", *paths) == 0
    assert capsys.readouterr().err.count("all 4 files are equal byte for byte") == 2


def test_an_ensemble_with_the_wiener_filter_nulls_and_is_verified(
    tmp_path: Path, model: Path, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_model(tmp_path / "models" / "two.safetensors", seed=1)
    made = {}
    wanted = ("--model", model, "--float32", "--segment", "0.5")
    for name, more in {
        "plain": (),
        "mixed": ("--ensemble", f"{other}:0.5"),
        "both": ("--ensemble", f"{other}:0.5", "--wiener", "2"),
    }.items():
        assert run("separate", song, "--out", tmp_path / name, *wanted, *more) == 0
        made[name] = {stem: audio.read(tmp_path / name / "song" / f"{stem}.wav")[0] for stem in STEMS}
        assert dbfs(sum(made[name].values()) - audio.read(song)[0]) <= NULL_DBFS
    for stem in STEMS:  # each option does something
        assert dbfs(made["mixed"][stem] - made["plain"][stem]) > -80
        assert dbfs(made["both"][stem] - made["mixed"][stem]) > -80
    path = tmp_path / "both" / "song" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert [record["source"] for record in manifest["models"]] == [str(model), str(other)]
    assert manifest["options"]["engine"]["wiener"] == 2
    assert manifest["options"]["engine"]["weights"] == [1.0, 0.5]
    capsys.readouterr()
    assert run("separate", "--verify", path) == 0
    assert f"{path}: all 4 files are equal byte for byte" in capsys.readouterr().err
    bass = path.with_name("bass.wav")
    content = bytearray(bass.read_bytes())
    content[-1] ^= 1
    bass.write_bytes(content)
    assert run("separate", "--verify", path) == 1
    assert "was changed since it was written" in capsys.readouterr().err
    write_model(other, seed=2)
    assert run("separate", "--verify", path) == 4
    assert "name that model with --model" in capsys.readouterr().err


def test_a_pipe_gives_the_samples_of_a_file(tmp_path: Path, model: Path, song: Path) -> None:
    wanted = ("--model", str(model), "--stems", "vocals", "--float32")
    assert run("separate", song, "--out", tmp_path, *wanted) == 0
    command = [sys.executable, "-m", "sepgan", "separate", "-", "--out", "-", *wanted]
    done = subprocess.run(command, input=song.read_bytes(), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    piped, rate = audio.read(_kept(tmp_path / "piped.wav", done.stdout))
    assert rate == RATE_HZ
    assert np.array_equal(piped, audio.read(tmp_path / "song" / "vocals.wav")[0])
    assert "standard output (vocals): 1.5 s of audio" in done.stderr.decode()


def _kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_pipe_becomes_files(
    tmp_path: Path, model: Path, song: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(song.read_bytes())))
    assert run("separate", "-", "--out", tmp_path / "out", "--model", model, "--float32") == 0
    stems = [audio.read(tmp_path / "out" / "stdin" / f"{stem}.wav")[0] for stem in STEMS]
    assert dbfs(sum(stems) - audio.read(song)[0]) <= NULL_DBFS
    capsys.readouterr()
    assert run("separate", "--verify", tmp_path / "out" / "stdin" / "manifest.json") == 2
    assert "song from a pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "other.wav"], "name no other beside it"),
        (["-", "--out", "-"], "takes one stem as WAV"),
        (["-", "--out", "-", "--stems", "vocals", "--format", "flac"], "takes one stem as WAV"),
        (["-", "--dry-run"], "need files on both sides"),
        (["-", "--out", "-", "--progress", "json"], "leaves no room for --progress json"),
    ],
)
def test_what_pipes_cannot_is_told(
    arguments: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("separate", *arguments, "--model", model) == 2
    assert message in capsys.readouterr().err
