"""What a dry run says a run would cost, beside what the run then costs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sepgan import cli, recipe
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.estimate import Estimate, decoded_bytes, estimate
from sepgan.training.kept import Kept
from sepgan.training.trainer import train
from tests import synth

ALMOST = 0.02  # sizes of files differ by their headers


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth.folder_tree(tmp_path_factory.mktemp("trees") / "music", duration_s=1.0, sample_rate=16000)


def tiny(*overrides: str) -> Recipe:
    """At 16 kHz; the adversary trains from the third step on and counts from the fifth."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 64},
        "generator": {"widths": [8, 12], "head_width": 8},
        "adversary": {"weight": 0.1, "start_step": 2, "warmup_steps": 2, "widths": [8]},
        "data": {
            "excerpt_s": 0.3,
            "train": [{"kind": "folder", "root": "music"}],
            "validation": [{"kind": "folder", "root": "music", "split": "valid"}],
        },
        "train": {
            "steps": 8,
            "batch_size": 2,
            "validate_every": 8,
            "save_every": 2,
            "validation_s": 1,
            "report": False,
        },
    }
    for override in overrides:
        recipe.assign(raw, override)
    return recipe.from_dict(raw)


def cost(config: Recipe, out: Path, music: Path) -> Estimate:
    return estimate(config, out, {"music": music}, device="cpu")


def test_sizes_are_those_of_the_run(tmp_path: Path, music: Path) -> None:
    """Weights, checkpoints and decoded audio; and the folder of the run is not even made."""
    config = tiny("train.weights_dtype=float16")
    out = tmp_path / "run"
    found = cost(config, out, music)
    assert not out.exists()
    train(config, out, {"music": music}, device="cpu")
    states = [path.stat().st_size for path in out.glob("state-*.safetensors")]
    models = [(out / f"{name}.safetensors").stat().st_size for name in ("best", "last")]
    assert len(states) == 2
    # While the third state is written, two are still there. Headers are most of the size of so small a file.
    written = sum(states) + max(states) + sum(models)
    assert 0.5 * written < found.disk_bytes["checkpoints"] < written
    decoded = sum(path.stat().st_size for path in (out / "cache").glob("*.npy"))
    assert found.disk_bytes["decoded"] == pytest.approx(decoded, rel=ALMOST)
    assert found.disk_bytes["decoded_free"] > 0


def test_checkpoints_of_larger_networks(tmp_path: Path, music: Path) -> None:
    """Of which the headers are a small part."""
    config = tiny(
        "generator.widths=[32, 64]", "adversary.widths=[32, 64]", "adversary.start_step=0", "train.steps=1",
        "train.keep_states=1", "data.validation=[]",
    )  # fmt: skip
    found = cost(config, tmp_path / "run", music)
    train(config, tmp_path / "run", {"music": music}, device="cpu")
    model = (tmp_path / "run" / "last.safetensors").stat().st_size
    (state,) = ((path.stat().st_size) for path in (tmp_path / "run").glob("state-*.safetensors"))
    assert found.disk_bytes["checkpoints"] == pytest.approx(2 * state + 2 * model, rel=3 * ALMOST)


def test_phases_follow_the_adversary(tmp_path: Path, music: Path) -> None:
    found = cost(tiny(), tmp_path, music)
    assert [(phase.name, phase.first_step, phase.steps) for phase in found.phases] == [
        ("generator alone", 0, 2),
        ("adversary warms up", 2, 2),
        ("both networks", 4, 4),
    ]
    macs = [phase.macs_per_step for phase in found.phases]
    assert macs[0] < macs[1] < macs[2]
    assert found.seconds == pytest.approx(sum(phase.steps * phase.seconds_per_step for phase in found.phases))
    alone = cost(tiny("adversary.weight=0"), tmp_path, music)
    assert [(phase.name, phase.steps, phase.macs_per_step) for phase in alone.phases] == [
        ("generator alone", 8, macs[0])
    ]


