"""Effects on a stem: what is kept of it is told as it is, for each effect, and the command prints it."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import effects
from tests import synth


class Share:
    """Gives back a share of the mixture as vocals."""

    stems = ("vocals", "other")

    def __init__(self, share: float) -> None:
        self.share = share

    def separate(self, waveform: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return {"vocals": self.share * waveform, "other": (1 - self.share) * waveform}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A song and a clip with loud singing over next to nothing, and a song without singing."""
    rng = np.random.default_rng(0)
    for folder, level in (
        ("stems/valid/a/vocals", 0.1),
        ("stems/valid/a/other", 1e-4),
        ("stems/valid/b/drums", 0.1),
        ("stems/valid/b/other", 0.1),
        ("pairs/valid/c/vocals", 0.1),
        ("pairs/valid/c/accompaniment", 1e-4),
    ):
        noise = level * rng.standard_normal((1, 3 * effects.RATE))
        synth.write(tmp_path / f"{folder}.wav", noise.astype(np.float32), sample_rate=effects.RATE)
    return tmp_path


@pytest.mark.parametrize(("share", "sdr_db"), [(1.0, 50.0), (0.5, 6.02), (0.0, 0.0)])
def test_what_is_kept_of_a_stem_is_told(data: Path, share: float, sdr_db: float) -> None:
    found = effects.measure(Share(share), data, "vocals")  # type: ignore[arg-type]
    assert set(found) == set(effects.EFFECTS)
    for kept, sdr in found.values():
        assert kept == pytest.approx(share, abs=0.01)
        assert sdr == pytest.approx(sdr_db, abs=0.05) if share < 1 else sdr > sdr_db


def test_the_loudest_part_is_taken_and_songs_without_the_stem_left_out(data: Path) -> None:
    assert [wanted.shape for wanted, _ in effects.songs(data, "vocals")] == [(1, 3 * effects.RATE)] * 2
    late = np.concatenate((np.zeros((1, 4 * effects.RATE)), np.full((1, 9 * effects.RATE), 0.1)), 1).astype(np.float32)
    for stem in ("vocals", "other"):
        synth.write(data / f"stems/valid/a/{stem}.wav", late, sample_rate=effects.RATE)
    wanted, rest = next(effects.songs(data, "vocals"))
    assert wanted.shape[1] == round(effects.LENGTH_S * effects.RATE)
    assert wanted.min() > 0.09
    assert rest.min() > 0.09


def test_the_command_compares_models(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sepgan.separation.api.Separator.load", lambda model: Share(float(model)))
    where = ["--data", str(data), "--model", "0.5", "--model", "0.25"]
    effects.main(where)
    assert "| a hall of 2.5 s, -4 dB | 0.50, 6.0 | 0.25, 2.5 |" in capsys.readouterr().out
    effects.main([*where, "--json"])
    assert json.loads(capsys.readouterr().out)["0.25"]["telephone"][0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("stem", "root", "message"),
    [
        ("drums", "", "--stem: 'drums' must be a stem of '0.5': vocals, other"),
        ("harp", "", "has 'harp'"),
        ("vocals", "stems", "must hold stems/valid"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stem: str,
    root: str,
    message: str,
) -> None:
    monkeypatch.setattr("sepgan.separation.api.Separator.load", lambda model: Share(float(model)))
    with pytest.raises(SystemExit) as ended:
        effects.main(["--data", str(data / root), "--model", "0.5", "--stem", stem])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
