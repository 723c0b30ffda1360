"""What becomes of memory that is freed: kept for the next segment, in place of given back and asked for again.

By default glibc gives every large block back to the system at once; each page that comes again has to be cleared and
mapped first. For a network on a CPU that was a fifth of all processor time. Threads keep their own heaps: with one heap
for all, what is read ahead came to lie between the network's large blocks, and half an hour took 200 MB more. This is a
setting of the whole process, so programs make it (`sepgan separate`, benchmarks), not the Python API.
"""

from __future__ import annotations

import ctypes
import os

# Numbers of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

KEEP_BYTES = 256 << 20  # at most, above what is in use
LARGEST_KEPT_BYTES = 256 << 20  # of one block


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory; to be called before threads begin.

    Returns:
        Whether it does: other libraries of C go on as they are, and so does glibc where the environment says how.
    """
    if os.environ.get("GLIBC_TUNABLES") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return False
    wanted = ((_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEEP_BYTES))
    return all([bool(set_option(option, value)) for option, value in wanted])
