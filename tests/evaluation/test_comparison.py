"""Systems are told apart where tracks say so, called indistinguishable where not, and bound to their names."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from sepgan.errors import UsageError
from sepgan.evaluation import comparison, findings
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.comparison import NOT_DISTINGUISHABLE, TOO_FEW_TRACKS, Comparison
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.report import Report
from sepgan.evaluation.scores import Scores, System, TrackScores, to_csv
from tests.evaluation.test_statistics import null_differences

METRICS = tuple(metric for measure in find_measures(["csdr", "usdr"]) for metric in measure.metrics)
RANDOM = np.random.default_rng(5)
HARD = RANDOM.normal(5, 3, 20)  # how easy tracks are, dB
BETTER = {"a": HARD + 1 + RANDOM.normal(0, 0.2, 20), "b": HARD, "c": HARD + RANDOM.normal(0, 0.2, 20)}


def scored(
    of: Mapping[str, Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    *,
    metrics: Sequence[Metric] = METRICS,
    stems: Sequence[str] = ("vocals",),
) -> Scores:
    """Scores of systems by track, the same for every stem; uSDR twice cSDR, so that metrics cannot be mistaken."""
    tracks = []
    for index in range(max(map(len, of.values()))):
        values = {}
        for (name, numbers), stem in ((one, stem) for one in of.items() for stem in stems):
            if index < len(numbers):
                values[name, stem, "csdr"] = numbers[index] + np.array([-1.0, 0.0, 2.0])
                values[name, stem, "usdr"] = np.array([2 * numbers[index]])
        tracks.append(TrackScores(f"song {index}", 44100, 2, 44100, tuple(stems), values))
    systems = (*(System(name, "estimates") for name in of), System("silence", "floor"))
    return Scores(systems, tuple(metrics), tuple(tracks), {"window_s": 1.0})


def of_pair(found: Sequence[Comparison], first: str, second: str, metric: str = "csdr") -> Comparison:
    (one,) = [one for one in found if (one.first, one.second, one.metric) == (first, second, metric)]
    return one


def test_a_better_system_is_named_and_equal_ones_are_not_told_apart() -> None:
    found = comparison.compare(scored(BETTER))
    assert len(found) == 3 * 2  # pairs, metrics
    ab, bc = of_pair(found, "a", "b"), of_pair(found, "b", "c")
    assert ab.verdict == "a is better"
    assert ab.tracks == 20
    assert ab.effect == 1
    assert ab.typical == pytest.approx(float(np.median(BETTER["a"] - BETTER["b"])))
    assert ab.low < ab.difference < ab.high
    assert ab.p_value == pytest.approx(2 / 2**20)
    assert ab.p_adjusted == pytest.approx(6 * 2 / 2**20)
    assert bc.verdict == NOT_DISTINGUISHABLE
    assert bc.low < 0 < bc.high


def test_swapping_two_systems_turns_the_comparison_around() -> None:
    before = of_pair(comparison.compare(scored(BETTER)), "a", "b")
    swapped = {"a": BETTER["b"], "b": BETTER["a"], "c": BETTER["c"]}
    after = of_pair(comparison.compare(scored(swapped)), "a", "b")
    assert after.verdict == "b is better"
    assert (after.difference, after.effect) == pytest.approx((-before.difference, -before.effect))
    assert (after.low, after.high) == pytest.approx((-before.high, -before.low))


def test_metrics_are_bound_to_their_names() -> None:
    found = comparison.compare(scored(BETTER))
    usdr, csdr = of_pair(found, "a", "b", "usdr"), of_pair(found, "a", "b", "csdr")
    assert usdr.difference == pytest.approx(2 * float(np.mean(BETTER["a"]) - np.mean(BETTER["b"])))
    assert csdr.difference == pytest.approx(float(np.median(BETTER["a"]) - np.median(BETTER["b"])))
    swapped = comparison.compare(scored(BETTER, metrics=METRICS[::-1]))
    assert of_pair(swapped, "a", "b", "usdr").difference == usdr.difference


def test_of_an_error_the_smaller_is_better() -> None:
    error = Metric("csdr", "Error", "", True, "median", "", "", higher_is_better=False)
    (found,) = comparison.compare(scored({"a": BETTER["a"], "b": BETTER["b"]}, metrics=[error]))
    assert found.effect == 1
    assert found.verdict == "b is better"


def test_with_an_anchor_there_are_fewer_tests() -> None:
    found = comparison.compare(scored(BETTER), anchor="b")
    assert {(one.first, one.second) for one in found} == {("a", "b"), ("c", "b")}
    assert of_pair(found, "a", "b").p_adjusted == pytest.approx(4 * 2 / 2**20)
    with pytest.raises(UsageError, match="'d' was not scored; choose from a, b, c"):
        comparison.compare(scored(BETTER), anchor="d")


def test_tracks_are_paired_and_undefined_ones_left_out() -> None:
    theirs = np.append(BETTER["b"][:12], np.full(8, math.nan))
    (found, _) = comparison.compare(scored({"a": BETTER["a"], "b": theirs}))
    assert found.tracks == 12
    assert found.difference == pytest.approx(float(np.median(BETTER["a"][:12]) - np.median(BETTER["b"][:12])))
    assert comparison.compare(scored({"a": [1.0], "b": [math.nan]})) == ()


def test_too_few_tracks_are_stated() -> None:
    found = comparison.compare(scored({"a": BETTER["a"][:5], "b": BETTER["b"][:5]}))
    assert {one.verdict for one in found} == {TOO_FEW_TRACKS}
    assert "With 5 tracks, no scores whatever could be told from chance in 2 tests: that takes 7 tracks" in (
        comparison.note(found)
    )
    four = comparison.compare(scored({"a": BETTER["a"][:4], "b": BETTER["b"][:4]}))
    assert math.isnan(four[0].low)
    assert "no scores whatever" not in comparison.note(comparison.compare(scored(BETTER)))


def test_equal_systems_are_seldom_told_apart() -> None:
    """The whole path on pairs of equal systems; `test_statistics` has thousands of trials."""
    stems = ("drums", "bass", "other", "vocals")
    mistakes = 0
    for differences in null_differences(10, len(stems), seed=1):
        tracks = []
        for index, ours in enumerate(differences.T):
            values = {("a", stem, "usdr"): ours[at : at + 1] for at, stem in enumerate(stems)}
            values |= {("b", stem, "usdr"): np.zeros(1) for stem in stems}
            tracks.append(TrackScores(f"song {index}", 8000, 1, 8000, stems, values))
        scores = Scores((System("a", "model"), System("b", "model")), METRICS[1:], tuple(tracks), {})
        mistakes += any("better" in one.verdict for one in comparison.compare(scores))
    assert mistakes <= 2  # three and more have a chance of 1 %


def test_every_file_of_the_report_tells_them(tmp_path: Path) -> None:
    scores = scored(BETTER)
    report = Report(scores, tmp_path, page=False)
    report.write()
    assert not (tmp_path / "report.html").exists()
    document = json.loads((tmp_path / "scores.json").read_text())
    assert [one["verdict"] for one in document["comparisons"][:2]] == ["a is better", "a is better"]
    low, high = comparison.intervals(scores)["a", "vocals", "csdr"]
    assert low < scores.of_set("a", "vocals", METRICS[0]) < high
    assert document["summary"]["a"]["vocals"]["csdr"]["low_95"] == low
    markdown = (tmp_path / "report.md").read_text()
    assert "| vocals | cSDR, dB | a less b | 20 |" in markdown
    assert "a is better" in markdown
    assert "all 6 tests of this report" in markdown
    assert f"({low:.2f} to {high:.2f})" in markdown
    rows = csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text()))
    (found,) = [row for row in rows if (row["system"], row["metric"], row["statistic"]) == ("a", "csdr", "high_95")]
    assert float(found["value"]) == pytest.approx(high, rel=1e-5)
    assert "low_95" not in to_csv(scores)


def test_one_system_alone_has_no_comparison(tmp_path: Path) -> None:
    report = Report(scored({"a": [1.0, 2.0]}), tmp_path, page=False)
    report.write()
    assert report.findings == findings.Findings({}, (), ())
    assert "## Comparisons" not in (tmp_path / "report.md").read_text()
