"""What a report tells beside the scores: where BSSEval's equations were singular, and numbers that need more digits."""

import json
from pathlib import Path

import numpy as np
import torch

from sepgan.evaluation import html
from sepgan.evaluation.material import Material
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.options import Options
from sepgan.evaluation.report import Report
from sepgan.evaluation.scores import Scores, System, TrackScores
from sepgan.evaluation.scoring import score_track

RATE = 2000


def test_a_diagonal_load_is_told_for_its_track_and_counted(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    references = {stem: torch.randn(1, RATE, generator=generator) for stem in ("bass", "vocals")}
    tracks = []
    for name, channels in (("regular", 1), ("equal channels", 2)):
        waves = {stem: wave.expand(channels, -1).contiguous() for stem, wave in references.items()}
        mixture = torch.stack(list(waves.values())).sum(0)
        material = Material(RATE, waves, mixture, {"ours": {stem: 0.9 * wave for stem, wave in waves.items()}})
        options = Options(oracle=False)
        tracks.append(score_track(name, material, 2, find_measures(["bss_v4"]), [], options).scores)
    assert tracks[0].diagonal_load == 0
    assert 0 < tracks[1].diagonal_load < 1e-9
    metrics = find_measures(["bss_v4"])[0].metrics
    report = Report(Scores((System("ours", "estimates"),), metrics, tuple(tracks), {}), tmp_path, page=False)
    report.write()
    written = json.loads((tmp_path / "scores.json").read_text())["tracks"]
    assert written["equal channels"]["diagonal_load"] == tracks[1].diagonal_load
    for text in ((tmp_path / "report.md").read_text(), html.render(report.scores)):
        assert "equations are singular for 1 of 2 tracks" in text
        assert "BSSEval took a diagonal load of" in text


def test_small_numbers_are_shown_with_the_digits_they_need(tmp_path: Path) -> None:
    metrics = find_measures(["mse"])[0].metrics
    systems = {"ours": 0.00012, "theirs": 0.00034}
    values = {(name, "bass", "mse"): np.array([value]) for name, value in systems.items()}
    tracks = tuple(TrackScores(f"{index}", RATE, 1, RATE, ("bass",), values) for index in range(6))
    report = Report(Scores(tuple(System(name, "model") for name in systems), metrics, tracks, {}), tmp_path, page=False)
    report.write()
    assert "| bass | MSE | 0.000120 (0.000120 to 0.000120) |" in (tmp_path / "report.md").read_text()
    assert "| -0.000220 |" in (tmp_path / "report.md").read_text()
    assert html.render(report.scores).count("0.000340") == 3 + len(tracks)  # with its interval
