"""The script that distils two models into one: what the teachers say, and that the student listens."""

from pathlib import Path
from typing import Any

import pytest
import torch

from examples import distil
from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError
from sepgan.recipe import from_dict, to_dict
from sepgan.separator import Separator
from tests import synth

SUM_OF_MASKS = 1e-4  # absolute
GENERATOR: dict[str, Any] = {"kind": "branched", "widths": [4, 6, 8], "bottleneck": 6, "branches": [3, 1]}


def write(path: Path, seed: int, title: str, **keys: Any) -> Path:
    """A model with random weights."""
    torch.manual_seed(seed)
    raw = {"name": title, "frontend": {"n_fft": 512, "hop_length": 128, "bins": 64}, "generator": GENERATOR}
    recipe = from_dict(raw | keys)
    separator = Separator(recipe)
    header = CheckpointHeader(
        name=title,
        stems=separator.stems,
        sample_rate=44100,
        recipe=to_dict(recipe),
        licence=f"of {title}",
        training_data=({"title": f"songs of {title}", "licence": "CC0 1.0"},),
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


def test_the_second_opinion_changes_one_stem_and_the_others_share_the_rest(tmp_path: Path) -> None:
    first, second = (Separator.load(write(tmp_path / f"{seed}.safetensors", seed, str(seed))) for seed in (0, 1))
    seen = torch.rand(2, 2, 64, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        own, other = first.generator(seen), second.generator(seen)
        masks = distil.Teachers(first, second, "vocals", 0.25)(seen)
    assert torch.allclose(masks[:, 3], 0.75 * own[:, 3] + 0.25 * other[:, 3], atol=SUM_OF_MASKS)
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS
    assert torch.allclose(masks[:, 0] * own[:, 1], masks[:, 1] * own[:, 0], atol=SUM_OF_MASKS)


def test_teachers_that_do_not_hear_alike_are_refused(tmp_path: Path) -> None:
    first = Separator.load(write(tmp_path / "a.safetensors", 0, "a"))
    frontend = {"n_fft": 256, "hop_length": 64, "bins": 64}
    second = Separator.load(write(tmp_path / "b.safetensors", 0, "b", frontend=frontend))
    with pytest.raises(CheckpointError, match="same front-end"):
        distil.Teachers(first, second, "vocals", 0.5)


def test_the_student_comes_nearer_and_names_its_teachers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stems = synth.folder_tree(tmp_path / "stems", {"train": {"a": synth.STEMS}}, duration_s=0.5)
    teacher = write(tmp_path / "teacher.safetensors", 1, "teacher", generator=GENERATOR | {"full_resolution": True})
    write(tmp_path / "second.safetensors", 2, "second")
    start = write(tmp_path / "start.safetensors", 3, "start")
    (tmp_path / "small.yaml").write_text(
        "name: small\nlicence: CC0 1.0\nfrontend: {n_fft: 512, hop_length: 128, bins: 64}\n"
        "generator: {kind: branched, widths: [4, 6, 8], bottleneck: 6, branches: [3, 1]}\n"
        "data: {excerpt_s: 0.2, train: [{kind: folder, root: stems, title: a song}]}\ntrain: {batch_size: 2}\n"
    )
    out = tmp_path / "distilled.safetensors"
    given = [str(tmp_path / "small.yaml"), "--start", str(start), "--teacher", str(teacher)]
    given += ["--second", str(tmp_path / "second.safetensors"), "--data", f"stems={stems}", "--out", str(out)]
    rates = ["--heads-rate", "1e-2", "--branches-rate", "1e-2", "--rate", "1e-3"]
    distil.main([*given, *rates, "--steps", "50"])
    told = [float(line.split("distance ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()[:2]]
    assert told[1] < 0.8 * told[0]
    header, _ = checkpoint.read(out)
    assert header.name == "small"
    assert header.step == 50
    taught = {entry["taught_by"] for entry in header.training_data if "taught_by" in entry}
    assert taught == {"teacher", "second"}
    assert {entry["title"] for entry in header.training_data} >= {"a song", "songs of teacher", "songs of start"}
    Separator.load(out)
