"""Files of museval in and out, and systems that are known by them alone."""

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation import museval_json
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.evaluate import Options, evaluate_published
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.scores import Scores, System, TrackScores

TRACK = "Music Delta - 80s Rock"
METRICS = tuple(metric for measure in find_measures(["csdr", "usdr"]) for metric in measure.metrics)
ISR = Metric("bss_v4.isr", "ISR", "dB", True, "median", "", "")


def document(**targets: list[float]) -> dict[str, Any]:
    """What museval writes for targets with these SDR; ISR is 1 dB more, SIR undefined."""
    return {
        "targets": [
            {
                "name": name,
                "frames": [
                    {
                        "time": float(index),
                        "duration": 1.0,
                        "metrics": {"SDR": value, "SIR": math.nan, "SAR": 0.5, "ISR": value + 1},
                    }
                    for index, value in enumerate(values)
                ],
            }
            for name, values in targets.items()
        ],
        "museval_version": "0.4.1",
    }


def folder_of(root: Path, tracks: dict[str, dict[str, Any]]) -> Path:
    for name, content in tracks.items():
        path = root / "test" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return root


def scores(**frames: list[float]) -> Scores:
    """One system `ours` on the track "song", by stem."""
    values = {("ours", stem, "csdr"): np.array(one) for stem, one in frames.items()}
    track = TrackScores("song", 8000, 2, 16000, tuple(frames), values)
    systems = (System("ours", "model"), System("silence", "floor"))
    return Scores(systems, (*METRICS, ISR), (track,), {"window_s": 1.0, "hop_s": 1.0})


def test_musevals_own_file_is_read(shared_data: Path) -> None:
    tracks = museval_json.read_folder(shared_data / "fixtures" / "museval")
    track = tracks[TRACK]
    assert (track.window_s, track.hop_s, track.version) == (1, 1, "0.3.0")
    assert track.targets == ("vocals", "accompaniment")
    assert track.frames["vocals", "SDR"][0] == -16.89156
    assert track.frames["vocals", "ISR"][2] == -6.46934
    raw = json.loads((shared_data / "fixtures" / "museval" / f"{TRACK}.json").read_text())
    for target in raw["targets"]:
        for metric in museval_json.METRICS:
            expected = [frame["metrics"][metric] for frame in target["frames"]]
            assert track.frames[target["name"], metric].tolist() == expected


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    before = scores(vocals=[1.123456, math.nan, 3.0], drums=[4.0, 5.0, 6.0])
    (path,) = museval_json.write(before, "ours", tmp_path)
    track = museval_json.read(path)
    assert track.name == "song"
    np.testing.assert_array_equal(track.frames["vocals", "SDR"], [1.12346, math.nan, 3.0])
    np.testing.assert_array_equal(track.frames["drums", "SDR"], [4, 5, 6])
    assert np.isnan(track.frames["drums", "SIR"]).all()
    with pytest.raises(EvaluationError, match="need the metric"):
        museval_json.write(Scores((), METRICS[1:], (), {}), "ours", tmp_path)


def test_what_is_written_passes_musevals_own_schema_and_loader(tmp_path: Path) -> None:
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("museval needs ffmpeg and ffprobe to be imported")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies use what newer versions deprecate
        jsonschema, aggregate = pytest.importorskip("jsonschema"), pytest.importorskip("museval.aggregate")
        (path,) = museval_json.write(scores(vocals=[1.0, math.nan, 3.0], drums=[4.0, 5.0, 9.0]), "ours", tmp_path)
        content = json.loads(path.read_text())
        jsonschema.validate(content, aggregate.TrackStore("song").schema)
        frame = aggregate.json2df(content, "song")
        found = frame[(frame.target == "vocals") & (frame.metric == "SDR")].sort_values("time").score
    assert found.dropna().tolist() == [1.0, 3.0]
    assert math.isnan(found.tolist()[1])


