"""Progress for people and programs: a bar with ETA on a terminal, plain lines elsewhere, JSON lines on request.

Everything goes to stderr, except JSON lines, which are what a program reads and go to stdout.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from enum import Enum
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0  # between plain lines of one task


class Style(str, Enum):
    """How progress is shown."""

    AUTO = "auto"
    """A bar on a terminal, lines elsewhere."""
    BAR = "bar"
    JSON = "json"
    NONE = "none"


class Reporter:
    """Shows how far a piece of work is.

    Args:
        style: Bar, lines, JSON or nothing.
    """

    def __init__(self, style: Style) -> None:
        self._json = style is Style.JSON
        self._silent = style is Style.NONE
        terminal = style is Style.BAR or (style is Style.AUTO and sys.stderr.isatty())
        self._bar = _bar() if terminal else None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._last_line_s = 0.0

    def __enter__(self) -> Reporter:
        """Start the bar, if there is one."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar:
            self._bar.stop()

    def advance(self, name: str, done: float, total: float | None, details: Mapping[str, float] | None = None) -> None:
        """Tell that `done` of `total` (None: unknown) of the work called `name` is done."""
        now = time.monotonic()
        started = self._started.setdefault(name, now)
        elapsed_s = now - started
        eta_s = elapsed_s * (total - done) / done if total and done and elapsed_s > 1.0 else None
        if self._json:
            event: dict[str, object] = {"event": "progress", "name": name, "done": done, "total": total, "eta_s": eta_s}
            print(json.dumps(event | {"details": dict(details or {})}), flush=True)
        elif self._bar:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=total, details="")
            self._bar.update(self._tasks[name], completed=done, total=total, details=_describe(details))
        elif not self._silent and (details or now - self._last_line_s > LINE_EVERY_S):
            self._last_line_s = now
            share = f"{100 * done / total:5.1f} %" if total else f"{done:.1f}"
            eta = "" if eta_s is None else f", {_clock(eta_s)} left"
            print(f"{name}: {share}{eta}  {_describe(details)}".rstrip(), file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print a line for people, above the bar where there is one."""
        if self._json:
            print(json.dumps({"event": "message", "text": line}), flush=True)
        elif self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[details]}", markup=False),
        console=Console(stderr=True),
    )


def _describe(details: Mapping[str, float] | None) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in (details or {}).items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
