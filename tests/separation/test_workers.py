"""Threads that end when whoever waits for them is interrupted."""

import os
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from sepgan.audio_pipe import PipeReader
from sepgan.separation import separate_file, separate_files
from sepgan.separation.workers import Stop, StoppedError, in_worker, result_of, workers
from tests.separation.fake import Shares
from tests.synth import noise, write

END_S = 30  # by then a thread that should end is taken for one that does not


def test_an_exception_in_the_block_stops_what_runs_and_what_waits() -> None:
    begun, ended = threading.Event(), threading.Event()

    def until_stopped(stop: Stop) -> None:
        begun.set()
        while not ended.wait(0.01):
            try:
                stop.raise_if_asked()
            except StoppedError:
                ended.set()
                raise

    futures: list[Future[None]] = []

    def be_interrupted() -> None:
        with workers(1) as (pool, stop):
            futures.extend(pool.submit(until_stopped, stop) for _ in range(2))
            assert begun.wait(END_S)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert ended.is_set()
    assert isinstance(futures[0].exception(), StoppedError)
    assert futures[1].cancelled()


def test_results_and_errors_come_back() -> None:
    assert in_worker(lambda stop: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        in_worker(lambda stop: 1 // 0)
    with workers(1) as (pool, _), pytest.raises(TimeoutError, match="its own"):
        result_of(pool.submit(_time_out))


def _time_out() -> None:
    raise TimeoutError("its own")


def test_songs_are_separated_where_no_signal_arrives(tmp_path: Path) -> None:
    song = write(tmp_path / "a.wav", noise(3.0))
    threads: list[threading.Thread] = []
    separate_file(Shares(), song, tmp_path / "one", progress=lambda *_: threads.append(threading.current_thread()))
    separate_files(Shares(), [song], tmp_path / "all", progress=lambda *_: threads.append(threading.current_thread()))
    assert len(threads) >= 2
    assert threading.main_thread() not in threads


def test_the_wait_for_a_pipe_that_stays_empty_ends() -> None:
    reading, writing = os.pipe()
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise StoppedError

    with os.fdopen(reading, "rb") as empty, pytest.raises(StoppedError):
        PipeReader(empty, raise_if_stopped=stop)
    os.close(writing)
