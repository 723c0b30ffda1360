"""Folders and models in, reports out; what cannot be compared is refused by name."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sepgan import audio, data
from sepgan.errors import EvaluationError, OutputError, UsageError
from sepgan.evaluation.evaluate import Options, evaluate_folders, evaluate_tracks
from sepgan.evaluation.report import Report
from sepgan.recipe import FrontendRecipe, Recipe
from sepgan.separator import Separator
from tests import synth

RATE = 8000
SCORE_DB = 1e-3  # numbers written and read as float32


class Constant(torch.nn.Module):
    """A network that gives the same masks whatever it hears."""

    reach = 0

    def __init__(self, shares: torch.Tensor) -> None:
        super().__init__()
        self.shares = shares

    def forward(self, magnitudes: torch.Tensor) -> torch.Tensor:
        return self.shares[:, None, None, None].expand(len(magnitudes), -1, *magnitudes.shape[1:])


class Shares(Separator):
    """A model whose stems are known shares of the mixture."""

    def __init__(self, shares: dict[str, float], sample_rate: int = RATE) -> None:
        frontend = FrontendRecipe(sample_rate=sample_rate, n_fft=256, hop_length=64)
        super().__init__(Recipe(name="shares", stems=tuple(shares), frontend=frontend))
        self.generator = Constant(torch.tensor(list(shares.values())))


FLOORS = ("mixture", "mixture/4", "silence")
QUARTERS = {"drums": 0.4, "bass": 0.3, "other": 0.2, "vocals": 0.1}


def write_stems(folder: Path, stems: dict[str, synth.Audio], *, rate: int = RATE, suffix: str = ".wav") -> Path:
    for stem, wave in stems.items():
        synth.write(folder / f"{stem}{suffix}", wave, sample_rate=rate, subtype="FLOAT" if suffix == ".wav" else None)
    return folder


def stems_of(seed: int = 0, *, rate: int = RATE, channels: int = 2) -> dict[str, synth.Audio]:
    return synth.song(2.2, seed=seed, sample_rate=rate, channels=channels)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """References of two tracks, and estimates with a gain error of 0.1 (20 dB), 0.2, 0.3, 0.4 by stem."""
    for seed, track in enumerate(("A - One", "B - Two")):
        stems = stems_of(seed)
        write_stems(tmp_path / "true" / track, stems)
        gains = dict(zip(stems, (0.9, 0.8, 0.7, 0.6), strict=True))
        write_stems(tmp_path / "ours" / track, {stem: gains[stem] * wave for stem, wave in stems.items()})
    return tmp_path / "true", tmp_path / "ours"


def value(report: Report, system: str, stem: str, metric: str, statistic: str, track: str = "*") -> float:
    rows = list(csv.DictReader((report.folder / "scores.csv").read_text().splitlines()))
    wanted = {"system": system, "track": track, "stem": stem, "metric": metric, "statistic": statistic}
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return float(found["value"])


def test_known_scores_arrive_in_every_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = evaluate_folders(*folders, tmp_path / "out", progress=lambda *state: told.append(state))
    expected = {"drums": 0.1, "bass": 0.2, "other": 0.3, "vocals": 0.4}
    document = json.loads((report.folder / "scores.json").read_text())
    for stem, error in expected.items():
        score = -20 * math.log10(error)
        assert value(report, "ours", stem, "usdr", "mean") == pytest.approx(score, abs=SCORE_DB)
        assert value(report, "ours", stem, "usdr", "value", "B - Two") == pytest.approx(score, abs=SCORE_DB)
        assert value(report, "ours", stem, "csdr", "median", "A - One") == pytest.approx(score, abs=SCORE_DB)
        assert value(report, "ours", stem, "csdr", "frames", "A - One") == 2
        assert value(report, "ours", stem, "si_sdr", "mean") == 100  # a gain is no error here
        assert value(report, "silence", stem, "usdr", "mean") == 0
        assert value(report, "irm", stem, "usdr", "mean") > 3
        assert document["summary"]["ours"][stem]["csdr"]["median"] == pytest.approx(score, abs=SCORE_DB)
        assert f"{score:.2f}" in report.table()
    assert document["schema_version"] == 1
    assert document["complete"] is True
    assert [system["name"] for system in document["systems"]] == [
        "ours",
        "mixture",
        "mixture/4",
        "silence",
        "irm",
        "ibm",
        "mwf",
    ]
    markdown = (report.folder / "report.md").read_text()
    assert "gap closed" in markdown
    assert "Le Roux" in markdown
    frames = np.load(report.folder / "frames.npz")
    assert frames["ours|A - One|drums|csdr"] == pytest.approx([20, 20], abs=SCORE_DB)
    assert told == [(0, 2, "A - One"), (1, 2, "B - Two"), (2, 2, "")]
    assert sorted(path.name for path in report.folder.iterdir()) == [
        "frames.npz",
        "report.html",
        "report.md",
        "scores.csv",
        "scores.json",
    ]


def test_swapping_two_stems_or_two_systems_changes_the_report(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A check that looks for the nearest number anywhere would miss a swap; a row is bound to its name."""
    true, ours = folders
    before = evaluate_folders(true, ours, tmp_path / "before")
    others = {"a": ours, "b": true}
    for track in ours.iterdir():
        bass, vocals = track / "bass.wav", track / "vocals.wav"
        bass.rename(track / "swap")
        vocals.rename(bass)
        (track / "swap").rename(vocals)
    after = evaluate_folders(true, ours, tmp_path / "after")
    assert value(after, "ours", "bass", "usdr", "mean") < value(before, "ours", "bass", "usdr", "mean") - 10
    assert value(after, "ours", "drums", "usdr", "mean") == value(before, "ours", "drums", "usdr", "mean")
    both = evaluate_folders(true, others, tmp_path / "both")
    assert value(both, "a", "drums", "usdr", "mean") == pytest.approx(20, abs=SCORE_DB)
    assert value(both, "b", "drums", "usdr", "mean") > 60  # the references themselves


