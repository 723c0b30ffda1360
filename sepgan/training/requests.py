"""What others ask of a run while it goes on: to stop, or to save. The command line maps signals to these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Requests:
    """Requests that wait until a step is whole.

    Outside a step a request to stop is `KeyboardInterrupt` at once. Inside one it waits for its end, so that a state is
    never saved in which one network has stepped and the other has not; a second request no longer waits, and then
    nothing is saved.
    """

    def __init__(self) -> None:
        self.to_save = False
        self.to_stop = False
        self._held = False

    def save(self) -> None:
        """Save at the end of this step and go on."""
        self.to_save = True

    def stop(self) -> None:
        """Save and end.

        Raises:
            KeyboardInterrupt: No step is under way, or this was asked for before.
        """
        if not self._held or self.to_stop:
            raise KeyboardInterrupt
        self.to_stop = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let requests wait inside this block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
