"""Memory of arrays that somebody is done with, for the next that needs as much.

The system clears and maps what it gives page by page, which for a large array takes about as long as to fill it.
"""

from __future__ import annotations

from torch import Tensor


class SpareMemory:
    """Flat arrays that are free; threads may share it, and it never holds more than were in use at once."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def take(self, count: int, like: Tensor) -> Tensor:
        """Return an array of so many numbers at least, of the same type and place as another; what is in it is old."""
        try:
            found = self._free.pop()
        except IndexError:
            return like.new_empty(count)
        fits = len(found) >= count and (found.dtype, found.device) == (like.dtype, like.device)
        return found if fits else like.new_empty(count)

    def give(self, done: Tensor) -> None:
        """Take back an array that came from `take`."""
        self._free.append(done)

    def clear(self) -> None:
        """Give all that is free to the system."""
        self._free.clear()
