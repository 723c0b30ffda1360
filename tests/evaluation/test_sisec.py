"""Places among published systems; the published summary comes out of the published table."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from sepgan.errors import EvaluationError
from sepgan.evaluation import findings, sisec
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.scores import Scores, System, TrackScores

ROUNDED_DB = 5.01e-6  # the table has five digits
METRICS = tuple(metric for measure in find_measures(["csdr", "usdr"]) for metric in measure.metrics)
TRACKS = [f"song {index}" for index in range(6)]
HEADER = "method,target,track,metric,median"
LEVELS = {"A": 1.0, "B": 3.0, "IRM1": 9.0}


def table_file(path: Path, levels: Mapping[str, float], *, header: str = HEADER) -> Path:
    rows = [
        f"{name},vocals,{track},SDR,{level + at}" for name, level in levels.items() for at, track in enumerate(TRACKS)
    ]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def scored(levels: Mapping[str, float], tracks: Sequence[str] = TRACKS) -> Scores:
    found = tuple(
        TrackScores(
            track,
            8000,
            2,
            8000,
            ("vocals",),
            {(name, "vocals", "csdr"): np.array([level + TRACKS.index(track)]) for name, level in levels.items()},
        )
        for track in tracks
    )
    return Scores(tuple(System(name, "model") for name in levels), METRICS, found, {})


def test_the_published_medians_come_out(shared_data: Path) -> None:
    table = sisec.read(shared_data / "reference" / "sisec18_per_track.csv")
    found = sisec.medians(table)
    published = json.loads((shared_data / "reference" / "sisec18_medians.json").read_text())
    expected = {
        (method, target, metric): value
        for method, targets in published.items()
        for target, metrics in targets.items()
        if target != "_n"
        for metric, value in metrics.items()
    }
    assert found.keys() == expected.keys()
    assert len({method for method, _, _ in found}) == 31
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=ROUNDED_DB), key


def test_a_published_system_finds_its_own_place(shared_data: Path) -> None:
    """UMX's forerunner TAU1 is the best for vocals but for TAK2 and the oracles; a dB more passes TAK2."""
    table = sisec.read(shared_data / "reference" / "sisec18_per_track.csv")
    tau = table["TAU1", "vocals", "SDR"]
    for gain, rank_blind in ((0.0, 2), (1.0, 1), (-20.0, 27)):
        tracks = tuple(
            TrackScores(name, 44100, 2, 1, ("vocals",), {("ours", "vocals", "csdr"): np.array([score + gain])})
            for name, score in tau.items()
        )
        (place,) = sisec.places(Scores((System("ours", "model"),), METRICS, tracks, {}), table)
        assert (place.tracks, place.methods, place.methods_blind) == (50, 31, 26)
        assert place.rank_blind == rank_blind
        assert place.low <= place.rank <= place.high


def test_rank_neighbours_and_oracles(tmp_path: Path) -> None:
    table = sisec.read(table_file(tmp_path / "t.csv", LEVELS))
    (ours, best) = sisec.places(scored({"ours": 2.0, "best": 10.0}), table)
    assert (ours.system, ours.rank, ours.methods, ours.above, ours.below) == ("ours", 3, 3, "B", "A")
    assert (ours.rank_blind, ours.methods_blind) == (2, 2)
    assert ours.score == 4.5
    assert (ours.low, ours.high) == (3, 3)  # on every track the same
    assert (best.system, best.rank, best.above, best.below) == ("best", 1, "", "IRM1")


def test_swapping_two_systems_swaps_their_places(tmp_path: Path) -> None:
    table = sisec.read(table_file(tmp_path / "t.csv", LEVELS))
    before = {place.system: place.rank for place in sisec.places(scored({"a": 0.0, "b": 5.0}), table)}
    after = {place.system: place.rank for place in sisec.places(scored({"a": 5.0, "b": 0.0}), table)}
    assert (before["a"], before["b"]) == (after["b"], after["a"]) == (4, 2)


def test_only_tracks_in_common_count(tmp_path: Path) -> None:
    path = table_file(tmp_path / "t.csv", LEVELS)
    path.write_text(path.read_text().replace("A,vocals,song 0,SDR,1.0\n", ""))
    (place,) = sisec.places(scored({"ours": 2.0}, TRACKS[:3]), sisec.read(path))
    assert (place.tracks, place.score) == (3, 3.0)
    assert place.methods == 2  # A lacks a track
    assert place.low == 0
    assert sisec.places(Scores((System("ours", "model"),), METRICS[1:], (), {}), sisec.read(path)) == ()


def test_the_report_tells_places(tmp_path: Path) -> None:
    table = sisec.read(table_file(tmp_path / "t.csv", LEVELS))
    scores = scored({"ours": 2.0})
    found = findings.find(scores, published=table)
    text = "\n".join(findings.markdown(found, scores))
    assert "| vocals | SDR | ours | 4.50 | 3 of 4 | 3 to 3 | 6 | B | A | 2 of 3 |" in text
    assert findings.to_plain(found)["sisec18"][0]["rank"] == 3
    (section,) = findings.sections(found)
    assert section.title == "SiSEC 2018"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "of an empty file"),
        ("a,b\n1,2\n", "expected method, target, track, metric and median"),
        (f"{HEADER}\n", "holds no scores"),
        (f"{HEADER}\nA,vocals,song,SDR,high\n", "line 2 holds no number"),
        (f"{HEADER}\nA,vocals,song,SDR\n", "line 2 holds no number"),
        (f"{HEADER}\nA,vocals,song,SDR,1\nA,vocals,song,SDR,2\n", "line 3 repeats"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=words) as error:
        sisec.read(path)
    assert "table.csv" in str(error.value)


def test_nothing_in_common_is_refused_before_the_work(tmp_path: Path) -> None:
    table = sisec.read(table_file(tmp_path / "t.csv", LEVELS, header=HEADER + "_over_frames_dB"))
    with pytest.raises(EvaluationError, match="no track of this evaluation, such as 'x'"):
        sisec.check(table, ["x"], METRICS)
    with pytest.raises(EvaluationError, match="no metric of SiSEC"):
        sisec.check(table, TRACKS, METRICS[1:])
    with pytest.raises(EvaluationError, match="cannot be read"):
        sisec.read(tmp_path / "none.csv")
    assert math.isnan(sisec.medians({("A", "vocals", "SDR"): {"song": math.nan}})["A", "vocals", "SDR"])
