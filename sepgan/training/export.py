"""Write a generator as a graph, and prove that the graph computes what the generator does."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sepgan.atomic import replacing
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import OutputError, SepganError, UsageError
from sepgan.models.graph import INPUT, ONNX, OUTPUT, SUFFIXES, TORCHSCRIPT, Graph, GraphHeader, digest, header_path
from sepgan.separator import Separator

OPSET = 17  # of ONNX, 2022: what onnxruntime has known since 1.12
LEAST_FRAMES = 8  # of the example that a graph is traced with, so that nothing in it is a special case of a few frames
PARITY = 1e-4  # largest difference of a mask, of 1; measured: about 1e-6


class Exported(NamedTuple):
    """What came of it."""

    path: Path
    largest_difference: float  # of masks, over lengths that the graph was not made with
    size_bytes: int


def export(separator: Separator, path: Path) -> Exported:
    """Write the generator of a separator as a graph for any number of excerpts and frames, and a JSON file beside it.

    Args:
        separator: With the header of the checkpoint it was read from.
        path: Ends in `.onnx` or `.torchscript`.

    Raises:
        OutputError: It cannot be written.
        SepganError: The graph does not compute what the generator does.
        UsageError: The path ends otherwise, the package `onnx` is missing, or ONNX cannot hold the generator.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"'{path}' must end in one of {', '.join(SUFFIXES)}, which say what to export to")
    if path.suffix == ONNX and separator.complex_masks:
        raise UsageError(
            f"generator.kind '{separator.recipe.generator.kind}' has complex masks, and ONNX has no complex numbers: "
            f"export to '{path.with_suffix(TORCHSCRIPT)}'"
        )
    header = separator.header
    assert header is not None, "a model that was read has a header"
    generator = separator.generator.cpu().eval()
    grid = int(getattr(generator, "grid", 1))
    example = _seen(separator, 1, max(LEAST_FRAMES, 2 * grid))
    try:
        with replacing(path) as temporary:
            _write(generator, example, temporary, onnx=path.suffix == ONNX)
            named = temporary.with_name(f"{temporary.name}{path.suffix}")  # the suffix says how to open it
            temporary.rename(named)
            try:
                difference = _difference(Graph(named, grid), generator, separator, grid)
            finally:
                named.rename(temporary)
            _write_header(path, header, grid, digest(temporary))
    except OSError as error:
        raise OutputError(f"graph '{path}' cannot be written: {error}; choose another --out") from error
    return Exported(path, difference, path.stat().st_size)


def _write_header(path: Path, header: CheckpointHeader, grid: int, sha256: str) -> None:
    with replacing(header_path(path)) as temporary:
        text = GraphHeader(header=header, grid=grid, sha256=sha256).model_dump_json(indent=2)
        temporary.write_text(text, encoding="utf-8")


def _write(generator: nn.Module, example: Tensor, path: Path, *, onnx: bool) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # Both exporters are on their way out; their successors fix the number of frames or need yet another package.
        warnings.simplefilter("ignore")
        if not onnx:
            traced = torch.jit.trace(generator, example, check_trace=False)  # type: ignore[no-untyped-call]
            traced.save(str(path))
            return
        try:
            torch.onnx.export(
                generator,
                (example,),
                str(path),
                dynamo=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch", 3: "frames"}, OUTPUT: {0: "batch", 4: "frames"}},
                opset_version=OPSET,
            )
        except ModuleNotFoundError as error:
            raise UsageError(f"export to ONNX needs {error.name}: `pip install 'sepgan[onnx]'`") from error


def _difference(graph: Graph, generator: nn.Module, separator: Separator, grid: int) -> float:
    """Largest difference of masks on other numbers of excerpts and frames than the graph was made with."""
    largest = 0.0
    with torch.no_grad():
        for items, frames in ((1, 2 * grid), (2, grid), (1, 3 * grid + 1), (1, max(1, grid - 1))):
            seen = _seen(separator, items, frames)
            largest = max(largest, float((graph(seen) - generator(seen)).abs().max()))
    if not largest <= PARITY:
        raise SepganError(
            f"the exported graph differs from the model by {largest:.2g}: this generator cannot be exported"
        )
    return largest


def _seen(separator: Separator, items: int, frames: int) -> Tensor:
    """Noise such as a network may be shown: magnitudes, or complex where its masks are."""
    random = torch.Generator().manual_seed(frames)
    shape = (items, separator.recipe.generator.channels, separator.bands.bands, frames)
    magnitudes = torch.rand(shape, generator=random)
    if not separator.complex_masks:
        return magnitudes
    return torch.polar(magnitudes, 2 * math.pi * torch.rand(shape, generator=random))
