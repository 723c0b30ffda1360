"""The models that have a name: told of, checked, and added to.

A name is that of a file in the package, or in the user's own folder (`checkpoint.user_folder`).
Nothing here uses a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, UsageError
from sepgan.models.spleeter_weights import spleeter_2stems
from sepgan.separator import Separator

# Models of others, made from what their packages carry when a user adds them by name.
ADAPTERS: dict[str, Callable[[], tuple[CheckpointHeader, dict[str, Tensor]]]] = {"spleeter-2stems": spleeter_2stems}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Entry:
    """A model that has a name.

    Attributes:
        name: By which `--model` finds it.
        path: Its file.
        bundled: Whether it came with the package.
        header: What it says of itself; None where that cannot be read.
        fault: Why not, or why it cannot be used.
    """

    name: str
    path: Path
    bundled: bool
    header: CheckpointHeader | None
    fault: str | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON knows it."""
        found = {"name": self.name, "file": str(self.path), "bundled": self.bundled, "fault": self.fault}
        if self.path.is_file():
            found["bytes"] = self.path.stat().st_size
        return found | {"header": self.header and self.header.model_dump(mode="json")}


def entries() -> list[Entry]:
    """Tell of every model that has a name, without reading weights; one that cannot be read says why."""
    bundled = checkpoint.bundled()
    return [_entry(name, path, name in bundled) for name, path in checkpoint.known().items()]


def verify(models: Sequence[str] = ()) -> list[Entry]:
    """Read models in full: their sha256 is compared, and whether this version can build them.

    Args:
        models: Names or files; all that have a name where there are none.
    """
    bundled = checkpoint.bundled()
    found = []
    for model in models or list(checkpoint.known()):
        try:
            path = checkpoint.find(model)
        except CheckpointError as error:
            found.append(Entry(model, Path(model), False, None, str(error)))
            continue
        entry = _entry(model, path, model in bundled)
        if entry.fault is None:
            try:
                Separator.load(path)
            except CheckpointError as error:
                entry = Entry(entry.name, path, entry.bundled, entry.header, str(error))
        found.append(entry)
    return found


def add(source: str, name: str | None = None, *, overwrite: bool = False) -> Entry:
    """Copy a checked model into the user's folder, where `--model` finds it by name.

    Args:
        source: A model's file, the folder of a training run, or the name of an adapter: see `ADAPTERS`.
        name: Under which it is kept; None for the model's own.
        overwrite: Replace another model of that name.

    Raises:
        CheckpointError: The source is missing, damaged, a pickle, or does not fit this version.
        UsageError: The name cannot be used, or another model has it.
        OutputError: The folder cannot be written.
    """
    if source in ADAPTERS:
        header, tensors = ADAPTERS[source]()
        origin, card = f"'{source}'", None
    else:
        path = checkpoint.find(source)
        header, tensors = checkpoint.read(path)
        origin, card = f"model file '{path}'", path.with_suffix(".md")
    Separator.build(header, tensors, origin)
    name = header.name if name is None else name
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a model: use up to 64 letters, digits, '.', '-' and '_' (--name NAME)")
    if name in checkpoint.bundled():
        raise UsageError(f"'{name}' is a model of the package itself: choose another name (--name NAME)")
    target = checkpoint.user_folder() / f"{name}{checkpoint.SUFFIX}"
    if target.exists() and not overwrite and _sha256(target) != checkpoint.signed(header, tensors).sha256:
        raise UsageError(f"another model is named '{name}' ({target}): pass --overwrite, or choose another --name")
    checkpoint.write(target, header, tensors)
    if card is not None and card.is_file():
        target.with_suffix(".md").write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    return _entry(name, target, False)


def _entry(name: str, path: Path, bundled: bool) -> Entry:
    try:
        return Entry(name, path, bundled, checkpoint.read_header(path))
    except CheckpointError as error:
        return Entry(name, path, bundled, None, str(error))


def _sha256(path: Path) -> str | None:
    try:
        return checkpoint.read_header(path).sha256
    except CheckpointError:
        return None
