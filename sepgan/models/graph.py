"""Generators as graphs that need none of this package's network code: TorchScript, or ONNX run by onnxruntime.

A graph maps magnitudes to masks; the transform and its exact inverse stay outside. Beside each lies a JSON file with
the header of the checkpoint it was made from and the sha256 of the graph, which is checked before the graph is opened.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, UsageError

TORCHSCRIPT, ONNX = ".torchscript", ".onnx"
SUFFIXES = (TORCHSCRIPT, ONNX)
INPUT, OUTPUT = "magnitudes", "masks"


class GraphHeader(BaseModel):
    """What lies beside a graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: CheckpointHeader
    grid: int  # frames are padded to a multiple of it
    sha256: str  # of the graph's file


class Graph(nn.Module):
    """A generator that was exported.

    Args:
        path: Of the graph.
        grid: Frames that a whole excerpt is a multiple of.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`.
    """

    def __init__(self, path: Path, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.session: Any = None
        self.script: nn.Module | None = None
        try:
            if path.suffix == ONNX:
                self.session = _session(path)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # on its way out; its successor fixes the number of frames
                    self.script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"graph '{path}' cannot be opened: {str(error).splitlines()[0]}") from error

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks for magnitudes."""
        if self.script is not None:
            masks: Tensor = self.script(magnitudes)
            return masks
        found = self.session.run([OUTPUT], {INPUT: magnitudes.detach().float().cpu().numpy()})[0]
        return torch.from_numpy(found).to(magnitudes.device)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError("ONNX graphs are run by onnxruntime: install it with `pip install 'sepgan[onnx]'`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which derive from nothing else
        raise CheckpointError(f"graph '{path}' cannot be opened: {str(error).splitlines()[0]}") from error


def header_path(path: Path) -> Path:
    """The file beside a graph."""
    return path.with_name(f"{path.name}.json")


def digest(path: Path) -> str:
    """Sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_header(path: Path) -> GraphHeader:
    """Return what lies beside a graph, after checking that the graph is the one it speaks of.

    Raises:
        CheckpointError: Either is missing, damaged or altered.
    """
    beside = header_path(path)
    try:
        found = GraphHeader.model_validate(json.loads(beside.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"graph '{path}' has no '{beside.name}' beside it, which says what it is: copy both, or export it again"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise CheckpointError(f"'{beside}' cannot be read: export the model again") from error
    if not path.is_file() or digest(path) != found.sha256:
        raise CheckpointError(f"graph '{path}' does not match the sha256 in '{beside.name}': export the model again")
    return found
