"""Whole runs on small synthetic songs: learning, stopping, going on, and the files that are left."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan import checkpoint, recipe
from sepgan.data.excerpts import Batch
from sepgan.errors import CheckpointError, DatasetError, OutputError, RecipeError, SepganError
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training import state
from sepgan.training.loop import Loop
from sepgan.training.schedule import Schedule
from sepgan.training.separation import SeparationTask
from sepgan.training.trainer import open_run, train
from tests import synth

FALL = 0.75  # reconstruction at the end of a short run, relative to its start
NULL_DB = -100.0  # sum of stems against the mixture


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tree of each kind, and a cache that all runs share."""
    root = tmp_path_factory.mktemp("trees")
    return {
        "music": synth.folder_tree(root / "music", duration_s=1.0, sample_rate=16000),
        "stems": synth.folder_tree(root / "stems"),
        "pairs": synth.pairs_tree(root / "pairs"),
        "musdb18": synth.musdb18_tree(root / "musdb18"),
        "cache": root / "cache",
    }


def tiny(trees: Mapping[str, Path], *overrides: str, **sections: Any) -> Recipe:
    """A recipe at 16 kHz whose steps take milliseconds; the adversary acts from the second one on."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "licence": "CC0 1.0",
        "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 64},
        "generator": {"widths": [8, 12], "head_width": 8, "dropout": 0.3},
        "adversary": {"weight": 0.1, "start_step": 1, "warmup_steps": 1, "ramp_steps": 2, "widths": [8]},
        "data": {
            "excerpt_s": 0.3,
            "train": [{"kind": "folder", "root": "music", "title": "synthetic", "licence": "CC0 1.0"}],
            "validation": [{"kind": "folder", "root": "music", "split": "valid"}],
            "cache": str(trees["cache"]),
        },
        "train": {
            "steps": 6,
            "batch_size": 2,
            "learning_rate": 3e-3,
            "warmup_steps": 2,
            "validate_every": 3,
            "validation_s": 1,
            "log_every": 1,
            "save_every": 3,
            "report": False,
        },
    }
    for section, keys in sections.items():
        raw[section] = raw[section] | keys if isinstance(keys, dict) else keys
    for override in overrides:
        recipe.assign(raw, override)
    return recipe.from_dict(raw)


def run(config: Recipe, out: Path, trees: Mapping[str, Path], **keys: Any) -> Path:
    return train(config, out, trees, device="cpu", **keys)


def log_of(out: Path, key: str = "reconstruction") -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def fall(losses: Mapping[int, float]) -> float:
    """Mean of the last four values relative to that of the first two: single batches differ."""
    values = list(losses.values())
    return sum(values[-4:]) / 4 / (sum(values[:2]) / 2)


def newest(out: Path) -> Path:
    return state.found(out)[0]


def task_of(loop: Loop) -> SeparationTask:
    assert isinstance(loop.task, SeparationTask)
    return loop.task


def weights_of(path: Path) -> dict[str, Tensor]:
    return checkpoint.read_tensors(path)[1]


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["musdb_unet_gan_debug", "musdb_mel_unet_gan_debug", "default_debug"])
def test_a_debug_recipe_learns_and_its_model_separates(name: str, tmp_path: Path, trees: dict[str, Path]) -> None:
    """The whole line: real layouts in, both networks step, reconstruction falls, and `Separator` takes the model."""
    overrides = ["train.steps=24", "train.validate_every=24", "train.log_every=1", "train.report=false"]
    overrides.append(f"data.cache={trees['cache']}")
    config = recipe.load(name, overrides)
    best = run(config, tmp_path, trees)
    assert best == tmp_path / "best.safetensors"
    reconstruction = log_of(tmp_path)
    assert len(reconstruction) == 24
    assert fall(reconstruction) <= FALL
    judged = log_of(tmp_path, "discriminator_loss")
    assert min(judged) == config.adversary.start_step + 1
    assert len(set(judged.values())) == len(judged), "the discriminator steps"
    counted = config.adversary.start_step + config.adversary.warmup_steps + 1
    assert min(log_of(tmp_path, "adversarial_weight")) == counted
    separator = Separator.load(best)
    assert separator.recipe == config
    mixture = torch.from_numpy(synth.mixture(synth.song(0.5, seed=9)))[None]
    with torch.no_grad():
        stems = separator(mixture)
    error = (stems.sum(1) - mixture).double().square().sum() / mixture.double().square().sum()
    assert 10 * math.log10(float(error) + 1e-30) <= NULL_DB


def test_a_run_leaves_its_files(tmp_path: Path, trees: dict[str, Path]) -> None:
    steps: list[tuple[int, int]] = []
    run(tiny(trees), tmp_path, trees, progress=lambda step, total, measured: steps.append((step, total)))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "best.safetensors",
        "last.safetensors",
        "state-00000003.safetensors",
        "state-00000006.safetensors",
        "train.jsonl",
        "tensorboard",
        "health.json",
    }
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert {step for step, _ in steps} == {1, 2, 3, 4, 5, 6}
    header = checkpoint.read_header(tmp_path / "last.safetensors")
    assert (header.name, header.step, header.licence, header.sample_rate) == ("tiny", 6, "CC0 1.0", 16000)
    told = dict(header.training_data[0])
    files = [file for group in told.pop("songs") for file in group["files"]]
    assert told == {"title": "synthetic", "licence": "CC0 1.0", "tracks": 2, "minutes": pytest.approx(2 / 60, abs=0.1)}
    assert len(header.training_data) == 1
    assert len(files) == 2
    assert header.scores.keys() == {"music/bass", "music/drums", "music/other", "music/vocals", "mean"}
    assert header.versions["torch"] == torch.__version__
    for key in ("learning_rate", "gradient_norm", "seconds"):
        assert log_of(tmp_path, key).keys() == {1, 2, 3, 4, 5, 6}
    assert log_of(tmp_path, "usdr/mean").keys() == {3, 6}
    best = max(log_of(tmp_path, "usdr/mean").items(), key=lambda item: item[1])
    assert checkpoint.read_header(tmp_path / "best.safetensors").step == best[0]


def interrupt_at(step: int, error: type[BaseException]) -> Any:
    def progress(now: int, total: int, measured: Mapping[str, float]) -> None:
        if now == step:
            raise error

    return progress


@pytest.mark.parametrize(
    ("error", "at"), [(KeyboardInterrupt, 2), (RuntimeError, 5)], ids=["Ctrl-C after step 2", "killed after step 5"]
)
def test_a_stopped_run_goes_on_bit_for_bit(
    tmp_path: Path, trees: dict[str, Path], error: type[BaseException], at: int
) -> None:
    """Networks, EMA, optimisers and random state after stop and resume are those of a run that never stopped.

    Dropout is on: a data loader that drew its seed from the global generator used to shift it after a resume.
    """
    config = tiny(trees)
    run(config, tmp_path / "whole", trees)
    with pytest.raises(error):
        run(config, tmp_path / "stopped", trees, progress=interrupt_at(at, error))
    metadata, _ = checkpoint.read_tensors(newest(tmp_path / "stopped"))
    saved_step = json.loads(metadata["state"])["step"]
    assert saved_step == (at if error is KeyboardInterrupt else 3)
    assert checkpoint.read_header(tmp_path / "stopped" / "last.safetensors").step == saved_step
    run(config, tmp_path / "stopped", trees)
    for name in ("state-00000006.safetensors", "last.safetensors", "best.safetensors"):
        whole, stopped = weights_of(tmp_path / "whole" / name), weights_of(tmp_path / "stopped" / name)
        assert equal(whole, stopped), name
    names = weights_of(tmp_path / "whole" / "state-00000006.safetensors").keys()
    for part in (
        "module/generator/",
        "module/average/",
        "module/discriminator/",
        "optimiser/generator/",
        "random/0/cpu",
    ):
        assert any(name.startswith(part) for name in names)
    for key in ("reconstruction", "discriminator_loss", "usdr/mean"):
        assert log_of(tmp_path / "whole", key) == log_of(tmp_path / "stopped", key)


def test_a_finished_run_may_be_made_longer(tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=3"), tmp_path, trees)
    run(tiny(trees, "train.steps=5", "train.log_every=2", "data.workers=0"), tmp_path, trees)
    assert checkpoint.read_header(tmp_path / "last.safetensors").step == 5
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    assert run(tiny(trees, "train.steps=5"), tmp_path, trees) == tmp_path / "best.safetensors"
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before, "nothing is left to do"


def test_another_recipe_cannot_go_on(tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=1"), tmp_path, trees)
    with pytest.raises(CheckpointError, match="was made by another recipe: use another --out, or --no-resume"):
        run(tiny(trees, "train.learning_rate=0.5"), tmp_path, trees)
    run(tiny(trees, "train.learning_rate=0.005"), tmp_path, trees, resume=False)
    assert checkpoint.read_header(tmp_path / "last.safetensors").step == 6
    assert list(log_of(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path, trees: dict[str, Path]) -> None:
    """And what comes out is what would have come out."""
    run(tiny(trees), tmp_path / "whole", trees)
    run(tiny(trees), tmp_path / "damaged", trees)
    path = newest(tmp_path / "damaged")
    path.write_bytes(path.read_bytes()[:1000])
    run(tiny(trees), tmp_path / "damaged", trees)
    assert equal(weights_of(newest(tmp_path / "whole")), weights_of(newest(tmp_path / "damaged")))
    for path in state.found(tmp_path / "damaged"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state-00000003.safetensors' is truncated"):
        run(tiny(trees), tmp_path / "damaged", trees)


@pytest.mark.parametrize("version", [0, 99])
def test_a_state_of_another_version_is_refused(version: int, tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=1"), tmp_path, trees)
    metadata, tensors = checkpoint.read_tensors(newest(tmp_path))
    progress = json.loads(metadata["state"]) | {"version": version}
    checkpoint.write_tensors(newest(tmp_path), tensors, {"state": json.dumps(progress)})
    with pytest.raises(CheckpointError, match="is of another version: start again with --no-resume"):
        run(tiny(trees), tmp_path, trees)


def test_a_state_of_the_first_version_is_not_passed_over(tmp_path: Path, trees: dict[str, Path]) -> None:
    checkpoint.write_tensors(tmp_path / "state.safetensors", {}, {"state": json.dumps({"version": 1})})
    with pytest.raises(CheckpointError, match=r"state.safetensors' is of another version: start again"):
        run(tiny(trees), tmp_path, trees)


def test_weight_zero_leaves_the_discriminator_alone(tmp_path: Path, trees: dict[str, Path]) -> None:
    loop = open_run(tiny(trees, "adversary.weight=0"), tmp_path, trees, device="cpu")
    discriminator = task_of(loop).adversary.modules["discriminator"]
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    loop.fit()
    assert equal(before, discriminator.state_dict())
    assert log_of(tmp_path, "discriminator_loss") == {}
    assert "adversarial" not in (tmp_path / "train.jsonl").read_text()


def test_with_weight_zero_no_other_setting_of_the_adversary_matters(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Plain L1 training through the same code; dropout too must not notice how large the idle discriminator is."""
    run(tiny(trees, adversary={"weight": 0}), tmp_path / "one", trees)
    other = {"weight": 0, "widths": [4, 4], "start_step": 3, "learning_rate": 0.1, "power": 0.5}
    run(tiny(trees, adversary=other), tmp_path / "other", trees)
    assert equal(weights_of(tmp_path / "one/last.safetensors"), weights_of(tmp_path / "other/last.safetensors"))


