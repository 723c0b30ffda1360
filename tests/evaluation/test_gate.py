"""The gate fails when it should, passes when it should, and refuses to guess."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation import gate
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.scores import Scores, System, TrackScores, to_json

METRICS = tuple(metric for measure in find_measures(["csdr", "usdr"]) for metric in measure.metrics)
THEN = {"vocals": [5.0, 6.0, 7.0, 8.0, 9.0, 3.0], "drums": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}

Of = Mapping[str, list[float]]


def scored(
    of: Of, *, name: str = "ours", settings: Mapping[str, str | float] | None = None, failure: str = ""
) -> Scores:
    """An evaluation of one system with these uSDR by stem and track; frames of cSDR lie around the same value."""
    systems = (System(name, "model"), System("silence", "floor"))
    tracks = []
    for index in range(max(map(len, of.values()))):
        values = {}
        for stem, numbers in of.items():
            if index < len(numbers):
                values[name, stem, "usdr"] = np.array([numbers[index]])
                values[name, stem, "csdr"] = numbers[index] + np.array([-1.0, 0.0, 4.0])
                values["silence", stem, "usdr"] = np.zeros(1)
        stems = tuple(stem for stem, numbers in of.items() if index < len(numbers))
        tracks.append(TrackScores(f"song {index}", 44100, 2, 44100, stems, values))
    return Scores(systems, METRICS, tuple(tracks), settings or {"window_s": 1.0}, failure)


def stored(path: Path, scores: Scores) -> gate.Baseline:
    path.write_text(to_json(scores, version="0"), encoding="utf-8")
    return gate.load_baseline(path)


def shifted(by: float) -> dict[str, list[float]]:
    return {**THEN, "vocals": [value + by for value in THEN["vocals"]]}


@pytest.fixture
def baseline(tmp_path: Path) -> gate.Baseline:
    return stored(tmp_path / "scores.json", scored(THEN))


@pytest.mark.parametrize(
    ("condition", "by", "failed"),
    [
        ("usdr.vocals < -0.1", -0.2, True),
        ("usdr.vocals < -0.1", -0.05, False),
        ("usdr.vocals < -0.1", 0.5, False),
        ("usdr.drums < -0.1", -0.2, False),
        ("csdr.vocals<=-.1", -0.2, True),
        ("usdr.vocals > 0.1", 0.2, True),
        ("usdr.vocals >= 1e-1", 0.05, False),
        ("usdr.vocals < -0.1 @ 95%", -0.2, True),
    ],
)
def test_a_difference_fails_where_the_condition_says(
    baseline: gate.Baseline, condition: str, by: float, failed: bool
) -> None:
    (verdict,) = gate.check(scored(shifted(by)), [gate.parse(condition)], baseline)
    assert verdict.failed is failed
    assert verdict.difference == pytest.approx(by if "vocals" in condition else 0.0)
    assert verdict.tracks == 6


def test_any_stem_gives_a_verdict_each(baseline: gate.Baseline) -> None:
    verdicts = gate.check(scored(shifted(-1.0)), [gate.parse("usdr.* < -0.1")], baseline)
    assert {verdict.stem: verdict.failed for verdict in verdicts} == {"drums": False, "vocals": True}


def test_an_interval_guards_against_chance(baseline: gate.Baseline) -> None:
    """One bad track moves the mean, but says little about the system."""
    now = {**THEN, "vocals": [5.1, 6.1, 7.1, 8.1, 9.1, 1.0]}
    plain, guarded = gate.check(
        scored(now), [gate.parse("usdr.vocals < -0.1"), gate.parse("usdr.vocals < -0.1 @ 95%")], baseline
    )
    assert plain.difference == pytest.approx(-0.25)
    assert plain.failed
    assert not guarded.failed
    assert guarded.low < -0.25 < guarded.high
    assert "not distinguishable" in str(guarded)
    assert str(plain).startswith("FAILED: usdr.vocals < -0.1 (ours, vocals): -0.25 dB on 6 tracks")


def test_statistics_are_those_of_the_literature(baseline: gate.Baseline) -> None:
    """Six differences of one sign: the exact two-sided Wilcoxon test gives 2 / 2^6."""
    now = {**THEN, "vocals": [value - 0.1 * (index + 1) for index, value in enumerate(THEN["vocals"])]}
    (verdict,) = gate.check(scored(now), [gate.parse("usdr.vocals < -1")], baseline)
    assert verdict.p_value == pytest.approx(2 / 64)
    assert -0.6 <= verdict.low < verdict.difference < verdict.high <= -0.1
    (same,) = gate.check(scored(THEN), [gate.parse("usdr.vocals < -1")], baseline)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_the_metric_decides_how_tracks_are_summed_up(baseline: gate.Baseline) -> None:
    now = {**THEN, "vocals": [5.0, -50.0, *THEN["vocals"][2:]]}
    mean, median = gate.check(scored(now), [gate.parse("usdr.vocals < 0"), gate.parse("csdr.vocals < 0")], baseline)
    assert mean.difference == pytest.approx(-56 / 6)
    assert median.difference == pytest.approx(-0.5)


def test_a_single_track_has_no_interval(tmp_path: Path) -> None:
    baseline = stored(tmp_path / "b.json", scored({"vocals": [5.0]}))
    (verdict,) = gate.check(scored({"vocals": [4.0]}), [gate.parse("usdr.vocals < -0.1")], baseline)
    assert verdict.failed
    assert math.isnan(verdict.low)
    assert "says nothing about chance" in str(verdict)
    with pytest.raises(EvaluationError, match="needs 5 or more"):
        gate.check(scored({"vocals": [4.0]}), [gate.parse("usdr.vocals < -0.1 @ 90%")], baseline)


def test_systems_are_paired_by_name_or_are_the_only_ones(baseline: gate.Baseline, tmp_path: Path) -> None:
    condition = [gate.parse("usdr.vocals < -0.1")]
    renamed = scored(shifted(-1), name="ours v2")
    assert gate.check(renamed, condition, baseline)[0].failed
    two = Scores((*renamed.systems, System("x", "estimates")), METRICS, renamed.tracks, {})
    with pytest.raises(UsageError, match="2 systems were scored; say which"):
        gate.check(two, condition, baseline)
    assert gate.check(two, condition, baseline, system="ours v2")[0].system == "ours v2"
    with pytest.raises(UsageError, match="'y' was not scored"):
        gate.check(two, condition, baseline, system="y")
    several = stored(tmp_path / "two.json", two)
    with pytest.raises(EvaluationError, match="no system 'ours'"):
        gate.check(scored(THEN), condition, several)


def test_silent_references_are_left_out_on_both_sides(tmp_path: Path) -> None:
    then = {"vocals": [5.0, math.nan, 7.0]}
    baseline = stored(tmp_path / "b.json", scored(then))
    (verdict,) = gate.check(scored({"vocals": [4.0, math.nan, 6.0]}), [gate.parse("usdr.vocals < -0.1")], baseline)
    assert verdict.tracks == 2


@pytest.mark.parametrize(
    ("now", "condition", "message"),
    [
        ({"vocals": [5.0]}, "usdr.vocals < 0", "5 tracks of baseline .* were not scored, such as 'song 1'"),
        ({"drums": THEN["drums"]}, "usdr.* < 0", "'vocals' is in baseline .* but not in this evaluation for 6 tracks"),
        ({**THEN, "vocals": [math.nan, *THEN["vocals"][1:]]}, "usdr.vocals < 0", "for 1 tracks, such as 'song 0'"),
        ({**THEN, "bass": THEN["drums"]}, "usdr.bass < 0", "share no track with a defined usdr of 'bass'"),
    ],
)
def test_what_cannot_be_compared_does_not_pass(baseline: gate.Baseline, now: Of, condition: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        gate.check(scored(now), [gate.parse(condition)], baseline)


def test_other_settings_are_refused(baseline: gate.Baseline) -> None:
    with pytest.raises(EvaluationError, match=r"with window_s 1\.0 and this evaluation with 2\.0"):
        gate.check(scored(THEN, settings={"window_s": 2.0}), [gate.parse("usdr.vocals < 0")], baseline)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "usdr",
        "usdr < 1",
        "usdr.vocals",
        "usdr.vocals = 1",
        "usdr.vocals < x",
        "usdr.vocals < 1 @ 0%",
        "a.b < 1e999",
    ],
)
def test_malformed_conditions_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read; expected METRIC") as caught:
        gate.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("sdr.vocals < 0", "metric 'sdr' .* csdr, usdr"), ("usdr.voice < 0", "stem 'voice' .* vocals")],
)
def test_what_was_not_scored_is_named(baseline: gate.Baseline, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gate.check(scored(THEN), [gate.parse(text)], baseline)


def _without(document: dict[str, Any], *keys: str) -> None:
    for key in keys[:-1]:
        document = document[key]
    del document[keys[-1]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda document: document.update(schema="x"), "holds no scores"),
        (lambda document: document.update(schema_version=99), "schema version 99"),
        (lambda document: document.update(complete=False), "did not finish"),
        (lambda document: _without(document, "tracks"), "malformed near 'tracks'"),
        (lambda document: document.update(systems=["ours"]), "malformed"),
        (lambda document: document.update(settings=3), "malformed"),
        (lambda document: _without(document, "tracks", "song 0", "scores"), "malformed near 'scores'"),
        (
            lambda document: document["tracks"]["song 0"]["scores"]["ours"]["vocals"].update(usdr={"value": "high"}),
            "malformed",
        ),
    ],
)
def test_damaged_baselines_are_refused(tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str) -> None:
    document = json.loads(to_json(scored(THEN), version="0"))
    damage(document)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(EvaluationError, match=message) as caught:
        gate.load_baseline(path)
    assert "\n" not in str(caught.value)


def test_unreadable_baselines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        gate.load_baseline(tmp_path / "none.json")
    for name, content in (
        ("text", b"not json"),
        ("cut", b'{"schema": "sep'),
        ("list", b"[]"),
        ("bytes", b"\xff\xfe\x00"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EvaluationError, match=r"cannot be read|holds no scores"):
            gate.load_baseline(tmp_path / name)
