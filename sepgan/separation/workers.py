"""Threads that no signal reaches, and that end soon when whoever waits for them is interrupted.

Python raises `KeyboardInterrupt` in the main thread wherever that happens to be, also inside callbacks of C libraries
such as libsndfile's. There it is printed and lost, and the library goes on with a write that failed. So songs are
separated in other threads, while the main thread does nothing but wait.
"""

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_POLL_S = 0.5  # on Windows a wait without end cannot be interrupted


class StoppedError(BaseException):
    """Another song's thread, or the user, has ended the whole work; nothing that handles errors may hold it up."""


class Stop:
    """A wish that all threads end, which each of them looks at between two pieces of its work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Let the threads end."""
        self._event.set()

    def raise_if_asked(self) -> None:
        """Raise `StoppedError` once `ask` was called."""
        if self._event.is_set():
            raise StoppedError


@contextlib.contextmanager
def workers(count: int) -> Iterator[tuple[ThreadPoolExecutor, Stop]]:
    """Give threads to submit work to; an exception in the block stops them all and waits for them.

    Args:
        count: How many threads work at once.
    """
    stop = Stop()
    with ThreadPoolExecutor(count, thread_name_prefix="sepgan-song") as pool:
        try:
            yield pool, stop
        except BaseException:
            stop.ask()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def result_of(future: "Future[Result]") -> Result:
    """Wait for a result in such a way that the wait can be interrupted."""
    while not concurrent.futures.wait([future], timeout=_POLL_S).done:
        pass
    return future.result()


def in_worker(work: "Callable[[Stop], Result]") -> Result:
    """Run one piece of work, which looks at the stop it is given, in a thread of its own."""
    with workers(1) as (pool, stop):
        return result_of(pool.submit(work, stop))
