"""Files of a song appear together or not at all, whatever goes wrong."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from sepgan import audio
from sepgan.errors import AudioError, CheckpointError, OutOfMemoryError, OutputError, UsageError
from sepgan.separation import MANIFEST, SeparationOptions, separate_file
from tests.separation.fake import NULL_DBFS, STEMS, Shares, contents, dbfs, never, noise, sum_of, write


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("subtype", ["float32", "int24"])
def test_nothing_is_left_when_it_breaks_half_way(tmp_path: Path, error: type[BaseException], subtype: str) -> None:
    calls = 0

    def break_later(mixture: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error

    song = write(tmp_path / "song.wav", noise(3.0))
    with pytest.raises(error):
        separate_file(Shares(break_later), song, tmp_path / "a" / "b", options=SeparationOptions(subtype=subtype))
    assert contents(tmp_path) == ["song.wav"]


def test_a_callback_can_cancel(tmp_path: Path) -> None:
    def cancel(done_s: float, total_s: float | None) -> None:
        raise KeyboardInterrupt

    song = write(tmp_path / "song.wav", noise(3.0))
    with pytest.raises(KeyboardInterrupt):
        separate_file(Shares(), song, tmp_path / "out", progress=cancel)
    assert contents(tmp_path) == ["song.wav"]


def test_stems_that_exist_stay_when_the_new_ones_fail(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    before = separate_file(Shares(), song, tmp_path / "out").paths["bass"].read_bytes()

    def fail(mixture: Tensor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        separate_file(Shares(fail), song, tmp_path / "out", options=SeparationOptions(overwrite=True))
    assert (tmp_path / "out" / "song" / "bass.wav").read_bytes() == before
    assert len(contents(tmp_path / "out")) == 1 + len(STEMS) + 1


def test_files_that_exist_are_replaced_only_when_asked(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    folder = separate_file(Shares(), song, tmp_path / "out").folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"drums\.wav exists already; pass --overwrite"):
        separate_file(Shares(), song, tmp_path / "out")
    (folder / "drums.wav").write_bytes(b"")
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(overwrite=True))
    assert audio.probe(result.paths["drums"]).frames == result.frames
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_song_itself_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "vocals"
    folder.mkdir()
    song = write(folder / "vocals.wav", noise())
    with pytest.raises(UsageError, match="is the song itself"):
        separate_file(Shares(), song, tmp_path, options=SeparationOptions(overwrite=True))


def test_an_output_folder_that_is_a_file_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        separate_file(Shares(never), song, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "song").write_text("a file")
    with pytest.raises(OutputError, match="a file has this name"):
        separate_file(Shares(never), song, tmp_path / "other")
    assert contents(tmp_path) == ["other", "other/song", "out", "song.wav"]


def test_float_stems_need_room_for_themselves_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing clips in them, so no samples wait to be written again."""
    song = write(tmp_path / "song.wav", noise(1.0))
    bytes_of_stems = 4 * 4 * soundfile.info(song).frames * soundfile.info(song).channels
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=bytes_of_stems))
    separate_file(Shares(), song, tmp_path / "float", options=SeparationOptions(subtype="float32"))
    with pytest.raises(OutputError, match="the disk has"):
        separate_file(Shares(never), song, tmp_path / "int", options=SeparationOptions(subtype="int24"))


def test_a_disk_with_too_little_room_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = write(tmp_path / "song.wav", noise())
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(OutputError, match=r"needs 0\.00 GB; the disk has 0\.00 GB left"):
        separate_file(Shares(never), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_nan_in_the_input_is_told_with_its_time(tmp_path: Path) -> None:
    mixture = noise(2.0)
    mixture[1, 24000] = np.nan
    song = write(tmp_path / "song.wav", mixture)
    with pytest.raises(AudioError, match=r"song\.wav holds NaN or infinity at 1\.500 s"):
        separate_file(Shares(), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    def spoil(mixture: Tensor) -> None:
        mixture[:] = torch.nan

    with pytest.raises(CheckpointError, match="the model gives NaN or infinity"):
        separate_file(Shares(spoil), write(tmp_path / "song.wav", noise()), tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_a_cut_off_input_leaves_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, noise(20.0, 44100).T, 44100)
    song = tmp_path / "song.flac"
    song.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match="is damaged after"):
        separate_file(Shares(), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.flac", "whole.flac"]


def test_segments_shrink_when_memory_runs_out(tmp_path: Path) -> None:
    seen: list[int] = []

    def little_memory(mixture: Tensor) -> None:
        seen.append(mixture.shape[-1])
        if mixture.shape[-1] > 1000:
            raise torch.cuda.OutOfMemoryError

    mixture = noise()
    result = separate_file(Shares(little_memory), write(tmp_path / "song.wav", mixture), tmp_path / "out")
    assert seen[:3] == [4000, 2000, 1000]
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    assert json.loads((result.folder / MANIFEST).read_text())["engine"]["segment"] == 1000


def test_no_memory_at_all_has_its_own_error(tmp_path: Path) -> None:
    def no_memory(mixture: Tensor) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemoryError, match="even with segments of 62 samples"):
        separate_file(Shares(no_memory), write(tmp_path / "song.wav", noise()), tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    def broken(mixture: Tensor) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        separate_file(Shares(broken), write(tmp_path / "song.wav", noise()), tmp_path / "out")
