"""How the segments of a song share the cores of a processor: side by side, each in a thread of its own.

Threads that share an operation wait for each other after every one of them, thousands of times a segment, and all wait
for that thread whose core somebody else has: another program, or the writing of what came before. Segments wait for
nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from sepgan.streaming import Pool

SIDE_BY_SIDE = 2  # more would take more memory
MOST_CHANNELS = 2  # with which there is memory for segments side by side


def share(threads: int, channels: int) -> tuple[int, int]:
    """Return how many segments are separated at once, and with how many threads each.

    That depends on nothing else, for with other threads the last bits of a stem may be others.

    Args:
        threads: Of torch for the whole song.
        channels: Of the song.

    >>> share(1, 2), share(2, 2), share(3, 1), share(8, 2), share(8, 6)
    ((1, 1), (2, 1), (2, 1), (2, 4), (1, 8))
    """
    at_once = min(SIDE_BY_SIDE if channels <= MOST_CHANNELS else 1, threads)
    return at_once, threads // at_once


@contextlib.contextmanager
def segment_pool(at_once: int, each: int) -> Iterator[Pool]:
    """Threads that separate segments; leaving waits for those in work.

    Args:
        at_once: How many.
        each: Threads of torch that each of them uses. All threads that begin meanwhile use as many, so this is for
            programs that own their process.
    """
    before = torch.get_num_threads()
    executor = ThreadPoolExecutor(at_once, "sepgan-segment", torch.set_num_threads, (each,))
    try:
        yield Pool(executor, at_once)
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
