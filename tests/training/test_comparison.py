"""With and without: twins that are trained, twins that are none, and differences whose sign is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import checkpoint, cli
from sepgan.errors import CheckpointError, RecipeError
from sepgan.recipe import from_dict, to_dict
from sepgan.separator import Separator
from sepgan.streaming import Separate
from sepgan.training.comparison import measure
from sepgan.training.comparison.measure import REALISM, Scored, choose, differences, score
from sepgan.training.comparison.report import verdict
from sepgan.training.comparison.twins import Twins, read_twins, train_twins
from sepgan.training.validation import ValidationSong
from tests import synth
from tests.training.runs import tiny


def scored(share: float, usdr: float, mr_stft: float, songs: int = 6, noise: float = 0.0) -> Scored:
    """A model of which only the scores are known."""
    spread = noise * np.random.default_rng(int(100 * share)).standard_normal(songs) + np.arange(songs)
    values = {"usdr": spread + usdr, "mr_stft": spread + mr_stft, "leakage": np.full(songs, math.nan)}
    moments = score(tiny_separator(), [song(1)], share).moments
    return Scored(share, values, list(moments) * songs)


def tiny_separator(seed: int = 0) -> Separator:
    torch.manual_seed(seed)
    frontend = {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 32}
    return Separator(
        from_dict({"name": "x", "frontend": frontend, "generator": {"widths": [4], "head_width": 4}})
    ).eval()


def song(seed: int) -> ValidationSong:
    stems = synth.song(0.4, sample_rate=16000, seed=seed)
    references = {stem: torch.from_numpy(value) for stem, value in stems.items()}
    order = ("drums", "bass", "other", "vocals")
    return ValidationSong("x", "music", references, {stem: frozenset({order.index(stem)}) for stem in stems})


def test_twins_are_trained_compared_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a recipe to the page; both runs see the same examples from the same start."""
    music = synth.folder_tree(tmp_path / "music", duration_s=0.8, sample_rate=16000)
    recipe = tmp_path / "tiny.json"  # which is YAML too
    raw = to_dict(tiny({"cache": tmp_path / "cache"}, "train.steps=3", "train.report=false"))
    recipe.write_text(json.dumps(raw))
    out = tmp_path / "compare"
    command = ["compare", str(recipe), "--out", str(out), "--data", f"music={music}", "--device", "cpu"]
    assert cli.run([*command, "--points", "3", "--progress", "none"]) == 0
    found = json.loads((out / "compare.json").read_text())
    assert [row["name"] for row in found["differences"]][-1] == REALISM
    assert [point["share"] for point in found["curve"]] == [0.0, 0.5, 1.0]
    ends = {row["name"]: row for row in found["differences"]}["Global SDR (uSDR, dB)"]
    assert ends["plain"] == pytest.approx(found["curve"][0]["usdr"])
    assert ends["adversarial"] == pytest.approx(found["curve"][2]["usdr"])
    assert ends["verdict"].startswith("undecided: "), "a song or two cannot tell"
    assert "Between the two" in (out / "compare.html").read_text()
    assert "choice under" in capsys.readouterr().out
    logs = [(out / name / "train.jsonl").read_text().splitlines() for name in ("with", "without")]
    starts = [json.loads(log[0])["reconstruction"] for log in logs]
    assert starts[0] == starts[1], "the same first batch, the same first weights"
    twins = read_twins(out / "with" / "last.safetensors", out / "without" / "last.safetensors")
    for share, end in ((0.0, twins.plain), (1.0, twins.adversarial)):
        for name, value in twins.between(share).generator.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, end[name], rtol=0, atol=1e-6)
    with pytest.raises(CheckpointError, match="was trained without an adversary"):
        read_twins(out / "without" / "last.safetensors", out / "without" / "last.safetensors")
    with pytest.raises(CheckpointError, match="was trained with an adversary: give its twin"):
        read_twins(out / "with" / "last.safetensors", out / "with" / "last.safetensors")
    header, weights = checkpoint.read(out / "without" / "last.safetensors")
    other = header.model_copy(update={"recipe": header.recipe | {"seed": 5}, "step": 2})
    checkpoint.write(tmp_path / "other.safetensors", other, weights)
    with pytest.raises(CheckpointError, match=r"are no twins, they differ in seed, steps \(3 and 2\)"):
        read_twins(out / "with" / "last.safetensors", tmp_path / "other.safetensors")


def test_a_recipe_without_an_adversary_has_no_twin(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no adversary to do without"):
        train_twins(from_dict({"name": "x"}), tmp_path, {})


def test_better_estimates_score_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth against an untrained network, on six songs: every measure knows which is which."""
    songs = [song(seed) for seed in range(6)]
    network = tiny_separator()
    untrained = score(network, songs, 0.0)

    def truth(function: Separate, mixture: torch.Tensor, **keys: int) -> torch.Tensor:
        stems = [torch.stack([known.references[stem] for stem in network.stems]) for known in songs]
        return next(value for value in stems if torch.allclose(value.sum(0), mixture, atol=1e-5))

    with monkeypatch.context() as patched:
        patched.setattr(measure, "separate_array", truth)
        rows = {row.name: row for row in differences(score(network, songs, 1.0), untrained)}
    usdr, mr_stft = rows["Global SDR (uSDR, dB)"], rows["MR-STFT distance"]
    assert usdr.low > 20
    assert mr_stft.high < -0.1
    assert verdict(usdr) == verdict(mr_stft) == "differs"
    same = {row.name: row for row in differences(untrained, untrained)}
    assert same["Global SDR (uSDR, dB)"].difference == 0.0
    assert verdict(same["Global SDR (uSDR, dB)"]) == "not distinguishable"


def test_the_choice_is_realistic_and_not_too_dear() -> None:
    """Realism is undefined for so few windows; the MR-STFT distance stands for it."""
    curve = [scored(0.0, 5.0, 3.0), scored(0.5, 4.95, 2.0), scored(0.75, 4.85, 1.5), scored(1.0, 4.0, 1.0)]
    assert math.isnan(curve[0].realism)
    assert choose(curve).share == 0.5
    assert choose([curve[0], curve[3]]).share == 0.0
    assert choose([scored(0.0, 5.0, 3.0), scored(1.0, 6.0, 2.0)]).share == 1.0


def test_weights_lie_between_their_ends() -> None:
    first, second = tiny_separator(1), tiny_separator(2)
    recipe = to_dict(first.recipe)
    header = checkpoint.CheckpointHeader(name="x", stems=first.stems, sample_rate=16000, recipe=recipe, licence="")
    twins = Twins(header, first.generator.state_dict(), second.generator.state_dict())
    name = "head.weight"
    middle = 0.25 * first.generator.state_dict()[name] + 0.75 * second.generator.state_dict()[name]
    torch.testing.assert_close(twins.between(0.25).generator.state_dict()[name], middle)
