"""What several commands share: options, and how names on the command line become devices, models and lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sepgan.console import Style
from sepgan.errors import UsageError

if TYPE_CHECKING:
    from sepgan.engine import Engine, EngineOptions
    from sepgan.ensemble import Ensemble

Device = Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:1 or mps.")]
ProgressStyle = Annotated[
    Style, typer.Option("--progress", help="Bar on a terminal and lines elsewhere, or JSON lines.")
]
Model = Annotated[str, typer.Option("--model", "-n", help="A model's name (see `sepgan models list`) or file.")]


def load(model: str, device: str) -> Any:
    """Load a separator, with as many threads as there are cores.

    Args:
        model: Name or file.
        device: As the user gave it.

    Raises:
        CheckpointError: There is no such model, or it cannot be read.
        UsageError: The device is unknown or not there.
    """
    from sepgan.separator import Separator

    set_threads()
    return Separator.load(model, find_device(device))


def load_engine(weighted: Sequence[tuple[str, float]], device: str, options: EngineOptions) -> Engine | Ensemble:
    """Load one model or several, and make them ready to run.

    Args:
        weighted: Models and their weights; the weight of a single one does not matter.
        device: As the user gave it.
        options: How to run them.

    Raises:
        CheckpointError: A model is missing, or cannot be read.
        UsageError: The device is unknown or not there, or the models do not go together.
    """
    from sepgan.engine import Engine
    from sepgan.ensemble import Ensemble

    engines = [Engine(load(name, device), options) for name, _ in weighted]
    return engines[0] if len(engines) == 1 else Ensemble(engines, [weight for _, weight in weighted])


def find_device(name: str) -> str:
    """Resolve `auto` and refuse devices that are not there.

    Args:
        name: As the user gave it.

    Raises:
        UsageError: The device is unknown or not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.partition(":")[0]
    available: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if kind not in available:
        raise UsageError(f"device '{name}' is unknown: choose auto, cpu, cuda or mps")
    if not available[kind]():
        raise UsageError(f"device '{name}' is not available here: use --device auto")
    return name


def set_threads() -> None:
    """Use as many threads as the environment asks for.

    Raises:
        UsageError: It asks for no whole number.
    """
    import torch

    wanted = os.environ.get("SEPGAN_NUM_THREADS", "")
    if wanted and not (wanted.isdigit() and int(wanted) > 0):
        raise UsageError(f"SEPGAN_NUM_THREADS must be a whole number from 1 on, got '{wanted}'")
    if wanted:
        torch.set_num_threads(int(wanted))


def names(text: str) -> list[str]:
    """The parts of a comma-separated list.

    >>> names("vocals, drums")
    ['vocals', 'drums']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_weighted(text: str) -> tuple[str, float]:
    """Read a model and its weight in an ensemble.

    >>> parse_weighted("other.safetensors:0.5"), parse_weighted("other")
    (('other.safetensors', 0.5), ('other', 1.0))
    """
    name, colon, weight = text.rpartition(":")
    try:
        return (name, float(weight)) if colon else (text, 1.0)
    except ValueError:  # a colon of the path
        return text, 1.0


def dataset_roots(data: list[str] | tuple[str, ...]) -> dict[str, Path]:
    """Folders by name, from `NAME=PATH`.

    Raises:
        UsageError: An entry has another shape.
    """
    roots = {}
    for entry in data:
        name, equals, path = entry.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"--data '{entry}' must look like NAME=PATH, for instance musdb18=/data/musdb18")
        roots[name] = Path(path)
    return roots