def test_what_is_written_follows_musevals_schema(tmp_path: Path) -> None:
    """Names and numbers, as `musdb.schema.json` has them."""
    (path,) = museval_json.write(scores(vocals=[1.0, 2.0]), "ours", tmp_path)
    content = json.loads(path.read_text())
    assert set(content) == {"targets", "museval_version"}
    assert isinstance(content["museval_version"], str)
    for target in content["targets"]:
        assert set(target) == {"name", "frames"}
        for frame in target["frames"]:
            assert set(frame) == {"time", "duration", "metrics"}
            assert set(frame["metrics"]) == {"SDR", "SIR", "SAR", "ISR"}
            assert all(isinstance(value, float) for value in frame["metrics"].values())


def test_a_published_system_is_compared_on_what_both_have(tmp_path: Path) -> None:
    files = museval_json.read_folder(
        folder_of(tmp_path, {"song": document(vocals=[7.0, 9.0], bass=[1.0, 1.0]), "other": document(vocals=[0.0])})
    )
    before = scores(vocals=[1.0, 2.0], drums=[3.0, 4.0])
    museval_json.check("theirs", files, ["song"], before.metrics, before.settings)
    after = museval_json.add_system(before, museval_json.system_of("theirs", files), files)
    assert [system.name for system in after.systems] == ["ours", "theirs", "silence"]
    assert after.of_set("theirs", "vocals", METRICS[0]) == 8
    assert after.of_set("theirs", "vocals", ISR) == 9
    assert after.of_set("ours", "vocals", METRICS[0]) == 1.5
    assert math.isnan(after.of_set("theirs", "vocals", METRICS[1]))  # museval knows no uSDR
    assert math.isnan(after.of_set("theirs", "drums", METRICS[0]))
    assert "bass" not in after.stems
    assert len(after.tracks) == 1


def test_systems_without_audio_are_compared(tmp_path: Path) -> None:
    """Swapping the two swaps what the report says of them."""
    random = np.random.default_rng(0)
    good = {f"t{index}": document(vocals=(6 + random.normal(0, 1, 5)).tolist()) for index in range(12)}
    bad = {f"t{index}": document(vocals=(2 + random.normal(0, 1, 5)).tolist()) for index in range(12)}
    folders = {"a": folder_of(tmp_path / "a", good), "b": folder_of(tmp_path / "b", bad)}
    verdicts = {}
    for order in ("ab", "ba"):
        of_name = dict(zip("ab", order, strict=True))
        others = {name: museval_json.read_folder(folders[which]) for name, which in of_name.items()}
        report = evaluate_published(tmp_path / order, options=Options(others=others, page=False))
        sdr = [one for one in report.findings.comparisons if one.metric in ("csdr", "bss_v4.sdr")]
        assert [one.tracks for one in sdr] == [12]
        verdicts[order] = sdr[0].verdict
        assert "vocals" in report.table()
    assert verdicts == {"ab": "a is better", "ba": "b is better"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no file of museval"),
        ('{"targets": []}', "holds no targets"),
        ('{"targets": [{"name": "vocals"}]}', "near 'frames'"),
        ('{"targets": [{"name": "v", "frames": [{"time": 0, "metrics": {}}]}]}', "near 'duration'"),
        ('{"targets": [{"name": "v", "frames": []}, {"name": "v", "frames": []}]}', "'v' twice"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "song.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=words) as error:
        museval_json.read(path)
    assert "song.json" in str(error.value)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is no folder"):
        museval_json.read_folder(tmp_path / "none")
    folder = folder_of(tmp_path / "a", {"song": document(vocals=[1.0, 2.0])})
    files = museval_json.read_folder(folder)
    with pytest.raises(EvaluationError, match="no track of this evaluation, such as 'another'"):
        museval_json.check("a", files, ["another"], METRICS, {})
    with pytest.raises(EvaluationError, match="window_s 1 where this evaluation has 2"):
        museval_json.check("a", files, ["song"], METRICS, {"window_s": 2.0})
    with pytest.raises(EvaluationError, match="no metric that is scored"):
        museval_json.check("a", files, ["song"], METRICS[1:], {})
    with pytest.raises(UsageError, match="system 'x' is not scored"):
        evaluate_published(tmp_path / "out", options=Options(others={"a": files}, anchor="x"))
    (folder / "train").mkdir()
    (folder / "train" / "song.json").write_text((folder / "test" / "song.json").read_text())
    with pytest.raises(EvaluationError, match="are of the same track"):
        museval_json.read_folder(folder)
