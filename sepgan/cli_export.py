"""`sepgan export`: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sepgan.cli_options import Model, set_threads
from sepgan.errors import UsageError


def export(
    model: Model = "default",
    out: Annotated[Path, typer.Option("--out", "-o", help="File that ends in .onnx or .torchscript.")] = Path(
        "model.onnx"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model's network as an ONNX or TorchScript graph; `separate --model FILE` runs it."""
    if out.exists() and not overwrite:
        raise UsageError(f"'{out}' is there already: give --overwrite, or another --out")
    from sepgan.separator import Separator
    from sepgan.training.export import export as write

    set_threads()
    found = write(Separator.load(model), out)
    print(f"{found.path}: {found.size_bytes / 1e6:.1f} MB, masks within {found.largest_difference:.1g} of the model's")
