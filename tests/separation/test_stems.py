"""Which files a model's stems become."""

from pathlib import Path

import numpy as np
import pytest

from sepgan import audio
from sepgan.errors import UsageError
from sepgan.separation import SeparationOptions, separate_file
from sepgan.separation.stems import StemPlan, plan_stems
from tests.separation.fake import NULL_DBFS, STEMS, Shares, dbfs, noise, sum_of, write

INSTRUMENTAL = (("instrumental", ("drums", "bass", "other")),)


def plan(**options: object) -> StemPlan:
    return plan_stems(STEMS, "other", SeparationOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "outputs", "others", "residual", "whole"),
    [
        ({}, STEMS, ("drums", "bass", "vocals"), "other", True),
        ({"stems": ("vocals",)}, ("vocals",), ("vocals",), "other", False),
        ({"stems": ("other",)}, ("other",), ("drums", "bass", "vocals"), "other", False),
        ({"two_stems": "vocals"}, ("no_vocals", "vocals"), ("vocals",), "no_vocals", True),
        ({"two_stems": "other"}, ("no_other", "other"), ("no_other",), "other", True),
        ({"two_stems": "vocals", "stems": ("no_vocals",)}, ("no_vocals",), ("vocals",), "no_vocals", False),
        ({"aggregate": INSTRUMENTAL}, ("instrumental", "vocals"), ("vocals",), "instrumental", True),
        ({"residual": "rest"}, (*STEMS, "rest"), STEMS, "rest", True),
        ({"stems": ("vocals",), "residual": "rest"}, ("vocals", "rest"), ("vocals",), "rest", True),
        ({"residual": "none"}, STEMS, STEMS, "", False),
    ],
)
def test_plans(
    options: dict[str, object], outputs: tuple[str, ...], others: tuple[str, ...], residual: str, whole: bool
) -> None:
    found = plan(**options)
    assert (found.outputs, found.others, found.residual, found.is_whole) == (outputs, others, residual, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stems": ("piano",)}, "no stem 'piano'; it has drums"),
        ({"stems": ("drums",), "aggregate": INSTRUMENTAL}, "no stem 'drums'; it has instrumental, vocals"),
        ({"two_stems": "piano"}, "no stem 'piano'"),
        ({"two_stems": "vocals", "aggregate": INSTRUMENTAL}, "exclude each other"),
        ({"aggregate": (("a", ("drums",)), ("b", ("drums",)))}, "would not add up"),
        ({"aggregate": (("a", ("drums",)), ("a", ("bass",)))}, "the same output twice"),
        ({"aggregate": (("vocals", ("drums", "bass")),)}, "has the name of a stem"),
        ({"aggregate": (("a/b", ("drums", "bass")),)}, "cannot be the name of a file"),
        ({"aggregate": (("VOCALS", ("drums", "bass")),)}, "differ in the case"),
        ({"residual": "vocals"}, "the name of a stem already"),
        ({"residual": "../up"}, "cannot be the name of a file"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(**options)


@pytest.mark.parametrize(
    "options",
    [
        SeparationOptions(two_stems="vocals"),
        SeparationOptions(two_stems="vocals", subtype="float32"),
        SeparationOptions(aggregate=INSTRUMENTAL),
        SeparationOptions(residual="rest"),
        SeparationOptions(stems=("vocals", "bass"), residual="rest"),
    ],
)
def test_outputs_that_hold_everything_null(tmp_path: Path, options: SeparationOptions) -> None:
    mixture = noise(0.7, 44100)
    result = separate_file(Shares(), write(tmp_path / "song.wav", mixture, 44100), tmp_path / "out", options=options)
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    assert result.null_dbfs is not None
    assert result.manifest.null.why_not is None


def test_a_sum_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    each = separate_file(Shares(), song, tmp_path / "a", options=SeparationOptions(subtype="float32"))
    sums = SeparationOptions(aggregate=(("rhythm", ("drums", "bass")),), subtype="float32")
    both = separate_file(Shares(), song, tmp_path / "b", options=sums)
    assert list(both.paths) == ["rhythm", "other", "vocals"]
    rhythm = audio.read(each.paths["drums"])[0] + audio.read(each.paths["bass"])[0]
    assert dbfs(audio.read(both.paths["rhythm"])[0] - rhythm) <= NULL_DBFS
    assert both.manifest.stems["rhythm"].parts == ("drums", "bass")


def test_a_residual_of_its_own_leaves_the_model_its_other(tmp_path: Path) -> None:
    """White noise at 44.1 kHz through a model of 8 kHz: the rest is what lies above, and `other` has none of it."""
    song = write(tmp_path / "song.wav", noise(1.0, 44100), 44100)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(residual="rest"))
    bandwidth = {stem: record.bandwidth_hz for stem, record in result.manifest.stems.items()}
    assert bandwidth["rest"] > 20000
    assert bandwidth["other"] < 8200
    assert (result.manifest.residual, result.manifest.stems["rest"].parts) == ("rest", ())


def test_what_is_dropped_is_told(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise(0.7, 44100), 44100)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(residual="none"))
    assert result.null_dbfs is None
    assert "asked to go nowhere" in str(result.manifest.null.why_not)
    subset = separate_file(Shares(), song, tmp_path / "some", options=SeparationOptions(stems=("vocals",)))
    assert subset.manifest.null.why_not == "stems were left out"
    lossy = separate_file(Shares(), song, tmp_path / "lossy", options=SeparationOptions(file_format="ogg"))
    assert "loss" in str(lossy.manifest.null.why_not)
    assert np.isfinite(lossy.manifest.stems["vocals"].peak_dbfs or np.nan)