def test_arithmetic_is_that_counted_by_hand(tmp_path: Path, music: Path) -> None:
    config = tiny("adversary.spectral_norm=false", "adversary.conditional=false")
    macs = [phase.macs_per_step for phase in cost(config, tmp_path, music).phases]
    frames = 1 + Separator(config).excerpt_samples(0.3) // 128
    places = 2 * 4 * (64 // 2) * (frames // 2)  # items, stems, and what the first convolution leaves
    first, head = 2 * 8 * 16 * places, 8 * 1 * 9 * places
    # Real and generated stems forward, back to both kernels, and back to the input of the second one: stems are
    # detached.
    assert macs[1] - macs[0] == 2 * (2 * first + 3 * head)
    # Generated stems forward once more, and back to the stems, but to no kernel.
    assert macs[2] - macs[1] == 2 * first + 2 * head


def test_larger_batches_count_in_proportion(tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepgan.training.estimate.CPU_S", 1.2)
    small, large = (cost(tiny(f"train.batch_size={size}"), tmp_path, music) for size in (4, 40))
    assert (small.measured_excerpts, large.measured_excerpts) == (4, 4)
    for first, second in zip(small.phases, large.phases, strict=True):
        assert second.macs_per_step == 10 * first.macs_per_step
    for key, factor in (("networks", 1), ("batch", 10), ("backward", 10)):
        assert large.memory_bytes[key] == pytest.approx(factor * small.memory_bytes[key], rel=0.01)
    assert large.memory_bytes["all"] == sum(large.memory_bytes[key] for key in ("networks", "batch", "backward"))


def test_audio_that_is_played_from_its_files_takes_no_room(tmp_path: Path, music: Path) -> None:
    roots = {"music": music}
    once = decoded_bytes(tiny(), roots, 16000)
    assert once == (4 + 3 + 4) * 16000 * 2 * 2  # stems of two songs to train on and one to validate on
    assert decoded_bytes(tiny("data.decode=direct"), roots, 16000) == 4 * 16000 * 2 * 2
    assert decoded_bytes(tiny("data.decode=direct"), roots, 8000) == once // 2


def exponent(values: torch.Tensor) -> torch.Tensor:
    return values.exp()  # keeps its result


def product(values: torch.Tensor) -> torch.Tensor:
    return values * values  # keeps both factors, which are one


@pytest.mark.parametrize(("operation", "bytes_kept"), [(exponent, 4000), (product, 4000), (torch.neg, 0)])
def test_bytes_that_the_way_back_keeps(operation: Callable[[torch.Tensor], torch.Tensor], bytes_kept: int) -> None:
    weight = torch.ones(1000, requires_grad=True)
    values = weight + 1.0
    kept = Kept([weight])
    with kept:
        for _ in range(3):  # one after the other: what is dropped does not add up
            operation(values).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert kept.most_bytes == bytes_kept
    with kept:
        together = [operation(values) for _ in range(2)]
    assert kept.most_bytes == (8000 if operation is exponent else bytes_kept)
    del together


def test_weights_are_not_counted_twice() -> None:
    layer = torch.nn.Linear(10, 10, bias=False)
    kept = Kept(layer.parameters())
    with kept:
        layer(torch.ones(5, 10, requires_grad=True)).sum().backward()
    assert kept.most_bytes == 4 * 5 * 10


def test_the_command_prints_text_or_json(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(recipe.to_dict(tiny())))
    arguments = ["train", str(file), "--out", "run", "--data", f"music={music}", "--device", "cpu", "--dry-run"]
    assert cli.run(arguments) == 0
    text = capsys.readouterr().out
    for part in ("music/train *: 2 tracks", "GMAC", "all steps:", "memory: at least", "decoded 0.7 MB at most in 'run"):
        assert part in text
    assert cli.run([*arguments, "--json", "train.steps=9"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recipe"]["train"]["steps"] == 9
    assert told["sources"] == [
        {"source": "music/train *", "tracks": 2},
        {"source": "music/valid *", "tracks": 1},
    ]
    assert sum(phase["steps"] for phase in told["estimate"]["phases"]) == 9
    assert told["estimate"]["weights"].keys() == {"generator", "discriminator"}
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml"}
    assert cli.run(["train", str(file), "--json"]) == 2
    assert "add --dry-run" in capsys.readouterr().err


def test_toys_have_a_cost_too(tmp_path: Path) -> None:
    found = estimate(recipe.load("toy_exponential"), tmp_path, {}, device="cpu")
    assert [phase.name for phase in found.phases] == ["both networks"]
    assert found.measured_excerpts == found.batch_size
    assert "decoded" not in found.disk_bytes
