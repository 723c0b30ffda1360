"""Separation from Python: arrays, streams, progress, cancellation, threads."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan.errors import AudioError, UsageError
from sepgan.separation.api import Advance, Cancellation, CancelledError, Separator
from tests.separation.fake import STEMS, Audio, Shares, contents, dbfs, noise, write

NULL_DBFS = -120.0  # float32 arithmetic alone


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("shape", [(1, 7000), (2, 7000), (5, 7000), (7000,)])
def test_arrays_come_back_as_stems_that_sum(sample_rate: int, shape: tuple[int, ...]) -> None:
    mixture = np.random.default_rng(0).uniform(-0.3, 0.3, shape).astype(np.float32)
    before = mixture.copy()
    stems = Separator(Shares()).separate(mixture, sample_rate)
    assert list(stems) == list(STEMS)
    assert {stem.shape for stem in stems.values()} == {shape}
    assert dbfs(sum(stems.values(), np.zeros(shape)) - mixture) <= NULL_DBFS
    assert np.array_equal(mixture, before)


def test_only_the_stems_that_are_asked_for() -> None:
    separator = Separator(Shares())
    mixture = noise()
    some = separator.separate(mixture, 16000, stems=["vocals"])
    assert list(some) == ["vocals"]
    assert np.array_equal(some["vocals"], separator.separate(mixture, 16000)["vocals"])
    with pytest.raises(UsageError, match="no stem 'piano'"):
        separator.separate(mixture, 16000, stems=["piano"])


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_a_stream_gives_what_the_whole_gives_and_keeps_its_latency(sample_rate: int) -> None:
    separator = Separator(Shares(), segment_s=0.2)
    mixture = noise(2.0, sample_rate)
    pushed, given = 0, 0
    waits = []

    def blocks() -> Iterator[Audio]:
        nonlocal pushed
        for begin in range(0, mixture.shape[1], 100):
            pushed += mixture[:, begin : begin + 100].shape[1]
            yield mixture[:, begin : begin + 100]

    parts: dict[str, list[Audio]] = {stem: [] for stem in STEMS}
    for stems in separator.stream(blocks(), sample_rate):
        waits.append(pushed - given)
        given += stems["vocals"].shape[1]
        for stem, samples in stems.items():
            parts[stem].append(samples)
    whole = separator.separate(mixture, sample_rate)
    for stem in STEMS:
        assert np.allclose(np.concatenate(parts[stem], axis=1), whole[stem], atol=1e-6)
    resampler_s = 0.1 if sample_rate != 16000 else 0.0
    assert max(waits[:-1]) / sample_rate <= separator.latency_s + resampler_s + 100 / sample_rate
    assert separator.latency_s == pytest.approx(0.2, abs=0.001)


def test_an_empty_stream_gives_nothing() -> None:
    assert list(Separator(Shares()).stream([], 16000)) == []


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 0)), "not empty"),
        (np.zeros((1, 2, 3)), r"must be \[C, T\] or \[T\]"),
        (np.array([0.0, np.nan]), "NaN or infinity"),
    ],
)
def test_what_is_no_waveform_is_told(waveform: Audio, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        Separator(Shares()).separate(waveform, 16000)
    with pytest.raises(AudioError, match=message):
        list(Separator(Shares()).stream([waveform], 16000))


def test_channels_of_a_stream_cannot_change() -> None:
    with pytest.raises(AudioError, match="has 1 channels, the first one had 2"):
        list(Separator(Shares()).stream([noise(1.0), noise(1.0, channels=1)], 16000))


def test_progress_has_a_fraction_and_a_guess_of_the_time(tmp_path: Path) -> None:
    for run in ("array", "file"):
        seen: list[Advance] = []
        if run == "array":
            Separator(Shares()).separate(noise(3.0), 16000, progress=seen.append)
        else:
            Separator(Shares()).separate_file(write(tmp_path / "a.wav", noise(3.0)), tmp_path, progress=seen.append)
        fractions = [advance.fraction for advance in seen]
        assert None not in fractions
        assert fractions == sorted(fractions)  # type: ignore[type-var]
        assert (fractions[-1], seen[-1].done_s, seen[-1].total_s, seen[-1].eta_s) == (1.0, 3.0, 3.0, 0.0)
        assert all(advance.eta_s is not None and advance.eta_s >= 0 for advance in seen)


def test_cancelling_stops_and_removes_files(tmp_path: Path) -> None:
    cancellation = Cancellation()
    song = write(tmp_path / "song.wav", noise(3.0))
    seen: list[Advance] = []

    def stop_after_two(advance: Advance) -> None:
        seen.append(advance)
        if len(seen) == 2:
            cancellation.cancel()

    with pytest.raises(CancelledError):
        Separator(Shares()).separate_file(song, tmp_path / "out", progress=stop_after_two, cancellation=cancellation)
    assert len(seen) == 2
    assert contents(tmp_path) == ["song.wav"]
    with pytest.raises(CancelledError):
        Separator(Shares()).separate(noise(), 16000, cancellation=cancellation)
    with pytest.raises(CancelledError):
        list(Separator(Shares()).stream([noise()], 16000, cancellation=cancellation))


def test_threads_share_a_separator() -> None:
    separator = Separator(Shares())
    songs = [synthetic * np.float32(scale) for scale in (1, 0.5, 0.25) for synthetic in (noise(1.0),)]
    expected = [separator.separate(song, 44100)["vocals"] for song in songs]
    vocals: dict[int, Audio] = {}

    def work(index: int) -> None:
        vocals[index] = separator.separate(songs[index % 3], 44100)["vocals"]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(vocals[index], expected[index % 3]) for index in range(6))


def test_no_global_state_is_touched() -> None:
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.random.get_rng_state())
    numpy_state = np.random.get_state(legacy=False)
    Separator(Shares()).separate(noise(), 44100)
    after = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    assert after == before[:3]
    assert torch.equal(torch.random.get_rng_state(), before[3])
    assert str(numpy_state) == str(np.random.get_state(legacy=False))


def test_a_chosen_segment_says_how_long_a_stream_lags_unless_repetitions_are_asked_for() -> None:
    """The bundled model looks for what is alike in longer windows than a stream may be meant to wait for."""
    usual, short = Separator.load("default"), Separator.load("default", segment_s=2.0)
    assert short.latency_s < 4.0  # cells of the network's grid
    assert usual.latency_s > 40.0
    assert Separator.load("default", segment_s=2.0, repetition=1).latency_s == usual.latency_s
    assert Separator.load("default", repetition=0).latency_s == usual.latency_s


@pytest.mark.parametrize("options", [{"segment_s": 0.0}, {"segment_s": -1.0}, {"overlap": 0.6}, {"overlap": -0.1}])
def test_segments_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must"):
        Separator(Shares(), **options)  # type: ignore[arg-type]
