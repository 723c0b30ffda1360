"""Graphs compute what the model computes, and `separate` runs them; altered ones are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sepgan import checkpoint, cli
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, SepganError, UsageError
from sepgan.models.graph import digest, header_path, read_header
from sepgan.recipe import from_dict, to_dict
from sepgan.separator import Separator
from sepgan.training import export as exporting
from sepgan.training.export import PARITY, export
from tests import synth

SUFFIXES = pytest.mark.parametrize("suffix", [".onnx", ".torchscript"])
SAME = 1e-4  # of full scale


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with weights by chance, at 16 kHz."""
    recipe = from_dict(
        {
            "name": "small",
            "licence": "CC0 1.0",
            "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "mel_bands": 32},
            "generator": {"widths": [6, 8], "head_width": 6},
        }
    )
    torch.manual_seed(0)
    separator = Separator(recipe)
    header = CheckpointHeader(
        name="small", stems=recipe.stems, sample_rate=16000, recipe=to_dict(recipe), licence="CC0 1.0"
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


@SUFFIXES
def test_a_graph_separates_as_the_model_does(suffix: str, tmp_path: Path, model: Path) -> None:
    """Any length and number of channels; the stems still sum to the mixture."""
    found = export(Separator.load(model), tmp_path / f"graph{suffix}")
    assert found.largest_difference <= PARITY
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"graph{suffix}", f"graph{suffix}.json"]
    plain, graph = Separator.load(model), Separator.load(tmp_path / f"graph{suffix}")
    assert graph.header == plain.header
    assert graph.segment == plain.segment
    for channels, samples in ((2, 9000), (1, 777), (3, 20000)):
        mixture = torch.randn(1, channels, samples, generator=torch.Generator().manual_seed(samples))
        with torch.no_grad():
            stems = graph(mixture)
            torch.testing.assert_close(stems, plain(mixture), rtol=0, atol=SAME)
        torch.testing.assert_close(stems.sum(1), mixture, rtol=0, atol=SAME)


@SUFFIXES
def test_separate_runs_a_graph(suffix: str, tmp_path: Path, model: Path) -> None:
    song = synth.write(tmp_path / "song.wav", synth.mixture(synth.song(duration_s=1.0)))
    graph = tmp_path / f"graph{suffix}"
    assert cli.run(["export", "--model", str(model), "--out", str(graph)]) == 0
    assert cli.run(["export", "--model", str(model), "--out", str(graph)]) == 2, "nothing is replaced unasked"
    stems = {}
    for name in (model, graph):
        out = tmp_path / name.suffix.strip(".")
        arguments = ["separate", str(song), "--model", str(name), "--out", str(out), "--float32", "--progress", "none"]
        assert cli.run(arguments) == 0
        stems[name] = soundfile.read(next(out.rglob("vocals.wav")))[0]
    assert np.abs(stems[model]).max() > 0.01
    assert np.abs(stems[model] - stems[graph]).max() <= SAME


@SUFFIXES
def test_an_altered_graph_is_not_opened(suffix: str, tmp_path: Path, model: Path) -> None:
    path = tmp_path / f"graph{suffix}"
    export(Separator.load(model), path)
    whole = path.read_bytes()
    for content in (whole[:-10], whole[:200] + b"x" + whole[201:]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="does not match the sha256"):
            Separator.load(path)
    path.write_bytes(b"no graph")
    beside = json.loads(header_path(path).read_text())
    header_path(path).write_text(json.dumps(beside | {"sha256": digest(path)}))
    with pytest.raises(CheckpointError, match="cannot be opened"):
        Separator.load(path)
    header_path(path).write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read: export the model again"):
        read_header(path)
    header_path(path).unlink()
    with pytest.raises(CheckpointError, match=r"has no 'graph.*json' beside it"):
        Separator.load(path)


def test_other_formats_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in one of .torchscript, .onnx"):
        export(Separator.load(model), tmp_path / "model.pt")


def test_a_graph_that_computes_something_else_is_not_kept(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator = Separator.load(model)
    write = exporting._write

    def wrong(generator: torch.nn.Module, example: torch.Tensor, path: Path, *, onnx: bool) -> None:
        torch.manual_seed(1)
        write(Separator(separator.recipe).generator.eval(), example, path, onnx=onnx)

    monkeypatch.setattr(exporting, "_write", wrong)
    with pytest.raises(SepganError, match="differs from the model by"):
        export(separator, tmp_path / "graph.torchscript")
    assert list(tmp_path.iterdir()) == []
