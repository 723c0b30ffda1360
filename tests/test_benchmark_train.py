"""The training benchmark runs on a tiny setting, and what it compares does the same work."""

import json

import pytest

from benchmarks import train

TINY = (
    "frontend={sample_rate: 16000, n_fft: 512, hop_length: 128, bins: 64}",
    "generator={widths: [8, 12], head_width: 8}",
    "adversary.widths=[8]",
)


def test_it_measures_steps_that_do_the_same_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "SONG_S", 1.0)
    monkeypatch.setattr(train, "HEAVY_WIDTHS", "adversary={kind: patch, weight: 1.0, widths: [8]}")
    code = train.main(["--seconds", "0.3", "--batch", "2", "--runs", "2", "--json", *TINY])
    told = json.loads(capsys.readouterr().out)
    macs = {name: step["gmac"] for name, step in told["steps"].items()}
    assert macs[train.OURS] == macs[train.HEAVY]
    # The trainer can compare sums of stems too, and makes them by a product that a plain loop does without: forward and
    # back, for two items, four stems, two channels, 64 bands and 40 frames.
    assert macs[train.OURS] - macs[train.PLAIN] == pytest.approx(2 * 2 * 4 * 4 * 2 * 64 * 40 / 1e9)
    for ratio in (told["overhead"], told["times_cheaper"]):
        assert ratio["lowest"] <= ratio["median"] <= ratio["highest"]
    assert told["audio_s_per_s"] > 0
    assert 0 < told["waiting_share"] < 1
    # Both discriminators are the same here, so that one is no three times cheaper than the other.
    assert "times cheaper" in told["missed"]
    assert code == 1


def test_it_prints_lines_and_refuses_other_adversaries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "SONG_S", 1.0)
    train.main(["--seconds", "0.3", "--runs", "1", *TINY[:2], "adversary.widths=[4]"])
    text = capsys.readouterr().out
    for part in ("GMAC", "over plain PyTorch", "times cheaper", "waiting for data"):
        assert part in text
    with pytest.raises(SystemExit, match="must have one patch discriminator"):
        train.main(["--seconds", "0.3", "--recipe", "default"])
