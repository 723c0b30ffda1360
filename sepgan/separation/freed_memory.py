"""What becomes of memory that is freed: kept for the next segment, in place of given back and asked for again.

By default glibc gives every large block back to the system at once; each page that comes again has to be cleared and
mapped first. For a network on a CPU that was a fifth of all processor time. Only the largest go back still, a few a
segment: kept, they would take the room that a second segment needs beside the first. All threads share one heap, for
each would keep its own. This is a setting of the whole process, so programs make it (`sepgan separate`, benchmarks),
not the Python API.

What is kept falls to pieces with time, as threads take it in turns that nobody plans: hours took up to a tenth more
than minutes. And it is of use to segments of one length; the last one of a song is shorter, and took 50 to 150 MB
beside what was kept for the others, and of the first more is kept than of those that follow. So now and then, and
before a segment of another length, all goes back.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

# Numbers of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8

_STATM = Path("/proc/self/statm")

SETTLED = 4  # segment before which all that any of them needs has been there once
GROWTH = 1.05  # from then on

KEEP_BYTES = 256 << 20  # at most, above what is in use
LARGEST_KEPT_BYTES = 32 << 20  # of one block


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory; to be called before threads begin.

    Returns:
        Whether it does: other libraries of C go on as they are, and so does glibc where the environment says how.
    """
    if os.environ.get("GLIBC_TUNABLES") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    set_option = _function("mallopt")
    if set_option is None:
        return False
    wanted = ((_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEEP_BYTES), (_ARENA_MAX, 1))
    return all([bool(set_option(option, value)) for option, value in wanted])


class FreedMemory:
    """What a song has freed: it goes back to the system when it has grown, so that hours take no more than minutes.

    Without glibc nothing is done, and where nothing tells the memory of a process, only their lengths count.
    """

    def __init__(self) -> None:
        self._segments = 0
        self._usual_bytes: int | None = None
        self._lengths: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def before_segment(self, *lengths: int) -> None:
        """Give back what is free if it is too much; to be called by a thread that separates.

        Args:
            lengths: Of the segment that follows: of what goes in, and what is kept of it.
        """
        with self._lock:
            other, self._lengths = self._segments > 0 and lengths != self._lengths, lengths
            self._segments += 1
            resident = resident_bytes()
            if self._segments == SETTLED:
                self._usual_bytes = resident
            grown = self._usual_bytes is not None and resident > GROWTH * self._usual_bytes
            if other or grown:
                give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Let glibc give back to the system all that is not in use."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def resident_bytes() -> int:
    """Return how much of this process lies in memory, 0 where nothing tells."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return None
    return found
