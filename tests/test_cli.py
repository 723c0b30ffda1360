"""The command line as a user meets it: real processes, one line for each mistake, documented exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from io import BufferedWriter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from sepgan import checkpoint, cli
from sepgan.audio_pipe import PipeWriter
from tests import synth
from tests.separation.tiny_model import write_model

RATE_HZ = 44100
NULL_DBFS = -90.0  # sum of stems minus input, float32
INTERRUPTED = ["error: interrupted: finished files are kept, partial ones were removed"]
HEAVY = ("torch", "torchaudio", "librosa", "musdb", "museval", "lightning_fabric", "matplotlib")


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sepgan", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100"} | environment,
        timeout=300,
        check=False,
    )


def _modules_after(arguments: list[str]) -> set[str]:
    """Names of the modules that a command leaves loaded."""
    code = f"import sys, json; from sepgan import cli; cli.run({arguments!r}); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth.write(tmp_path_factory.mktemp("song") / "a song.wav", synth.mixture(synth.song(duration_s=2.0)))


def test_help_needs_no_heavy_module() -> None:
    loaded = _modules_after(["--help"])
    assert not loaded & {*HEAVY, "numpy", "scipy"}


def test_separate_loads_only_what_it_needs(song: Path, tmp_path: Path) -> None:
    loaded = _modules_after(["separate", str(song), "--out", str(tmp_path / "stems"), "--progress", "none"])
    assert "torch" in loaded
    assert not loaded & (set(HEAVY) - {"torch"})
    assert (tmp_path / "stems" / "a song" / "vocals.wav").is_file()


def test_separate_nulls(song: Path, tmp_path: Path) -> None:
    done = _run("separate", song, "--out", tmp_path, "--float32")
    assert done.returncode == 0, done.stderr
    mixture, rate = soundfile.read(song, always_2d=True)
    stems = {stem: soundfile.read(tmp_path / "a song" / f"{stem}.wav", always_2d=True) for stem in synth.STEMS}
    assert {stem_rate for _, stem_rate in stems.values()} == {rate}
    difference = sum(samples for samples, _ in stems.values()) - mixture
    assert 20 * np.log10(np.abs(difference).max() + 1e-12) <= NULL_DBFS
    assert "weights under" in done.stderr.splitlines()[-1]
    again = _run("separate", song, "--out", tmp_path, "--float32")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_progress_as_json_is_json(song: Path, tmp_path: Path) -> None:
    done = _run("separate", song, "--out", tmp_path, "--stems", "vocals", "--progress", "json")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events} == {"progress", "message"}
    assert sorted(file.name for file in (tmp_path / "a song").glob("*.wav")) == ["vocals.wav"]


def _mistakes(folder: Path, song: Path) -> dict[str, tuple[list[str | Path], int, str]]:
    folder.mkdir(exist_ok=True)
    text = folder / "notes.wav"
    text.write_text("this is not audio")
    empty = synth.write(folder / "empty.wav", np.zeros((2, 0), np.float32))
    single = synth.write(folder / "single.wav", np.zeros((2, 1), np.float32))
    model = checkpoint.bundled()["default"]
    truncated = folder / "truncated.safetensors"
    truncated.write_bytes(model.read_bytes()[:100_000])
    blocked = folder / "file"
    blocked.write_text("")
    (folder / "nothing").mkdir(exist_ok=True)
    bad_recipe = folder / "bad.yaml"
    bad_recipe.write_text("name: bad\ntrain: {stepz: 3}\n")
    wrong_type = folder / "type.yaml"
    wrong_type.write_text("name: bad\ntrain: {steps: many}\n")
    out = folder / "out"
    return {
        "missing file": (["separate", folder / "no.wav", "--out", out], 3, "no.wav"),
        "not audio": (["separate", text, "--out", out], 3, "notes.wav"),
        "empty": (["separate", empty, "--out", out], 3, "empty.wav"),
        "one sample": (["separate", single, "--out", out], 3, "single.wav"),
        "no such model": (["separate", song, "--out", out, "--model", "nope"], 4, "nope"),
        "truncated model": (["separate", song, "--out", out, "--model", truncated], 4, "truncated.safetensors"),
        "no such stem": (["separate", song, "--out", out, "--stems", "piano"], 2, "piano"),
        "unwritable out": (["separate", song, "--out", blocked / "stems"], 6, "file"),
        "unknown option": (["separate", song, "--fast"], 2, "--fast"),
        "recipe key": (["train", bad_recipe, "--out", out], 2, "did you mean 'train.steps'"),
        "recipe type": (["train", wrong_type, "--out", out], 2, "train.steps"),
        "no recipe": (["train", "nope", "--out", out], 2, "musdb_unet_gan"),
        "data not given": (["train", "musdb_unet_gan_debug", "--out", out], 3, "--data musdb18=PATH"),
        "no tracks": (
            ["train", "default_debug", "--out", out, "--data", f"stems={folder / 'nothing'}"], 3, "nothing",
        ),
        "data without name": (["train", "default_debug", "--data", "x"], 2, "NAME=PATH"),
        "half an eval": (["eval", "--references", folder, "--out", out], 2, "--estimates"),
        "no references": (
            ["eval", "--references", folder / "no", "--estimates", folder / "no", "--out", out], 3, "no",
        ),
    }  # fmt: skip


def test_mistakes_end_in_one_line_and_the_documented_code(
    tmp_path: Path, song: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (arguments, code, words) in _mistakes(tmp_path / "in", song).items():
        capsys.readouterr()
        assert cli.run([str(argument) for argument in arguments]) == code, name
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, name
        assert words in lines[0], name
    assert not list((tmp_path / "in").glob("out/*/*.wav"))
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith((".tmp", ".part"))]


def test_one_bad_song_does_not_stop_the_others(song: Path, tmp_path: Path) -> None:
    done = _run("separate", tmp_path / "no.wav", song, "--out", tmp_path / "stems")
    assert done.returncode == 1
    assert (tmp_path / "stems" / "a song" / "bass.wav").is_file()
    assert "1 of 2 songs failed" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="its processes are not interrupted by signals")
@pytest.mark.parametrize(
    ("songs", "number"),
    [(("-",), signal.SIGINT), (("song.flac",), signal.SIGTERM), (("song.flac", "other.flac", "-j2"), signal.SIGINT)],
    ids=["a pipe that waits", "a song", "songs at once"],
)
def test_an_interrupted_separation_says_so_once_and_leaves_nothing(
    tmp_path: Path, songs: tuple[str, ...], number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    model = write_model(tmp_path / "tiny.safetensors")
    minutes = np.zeros((2, 240 * RATE_HZ), np.int16)  # far more than is separated before the signal
    for name in songs:
        if name.endswith(".flac"):
            soundfile.write(tmp_path / name, minutes.T, RATE_HZ)
    process = subprocess.Popen(
        [sys.executable, "-m", "sepgan", "separate", *songs, "--model", model, "--out", "out", "--progress", "none"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    request.addfinalizer(process.communicate)
    request.addfinalizer(process.kill)
    assert isinstance(process.stdin, BufferedWriter)
    # Of a pipe that says no length, an interruption must not be taken for the end of the song.
    if songs == ("-",):
        with PipeWriter(process.stdin, RATE_HZ, 2) as writer:
            writer.write(minutes[:, : 20 * RATE_HZ].astype(np.float32))
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("out/.sepgan-*.partial")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    code = process.wait(60)
    assert process.stderr is not None
    assert (code, process.stderr.read().decode().splitlines()) == (130, INTERRUPTED)
    assert not list((tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("raised", [KeyboardInterrupt, typer.Abort, typer.Exit(130)])
def test_every_command_ends_in_one_line_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: type[BaseException] | BaseException
) -> None:
    """Versions of Typer make different things of Ctrl-C."""

    def interrupted() -> None:
        raise raised

    monkeypatch.setattr("sepgan.checkpoint.known", interrupted)
    assert cli.run(["models", "list"]) == 130
    assert capsys.readouterr().err.split("\n") == [*INTERRUPTED, ""]


def test_models_are_listed_and_described() -> None:
    listed = _run("models", "list", "--json")
    headers = {model["name"]: model["header"] for model in json.loads(listed.stdout)["models"]}
    assert headers["default"]["stems"] == ["drums", "bass", "other", "vocals"]
    described = _run("models", "info", "default")
    assert described.returncode == 0
    assert "weights under" in described.stdout
    assert "run with --repetition 2" in described.stdout
    sources = [line for line in described.stdout.split("\n# ")[0].splitlines() if line.startswith("  ")]
    assert len(set(sources)) == len(sources)
    assert sum("MIR-1K: " in line for line in sources) == 2  # its own, and once for all that it begins as


def test_train_then_separate_then_eval(tmp_path: Path) -> None:
    tree = synth.musdb18_tree(tmp_path / "musdb18")
    run = tmp_path / "run"
    override = "data.validation.0.split=test"
    data = ("--data", f"musdb18={tree}", "--device", "cpu")
    trained = _run("train", "musdb_mel_unet_gan_debug", "train.steps=6", override, "--out", run, *data)
    assert trained.returncode == 0, trained.stderr
    resumed = _run("train", "musdb_mel_unet_gan_debug", "train.steps=8", override, "--out", run, *data)
    assert resumed.returncode == 0, resumed.stderr
    assert checkpoint.read_header(run / "last.safetensors").step == 8
    report = tmp_path / "report"
    model, dataset = run / "last.safetensors", ("--dataset", "musdb18", "--root", tree, "--split", "test")
    scored = _run("eval", "--model", model, *dataset, "--out", report)
    assert scored.returncode == 0, scored.stderr
    assert "vocals" in scored.stdout
    header = (report / "scores.csv").read_text().splitlines()[0]
    assert header == "system,track,stem,metric,statistic,value"
