"""Songs that are no songs, through every bundled model: nothing blows up, absent stems stay quiet, presence says so."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bad_songs import RATE, Case, Outcome, made_up, measure, real, spoilt, summary, table
from sepgan import checkpoint
from sepgan.audio import read
from sepgan.separation.api import Separator

EXAMPLE = Path(__file__).parent.parent / "examples" / "everything_is_free_caesium.flac"
NULL_DB = -90.0
LEAKAGE_DB = -20.0  # median over inputs, of any stem that is absent
QUIET_DB = -30.0  # where the two are not alike
UNLIKE = {
    ("drums", "vocals"),
    ("drums", "bass"),
    ("vocals", "drums"),
    ("vocals", "other"),
    ("other", "drums"),
    ("other", "bass"),
}


@pytest.fixture(scope="module", params=sorted(checkpoint.bundled()))
def separator(request: pytest.FixtureRequest) -> Separator:
    return Separator.load(request.param)


@cache
def song() -> np.ndarray:
    waveform, _ = read(EXAMPLE)
    return waveform[:, 4 * RATE : 8 * RATE]


@pytest.mark.parametrize("case", [*made_up(), *spoilt("a song", song())], ids=lambda case: case.name)
def test_no_stem_blows_up_and_the_stems_sum_to_the_input(separator: Separator, case: Case) -> None:
    outcome = measure(separator, Case(case.name, case.waveform[:, : 3 * case.sample_rate], case.sample_rate))
    assert not outcome.blown_up
    assert outcome.null_db <= NULL_DB
    if case.name == "silence":
        assert set(outcome.level_db.values()) == {-120.0}
    if case.name in ("silence", "faint noise, -100 dBFS"):
        assert set(outcome.presence.values()) == {0.0}, "a stem is said to be there"
    if case.name in ("white noise", "pink noise", "clicks"):
        assert outcome.level_db["vocals"] <= LEAKAGE_DB
        assert outcome.presence["vocals"] <= 0.2


def test_the_measure_sees_what_is_wrong() -> None:
    """A model that gives everything to all stems, twice as loud, is seen as all of what can be wrong."""

    class Loud:
        def separate(self, waveform: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
            return {"drums": 2.5 * waveform, "vocals": 0.1 * waveform}

    outcome = measure(Loud(), Case("x", song(), RATE, "vocals"))  # type: ignore[arg-type]
    assert outcome.blown_up
    assert outcome.null_db == pytest.approx(20 * np.log10(1.6), abs=0.01)
    assert outcome.level_db["vocals"] == pytest.approx(-20, abs=0.01)
    assert outcome.presence == {"drums": 1.0, "vocals": pytest.approx(0.5, abs=0.01)}
    assert "| x | 8 | -20 | 1.00 0.50 | YES | 4 |" in table("loud", [outcome])
    assert summary([outcome]) == ["vocals alone, 1 inputs: median (worst) level in dB: drums 8 (8), vocals -20 (-20)"]


@pytest.fixture(scope="module")
def alone(separator: Separator, shared_data: Path) -> list[Outcome]:
    """Six seconds of each stem of three songs, and of karaoke singing, alone."""
    cases = [case for case in real(shared_data, 6.0) if case.alone and "Caesium" not in case.name]
    assert len(cases) == 20
    return [measure(separator, case) for case in cases]


@pytest.mark.parametrize("stem", ["drums", "bass", "other", "vocals"])
def test_absent_stems_stay_quiet_and_presence_says_so(alone: list[Outcome], stem: str) -> None:
    chosen = [outcome for outcome in alone if outcome.alone == stem]
    own = stem if stem in chosen[0].level_db else "accompaniment"
    for other in chosen[0].level_db:
        level_db = np.median([outcome.level_db[other] for outcome in chosen])
        presence = np.median([outcome.presence[other] for outcome in chosen])
        if other == own:
            assert level_db >= -1.0
            assert presence >= 0.9
        else:
            assert level_db <= (QUIET_DB if (stem, other) in UNLIKE else LEAKAGE_DB)
            assert presence < 0.5, "it is said to be there"
