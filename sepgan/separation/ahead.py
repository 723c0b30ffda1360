"""Making the next items while those before are being used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_S = 0.05  # how soon a full queue notices that nobody wants more


class _Maker(threading.Thread, Generic[Item]):
    """Takes items from a generator until it ends, fails, or nobody wants more."""

    def __init__(self, items: Generator[Item, None, None], depth: int) -> None:
        super().__init__(name="sepgan-ahead", daemon=True)
        self.made: queue.Queue[tuple[Item] | None] = queue.Queue(depth)  # None: no more
        self.error: BaseException | None = None
        self._items = items
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            for item in self._items:
                if not self._put((item,)):
                    break
        except BaseException as error:
            self.error = error
        finally:
            with contextlib.suppress(Exception):  # what made the items is in no state to complain any more
                self._items.close()
            self._put(None)

    def _put(self, item: tuple[Item] | None) -> bool:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.made.put(item, timeout=_POLL_S)
                return True
        return False

    def stop(self) -> None:
        """Wait until the item in work is done; no more follow."""
        self._stopped.set()
        self.join()


def ahead(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """Give the items of a generator in order, which runs in a thread of its own.

    What it raises is raised here, after the items before it. Closing this iterator stops the thread as soon as the item
    in work is done, and closes the generator.

    Args:
        items: Is used by that thread alone from now on.
        depth: How many items wait at most, which bounds the memory; at least 1.

    >>> list(ahead((number * number for number in range(4)), 2))
    [0, 1, 4, 9]
    """
    maker: _Maker[Item] = _Maker(items, depth)
    maker.start()
    try:
        while (item := maker.made.get()) is not None:
            yield item[0]
        if maker.error is not None:
            raise maker.error
    finally:
        maker.stop()
