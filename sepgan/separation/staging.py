"""Files of a song that appear together, and what is left of runs that were killed.

A song's files are written into a hidden folder `.sepgan-<hex>.partial` where they are to go, and get their names when
all of them are complete: with one rename where the song has a folder of its own that does not exist yet, else one by
one with the manifest last, after the old manifest has gone. So a manifest always stands for finished files.

Beside the hidden folder lies a lock file. The system frees its lock when a process dies, however it dies; the next run
that writes to the same place removes the folders of the dead and leaves those of the living alone. (On Windows, where
there is no `fcntl`, they stay until somebody deletes them.)
"""

import contextlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from sepgan.audio_writer import output_errors
from sepgan.errors import OutputError

if sys.platform != "win32":
    import fcntl

ATTEMPTS = 100  # to make a folder and lock a file in it while others begin and end there


class Staging:
    """A hidden folder whose files get their places together, or vanish.

    Attributes:
        path: the hidden folder, within the context.
    """

    path: Path

    def __init__(self, targets: Mapping[str, Path], manifest: Path | None, needed_bytes: int = 0) -> None:
        """Plan where to write.

        Args:
            targets: the files that are to be, by their names in the hidden folder.
            manifest: a file that is to appear last, known as its own name in the hidden folder.
            needed_bytes: how much room the disk must have.
        """
        self._targets = dict(targets)
        self._manifest = manifest
        self._needed_bytes = needed_bytes
        everything = [*targets.values(), *([] if manifest is None else [manifest])]
        folders = {path.parent for path in everything}
        self._home = Path(os.path.commonpath(folders))
        # One rename moves all where no file has to be renamed on the way.
        self._names_stay = all(path.name == name for name, path in targets.items())
        self._is_own_folder = len(folders) == 1 and self._names_stay and not self._home.is_dir()
        self._base = self._home.parent if self._is_own_folder else self._home
        self._made: list[Path] = []
        self._lock: IO[bytes] | None = None
        self._committed = False

    def __enter__(self) -> "Staging":
        """Make the hidden folder.

        Raises:
            OutputError: it cannot be made, or the disk has too little room.
        """
        try:
            with output_errors(self._home):
                if self._home.exists() and not self._home.is_dir():
                    raise OutputError(f"{self._home} cannot be written: a file has this name")
                if folders := [path for path in self._targets.values() if path.is_dir()]:
                    raise OutputError(f"{folders[0]} cannot be written: a folder has this name")
                for folder in {self._base, self._home, self._home.parent}:
                    remove_abandoned(folder)
                self._lock = self._locked()
                self.path = Path(self._lock.name).with_suffix(".partial")
                self._make(self.path)
                free_bytes = shutil.disk_usage(self.path).free
            if free_bytes < self._needed_bytes:
                needed_gb, free_gb = self._needed_bytes / 1e9, free_bytes / 1e9
                raise OutputError(f"{self._home} needs {needed_gb:.2f} GB; the disk has {free_gb:.2f} GB left")
        except BaseException:
            self._remove()
            raise
        return self

    def commit(self) -> None:
        """Give the files their places.

        Raises:
            OutputError: one of them cannot be placed.
        """
        with output_errors(self._home):
            if self._is_own_folder and not self._home.exists():
                self.path.rename(self._home)
            else:
                if self._manifest is not None:
                    self._manifest.unlink(missing_ok=True)
                moves = list(self._targets.items())
                if self._manifest is not None:
                    moves.append((self._manifest.name, self._manifest))
                for name, target in moves:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (self.path / name).replace(target)
        self._committed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what has not been committed."""
        self._remove()

    def _locked(self) -> IO[bytes]:
        """A new lock file that is ours.

        Two things can come between making it and locking it: another song ends and takes the folder with it, or another
        song begins and takes our lock file for that of a dead run. So it counts only if it still stands once locked.
        """
        for _ in range(ATTEMPTS):
            lock = self._base / f".sepgan-{uuid.uuid4().hex[:12]}.lock"
            with contextlib.suppress(FileNotFoundError, BlockingIOError), contextlib.ExitStack() as undo:
                self._make(self._base)
                file = undo.enter_context(lock.open("xb"))
                if sys.platform != "win32":
                    undo.callback(lock.unlink, missing_ok=True)
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                        continue
                undo.pop_all()
                return file
        self._make(self._base)  # tells why, if nobody else is to blame
        raise OutputError(f"{self._home} cannot be written: other runs keep removing the folder or what is in it")

    def _make(self, folder: Path) -> None:
        for part in reversed([folder, *folder.parents]):
            if not part.exists():
                with contextlib.suppress(FileExistsError):  # another thread was faster
                    part.mkdir()
                    self._made.append(part)

    def _remove(self) -> None:
        if hasattr(self, "path"):
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            Path(self._lock.name).unlink(missing_ok=True)
            self._lock.close()
        if not self._committed:
            for folder in reversed(self._made):
                with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                    folder.rmdir()


def remove_abandoned(folder: Path) -> int:
    """Remove the hidden folders of killed runs from a folder, and say how many there were."""
    if sys.platform == "win32" or not folder.is_dir():
        return 0
    count = 0
    for lock in _listed(folder):
        with contextlib.suppress(OSError), lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError: its owner lives
            shutil.rmtree(lock.with_suffix(".partial"), ignore_errors=True)
            lock.unlink(missing_ok=True)
            count += 1
    return count


def _listed(folder: Path) -> Iterable[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.name.startswith(".sepgan-") and path.suffix == ".lock"]
    return []
