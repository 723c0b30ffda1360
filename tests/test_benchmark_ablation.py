"""The verdicts of the ablation follow its rules."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation

UNITS = ("singer a", "singer b", "song c", "song d", "song e", "song f")


def results(folder: Path, usdr: float, distance: float, spread: float, seeds: int = 5) -> None:
    """Write runs of the headline pair that differ by given amounts, give or take a spread over seeds."""
    for arm, sign in (("none", 0.0), ("patch", 1.0)):
        for seed in range(seeds):
            noise = sign * spread * (seed - (seeds - 1) / 2)
            songs = [
                {
                    "song": unit,
                    "unit": unit,
                    "stems": {
                        "vocals": {
                            "usdr": place + sign * usdr + noise,
                            "mr_stft": place + sign * distance + noise,
                            "leakage": -20.0,
                        }
                    },
                }
                for place, unit in enumerate(UNITS)
            ]
            told = {"arm": arm, "seed": seed, "songs": songs, "realism": 1.0 + sign * noise}
            (folder / f"{arm}-{seed}.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("usdr", "distance", "spread", "seeds", "verdict"),
    [
        (0.0, -0.3, 0.01, 5, "helps"),
        (-0.2, -0.3, 0.01, 5, "hurts"),  # closer spectra, bought with SDR
        (0.2, 0.3, 0.01, 5, "hurts"),
        (0.0, -0.1, 0.3, 5, "nothing shown"),  # as large as chance
        (0.0, -0.3, 0.01, 2, "too few seeds"),
    ],
)
def test_verdicts(tmp_path: Path, usdr: float, distance: float, spread: float, seeds: int, verdict: str) -> None:
    results(tmp_path, usdr, distance, spread, seeds)
    found = ablation.read(tmp_path)
    changes = [ablation.change(found, "patch", metric) for metric in ("mr_stft", "usdr")]
    assert ablation.verdict(*changes) == verdict
    assert np.isclose(changes[0].mean, distance)


def test_the_table_goes_into_the_page(tmp_path: Path) -> None:
    results(tmp_path, 0.0, -0.3, 0.01)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- ablation -->\nold\n<!-- /ablation -->\nafter\n")
    ablation.show(tmp_path, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| patch | 5 |" in text
    assert "smallest that 5 seeds detect" in text
