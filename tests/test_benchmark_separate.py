"""The parts of the speed benchmark that need no model."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import arithmetic, peers, separate
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


@pytest.mark.parametrize(
    "arguments",
    [["--minutes", "11"], ["--minutes", "0"], ["--runs", "0"], ["--systems", "sepgan,lalal"], ["--systems", ","]],
)
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        separate.main(arguments)
    assert stop.value.code == 2
    assert "must" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "missing", lambda system: ["demucs"] if system == "demucs" else [])
    with pytest.raises(SystemExit) as stop:
        separate.main(["--systems", "sepgan,demucs"])
    assert stop.value.code == 2
    assert "pip install 'sepgan[peers]'" in capsys.readouterr().err


def test_spleeter_as_a_peer_writes_stems_that_sum_to_the_song_where_it_hears(tmp_path: Path) -> None:
    song = synth.write(tmp_path / "a.flac", synth.noise(0.5))
    peers.main("spleeter", str(song), str(tmp_path / "stems"))
    stems = [soundfile.read(tmp_path / "stems" / f"{stem}.wav", always_2d=True)[0] for stem in peers.STEMS]
    mixture, _ = soundfile.read(song, always_2d=True)
    difference = np.abs(np.fft.rfft(np.sum(stems, axis=0) - mixture, axis=0))
    edge = round(10_000 * 0.5)  # bins of half a hertz: of its 1024 bins the last lies at 11 kHz
    assert difference[:edge].max() < 0.01 * difference[edge:].max(), "above, it gives silence"


def test_the_table_tells_how_many_times_as_much_a_peer_takes() -> None:
    reports = {
        "sepgan": separate.summarise([separate.Measurement(2.0, 3.0, 100.0)], 60.0),
        "demucs": separate.summarise([separate.Measurement(30.0, 60.0, 900.0)], 60.0),
    }
    line = separate.table(reports).splitlines()[-1]
    assert line == "| demucs | 0.5000 | 60.0 | 900 | 15.00 | 20.00 |"


def test_arithmetic_is_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))  # every call takes a second
    monkeypatch.setattr("benchmarks.arithmetic.time.perf_counter", lambda: float(next(ticks)))
    found = arithmetic.ceiling(1)
    # 2 * 9 * 64^2 operations at each of 4 * 128^2 places, the most of the three shapes but for equal ones
    assert found == pytest.approx(2 * 9 * 64**2 * 4 * 128**2 / 1e9)
    assert arithmetic.Arithmetic(1.0, 60.0, 100.0, 1).share == 0.6
