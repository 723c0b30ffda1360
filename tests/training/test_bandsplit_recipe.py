"""The band-split recipe from end to end: both adversaries, complex targets, and what it refuses."""

import json
import math
from pathlib import Path

import pytest
import torch

from sepgan import recipe
from sepgan.errors import RecipeError
from sepgan.separator import Separator
from sepgan.training.estimate import estimate
from sepgan.training.trainer import open_run, train
from tests import synth

NULL_DB = -100.0  # of what stems leave over, relative to the mixture
FALL = 0.95  # of the loss, from the first steps to the last
OVERRIDES = ("train.log_every=1", "train.report=false", "train.validation_s=1", "data.excerpt_s=0.5")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"musdb18hq": synth.musdb18hq_tree(tmp_path_factory.mktemp("trees") / "musdb18hq")}


def test_the_debug_recipe_learns_and_its_model_separates(tmp_path: Path, trees: dict[str, Path]) -> None:
    config = recipe.load("musdb_bandsplit_gan_debug", ["train.steps=12", "train.validate_every=12", *OVERRIDES])
    best = train(config, tmp_path, trees, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    losses = [line["reconstruction"] for line in lines if "reconstruction" in line]
    assert len(losses) == 12
    assert sum(losses[-4:]) / 4 < FALL * sum(losses[:2]) / 2
    judged = [line for line in lines if "discriminator_loss" in line]
    assert judged[0]["step"] == config.adversary.start_step + 1
    assert len({line["discriminator_loss"] for line in judged}) == len(judged), "the discriminator steps"
    model = Separator.load(best)
    assert model.recipe == config
    mixture = torch.from_numpy(synth.mixture(synth.song(0.5, seed=9)))[None]
    with torch.no_grad():
        stems = model(mixture)
    error = (stems.sum(1) - mixture).double().square().sum() / mixture.double().square().sum()
    assert 10 * math.log10(float(error) + 1e-30) <= NULL_DB


def test_gradients_may_be_balanced_at_the_waveform(tmp_path: Path, trees: dict[str, Path]) -> None:
    """There, complex spectra come from the waveform again, and the balancer weighs gradients of real samples."""
    judge = "adversary={kind: stft, widths: [2], n_ffts: [256], weight: 0.1, balance: true}"
    steps = ["train.steps=2", "train.batch_size=1", "data.validation=[]"]
    config = recipe.load("musdb_bandsplit_gan_debug", [judge, *steps, *OVERRIDES])
    train(config, tmp_path, trees, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    norms = [line["gradient_norm"] for line in lines if "gradient_norm" in line]
    assert len(norms) == 2
    assert all(0 < norm < math.inf for norm in norms)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.reconstruction=magnitude", "train.reconstruction 'magnitude' says nothing of phase.*set it to complex"),
        ("frontend={mel_bands: 64, n_fft: 2048, hop_length: 512}", "frontend.mel_bands is 64, and mel bands have no"),
        ("stems=[vocals]", "has one stem, 'vocals', whose mask would be 1 everywhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_data_are_read(override: str, message: str, tmp_path: Path) -> None:
    config = recipe.load("musdb_bandsplit_gan_debug", [override])
    with pytest.raises(RecipeError, match=message):
        open_run(config, tmp_path, {}, device="cpu")


def test_a_generator_with_real_masks_may_be_compared_by_complex_spectra(tmp_path: Path, trees: dict[str, Path]) -> None:
    """And not on mel bands."""
    classic = "generator={kind: classic, widths: [8, 16], head_width: 8, dropout: 0.0}"
    overrides = [classic, "adversary={weight: 0.0}", "train.steps=8", "train.validate_every=8", *OVERRIDES]
    config = recipe.load("musdb_bandsplit_gan_debug", overrides)
    train(config, tmp_path, trees, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    losses = [line["reconstruction"] for line in lines if "reconstruction" in line]
    assert sum(losses[-2:]) < sum(losses[:2])
    mel = "frontend={mel_bands: 64, n_fft: 2048, hop_length: 512}"
    with pytest.raises(RecipeError, match="'complex' needs bins"):
        open_run(recipe.load("musdb_bandsplit_gan_debug", [*overrides, mel]), tmp_path / "mel", {}, device="cpu")


def test_a_dry_run_counts_both_networks(tmp_path: Path, trees: dict[str, Path]) -> None:
    found = estimate(recipe.load("musdb_bandsplit_gan_debug"), tmp_path, trees, device="cpu")
    assert [phase.name for phase in found.phases] == ["generator alone", "adversary warms up", "both networks"]
    alone, _, both = (phase.macs_per_step for phase in found.phases)
    assert 0 < alone < both
    assert found.weights.keys() == {"generator", "discriminator"}
