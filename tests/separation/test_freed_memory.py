"""Freed memory is kept by the program that asks for it, and by nobody else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from sepgan.separation import freed_memory

BLOCK = """
import resource, sys, numpy
from sepgan.separation.freed_memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
numpy.ones(3_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(3_000_000)
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
PAGES = 10 * 3_000_000 * 8 // os.sysconf("SC_PAGE_SIZE")


def run(wish: str, **environment: str) -> tuple[str, int]:
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES" and "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, wish], env=plain | environment, capture_output=True, text=True, check=True
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


@pytest.mark.parametrize(
    ("resident_mb", "last", "given_back"),
    [
        ([500, 1000, 1100, 1150, 1180, 1200], False, []),
        ([500, 1000, 1100, 1150, 1180, 1210, 1190, 1230], False, [6, 8]),  # 1150 is usual
        ([500, 1000, 1100], False, []),  # not settled yet
        ([500, 1000], True, [2]),
        ([0, 0, 0, 0, 0, 0], True, [6]),  # nobody tells how much it is
    ],
)
def test_what_has_grown_and_what_the_last_segment_cannot_use_goes_back(
    resident_mb: list[int], last: bool, given_back: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    came = iter(resident_mb)
    done: list[int] = []
    monkeypatch.setattr(freed_memory, "resident_bytes", lambda: next(came) << 20)
    memory = freed_memory.FreedMemory()
    for segment in range(1, len(resident_mb) + 1):
        monkeypatch.setattr(freed_memory, "give_back_freed_memory", lambda segment=segment: done.append(segment))
        memory.before_segment(3 if last and segment == len(resident_mb) else 4)
    assert done == given_back


def test_the_memory_of_a_process_is_told() -> None:
    """In a process of its own: what others have freed may hold the block."""
    code = "from sepgan.separation.freed_memory import resident_bytes as now; before = now(); "
    code += "block = b'1' * (200 << 20); print(before, now())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before == after == 0 or 200 << 20 <= after - before < 240 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no malloc_trim")
def test_what_is_kept_can_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    before, after = (int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in done.stdout.split())
    assert before - after > 0.9 * 25 * 8_000_000
