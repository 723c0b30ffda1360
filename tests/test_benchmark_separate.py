"""The parts of the speed benchmark that need no model."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import separate
from sepgan import audio
from tests import synth


def test_a_process_is_measured_with_its_memory_and_exit_code() -> None:
    small, code = separate.measure([sys.executable, "-c", "pass"])
    large, failed = separate.measure([sys.executable, "-c", "x = b'1' * 200_000_000; raise SystemExit(3)"])
    assert (code, failed) == (0, 3)
    assert 0 < small.wall_s < 60
    assert 180 < large.peak_mb - small.peak_mb < 260


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.3])
def test_songs_are_looped_to_a_length(tmp_path: Path, seconds: float) -> None:
    song = synth.write(tmp_path / "a.flac", synth.noise(1.0))
    path = separate.write_looped(song, tmp_path / "b.flac", seconds)
    waveform, _ = audio.read(path)
    assert waveform.shape == (2, round(seconds * 44100))
    second = audio.read(song)[0]
    assert np.array_equal(waveform[:, -100:], np.roll(second, -round(seconds * 44100), axis=1)[:, -100:])


def test_the_machine_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Acme 9000 @ 3 GHz\n")
    assert separate.cpu_name(tmp_path / "cpuinfo") == "Acme 9000 @ 3 GHz"
    assert separate.cpu_name(tmp_path / "missing") != ""
    monkeypatch.setenv("SEPGAN_NUM_THREADS", "3")
    machine = separate.machine("cpu")
    assert (machine.threads, machine.device) == (3, "cpu")
    assert machine.cores >= 1


@pytest.mark.parametrize("arguments", [["--minutes", "11"], ["--minutes", "0"], ["--runs", "0"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        separate.main(arguments)
    assert stop.value.code == 2
    assert "must" in capsys.readouterr().err
