"""`sepgan data prepare`, `info` and `task`: decoded once, whole or not at all, and told truthfully."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sepgan import atomic
from sepgan.cli import run
from sepgan.data import DATASETS, load_stems
from sepgan.data.info import describe
from sepgan.data.prepare import needed_bytes, prepare
from sepgan.data.store import FULL_SCALE, SampleStore
from sepgan.data.tasks import piano_task, register_task
from sepgan.errors import DatasetError, OutputError
from tests import synth

ONE_COUNT = 1.01 / FULL_SCALE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    songs: dict[str, dict[str, tuple[str, ...]]] = {"train": {f"song {n}": synth.STEMS for n in range(3)}}
    songs["test"] = {"last": ("drums", "vocals")}
    return synth.folder_tree(tmp_path / "music", songs, duration_s=0.3)


def command(*arguments: str) -> list[str]:
    return ["data", "prepare", *arguments, "--progress", "none"]


def test_prepared_stems_are_those_of_the_files(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "store"
    assert run(command("folder", str(root), "--out", str(out), "--jobs", "3")) == 0
    assert "4 tracks decoded" in capsys.readouterr().out
    store = SampleStore(out, 44100)
    for track in DATASETS["folder"](root, "train"):
        assert store.holds(track)
        truth, _ = load_stems(track)
        for stem, samples in store.open(track).items():
            np.testing.assert_allclose(samples.window(0, 10**9) / FULL_SCALE, truth[stem], atol=ONE_COUNT)
            assert not samples.mono
            assert samples.peak(0, len(samples)) == pytest.approx(float(np.abs(truth[stem]).max()), abs=ONE_COUNT)
    assert run(command("folder", str(root), "--out", str(out))) == 0
    assert "0 tracks decoded (0.00 GB), 4 were there, 0 failed" in capsys.readouterr().out


def test_a_moved_dataset_is_not_decoded_again(tmp_path: Path, root: Path) -> None:
    """Keys are of content: neither path nor time counts."""
    store = SampleStore(tmp_path / "store", 44100)
    prepare(DATASETS["folder"](root, "train"), store)
    moved = root.rename(tmp_path / "elsewhere")
    for file in moved.rglob("*.wav"):
        os.utime(file, (1, 1))
    done = prepare(DATASETS["folder"](moved, "train"), SampleStore(tmp_path / "store", 44100))
    assert (done.decoded, done.present) == (0, 3)


def test_mixtures_without_stems_are_prepared_too(tmp_path: Path) -> None:
    clips = DATASETS["gtzan"](synth.gtzan_tree(tmp_path / "gtzan", duration_s=0.3), "train")
    store = SampleStore(tmp_path / "store", 44100)
    assert prepare(clips, store).decoded == 2
    samples = store.open(clips[0])["mixture"]
    assert (len(samples), samples.channels, samples.mono) == (round(0.3 * 44100), 1, True)


def test_unreadable_tracks_are_told_of(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train" / "song 1" / "bass.wav").write_bytes(b"no audio")
    assert run(command("folder", str(root), "--out", str(tmp_path / "store"))) == 1
    captured = capsys.readouterr()
    assert "3 tracks decoded" in captured.out
    assert "1 failed" in captured.out
    assert "failed: song 1: " in captured.err
    assert "bass.wav" in captured.err


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Kill -9 in the middle: what is decoded stays, half a file never counts, and the rest is cleaned up."""
    songs = {"train": {f"song {n}": ("drums", "vocals") for n in range(12)}}
    root = synth.folder_tree(tmp_path / "music", songs, duration_s=1.0)
    store = tmp_path / "store"
    arguments = command("folder", str(root), "--out", str(store), "--jobs", "1")
    process = subprocess.Popen([sys.executable, "-m", "sepgan", *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(store.glob("*.npy"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {file: file.stat().st_mtime_ns for file in store.glob("*.npy")}
    assert 3 <= len(before) < 24
    leftover = store / f".half.npy.{atomic._host()}.{process.pid}.00000000.tmp"
    leftover.write_bytes(b"half")
    mine = store / f".half.npy.{atomic._host()}.{os.getpid()}.00000000.tmp"
    mine.write_bytes(b"of a process that lives")
    tracks = DATASETS["folder"](root, "train")
    done = prepare(tracks, SampleStore(store, 44100))
    assert done.decoded + done.present == 12
    assert done.present >= 1
    assert not leftover.exists()
    assert mine.exists()
    assert {file: file.stat().st_mtime_ns for file in before} == before, "nothing was decoded twice"
    samples = SampleStore(store, 44100).open(tracks[5])["drums"]
    truth, _ = load_stems(tracks[5])
    np.testing.assert_allclose(samples.window(0, 10**9) / FULL_SCALE, truth["drums"], atol=ONE_COUNT)


def test_two_processes_at_once(tmp_path: Path, root: Path) -> None:
    arguments = [sys.executable, "-m", "sepgan", *command("folder", str(root), "--out", str(tmp_path / "store"))]
    processes = [subprocess.Popen(arguments, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    store = SampleStore(tmp_path / "store", 44100)
    tracks = [*DATASETS["folder"](root, "train"), *DATASETS["folder"](root, "test")]
    assert all(store.holds(track) for track in tracks)
    assert len(list((tmp_path / "store").glob("*.npy"))) == 14
    assert not list((tmp_path / "store").glob(".*"))
    for track in tracks:
        truth, _ = load_stems(track)
        for stem, samples in store.open(track).items():
            np.testing.assert_allclose(samples.window(0, 10**9) / FULL_SCALE, truth[stem], atol=ONE_COUNT)


def test_a_disk_without_room_is_known_before(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = DATASETS["folder"](root, "train")
    assert needed_bytes(tracks[0], 44100) == 4 * 2 * 2 * round(0.3 * 44100)
    assert needed_bytes(tracks[0], 22050) == 4 * 2 * 2 * round(0.3 * 22050)
    monkeypatch.setattr(SampleStore, "free_bytes", lambda self: 10**6)
    with pytest.raises(OutputError, match=r"needs 0\.00 GB more, and its disk has 0\.00 GB free"):
        prepare(tracks, SampleStore(tmp_path / "store", 44100))
    assert not list(tmp_path.glob("store/*.npy"))


def test_a_disk_that_fills_on_the_way(tmp_path: Path, root: Path) -> None:
    """A limit on the size of files stands for the full disk: code 6, one line, and nothing half-written."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a stem takes 53 kB

    arguments = command("folder", str(root), "--out", str(tmp_path / "store"))
    done = subprocess.run(
        [sys.executable, "-m", "sepgan", *arguments], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert not list((tmp_path / "store").glob("*.npy"))
    assert not list((tmp_path / "store").glob(".*"))


def test_info_counts_hours_and_levels(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone = synth.tone(997, 3.0, channels=1)
    tone[:, round(1.5 * 44100) :] = 0.0
    synth.write(tmp_path / "one" / "train" / "song" / "vocals.wav", tone)
    info = describe("folder", tmp_path / "one")
    (entry,) = info.stems
    assert (entry.seconds, entry.sample_rate, entry.channels, entry.codec) == (3.0, 44100, 1, "pcm_16")
    assert entry.peak_db == pytest.approx(-6.02, abs=0.01)
    assert entry.active == pytest.approx(0.57, abs=0.08)  # blocks of 0.4 s
    assert entry.loudness_lufs is not None
    assert entry.loudness_lufs == pytest.approx(-9.0, abs=0.8)  # -6 dB of -3.01; the gate keeps some edge blocks
    assert run(["data", "info", "folder", str(root), "--json", "--progress", "none"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tracks"] == {"test": 1, "train": 3}
    assert told["hours"]["train"]["bass"] == pytest.approx(3 * 0.3 / 3600)
    assert "bass" not in told["hours"]["test"]


def test_info_draws(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, picture = tmp_path / "out" / "info.html", tmp_path / "out" / "info.png"
    for file in (page, picture):
        assert run(["data", "info", "folder", str(root), "--out", str(file), "--progress", "none"]) == 0
    assert "3 tracks in train" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "Loudness of each stem" in text
    assert "44100 Hz, 2 channels, pcm_16" in text
    assert run(["data", "info", "folder", str(root), "--out", "info.pdf"]) == 2
    assert "must end in .html or .png" in capsys.readouterr().err


def test_info_tells_of_genres_and_unreadable_clips(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path, clips=("jazz.00054", "blues.00029", "blues.00030"), duration_s=0.3)
    broken = root / "genres/jazz/jazz.00054.wav"
    broken.write_bytes(broken.read_bytes()[:22])
    info = describe("gtzan", root, listen=False)
    assert info.labels["genre"] == {"jazz": 1, "blues": 2}
    assert [track for track, _ in info.unreadable] == ["jazz.00054"]
    assert info.hours() == {"train": {"mixture": pytest.approx(0.6 / 3600, rel=1e-3)}}


NOTES = tuple(f"MAPS_ISOL_NO_F_S0_M{pitch}_ENSTDkCl" for pitch in (36, 48, 60, 72))


def test_registers_are_sums_of_isolated_notes(tmp_path: Path) -> None:
    root = synth.maps_tree(tmp_path / "maps", recordings=NOTES, duration_s=0.5)
    arguments = ["data", "task", "registers", "--maps", str(root), "--out", str(tmp_path / "registers.json")]
    assert run([*arguments, "--tracks", "2", "--seconds", "3"]) == 0
    first, second = DATASETS["list"](tmp_path / "registers.json", "test")
    stems, rate = load_stems(first)
    assert list(stems) == ["low", "high"]
    for stem, waveform in stems.items():
        assert waveform.shape == (2, 3 * rate)
        spectrum = np.abs(np.fft.rfft(waveform[0])) ** 2
        share = spectrum[: 200 * 3].sum() / spectrum.sum()  # below 200 Hz lie MIDI 36 and 48, not 60 and 72
        assert share > 0.9 if stem == "low" else share < 0.1
    assert not np.array_equal(load_stems(second)[0]["low"], stems["low"])
    again = register_task(root, "test", tracks=2, seconds=3.0)
    np.testing.assert_array_equal(load_stems(again[0])[0]["low"], stems["low"])


def test_piano_against_other_music(tmp_path: Path) -> None:
    maps_root = synth.maps_tree(tmp_path / "maps", duration_s=1.0)
    musdb = synth.musdb18hq_tree(tmp_path / "musdb", duration_s=0.6)
    arguments = ["data", "task", "piano", "--maps", str(maps_root), "--rest", f"musdb18hq={musdb}"]
    assert run([*arguments, "--out", str(tmp_path / "piano.json")]) == 0
    (track,) = DATASETS["list"](tmp_path / "piano.json", "test")
    stems, rate = load_stems(track)
    assert {stem: waveform.shape for stem, waveform in stems.items()} == dict.fromkeys(
        ("piano", "rest"), (2, round(0.6 * rate))
    )
    parts = synth.song(0.6, seed=2)
    rest = parts["drums"] + parts["bass"] + parts["vocals"]
    np.testing.assert_allclose(stems["rest"], rest, atol=3e-4)


def test_tasks_say_what_they_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = synth.maps_tree(tmp_path / "maps", duration_s=0.2)
    with pytest.raises(DatasetError, match="no piano in split 'test' with isolated notes"):
        register_task(root, "test", tracks=1, seconds=1.0)
    folder = synth.folder_tree(tmp_path / "music", duration_s=0.2)
    with pytest.raises(DatasetError, match="has any of kazoo"):
        piano_task(root, "test", {"folder": folder}, ["kazoo"], "train", seconds=1.0)
    base = ["data", "task", "--maps", str(root)]
    assert run([*base, "--out", "x.json", "piano"]) == 2
    assert "needs --rest" in capsys.readouterr().err
    assert run([*base, "--out", "x.csv", "piano"]) == 2
    assert run([*base, "--out", "x.json", "guitar"]) == 2
    assert "task 'guitar' is unknown" in capsys.readouterr().err
