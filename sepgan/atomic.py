"""Files that appear whole or not at all: written beside their place under another name, then renamed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = "tmp"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside `path`, and rename it to `path` when the block ends without an error.

    The folder is made. Whatever goes wrong, a file that was at `path` before stays, and the temporary one is removed.
    Several processes and threads may write the same path at once: the last one wins, and no reader sees half a file.

    Args:
        path: Where the file is to appear.

    Yields:
        The path to write to.

    Raises:
        OSError: The folder or file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "new" / "note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     print([file.name for file in (Path(folder) / "new").iterdir()])
    ['note.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{_host()}.{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{owner}.{_SUFFIX}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:  # also when interrupted; after a success there is nothing left under this name
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_abandoned(folder: Path) -> int:
    """Remove temporary files of processes of this machine that were killed before they could; return how many.

    Files of other machines, which may share the folder over a network, are left alone.
    """
    pattern = re.compile(rf"\..*\.{re.escape(_host())}\.(\d+)\.[0-9a-f]{{8}}\.{_SUFFIX}")
    removed = 0
    for file in folder.glob(f".*.{_SUFFIX}") if folder.is_dir() else ():
        match = pattern.fullmatch(file.name)
        if match and not _lives(int(match[1])):
            with contextlib.suppress(OSError):
                file.unlink()
                removed += 1
    return removed


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "localhost"


def _lives(process: int) -> bool:
    if os.name == "nt":  # signal 0 would end a process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
