"""What becomes of memory that is freed: kept for the rest of a segment, in place of given back and asked for again.

By default glibc gives every large block back to the system at once; each page that comes again has to be cleared and
mapped first. For a network on a CPU that was a fifth of all processor time. Only the largest go back still, a few a
segment: kept, they would take the room that a second segment needs beside the first. This is a setting of the whole
process, so programs make it (`sepgan separate`, benchmarks), not the Python API.

What is kept falls to pieces with time, so before each segment all that is free goes back; within a segment it is used
again and again. Each thread has a heap of its own, as glibc would have it: in one for all, what other threads keep for
long lies between the blocks of segments, and two hours took 11 % more than ten minutes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

# Numbers of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

KEEP_BYTES = 256 << 20  # at most, above what is in use
LARGEST_KEPT_BYTES = 16 << 20  # of one block


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
    wanted = ((_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEEP_BYTES))
    return all([bool(set_option(option, value)) for option, value in wanted])


def give_back_freed_memory() -> None:
    """Let glibc give back to the system all that is not in use."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return None
    return found
