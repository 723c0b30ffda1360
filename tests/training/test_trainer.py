"""Whole runs on small synthetic songs: learning, schedules, precision, and the files that are left."""

import math
from pathlib import Path

import pytest
import torch

from sepgan import checkpoint, recipe
from sepgan.data.excerpts import Batch
from sepgan.errors import SepganError
from sepgan.separator import Separator
from sepgan.training.schedule import Schedule
from sepgan.training.trainer import open_run, train
from tests import synth
from tests.training.runs import equal, fall, interrupt_at, log_of, run, task_of, tiny, weights_of

FALL = 0.75  # reconstruction at the end of a short run, relative to its start
NULL_DB = -100.0  # sum of stems against the mixture


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
    told = recipe.to_dict(config)
    told["data"]["cache"] = None  # models travel without the folders of the machine
    assert separator.recipe == recipe.from_dict(told)
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


def test_instruments_are_the_accompaniment_of_a_model_that_has_one(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Songs of four stems train a model of two: instruments add up to one target, and are scored as their sum."""
    config = tiny(trees, stems=["accompaniment", "vocals"])
    header = checkpoint.read_header(run(config, tmp_path, trees))
    assert header.stems == ("accompaniment", "vocals")
    assert header.scores.keys() == {"music/accompaniment", "music/vocals", "mean"}
    four = checkpoint.read_header(run(tiny(trees), tmp_path / "four", trees))
    assert four.scores.keys() > {"music/drums", "music/bass", "music/other"}