def test_weight_above_zero_moves_both_networks(tmp_path: Path, trees: dict[str, Path]) -> None:
    loop = open_run(tiny(trees), tmp_path / "with", trees, device="cpu")
    discriminator = task_of(loop).adversary.modules["discriminator"]
    before = {name: value.clone() for name, value in discriminator.named_parameters()}
    loop.fit()
    after = dict(discriminator.named_parameters())
    assert not any(torch.equal(before[name], after[name]) for name in before)
    run(tiny(trees, "adversary.weight=0"), tmp_path / "without", trees)
    guided, plain = (weights_of(tmp_path / name / "last.safetensors") for name in ("with", "without"))
    assert not torch.equal(guided["head.weight"], plain["head.weight"]), "the adversary's score reaches the generator"
    assert log_of(tmp_path / "with")[2] == log_of(tmp_path / "without")[2], "but only once it counts"


def test_the_averaged_weights_are_the_closed_form(tmp_path: Path, trees: dict[str, Path]) -> None:
    """The average after each step is `decay * before + (1 - decay) * new`, with a short memory at first."""
    loop = open_run(tiny(trees, "train.ema=0.5"), tmp_path, trees, device="cpu")
    average, generator = task_of(loop).average, task_of(loop).separator.generator
    batch = next(loop._stream())
    for step in range(3):
        before = average.state_dict()["head.weight"].clone()
        loop.train_step([batch])
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * before + (1 - decay) * generator.state_dict()["head.weight"]
        torch.testing.assert_close(average.state_dict()["head.weight"], wanted, rtol=0, atol=1e-7)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(trees: dict[str, Path]) -> None:
    config = tiny(trees, train={"steps": 102, "warmup_steps": 2, "learning_rate": 1.0, "final_learning_rate": 0.1})
    rates = [Schedule(config.train).rate(step) for step in (0, 1, 2, 52, 102, 999)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1, 0.1])


