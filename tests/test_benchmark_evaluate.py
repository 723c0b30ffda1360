"""The benchmark of evaluation, on a moment of audio."""

import json

import pytest

from benchmarks.evaluate import main, signals


def test_ours_is_measured_beside_museval_and_agrees_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    assert main(["--minutes", "0.02", "--runs", "1", "--skip-museval", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert list(report["systems"]) == ["bss_v4", "csdr"]
    for row in report["systems"].values():
        assert row["seconds"] > 0
        assert row["peak_mb"] > 50
    assert report["machine"]["cores"] >= 1


def test_the_signals_are_the_same_in_every_process() -> None:
    first, second = signals(0.001), signals(0.001)
    assert first[0].shape == (4, 2, 2646)
    assert all(bool((one == other).all()) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("option", [["--minutes", "0"], ["--minutes", "99"], ["--runs", "0"]])
def test_senseless_options_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(option)
    assert option[0] in capsys.readouterr().err
