"""The Fréchet distance against its closed form, and what it is meant to hear."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from scipy import linalg

from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation.embedding import OnnxEmbedding
from sepgan.evaluation.evaluate import Options, evaluate_folders
from sepgan.evaluation.frechet import BANDS, LogMelStatistics, Moments, frechet_distance
from tests import synth

RATE = 8000


def points(count: int, dimensions: int, seed: int = 0) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(size=(count, dimensions))


def test_it_is_the_closed_form() -> None:
    first = points(500, 5) @ np.random.default_rng(2).normal(size=(5, 5)) + 0.7
    second = points(300, 5, seed=1) * np.arange(1, 6)
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum()
    covariances = np.cov(first.T), np.cov(second.T)
    expected += np.trace(sum(covariances)) - 2 * np.trace(linalg.sqrtm(covariances[0] @ covariances[1]).real)
    ours = Moments.of(first), Moments.of(second)
    assert frechet_distance(*ours) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(*ours[::-1]) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(ours[0], ours[0]) == pytest.approx(0, abs=1e-9)


def test_tracks_add_up_and_too_few_are_undefined() -> None:
    whole = points(40, 6)
    parts = Moments.of(whole[:15]) + Moments.of(whole[15:])
    np.testing.assert_allclose(parts.covariance, np.cov(whole.T), atol=1e-12)
    assert math.isfinite(frechet_distance(Moments.of(whole), Moments.of(whole[:12])))
    assert math.isnan(frechet_distance(Moments.of(whole), Moments.of(whole[:11])))


def test_the_bias_falls_with_the_number_of_windows() -> None:
    """Equal distributions: the distance is due to chance alone, and about halves when the points double."""
    found = [
        np.mean([frechet_distance(Moments.of(points(n, 8, s)), Moments.of(points(n, 8, 100 + s))) for s in range(20)])
        for n in (50, 100, 200)
    ]
    assert found[0] / found[1] == pytest.approx(2, rel=0.25)
    assert found[1] / found[2] == pytest.approx(2, rel=0.25)


def test_levels_of_bands_are_those_of_a_tone_at_any_rate() -> None:
    """A tone of 1 kHz stands in the band around it, and noise in the bands of both rates is about as loud."""
    for rate in (16000, 44100):
        embedded = LogMelStatistics()(torch.from_numpy(synth.tone(1000.0, 3.0, sample_rate=rate)), rate)
        assert embedded.shape[1] == 2 * BANDS
        means, deviations = embedded[:, :BANDS], embedded[:, BANDS:]
        loudest = means.mean(0).argmax()
        edges = 700 * (10 ** (np.linspace(77.8, 3564.0, BANDS + 2) / 2595) - 1)
        assert edges[loudest] < 1000 < edges[loudest + 2]
        assert deviations.max() < 1
        assert (means[:, -1] == -80).all()


def test_dullness_is_heard_and_a_swap_of_songs_is_not(tmp_path: Path) -> None:
    """What a ratio cannot tell: estimates that sound like their stem, though they are of another song."""
    for seed in range(2):
        song = synth.song(40.0, seed=seed, sample_rate=RATE, channels=1)
        kernel = np.ones(6) / 6
        dull = {stem: np.apply_along_axis(np.convolve, -1, wave, kernel, "same") for stem, wave in song.items()}
        other = synth.song(40.0, seed=1 - seed, sample_rate=RATE, channels=1)
        for folder, stems in (("true", song), ("dull", dull), ("swapped", other)):
            wave = stems["drums"].astype(np.float32)
            synth.write(tmp_path / folder / f"{seed}" / "drums.wav", wave, sample_rate=RATE, subtype="FLOAT")
    folders = {name: tmp_path / name for name in ("dull", "swapped")}
    options = Options(metrics=["usdr", "frechet"], oracle=False, page=False)
    report = evaluate_folders(tmp_path / "true", folders, tmp_path / "out", options=options)
    (metric,) = report.scores.set_metrics
    found = {name: report.scores.of_set(name, "drums", metric) for name in (*folders, "silence")}
    assert found["swapped"] < found["dull"] < found["silence"]
    usdr = report.scores.metrics[0]
    assert report.scores.of_set("swapped", "drums", usdr) < report.scores.of_set("dull", "drums", usdr)
    assert report.scores.set_scores["dull", "drums", "frechet"].windows >= 128
    text = (tmp_path / "out" / "report.md").read_text()
    assert "FD log-mel, dB^2" in text
    assert f"dull,*,drums,frechet,value,{found['dull']:.6g}" in (tmp_path / "out" / "scores.csv").read_text()


def test_a_short_set_says_what_it_lacks(tmp_path: Path) -> None:
    for folder in ("true", "ours"):
        synth.write(tmp_path / folder / "a" / "bass.wav", synth.noise(3.0, sample_rate=RATE), sample_rate=RATE)
    options = Options(metrics=["usdr", "frechet"], oracle=False, page=False)
    report = evaluate_folders(tmp_path / "true", tmp_path / "ours", tmp_path / "out", options=options)
    assert math.isnan(report.scores.of_set("ours", "bass", report.scores.set_metrics[0]))
    assert "FD log-mel on 4 windows, of 128 needed is undefined" in report.markdown()


def model(path: Path, *, samples: int | str = 400, rank: int = 2) -> Path:
    """An ONNX model of two dimensions: mean square and mean of a window; of rank 1, it takes something else."""
    weights = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("Mul", ["wave", "wave"], ["squared"]),
        helper.make_node("ReduceMean", ["squared", "axes"], ["power"], keepdims=1),
        helper.make_node("ReduceMean", ["wave", "axes"], ["mean"], keepdims=1),
        helper.make_node("Concat", ["power", "mean"], ["points"], axis=1),
    ]
    shape = ("n", samples)[:rank]
    graph = helper.make_graph(
        nodes if rank == 2 else [helper.make_node("Identity", ["wave"], ["points"])],
        "tiny",
        [helper.make_tensor_value_info("wave", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, ("n", 2)[:rank])],
        [weights] if rank == 2 else [],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_an_embedding_from_a_file_is_run_on_windows(tmp_path: Path) -> None:
    embedding = OnnxEmbedding(model(tmp_path / "tiny.onnx"), 4000)
    assert embedding.metric.name == "frechet.tiny"
    wave = torch.cat([torch.full((2, 800), 0.5), torch.zeros(2, 500)], -1)
    found = embedding(wave, 4000)
    assert found.tolist() == [[0.25, 0.5], [0.25, 0.5], [0, 0], [0, 0]]
    assert len(embedding(wave, 8000)) == 2  # resampled
    free = OnnxEmbedding(model(tmp_path / "free.onnx", samples="t"), 500)
    assert len(free(wave, 500)) == 3  # windows of 1 s where the model takes any


def test_an_embedding_stands_in_the_report(tmp_path: Path) -> None:
    for folder, gain in (("true", 1.0), ("ours", 0.5)):
        wave = gain * synth.noise(2.0, sample_rate=RATE)
        synth.write(tmp_path / folder / "a" / "bass.wav", wave, sample_rate=RATE, subtype="FLOAT")
    embedding = OnnxEmbedding(model(tmp_path / "tiny.onnx"), RATE)
    options = Options(metrics=["usdr"], oracle=False, page=False, embedding=embedding)
    report = evaluate_folders(tmp_path / "true", tmp_path / "ours", tmp_path / "out", options=options)
    assert report.scores.of_set("ours", "bass", embedding.metric) > 0
    assert report.scores.of_set("mixture", "bass", embedding.metric) == pytest.approx(0, abs=1e-12)


def test_what_is_no_embedding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(EvaluationError, match=r"text\.onnx' is no ONNX model"):
        OnnxEmbedding(tmp_path / "text.onnx")
    with pytest.raises(EvaluationError, match=r"none\.onnx' cannot be read"):
        OnnxEmbedding(tmp_path / "none.onnx")
    with pytest.raises(EvaluationError, match=r"expected one input \[N, samples\]"):
        OnnxEmbedding(model(tmp_path / "flat.onnx", rank=1))
    with pytest.raises(UsageError, match="expected a positive one"):
        OnnxEmbedding(model(tmp_path / "tiny.onnx"), 0)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'sepgan\[embedding\]'"):
        OnnxEmbedding(tmp_path / "tiny.onnx")
