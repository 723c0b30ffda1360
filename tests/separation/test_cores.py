"""Segments of a song side by side: the same stems, and cores that are shared."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import audio, cli
from sepgan.separation import SeparationOptions, SeparationResult, separate_file, separate_files
from sepgan.separation.cores import SIDE_BY_SIDE, segment_pool
from sepgan.separation.manifest import read_manifest
from tests.separation.fake import Shares, noise, write

RATE_HZ = 16000
FLOAT = SeparationOptions(subtype="float32")


class Watched(Shares):
    """Tells in which thread each segment was separated, and with how many threads of torch."""

    def __init__(self) -> None:
        super().__init__(
            lambda _: self.heard.append((threading.current_thread().name, torch.get_num_threads())), RATE_HZ
        )
        self.heard: list[tuple[str, int]] = []


def separate(model: Watched, song: Path, out: Path, threads: int | None) -> SeparationResult:
    summary = separate_files(model, [song], out, options=FLOAT, threads=threads)
    assert not summary.failures
    return summary.results[0]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_side_by_side_stems_are_the_same(threads: int, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise(2.0, RATE_HZ), RATE_HZ)
    alone = separate_file(Watched(), song, tmp_path / "alone", options=FLOAT)
    model = Watched()
    found = separate(model, song, tmp_path / "out", threads)
    for stem, path in alone.paths.items():
        assert np.array_equal(audio.read(path)[0], audio.read(found.paths[stem])[0])
    assert {each for _, each in model.heard} == {max(1, threads // SIDE_BY_SIDE)}
    assert all(name.startswith("sepgan-segment") for name, _ in model.heard)
    assert found.manifest.engine.threads == max(1, threads // SIDE_BY_SIDE)


def test_a_song_of_one_segment_has_no_more_threads_than_others(tmp_path: Path) -> None:
    """Or its last bits would depend on its length."""
    song = write(tmp_path / "song.wav", noise(0.2, RATE_HZ), RATE_HZ)
    model = Watched()
    assert separate(model, song, tmp_path, 4).manifest.engine.threads == 2
    assert [each for _, each in model.heard] == [2]


def test_a_song_of_many_channels_is_separated_segment_after_segment(tmp_path: Path) -> None:
    """They take more memory."""
    song = write(tmp_path / "song.wav", np.repeat(noise(2.0, RATE_HZ), 3, axis=0), RATE_HZ)
    model = Watched()
    assert separate(model, song, tmp_path, 4).manifest.engine.threads == 4
    assert len({name for name, _ in model.heard}) == 1


def test_without_a_number_of_threads_torch_is_left_as_it_is(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise(2.0, RATE_HZ), RATE_HZ)
    model = Watched()
    result = separate(model, song, tmp_path, None)
    assert len({name for name, _ in model.heard}) == 1
    assert {each for _, each in model.heard} == {result.manifest.engine.threads}


def test_afterwards_new_threads_have_as_many_as_before() -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    with segment_pool(2, before + 1) as pool:
        assert pool.executor.submit(torch.get_num_threads).result() == before + 1
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before] == [torch.get_num_threads()]


def test_the_command_says_how_many_and_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On any number of cores, with the bundled model and a song of two segments."""
    monkeypatch.setenv("SEPGAN_NUM_THREADS", "2")
    before = torch.get_num_threads()
    song = write(tmp_path / "song.wav", noise(60.0, 44100), 44100)
    try:
        assert cli.run(["separate", str(song), "--out", str(tmp_path), "--progress", "none"]) == 0
        manifest = tmp_path / "song" / "manifest.json"
        assert read_manifest(manifest).engine.threads == 1
        assert cli.run(["separate", "--verify", str(manifest), "--progress", "none"]) == 0
    finally:
        torch.set_num_threads(before)
