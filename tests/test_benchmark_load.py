"""The loading benchmark runs, measures every source, and fails where a goal is missed."""

import json

import pytest

from benchmarks import load


def test_it_measures_every_source(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SONG_S", 7.0)
    code = load.main(["--seconds", "0.05", "--no-step", "--json"])
    told = json.loads(capsys.readouterr().out)
    sources = [rate["source"] for rate in told["rates"]]
    assert sources[:5] == ["prepared", "wav", "flac", "ogg", "mp3"]
    assert {"stem.mp4, 1 stem", "stem.mp4, 4 stems", "stempeg, all streams"} <= set(sources)
    assert all(rate["per_cpu_s"] > 0 for rate in told["rates"])
    assert told["rates"][0]["per_cpu_s"] > told["rates"][-1]["per_cpu_s"]
    assert code == (1 if told["missed"] else 0)


def test_a_goal_is_missed_where_a_source_is_slow() -> None:
    slow = [load.Rate("prepared", 1.0, 1.0, 999.0), load.Rate("stem.mp4, 4 stems", 1.0, 1.0, 8.0)]
    assert not load.meets(slow, "prepared", 1000.0)
    assert load.meets(slow, "stem.mp4, 4 stems", 8.0)
