"""The two recipes that need more than songs with stems, through `sepgan train` and `sepgan eval`, in seconds."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from sepgan.cli import run
from sepgan.data.excerpts import Excerpts, open_songs
from sepgan.data.store import SampleStore
from sepgan.recipe import load
from tests import synth

SHORT = ["train.steps=6", "train.validate_every=6", "train.log_every=1", "train.save_every=6", "train.batch_size=2"]
GTZAN = ("blues.00029", "jazz.00000", "jazz.00054", "rock.00038")
MAPS = ("MAPS_MUS-a_AkPnBcht", "MAPS_MUS-b_AkPnStgb", "MAPS_MUS-c_StbgTGd2", "MAPS_MUS-d_ENSTDkCl")


@pytest.fixture(params=["synthetic", "miniature"])
def roots(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Path]:
    """Folders of MUSDB18, MAPS and GTZAN."""
    if request.param == "miniature":
        fixtures = request.getfixturevalue("shared_data") / "fixtures"
        return {name: fixtures / name for name in ("musdb18", "maps", "gtzan")}
    gtzan = synth.gtzan_tree(tmp_path / "gtzan", clips=GTZAN, duration_s=1.0)
    broken = gtzan / "genres/jazz/jazz.00054.wav"
    broken.write_bytes(broken.read_bytes()[:22])
    maps = synth.maps_tree(tmp_path / "maps", recordings=MAPS, duration_s=1.5)
    musdb = synth.musdb18_tree(tmp_path / "musdb18", train=("A - One",), duration_s=1.5)
    return {"musdb18": musdb, "maps": maps, "gtzan": gtzan}


def train(name: str, out: Path, roots: Mapping[str, Path], *overrides: str) -> list[dict[str, float]]:
    """Train a recipe and return what was logged of each step."""
    data = [part for key, path in roots.items() for part in ("--data", f"{key}={path}")]
    arguments = ["train", name, *SHORT, *overrides, "--out", str(out), *data, "--device", "cpu", "--progress", "none"]
    assert run(arguments) == 0
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def scores(model: Path, out: Path, *arguments: str) -> dict[str, float]:
    """Evaluate a model and return the global SDR of each stem that its table shows."""
    common = ["--metrics", "usdr", "--no-oracle", "--no-html", "--device", "cpu", "--progress", "none"]
    assert run(["eval", "--model", str(model), *arguments, "--out", str(out), *common]) == 0
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    chosen = [row for row in rows if row["metric"] == "usdr" and row["track"] and row["system"].endswith("_debug")]
    return {row["stem"]: float(row["value"]) for row in chosen}


def test_piano_against_the_rest(tmp_path: Path, roots: Mapping[str, Path]) -> None:
    task = tmp_path / "piano.json"
    rest = ["--rest", f"musdb18={roots['musdb18']}", "--split", "valid", "--rest-split", "test"]
    assert run(["data", "task", "piano", "--maps", str(roots["maps"]), *rest, "--out", str(task)]) == 0
    log = train("maps_piano_debug", tmp_path / "run", {**roots, "piano_valid": task})
    losses = [entry["reconstruction"] for entry in log if "reconstruction" in entry]
    assert len(losses) == 6
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    model = tmp_path / "run" / "best.safetensors"
    found = scores(model, tmp_path / "report", "--dataset", "list", "--root", str(task), "--split", "valid")
    assert found.keys() == {"piano", "rest"}
    assert all(math.isfinite(value) for value in found.values())


def test_unlabelled_mixtures_of_gtzan(tmp_path: Path, roots: Mapping[str, Path]) -> None:
    log = train("gtzan_unlabelled_debug", tmp_path / "run", roots, "adversary.start_step=1", "adversary.warmup_steps=1")
    assert any(entry.get("discriminator_loss", 0) > 0 for entry in log)
    assert any(entry.get("adversarial_weight", 0) > 0 for entry in log)
    model = tmp_path / "run" / "best.safetensors"
    found = scores(model, tmp_path / "report", "--dataset", "musdb18", "--root", str(roots["musdb18"]))
    assert set(synth.STEMS) <= found.keys()
    assert run(["eval", "--model", str(model), "--dataset", "gtzan", "--root", str(roots["gtzan"]), "--out", "x"]) == 3


def test_both_sides_of_the_unpaired_judgement_are_limited_alike(tmp_path: Path, roots: Mapping[str, Path]) -> None:
    """Else the band or the number of channels would tell real from separated stems, and not how they sound."""
    recipe = load("gtzan_unlabelled_debug")
    songs = open_songs(recipe, roots, SampleStore(tmp_path / "cache", recipe.frontend.sample_rate), print)
    excerpts = Excerpts(
        songs,
        [source.weight for source in recipe.data.train],
        recipe.data,
        stems=4,
        channels=recipe.generator.channels,
        samples=8192,
        seed=1,
        first=0,
        count=32,
    )
    batch = excerpts.batch(range(32))
    assert set(batch.supervised.tolist()) == {True, False}
    assert set(batch.band_hz.tolist()) == {10000.0}
    assert recipe.generator.channels == 1
    unknown = ~batch.supervised
    assert float(batch.groups[unknown].abs().sum()) == 0.0
    assert float(batch.targets[unknown].abs().sum()) == 0.0
    assert float(batch.mixture[unknown].abs().amax((1, 2)).min()) > 0.0
    assert float((batch.targets.sum(1) - batch.mixture)[batch.supervised].abs().max()) < 1e-6
