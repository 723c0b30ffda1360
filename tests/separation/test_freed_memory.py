"""Freed memory is kept by the program that asks for it, and by nobody else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

BLOCK = """
import resource, sys, numpy
from sepgan.separation.freed_memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
numpy.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 10 * 10_000_000 * 8 // os.sysconf("SC_PAGE_SIZE")


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
