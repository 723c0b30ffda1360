"""Models as files: what is written is read, and anything else is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, OutputError


def header(**keys: object) -> CheckpointHeader:
    plain = {
        "name": "tiny",
        "stems": ("vocals", "other"),
        "sample_rate": 44100,
        "recipe": {"name": "tiny", "train": {"steps": 5}},
        "licence": "CC0 1.0",
        "training_data": [{"title": "Törn ünïcode", "licence": "CC0 1.0", "tracks": 2, "minutes": 0.5}],
        "scores": {"mean": 1.25},
        "step": 7,
    }
    return CheckpointHeader.model_validate(plain | keys)


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(4, 3, generator=generator).to(dtype),
        "scalar": torch.tensor(5),
        "kernel": torch.randn(2, 3, 3, 3, generator=generator).to(dtype).to(memory_format=torch.channels_last),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path / "tiny.safetensors", header(), tensors())
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_written_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "new" / "folder" / "tiny.safetensors"
    signed = checkpoint.write(path, header(), tensors(dtype))
    read, weights = checkpoint.read(path)
    assert read == signed == checkpoint.read_header(path)
    assert read.model_copy(update={"sha256": ""}) == header()
    assert len(read.sha256) == 64
    assert weights.keys() == tensors().keys()
    for name, tensor in tensors(dtype).items():
        assert weights[name].dtype == tensor.dtype
        assert torch.equal(weights[name], tensor)


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    checkpoint.write(tmp_path / "a.safetensors", header(), {"all": shared, "half": shared[:3]})
    _, weights = checkpoint.read(tmp_path / "a.safetensors")
    assert torch.equal(weights["half"], shared[:3])


def test_half_the_bytes_with_16_bits(tmp_path: Path) -> None:
    large = torch.randn(200, 200)
    checkpoint.write(tmp_path / "full.safetensors", header(), {"w": large})
    checkpoint.write(tmp_path / "half.safetensors", header(), {"w": large.half()})
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]


def test_one_flipped_bit_anywhere_is_noticed(saved: Path) -> None:
    whole = saved.read_bytes()
    random = np.random.default_rng(0)
    for position in [*range(24), *random.integers(24, len(whole), 150), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(random.integers(8))
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
            checkpoint.read(saved)


def test_a_changed_licence_is_noticed(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b"CC0 1.0", b"MIT 1.0"))
    with pytest.raises(CheckpointError, match="does not match its own sha256"):
        checkpoint.read(saved)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file") as caught:
        checkpoint.read(saved)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="truncated"):
        checkpoint.read_header(saved)


def test_another_format_version_is_refused(saved: Path) -> None:
    checkpoint.write(saved, header(format_version=99), tensors())
    with pytest.raises(CheckpointError, match="format version 99, this sepgan reads 1: install the sepgan"):
        checkpoint.read(saved)


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="is a pickle"):
        checkpoint.read(path)
    torch.save(tensors(), path)
    with pytest.raises(CheckpointError, match="is a pickle"):
        checkpoint.read(path)
    assert not (tmp_path / "executed").exists()


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="has no sepgan header"):
        checkpoint.read(tmp_path / "other.safetensors")


@pytest.mark.parametrize("text", ["no json", "[1, 2]", json.dumps({"format_version": 1, "surprise": 1})])
def test_a_damaged_header_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "bad.safetensors", {checkpoint.METADATA_KEY: text})
    with pytest.raises(CheckpointError, match="has a damaged header"):
        checkpoint.read(tmp_path / "bad.safetensors")


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"checkpoint '.*' cannot be written: .*choose another --out"):
        checkpoint.write(tmp_path / "file" / "model.safetensors", header(), tensors())
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        checkpoint.write(tmp_path / "model.safetensors", header(), tensors())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model.safetensors"]


def test_an_interrupted_write_keeps_the_old_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sepgan.checkpoint.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(saved, header(step=8), tensors())
    assert checkpoint.read_header(saved).step == 7
    assert [path.name for path in saved.parent.iterdir()] == ["tiny.safetensors"]


def test_a_model_is_found_by_file_folder_and_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint.find(saved) == saved
    run = saved.parent / "run"
    checkpoint.write(run / "last.safetensors", header(), tensors())
    assert checkpoint.find(run) == run / "last.safetensors"
    checkpoint.write(run / "best.safetensors", header(), tensors())
    assert checkpoint.find(str(run)) == run / "best.safetensors"
    monkeypatch.setattr(checkpoint, "bundled", lambda: {"default": saved})
    assert checkpoint.find("default") == saved


def test_a_missing_model_says_what_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "bundled", lambda: {"default": tmp_path / "default.safetensors"})
    for absent in ("nothing", tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=r"not found: give a .safetensors file, .* or one of default"):
            checkpoint.find(absent)
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.read(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.read_header(tmp_path / "nothing.safetensors")