def test_the_order_of_metrics_follows_the_request(folders: tuple[Path, Path], tmp_path: Path) -> None:
    report = evaluate_folders(*folders, tmp_path / "out", options=Options(metrics=["si_sdr", "usdr"], oracle=False))
    assert [metric.name for metric in report.scores.metrics] == ["si_sdr", "usdr"]
    assert "irm" not in report.table()
    with pytest.raises(UsageError, match="'sdr' is unknown; choose from csdr, usdr"):
        evaluate_folders(*folders, tmp_path / "out", options=Options(metrics=["sdr"]))


def test_a_single_track_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    true = write_stems(tmp_path / "true", stems_of(), suffix=".flac")
    write_stems(tmp_path / "ours" / "Song", stems_of())
    report = evaluate_folders(true, tmp_path / "ours", tmp_path / "out")
    assert [track.name for track in report.scores.tracks] == ["Song"]
    assert value(report, "ours", "bass", "usdr", "mean") > 50


def test_accompaniment_is_scored_against_the_sum_of_the_other_estimates(tmp_path: Path) -> None:
    stems = stems_of()
    vocals = stems["vocals"]
    write_stems(tmp_path / "true" / "x", {"vocals": vocals, "accompaniment": synth.mixture(stems) - vocals})
    write_stems(tmp_path / "ours" / "x", stems)
    report = evaluate_folders(tmp_path / "true", tmp_path / "ours", tmp_path / "out")
    assert value(report, "ours", "accompaniment", "usdr", "mean") > 60
    assert "mixture/4" in report.table()


FEW = Options(metrics=["usdr"], oracle=False, page=False)


def test_a_mixture_file_is_used_and_a_wrong_sum_is_noted(folders: tuple[Path, Path], tmp_path: Path) -> None:
    true, ours = folders
    mixture, noise = synth.mixture(stems_of(0)), synth.noise(2.2, sample_rate=RATE)
    coded = mixture + 10 ** (-30 / 20) * mixture.std() / noise.std() * noise
    synth.write(true / "A - One" / "mixture.wav", coded, sample_rate=RATE, subtype="FLOAT")
    report = evaluate_folders(true, ours, tmp_path / "out", options=FEW)
    assert "A - One: the references miss the mixture by -30.0 dB" in report.markdown()
    synth.write(true / "A - One" / "mixture.wav", noise, sample_rate=RATE, subtype="FLOAT")
    report = evaluate_folders(true, ours, tmp_path / "any", options=replace(FEW, mixture_tolerance_db=math.inf))
    drums = stems_of(0)["drums"]
    expected = 10 * math.log10(float((drums**2).sum()) / float(((noise - drums) ** 2).sum()))
    assert value(report, "mixture", "drums", "usdr", "value", "A - One") == pytest.approx(expected, abs=SCORE_DB)