def test_fine_tuning_starts_from_a_model(tmp_path: Path, trees: dict[str, Path]) -> None:
    base = run(tiny(trees), tmp_path / "base", trees)
    for name in (base, tmp_path / "base"):
        task = task_of(open_run(tiny(trees, f"train.fine_tune={name}"), tmp_path / "tuned", trees, device="cpu"))
        assert equal(weights_of(base), task.separator.generator.state_dict())
        assert equal(weights_of(base), task.average.state_dict())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generator.widths=[8,16]"], "does not fit the generator of this recipe"),
        (["stems=[vocals, drums, bass, other]"], "has the stems drums, bass, other, vocals, the recipe vocals, drums"),
        (["train.fine_tune=missing"], "model 'missing' not found"),
    ],
)
def test_fine_tuning_from_what_does_not_fit(
    tmp_path: Path, trees: dict[str, Path], overrides: list[str], message: str
) -> None:
    base = run(tiny(trees, "train.steps=1"), tmp_path / "base", trees)
    with pytest.raises(CheckpointError, match=message) as caught:
        run(tiny(trees, f"train.fine_tune={base}", *overrides), tmp_path / "tuned", trees)
    assert "\n" not in str(caught.value)


def test_weights_of_16_bits(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Kernels are halved; running statistics are not, since a variance may exceed what 16 bits hold."""
    best = run(tiny(trees, "train.weights_dtype=float16"), tmp_path, trees)
    for name, tensor in weights_of(best).items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim > 1 else torch.float32), name
    exact = weights_of(newest(tmp_path))["module/average/head.weight"]
    loaded = Separator.load(tmp_path / "last.safetensors").generator.state_dict()["head.weight"]
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, exact, rtol=1e-3, atol=1e-6)


def test_phase_sensitive_targets_on_mel_bands(tmp_path: Path, trees: dict[str, Path]) -> None:
    mel = ["frontend.bins=null", "frontend.mel_bands=32"]
    config = tiny(trees, "train.reconstruction=phase_sensitive", "train.steps=30", *mel)
    run(config, tmp_path, trees)
    assert fall(log_of(tmp_path)) <= FALL


def test_mixed_precision(tmp_path: Path, trees: dict[str, Path]) -> None:
    best = run(tiny(trees, "train.precision=bf16-mixed"), tmp_path, trees)
    assert {tensor.dtype for tensor in weights_of(best).values()} == {torch.float32, torch.int64}
    assert all(math.isfinite(value) for value in log_of(tmp_path).values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_on_a_gpu_can_be_stopped_and_used_on_a_cpu(
    precision: str, tmp_path: Path, trees: dict[str, Path]
) -> None:
    config = tiny(trees, f"train.precision={precision}", "train.steps=30")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, trees, device="cuda", progress=interrupt_at(5, KeyboardInterrupt))
    best = train(config, tmp_path, trees, device="cuda")
    assert fall(log_of(tmp_path)) <= FALL
    assert Separator.load(best)(torch.zeros(1, 2, 1000)).shape == (1, 4, 2, 1000)


def test_a_diverging_step_leaves_the_weights_alone(tmp_path: Path, trees: dict[str, Path]) -> None:
    loop = open_run(tiny(trees), tmp_path, trees, device="cpu")
    batch = next(loop._stream())
    generator = task_of(loop).separator.generator
    before = {name: value.clone() for name, value in generator.named_parameters()}
    with pytest.raises(
        SepganError, match=r"training diverged at step 0: reconstruction is nan; lower train.learning_rate"
    ):
        loop.train_step([Batch(batch.mixture * math.nan, *batch[1:])])
    assert equal(before, dict(generator.named_parameters()))


def test_without_validation_the_last_model_counts(tmp_path: Path, trees: dict[str, Path]) -> None:
    """And not the best one of an earlier run in the same folder."""
    run(tiny(trees, "train.steps=3"), tmp_path, trees)
    assert (tmp_path / "best.safetensors").is_file()
    config = tiny(trees, "data.validation=[]", "train.steps=2")
    assert run(config, tmp_path, trees, resume=False) == tmp_path / "last.safetensors"
    assert run(config, tmp_path, trees) == tmp_path / "last.safetensors"


def test_silent_validation_songs_have_no_score(tmp_path: Path, trees: dict[str, Path]) -> None:
    synth.write(tmp_path / "silence/valid/song/drums.wav", 0 * synth.noise(0.5), sample_rate=16000)
    config = tiny(trees, "data.validation.0.root=silence", "train.steps=3")
    path = run(config, tmp_path / "run", {**trees, "silence": tmp_path / "silence"})
    assert path.name == "last.safetensors"
    assert checkpoint.read_header(path).scores == {}


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.train=[]"], RecipeError, "recipe 'tiny' names no training data: add data.train"),
        (["data.train.0.root=nowhere"], DatasetError, "needs dataset 'nowhere': give its folder with --data nowhere="),
        (["data.train.0.split=test"], DatasetError, "has no split 'test': it holds train, valid"),
        (["data.train.0.include=Z*"], DatasetError, r"no track of .* matches 'Z\*'"),
        (["data.validation.0.split=test"], DatasetError, "has no split 'test'"),
        (["stems=[drums, vocals]"], DatasetError, "has a stem 'bass' that the recipe does not know"),
        (["stems=[vocals]"], RecipeError, "has one stem, 'vocals', whose mask would be 1 everywhere"),
        (["generator.kind=modern"], RecipeError, "generator.kind 'modern' is unknown"),
        (["adversary.kind=judge"], RecipeError, "adversary.kind 'judge' is unknown"),
        (["adversary.widths=[8,8,8,8]", "data.excerpt_s=0.03"], RecipeError, "need 16 frames and bands; .* gives 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    tmp_path: Path, trees: dict[str, Path], overrides: list[str], error: type[SepganError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        run(tiny(trees, *overrides), tmp_path, trees)
    assert "\n" not in str(caught.value)


def test_a_run_folder_that_cannot_be_made(tmp_path: Path, trees: dict[str, Path]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"run folder '.*' cannot be made: .*choose another --out"):
        run(tiny(trees), tmp_path / "file" / "run", trees)
    (tmp_path / "run" / "train.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"log of the run in '.*' cannot be written"):
        run(tiny(trees), tmp_path / "run", trees)
