"""The commands of README by which the bundled models are trained, in small: begin, train, and what the header says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import checkpoint, recipe
from sepgan.checkpoint import CheckpointHeader
from sepgan.cli import run
from sepgan.data.credits import ANY_USE, objections
from sepgan.errors import CheckpointError
from sepgan.separator import Separator
from tests import synth

SHORT = ["train.steps=4", "train.validate_every=4", "train.save_every=4", "train.batch_size=2", "train.log_every=1"]
PARTS = {"encoder", "bottleneck", "shared", "branches.0", "branches.1", "heads.0", "heads.1"}
REST = ["--device", "cpu", "--progress", "none"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Songs that allow any use, karaoke clips that do not."""
    synth.folder_tree(tmp_path / "stems")
    for split in ("train", "valid"):
        for number, song in enumerate(sorted((tmp_path / "stems" / split).iterdir())):
            shutil.move(song, song.with_name(f"Everything Is Free - {number}"))
    synth.pairs_tree(tmp_path / "pairs")
    return tmp_path


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A network of Spleeter's kind that fits the debug twins, with weights drawn at random."""
    small = recipe.load("default_debug")
    raw = {
        "name": "origin",
        "stems": ["vocals", "accompaniment"],
        "frontend": small.frontend.model_dump(),
        "generator": {"kind": "spleeter", "widths": [*small.generator.widths, 20]},
    }
    separator = Separator(recipe.from_dict(raw))
    header = CheckpointHeader(
        name="origin",
        stems=separator.stems,
        sample_rate=44100,
        recipe=recipe.to_dict(separator.recipe),
        licence="MIT (as they say)",
        training_data=({"title": "A secret", "licence": "not public"},),
    )
    path = tmp_path / "origin.safetensors"
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


def begin(name: str, data: Path, origin: Path, *more: str) -> Path:
    songs = sorted(str(file) for file in (data / "stems/train").rglob("*.wav"))
    start = data / f"start_{name}.safetensors"
    assert run(["models", "begin", name, *songs[:4], "--from", str(origin), "--out", str(start), *more]) == 0
    return start


def train(name: str, data: Path, start: Path, *more: str) -> int:
    roots = [f"--data={root}={data / root}" for root in ("stems", "pairs")]
    out = ["--out", str(data / name)]
    return run(["train", name, f"train.fine_tune={start}", *SHORT, *out, *roots, *REST, *more])


def test_the_commands_of_the_default_model_run(data: Path, origin: Path) -> None:
    start = begin("default_debug", data, origin)
    assert train("default_debug", data, start) == 0
    header = checkpoint.read_header(checkpoint.find(data / "default_debug"))
    secret, heard, songs, clips = header.training_data
    assert secret == {
        "title": "A secret",
        "licence": "not public",
        "begins_as": "origin",
        "weights": "MIT (as they say)",
    }
    assert (heard["begins_as"], heard["tracks"]) == ("default_debug-start", 4)
    assert songs["songs"][0]["files"][0].startswith("Everything Is Free - 0/{")
    assert len(clips["songs"][0]["files"]) == clips["tracks"]
    assert objections(header.training_data, ANY_USE) != []
    log = [json.loads(line) for line in (data / "default_debug/train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "reconstruction" in line] == [1, 2, 3, 4]
    assert all(np.isfinite(line["reconstruction"]) for line in log if "reconstruction" in line)


def test_later_stages_of_default_change_their_part_alone(data: Path, origin: Path) -> None:
    assert train("default_debug", data, begin("default_debug", data, origin)) == 0
    before = data / "default_debug"
    for stage, parts in (
        ("default_band_debug", {"branches.0", "heads.0"}),
        ("default_rooms_debug", {"branches.1", "heads.1"}),
        ("default_more_rooms_debug", {"branches.1", "heads.1"}),
        ("default_all_rooms_debug", PARTS),
        ("default_electronic_debug", {"branches.0", "heads.0"}),
        ("default_electronic_voices_debug", {"branches.1", "heads.1"}),
        ("default_electronic_basses_debug", {"branches.0", "heads.0"}),
    ):
        assert train(stage, data, checkpoint.find(before)) == 0
        (_, ours), (_, theirs) = (checkpoint.read(checkpoint.find(run)) for run in (data / stage, before))
        changed = {name.rpartition(".")[0] for name in ours if not torch.equal(ours[name], theirs[name])}
        assert {next(part for part in PARTS if f"{name}.".startswith(f"{part}.")) for name in changed} == parts
        before = data / stage


def test_the_clean_model_takes_nothing_but_what_allows_any_use(
    data: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsaid = begin("clean_debug", data, origin)
    capsys.readouterr()
    assert train("clean_debug", data, unsaid) == CheckpointError.exit_code
    assert "not stated" in capsys.readouterr().err
    start = begin("clean_debug", data, origin, "--licence", "CC0 1.0")
    assert train("clean_debug", data, start) == 0
    header, after = checkpoint.read(checkpoint.find(data / "clean_debug"))
    assert objections(header.training_data, ANY_USE) == []
    _, before = checkpoint.read(start)
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert changed == {"heads.0.weight", "heads.0.bias"}
    capsys.readouterr()
    assert run(["models", "info", str(data / "clean_debug"), "--files"]) == 0
    told = capsys.readouterr().out
    assert "begins as origin (MIT (as they say)): A secret: not public" in told
    assert told.count("Everything Is Free - ") >= len(list((data / "stems/train").iterdir()))
    (data / "stems/licences.csv").write_text("track,source,licence\nEverything Is Free - 1,a shop,CC BY-NC 4.0\n")
    assert train("clean_debug", data, start, "--out", str(data / "again")) != 0
    assert "is under 'CC BY-NC 4.0'" in capsys.readouterr().err
    assert not list((data / "again").glob("*.safetensors"))
