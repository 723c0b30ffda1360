"""What can be measured, by name; and BSSEval on sets of stems that overlap."""

import pytest
import torch

from sepgan.errors import UsageError
from sepgan.evaluation.bss_eval import BssEval
from sepgan.evaluation.measures import DEFAULT_MEASURES, MEASURES, Truth, find_measures
from sepgan.evaluation.metrics import MAXIMUM_DB, SilenceRule
from tests.evaluation.museval_reference import museval_sources

RATE = 2000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def truth_of(references: torch.Tensor, stems: tuple[str, ...] = (), **others: torch.Tensor) -> Truth:
    return Truth(references, references.sum(0), RATE, SilenceRule.REFERENCE, stems, others)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_yields_its_metrics_and_none_else(name: str) -> None:
    references, estimates = noise(2, 1, 2 * RATE), noise(2, 1, 2 * RATE, seed=1)
    measure = MEASURES[name]
    found = measure.prepare(truth_of(references))(estimates)
    assert list(found) == [metric.name for metric in measure.metrics]
    for metric in measure.metrics:
        assert found[metric.name].shape == ((2, 2) if metric.framewise else (2,))
        assert metric.definition.endswith(".")
        assert metric.source


def test_names_are_checked() -> None:
    assert [measure.metrics[0].name for measure in find_measures(["usdr", "csdr", "usdr"])] == ["usdr", "csdr"]
    with pytest.raises(UsageError, match=r"metric 'sdr' is unknown; choose from csdr, usdr, si_sdr, si_bss, bss_v4"):
        find_measures(["sdr"])
    with pytest.raises(UsageError, match="no metric was asked for"):
        find_measures([])
    assert all(name in MEASURES for name in DEFAULT_MEASURES)


def test_accompaniment_beside_its_parts_is_scored_against_the_vocals_alone() -> None:
    """All five together would be linearly dependent, and their projections arbitrary."""
    parts = noise(3, 1, 2 * RATE)
    estimates = parts + 0.1 * parts.roll(1, 0) + 0.1 * noise(3, 1, 2 * RATE, seed=1)
    references = torch.cat([parts, parts[:2].sum(0, keepdim=True)])
    both = torch.cat([estimates, estimates[:2].sum(0, keepdim=True)])
    found = MEASURES["bss_v4"].prepare(truth_of(references, ("drums", "bass", "vocals", "accompaniment")))(both)
    alone = BssEval(parts, RATE).score(estimates)
    pair = BssEval(references[[3, 2]], RATE).score(both[[3, 2]])
    torch.testing.assert_close(found["bss_v4.sir"][:3], alone.sir)
    torch.testing.assert_close(found["bss_v4.sir"][3], pair.sir[0])


@pytest.mark.parametrize(
    ("measure", "metric"), [("bss_v4", "bss_v4.sir"), ("bss_v3", "bss_v3.sir"), ("si_bss", "si_sir")]
)
def test_stems_that_are_not_scored_still_interfere(measure: str, metric: str) -> None:
    references = noise(2, 1, 2 * RATE)
    estimates = references + 0.1 * references.flip(0)
    whole = MEASURES[measure].prepare(truth_of(references, ("a", "b")))(estimates)
    part = MEASURES[measure].prepare(truth_of(references[1:], ("b",), a=references[0]))(estimates[1:])
    torch.testing.assert_close(part[metric][0], whole[metric][1])
    alone = MEASURES[measure].prepare(truth_of(references[1:], ("b",)))(estimates[1:])
    assert (alone[metric] == MAXIMUM_DB).all()


def test_the_older_bss_eval_is_of_the_mean_of_channels_and_one_frame() -> None:
    references = noise(2, 2, 2 * RATE)
    estimates = references + 0.3 * references.flip(0) + 0.1 * noise(2, 2, 2 * RATE, seed=1)
    found = MEASURES["bss_v3"].prepare(truth_of(references))(estimates)
    expected = museval_sources(references.mean(1, keepdim=True), estimates.mean(1, keepdim=True))
    for name, theirs in expected.items():
        torch.testing.assert_close(found[f"bss_v3.{name}"], theirs, atol=1e-3, rtol=0)


def test_a_load_on_singular_equations_is_told() -> None:
    references = noise(2, 1, 2 * RATE)
    assert MEASURES["bss_v4"].prepare(truth_of(references)).load == 0
    stereo = references.expand(2, 2, -1).contiguous()  # equal channels
    assert 0 < MEASURES["bss_v4"].prepare(truth_of(stereo)).load < 1e-12
    assert MEASURES["bss_v3"].prepare(truth_of(stereo)).load == 0
    assert MEASURES["usdr"].prepare(truth_of(stereo)).load == 0
