"""The benchmark of networks runs on tiny ones, is not done twice, and goes on where it was interrupted."""

import json
from pathlib import Path

import pytest

from benchmarks import networks
from sepgan.training.trainer import train
from tests import synth

TINY = {"kind": "bandsplit", "widths": [4, 8], "strides": [8], "dual_path": 1}
CLASSIC = {"kind": "classic", "widths": [4, 8], "head_width": 4, "dropout": 0.0}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two networks and four short songs."""
    monkeypatch.setattr(networks, "NETWORKS", {"small one": TINY, "classic": CLASSIC})
    monkeypatch.setattr(networks, "SPEED_S", 0.2)
    monkeypatch.setattr(networks, "COUNTED_S", 0.2)
    monkeypatch.setattr(networks, "TRIED", 3)
    names = ("MDBDrums - One", "Everything - Two")
    songs = {"train": dict.fromkeys(names, synth.STEMS), "valid": dict.fromkeys(names, synth.STEMS)}
    stems = synth.folder_tree(tmp_path / "stems", songs, duration_s=0.4)
    return ["--data", f"stems={stems}", "--out", str(tmp_path / "out"), "--batch", "1", "--excerpt-s", "0.3"]


def test_networks_are_trained_for_the_same_time_scored_and_timed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert networks.main([*arguments, "--minutes", "0.004"]) == 0
    told = capsys.readouterr().out
    rows = [line.split(" | ") for line in told.strip().splitlines()]
    assert [row[0].strip("| ") for row in rows] == ["network", "---", "small one", "classic"]
    assert (tmp_path / "out" / "table.md").read_text() == told
    found = json.loads((tmp_path / "out" / "small_one" / "result.json").read_text())
    assert found["steps"] >= 2
    assert found["trained_cpu_s"] > 0
    assert found["cpu_s_per_minute"] > 0
    # By hand: a convolution of 3 x 3 from 48 to 4 channels at 256 places and 43 frames a second, and what follows it.
    assert found["gmac_per_s"] > 43 * 256 * 9 * 48 * 4 / 1e9
    assert set(found["usdr"]) == {
        f"stems/{name}/{stem}" for name in ("MDBDrums", "Everything") for stem in synth.STEMS
    } | {"mean"}
    monkeypatch.setattr(networks, "train", None)  # nothing is trained again
    assert networks.main([*arguments, "--minutes", "0.004"]) == 0
    assert capsys.readouterr().out == told


def test_an_interrupted_network_goes_on(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train

    def interrupted(config, out, roots, **keys):  # type: ignore[no-untyped-def]
        if out.name == "classic":
            raise KeyboardInterrupt
        return plain(config, out, roots, **keys)

    monkeypatch.setattr(networks, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        networks.main([*arguments, "--minutes", "0.001", "--networks", "classic"])
    before = json.loads((tmp_path / "out" / "classic" / "result.json").read_text())
    assert "usdr" not in before
    monkeypatch.setattr(networks, "train", plain)
    assert networks.main([*arguments, "--minutes", "9", "--networks", "classic"]) == 0
    after = json.loads((tmp_path / "out" / "classic" / "result.json").read_text())
    assert after["steps"] == before["steps"], "minutes of the first call count"
    assert after["trained_cpu_s"] > before["trained_cpu_s"]
    assert capsys.readouterr().out.count("classic") == 1