def test_references_that_do_not_sum_to_the_mixture_cost_their_track_alone(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Such as where a stem is missing among the references, or the mixture is of another song."""
    true, ours = folders
    for seed, track in enumerate(("A - One", "B - Two")):
        synth.write(true / track / "mixture.wav", synth.mixture(stems_of(seed)), sample_rate=RATE, subtype="FLOAT")
    whole = evaluate_folders(true, ours, tmp_path / "whole", options=FEW)
    assert not any(track.notes for track in whole.scores.tracks)
    for stem in ("drums", "bass"):
        (true / "A - One" / f"{stem}.wav").unlink()
    with pytest.raises(EvaluationError, match=r"references of track 'A - One' miss its mixture by .* \(1 of 2 tracks"):
        evaluate_folders(true, ours, tmp_path / "out", ignore_extra=True, options=FEW)
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert document["complete"] is False
    assert "'A - One'" in document["failure"]
    assert list(document["tracks"]) == ["B - Two"]
    complete = json.loads((tmp_path / "whole" / "scores.json").read_text())
    assert document["tracks"]["B - Two"] == complete["tracks"]["B - Two"]
    assert "**Incomplete**" in (tmp_path / "out" / "report.md").read_text()


def test_silent_frames_of_a_reference_are_counted(folders: tuple[Path, Path], tmp_path: Path) -> None:
    true, ours = folders
    stems = stems_of()
    stems["vocals"][:, :RATE] = 0
    write_stems(true / "A - One", stems)
    report = evaluate_folders(true, ours, tmp_path / "out")
    assert value(report, "ours", "vocals", "csdr", "undefined", "A - One") == 1
    assert value(report, "ours", "bass", "csdr", "undefined", "A - One") == 0
    assert "vocals: cSDR of 1 of 2 frames is undefined" in report.markdown()


@pytest.mark.parametrize("fault", ["missing", "extra", "longer", "resampled", "mono", "track", "extra track"])
def test_what_cannot_be_compared_is_named(folders: tuple[Path, Path], tmp_path: Path, fault: str) -> None:
    true, ours = folders
    bass = ours / "B - Two" / "bass.wav"
    wave = stems_of(1)["bass"]
    if fault == "missing":
        bass.unlink()
        message = r"B - Two' lacks an estimate of '.*bass\.wav'"
    elif fault == "extra":
        synth.write(ours / "B - Two" / "piano.wav", wave, sample_rate=RATE)
        message = r"piano\.wav' has no reference: the track has bass, drums, other, vocals"
    elif fault == "longer":
        synth.write(bass, np.pad(wave, ((0, 0), (0, 1))), sample_rate=RATE)
        message = r"ours/B - Two/bass\.wav' has 17601 samples where .* has 17600"
    elif fault == "resampled":
        synth.write(bass, wave, sample_rate=2 * RATE)
        message = r"ours/B - Two/bass\.wav' has 16000 Hz"
    elif fault == "mono":
        synth.write(bass, wave[:1], sample_rate=RATE)
        message = r"ours/B - Two/bass\.wav' has 1 channels where .* has 2"
    elif fault == "track":
        (ours / "B - Two").rename(tmp_path / "elsewhere")
        message = r"lacks the track 'B - Two' \(1 of 2 missing\)"
    else:
        write_stems(ours / "C", stems_of())
        message = r"ours/C' has no references"
    with pytest.raises(EvaluationError, match=message):
        evaluate_folders(true, ours, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    if fault.startswith("extra"):
        report = evaluate_folders(true, ours, tmp_path / "out", ignore_extra=True)
        assert report.scores.stems == synth.STEMS


def test_only_the_stems_asked_for_are_scored(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "A - One" / "bass.wav").unlink()
    report = evaluate_folders(*folders, tmp_path / "out", stems=["drums", "vocals"])
    assert report.scores.stems == ("drums", "vocals")
    whole = value(report, "mixture", "drums", "usdr", "value", "A - One")
    expected = -10 * math.log10(  # the mixture has every stem all the same
        sum(float((wave**2).sum()) for stem, wave in stems_of().items() if stem != "drums")
        / float((stems_of()["drums"] ** 2).sum())
    )
    assert whole == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("layout", ["absent", "empty", "both"])
def test_folders_without_stems_are_refused(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "true"
    if layout != "absent":
        folder.mkdir()
    if layout == "both":
        write_stems(folder, stems_of())
        write_stems(folder / "track", stems_of())
    with pytest.raises(EvaluationError, match=r"is not a folder|holds no stems|holds both"):
        evaluate_folders(folder, folder, tmp_path / "out")


def test_samples_that_are_no_numbers_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The finished track's scores stay, and the report says that it is incomplete."""
    true, ours = folders
    wave = stems_of(1)["bass"]
    wave[0, 5] = np.nan
    soundfile.write(ours / "B - Two" / "bass.wav", wave.T, RATE, subtype="FLOAT")
    with pytest.raises(Exception, match=r"bass"):
        evaluate_folders(true, ours, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert document["complete"] is False
    assert "B - Two" in document["failure"]
    assert list(document["tracks"]) == ["A - One"]
    assert "**Incomplete**" in (tmp_path / "out" / "report.md").read_text()


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        evaluate_folders(*folders, tmp_path / "file" / "out")


def test_two_systems_cannot_share_a_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="two systems are named 'irm'"):
        evaluate_folders(folders[0], {"irm": folders[1]}, tmp_path / "out")


@pytest.mark.parametrize("rate", [RATE, RATE // 2, 2 * RATE])
def test_a_model_is_scored_at_the_rate_of_the_track(tmp_path: Path, rate: int) -> None:
    """Shares of the mixture stay shares whatever the rate; the model hears the mixture at its own."""
    synth.folder_tree(tmp_path / "set", {"valid": {"a": synth.STEMS}}, sample_rate=rate, suffix=".flac")
    tracks = data.DATASETS["folder"](tmp_path / "set", "valid")
    report = evaluate_tracks(Shares(QUARTERS), tracks, tmp_path / "out")
    (track,) = report.scores.tracks
    assert (track.sample_rate, track.samples) == (rate, 2 * rate)
    mixture, _ = data.load_mixture(tracks[0])
    for stem, share in QUARTERS.items():
        true, _ = audio.read(tmp_path / "set" / "valid" / "a" / f"{stem}.flac")
        expected = 10 * math.log10(float((true**2).sum()) / float(((true - share * mixture) ** 2).sum()))
        # What lies beyond the model's band, or is lost in resampling, goes to `other`.
        tolerance_db = SCORE_DB if rate == RATE else 1.0
        assert value(report, "model", stem, "usdr", "mean") == pytest.approx(expected, abs=tolerance_db)


def test_a_model_on_pairs_is_scored_on_vocals_and_accompaniment(tmp_path: Path) -> None:
    synth.pairs_tree(tmp_path / "set", sample_rate=RATE)
    tracks = data.DATASETS["pairs"](tmp_path / "set", "valid")
    report = evaluate_tracks(Shares(QUARTERS), tracks, tmp_path / "out")
    assert report.scores.stems == ("vocals", "accompaniment")
    assert value(report, "mixture/4", "vocals", "usdr", "mean") > value(report, "mixture", "vocals", "usdr", "mean")
    document = json.loads((report.folder / "scores.json").read_text())
    assert document["systems"][0]["kind"] == "model"


def test_stems_that_the_model_lacks_are_not_scored(tmp_path: Path) -> None:
    synth.folder_tree(tmp_path / "set", {"valid": {"a": synth.STEMS, "b": ("bass",)}}, sample_rate=RATE)
    tracks = data.DATASETS["folder"](tmp_path / "set", "valid")
    model = Shares({"vocals": 0.5, "rest": 0.5})
    with pytest.raises(
        EvaluationError, match=r"track 'b' has the stems bass; expected one asked for among vocals, rest"
    ):
        evaluate_tracks(model, tracks, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(document["summary"]["model"]) == ["vocals"]


def test_a_model_that_returns_nan_is_named(tmp_path: Path) -> None:
    synth.folder_tree(tmp_path / "set", {"valid": {"a": synth.STEMS}}, sample_rate=RATE)
    tracks = data.DATASETS["folder"](tmp_path / "set", "valid")
    with pytest.raises(EvaluationError, match=r"estimate '\w+' by 'model' of track 'a' holds NaN"):
        evaluate_tracks(Shares(dict.fromkeys(synth.STEMS, math.nan)), tracks, tmp_path / "out")


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no tracks to evaluate"):
        evaluate_tracks(Shares(QUARTERS), [], tmp_path / "out")


def test_bss_eval_stands_beside_floors_and_oracle_on_request(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A gain error is spatial distortion and nothing else; silence has no direction to interfere from."""
    options = Options(metrics=["bss_v4", "mr_stft", "leakage"], page=False, oracle=False)
    report = evaluate_folders(*folders, tmp_path / "out", options=options)
    for stem, error in {"drums": 0.1, "vocals": 0.4}.items():
        score = -20 * math.log10(error)
        assert value(report, "ours", stem, "bss_v4.sdr", "median") == pytest.approx(score, abs=SCORE_DB)
        assert value(report, "ours", stem, "bss_v4.isr", "median") == pytest.approx(score, abs=SCORE_DB)
        assert value(report, "ours", stem, "bss_v4.sir", "median") > 60
        assert value(report, "silence", stem, "bss_v4.sdr", "median") == 0
        assert value(report, "silence", stem, "bss_v4.sir", "undefined", "A - One") == 2
        assert value(report, "ours", stem, "mr_stft", "mean") < value(report, "mixture", stem, "mr_stft", "mean")
    metric = next(metric for metric in report.scores.metrics if metric.name == "mr_stft")
    floor, by = report.scores.floor("drums", metric)
    distances = [value(report, system, "drums", "mr_stft", "mean") for system in FLOORS]
    assert floor == pytest.approx(min(distances), rel=1e-5)  # lower is better
    assert by in FLOORS
