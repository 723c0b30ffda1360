"""A checkpoint that begins as a network of Spleeter's kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sepgan import checkpoint, recipe
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, UsageError
from sepgan.separator import Separator
from sepgan.training.begin import begin

FRONTEND = {"n_fft": 256, "hop_length": 64, "bins": 64, "sample_rate": 8000}
WIDTHS = [4, 6, 8]


def branched(**keys: Any) -> recipe.Recipe:
    generator = {"kind": "branched", "widths": WIDTHS, "bottleneck": 6, "branches": [3, 1]}
    raw = {"name": "small", "stems": ["drums", "bass", "other", "vocals"], "frontend": FRONTEND, "generator": generator}
    return recipe.from_dict(raw | keys)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    generator = {"kind": "spleeter", "widths": [*WIDTHS, 10]}
    raw = {"name": "origin", "stems": ["vocals", "accompaniment"], "frontend": FRONTEND, "generator": generator}
    config = recipe.from_dict(raw)
    separator = Separator(config)
    path = tmp_path / "origin.safetensors"
    header = CheckpointHeader(
        name="origin", stems=config.stems, sample_rate=8000, recipe=recipe.to_dict(config), licence="MIT"
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (16000, 1)), 16000)
    return path


def test_it_can_be_loaded_and_keeps_the_licence(origin: Path, song: Path, tmp_path: Path) -> None:
    kept = begin(branched(), str(origin), [song], tmp_path / "start.safetensors")
    loaded = Separator.load(tmp_path / "start.safetensors")
    assert 0 < kept <= 1
    assert loaded.header is not None
    assert loaded.header.licence == "MIT"
    assert loaded.stems == ("drums", "bass", "other", "vocals")
    (heard,) = loaded.header.training_data
    assert heard["songs"] == [
        {"source": "told which features matter", "licence": "not stated", "files": [f"{tmp_path.name}/song.wav"]}
    ]


def test_wrong_shapes_are_refused_before_anything_is_written(origin: Path, song: Path, tmp_path: Path) -> None:
    out = tmp_path / "start.safetensors"
    with pytest.raises(UsageError, match="no songs"):
        begin(branched(), str(origin), [], out)
    with pytest.raises(CheckpointError, match="expected spleeter and branched"):
        begin(branched(generator={"kind": "classic"}), str(origin), [song], out)
    with pytest.raises(CheckpointError, match="last stem"):
        begin(branched(stems=["vocals", "drums", "bass", "other"]), str(origin), [song], out)
    assert not out.exists()
