"""What a run writes down as it goes: JSON lines for programs, TensorBoard for eyes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from sepgan.errors import OutputError


class RunLog:
    """Measurements by step, in `train.jsonl` and as TensorBoard scalars.

    Args:
        folder: Of the run.
        step: Where the run goes on; later lines of an interrupted run are dropped, since those steps are taken again.
        enabled: Only one of several processes writes.

    Raises:
        OutputError: A file cannot be written.
    """

    def __init__(self, folder: Path, step: int, *, enabled: bool = True) -> None:
        self._enabled = enabled
        if not enabled:
            return
        self._folder = folder
        path = folder / "train.jsonl"
        kept = [line for line in _complete_lines(path) if json.loads(line)["step"] <= step]
        try:
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
            self._file = path.open("w", encoding="utf-8")
            self._file.writelines(line + "\n" for line in kept)
        except OSError as error:
            raise OutputError(
                f"the log of the run in '{folder}' cannot be written: {error}; use another --out"
            ) from error

    def __enter__(self) -> RunLog:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both files."""
        if not self._enabled:
            return
        try:
            self._file.close()
            self._writer.close()
        except OSError as fault:
            if error is None:  # otherwise the first fault is the one to tell
                raise self._unwritable(fault) from fault

    def write(self, step: int, measured: Mapping[str, float]) -> None:
        """Write one line; numbers that are not finite become null, as JSON has no others.

        Raises:
            OutputError: The disk is full, for instance.
        """
        if not self._enabled:
            return
        finite = {key: round(value, 6) if math.isfinite(value) else None for key, value in measured.items()}
        try:
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
            for key, value in measured.items():
                self._writer.add_scalar(key, value, step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"the log of the run in '{self._folder}' cannot be written: {error}; free some space and give the same "
            "command to go on from the last saved state"
        )


def _complete_lines(path: Path) -> list[str]:
    """Lines of a log that parse; the last one of a killed run may not."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            json.loads(line)
        except json.JSONDecodeError:
            break
        lines.append(line)
    return lines
