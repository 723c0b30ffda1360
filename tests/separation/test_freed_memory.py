"""Freed memory is kept by the program that asks for it, and by nobody else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sepgan.separation import SeparationOptions, blocks, separate_file
from sepgan.separation.freed_memory import LARGEST_KEPT_BYTES
from tests.separation.fake import Shares, noise, write

BLOCK = """
import resource, sys, numpy
from sepgan.separation.freed_memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
count = int(sys.argv[2])
numpy.ones(count)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(count)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
GIVEN_BACK = """
import numpy
from sepgan.separation.freed_memory import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
blocks = [numpy.ones(1_000_000) for _ in range(25)]  # less than is kept
del blocks
resident = lambda: int(open("/proc/self/statm").read().split()[1])
before = resident()
give_back_freed_memory()
print(before, resident())
"""
COUNT = LARGEST_KEPT_BYTES * 3 // 4 // 8  # numbers of a block that is kept
PAGES = 10 * COUNT * 8 // os.sysconf("SC_PAGE_SIZE")


def run(wish: str, **environment: str) -> tuple[str, int]:
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES" and "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, wish, str(COUNT)],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


def test_blocks_that_were_freed_are_used_again() -> None:
    kept, faults = run("keep")
    if platform.libc_ver()[0] == "glibc":
        assert kept == "True"
        assert faults < 0.01 * PAGES
    else:
        assert kept == "False"


def test_importing_it_changes_nothing() -> None:
    assert run("leave")[1] > 10 * max(1, run("keep")[1]) or platform.libc_ver()[0] != "glibc"


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_environment_says_counts(name: str) -> None:
    value = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}[name]
    assert run("keep", **{name: value})[0] == "False"


def test_all_that_is_free_goes_back_before_each_segment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    events: list[str] = []
    monkeypatch.setattr(blocks, "give_back_freed_memory", lambda: events.append("given back"))
    model = Shares(lambda mixture: events.append("segment"), sample_rate=16000)
    song = write(tmp_path / "song.wav", noise(1.0, 16000), 16000)  # of a quarter of a second
    separate_file(model, song, tmp_path, options=SeparationOptions(manifest="off"))
    assert len(events) >= 2 * 4
    assert events == ["given back", "segment"] * (len(events) // 2)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no malloc_trim")
def test_what_is_kept_can_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    before, after = (int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in done.stdout.split())
    assert before - after > 0.9 * 25 * 8_000_000
