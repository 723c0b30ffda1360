"""Models by name: added whole and checked, or refused; told of without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sepgan import checkpoint, cli, model_library
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, OutputError, UsageError
from sepgan.recipe import from_dict, to_dict
from sepgan.separator import Separator


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(checkpoint.FOLDER_VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def make(path: Path, name: str = "tiny", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    recipe = from_dict(
        {
            "name": name,
            "frontend": {"n_fft": 512, "hop_length": 128},
            "generator": {"widths": [4, 4], "head_width": 4},
        }
    )
    separator = Separator(recipe)
    header = CheckpointHeader(
        name=name, stems=separator.stems, sample_rate=44100, recipe=to_dict(recipe), licence="CC0 1.0"
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make(tmp_path / "run" / "best.safetensors")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_an_added_model_is_found_by_its_name(model: Path, user_folder: Path) -> None:
    entry = model_library.add(str(model))
    assert entry.path == user_folder / "tiny.safetensors"
    assert checkpoint.find("tiny") == entry.path
    mixture = torch.randn(1, 2, 2000)
    with torch.no_grad():
        assert torch.equal(Separator.load("tiny")(mixture), Separator.load(model)(mixture))


def test_the_folder_of_a_run_and_its_card_are_added(model: Path, user_folder: Path) -> None:
    model.with_suffix(".md").write_text("A card.")
    assert model_library.add(str(model.parent), "mine").name == "mine"
    assert (user_folder / "mine.md").read_text() == "A card."
    assert sorted(path.name for path in user_folder.iterdir()) == ["mine.md", "mine.safetensors"]


def test_a_name_is_not_taken_twice(model: Path, tmp_path: Path) -> None:
    first = model_library.add(str(model))
    assert model_library.add(str(model)) == first, "the same model again is no harm"
    other = make(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(UsageError, match="another model is named 'tiny'"):
        model_library.add(str(other))
    assert checkpoint.read_header(first.path) == first.header
    replaced = model_library.add(str(other), overwrite=True)
    assert replaced.header != first.header


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a b", "a/b", "x" * 65])
def test_names_that_are_no_names_are_refused(model: Path, user_folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        model_library.add(str(model), name)
    assert not user_folder.exists()


def test_the_packages_own_models_are_not_hidden(model: Path) -> None:
    with pytest.raises(UsageError, match="'default' is a model of the package itself"):
        model_library.add(str(model), "default")


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x80\x02", b"\x80\x05"])
def test_pickles_are_refused_with_the_reason(tmp_path: Path, user_folder: Path, magic: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(magic + b"anything")
    for refuse in (lambda: model_library.add(str(path)), lambda: Separator.load(path)):
        with pytest.raises(CheckpointError, match=r"is a pickle .* can run any program"):
            refuse()
    assert not user_folder.exists()


def test_damage_is_refused_and_leaves_nothing(model: Path, user_folder: Path) -> None:
    raw = bytearray(model.read_bytes())
    raw[-1] ^= 1
    model.write_bytes(raw)
    with pytest.raises(CheckpointError, match="does not match its own sha256"):
        model_library.add(str(model))
    assert not user_folder.exists()


def test_a_folder_that_cannot_be_written_is_an_output_error(model: Path, user_folder: Path) -> None:
    user_folder.write_text("a file stands where the folder should be")
    with pytest.raises(OutputError):
        model_library.add(str(model))


def test_verify_reads_every_weight(model: Path, user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = model_library.add(str(model)).path
    code, out, _ = run(capsys, "models", "verify")
    assert code == 0
    assert {line.partition(":")[0] for line in out.splitlines()} == {"clean", "default", "tiny"}
    raw = bytearray(kept.read_bytes())
    raw[-1] ^= 1
    kept.write_bytes(raw)
    code, out, _ = run(capsys, "models", "verify", "--json")
    assert code == 4
    faults = {entry["name"]: entry["fault"] for entry in json.loads(out)}
    assert faults["default"] is None
    assert "does not match its own sha256" in faults["tiny"]
    code, out, _ = run(capsys, "models", "verify", "default")
    assert code == 0
    code, out, _ = run(capsys, "models", "verify", "absent")
    assert code == 4
    assert "model 'absent' not found" in out


def test_list_names_what_is_there_and_what_can_be_added(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_library.add(str(model))
    _, out, _ = run(capsys, "models", "list", "--json")
    plain: dict[str, Any] = json.loads(out)
    assert {entry["name"]: entry["bundled"] for entry in plain["models"]} == {
        "tiny": False,
        "default": True,
        "clean": True,
    }
    assert plain["can_be_added"] == ["spleeter-2stems"]
    code, out, _ = run(capsys, "models", "list")
    assert code == 0
    assert "tiny: drums, bass, other, vocals; 44100 Hz; CC0 1.0" in out
    assert "sepgan models add spleeter-2stems" in out


def test_list_goes_on_past_a_damaged_file(user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user_folder.mkdir()
    (user_folder / "broken.safetensors").write_bytes(b"no model")
    code, out, _ = run(capsys, "models", "list")
    assert code == 0
    assert "broken: model file" in out
    assert "default: drums" in out


def test_add_says_where_it_keeps_the_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "add", model, "--name", "mine")
    assert code == 0
    assert "--model mine" in out
    _, out, _ = run(capsys, "models", "info", "mine", "--json")
    plain = json.loads(out)
    assert plain["name"] == "tiny"
    assert plain["parameters"] > 0
    code, _, err = run(capsys, "models", "add", "absent.safetensors")
    assert code == 4
    assert len(err.splitlines()) == 1
