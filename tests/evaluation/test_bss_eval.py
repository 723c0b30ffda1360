"""BSSEval v4 against museval on every frame that museval defines, and against closed forms where it is undefined."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan import audio
from sepgan.evaluation.bss_eval import BssEval, BssScores, correlate
from sepgan.evaluation.metrics import MAXIMUM_DB, SilenceRule
from tests import synth
from tests.evaluation.museval_reference import museval_sources, museval_v4

RATE = 4000
MUSEVAL_DB = 1e-3
SINGULAR_DB = 0.05  # museval itself moves that much when the references leave part of the band empty
PUBLISHED_DB = 1e-4  # rounded to five digits there
BOTH_CAPPED_DB = 100.0
TAPS = 32  # what the length changes is tested once, with 512


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(found: BssScores, expected: dict[str, Tensor], tolerance_db: float = MUSEVAL_DB) -> int:
    """Compare what museval defines below 100 dB; return how many values that are."""
    count = 0
    for name, theirs in expected.items():
        ours = getattr(found, name)
        defined = theirs.isfinite() & (theirs < BOTH_CAPPED_DB)
        torch.testing.assert_close(ours[defined], theirs[defined], atol=tolerance_db, rtol=0)
        count += int(defined.sum())
    return count


@pytest.mark.parametrize(
    ("sources", "channels", "window", "hop"), [(2, 2, RATE, RATE), (3, 1, RATE, RATE // 2), (1, 2, 10 * RATE, RATE)]
)
def test_it_is_museval_on_random_signals(sources: int, channels: int, window: int, hop: int) -> None:
    references = noise(sources, channels, 3 * RATE + 71)
    estimates = references + 0.3 * references.roll(3, -1) + 0.2 * noise(sources, channels, 3 * RATE + 71, seed=1)
    estimates += 0.1 * references.sum(0)
    references[0, :, RATE : 2 * RATE] *= 0.01
    expected = museval_v4(references, estimates, window, hop, filters_len=TAPS)
    found = BssEval(references, window, hop, taps=TAPS)
    assert assert_equal(found.score(estimates), expected) >= 3
    assert found.load == 0
    small = BssEval(references, window, hop, taps=TAPS, block_samples=100)
    assert_equal(small.score(estimates), expected)


def test_it_is_museval_with_512_taps_and_float32_input() -> None:
    references = noise(2, 2, 2 * RATE).float()
    estimates = (0.5 * references + 0.1 * noise(2, 2, 2 * RATE, seed=1)).float()
    assert_equal(BssEval(references, RATE).score(estimates), museval_v4(references, estimates, RATE, RATE))


def test_undefined_frames_are_those_of_museval_on_request() -> None:
    references, estimates = noise(2, 2, 5 * RATE), noise(2, 2, 5 * RATE, seed=1)
    references[0, :, RATE : 2 * RATE] = 0
    estimates[1, :, 3 * RATE : 4 * RATE] = 0
    expected = museval_v4(references, estimates, RATE, RATE, filters_len=TAPS)
    found = BssEval(references, RATE, taps=TAPS, silence=SilenceRule.MUSEVAL).score(estimates)
    assert expected["sir"].isnan().any(0).tolist() == [False, True, False, True, False]
    for name, theirs in expected.items():
        torch.testing.assert_close(getattr(found, name), theirs, atol=MUSEVAL_DB, rtol=0, equal_nan=True)
    ours = BssEval(references, RATE, taps=TAPS).score(estimates)
    assert ours.sdr.isnan().tolist() == [[False, True, False, False, False], [False] * 5]
    assert ours.sdr[1, 3] == 0  # silence where there should be sound
    assert_equal(ours, expected)


@pytest.mark.parametrize("duration_s", [3, 40])
def test_sources_are_those_of_museval(duration_s: int) -> None:
    """The older definition, on one frame as long as the track: whole in the frequency domain, or in pieces."""
    references = noise(2, 1, duration_s * RATE)
    estimates = 0.5 * references.roll(5, -1) + 0.3 * references.flip(0) + 0.2 * noise(2, 1, duration_s * RATE, seed=1)
    expected = museval_sources(references, estimates)
    evaluator = BssEval(references, references.shape[-1])
    found = evaluator.score_sources(estimates)
    assert found.isr.isnan().all()
    for name, theirs in expected.items():
        torch.testing.assert_close(getattr(found, name)[:, 0], theirs, atol=MUSEVAL_DB, rtol=0)
    assert (found.sdr > evaluator.score(estimates).sdr + 3).all()  # a delay of 5 samples costs nothing here


def test_half_of_a_source_is_a_spatial_error_only() -> None:
    references = noise(2, 2, 2 * RATE)
    found = BssEval(references, RATE, taps=TAPS).score(0.5 * references)
    for scores in (found.sdr, found.isr):
        torch.testing.assert_close(scores, torch.full((2, 2), 20 * math.log10(2)).double())
    assert (found.sir == MAXIMUM_DB).all()
    assert (found.sar == MAXIMUM_DB).all()


def test_an_equal_share_of_independent_noise_has_a_known_isr() -> None:
    """20 log10(1 / 0.75) = 2.50 dB, as the MIX entry of SiSEC 2018 has on music."""
    references = noise(4, 1, 20 * RATE)
    estimates = (references.sum(0) / 4).expand_as(references)
    found = BssEval(references, RATE, taps=TAPS).score(estimates)
    assert found.isr.median().item() == pytest.approx(2.50, abs=0.05)
    assert found.sir.median().item() == pytest.approx(-10 * math.log10(3), abs=0.5)


def test_silent_and_equal_channels_leave_the_others_as_they_are() -> None:
    """Normal equations that are exactly singular: equal channels, a silent channel, a silent source."""
    references = noise(2, 2, 2 * RATE)
    references[1, 1] = references[1, 0]
    references[0, 1] = 0
    estimates = references + 0.1 * noise(2, 2, 2 * RATE, seed=1)
    evaluator = BssEval(references, RATE, taps=TAPS)
    assert evaluator.load > 0
    alone = BssEval(torch.stack([references[0, :1], references[1, :1]]), RATE, taps=TAPS)
    expected = alone.score(torch.stack([estimates[0, :1], estimates[1, :1]]))
    found = evaluator.score(estimates)
    assert all(getattr(found, name).isfinite().all() for name in ("sdr", "isr", "sir", "sar"))
    assert (found.sar - expected.sar).abs().max() < 3.5  # one more noisy channel, of the same or no signal
    silent = torch.cat([references, torch.zeros(1, 2, 2 * RATE)])
    with_silent = BssEval(silent, RATE, taps=TAPS).score(torch.cat([estimates, estimates[:1]]))
    assert with_silent.sdr[2].isnan().all()
    torch.testing.assert_close(with_silent.sir[:2], found.sir, atol=1e-6, rtol=0)


def test_sources_that_are_not_scored_can_still_interfere() -> None:
    references = noise(3, 1, 2 * RATE)
    estimates = references + 0.1 * references.roll(1, 0) + 0.05 * noise(3, 1, 2 * RATE, seed=1)
    whole = BssEval(references, RATE, taps=TAPS).score(estimates)
    part = BssEval(references[:1], RATE, others=references[1:], taps=TAPS).score(estimates[:1])
    for name in ("sdr", "isr", "sir", "sar"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[:1])
    assert (BssEval(references[:1], RATE, taps=TAPS).score(estimates[:1]).sir == MAXIMUM_DB).all()


def test_swapping_two_sources_swaps_the_scores_of_their_estimates() -> None:
    references = noise(2, 2, 2 * RATE)
    estimates = references + torch.tensor([0.1, 0.3])[:, None, None] * noise(2, 2, 2 * RATE, seed=1)
    plain = BssEval(references, RATE, taps=TAPS).score(estimates)
    swapped = BssEval(references.flip(0), RATE, taps=TAPS).score(estimates.flip(0))
    wrong = BssEval(references, RATE, taps=TAPS).score(estimates.flip(0))
    torch.testing.assert_close(swapped.sar, plain.sar.flip(0))
    assert (wrong.sir < plain.sir - 20).all()


def test_estimates_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        BssEval(noise(2, 1, 100), 100, taps=4).score(noise(2, 1, 99))


def test_correlation_is_that_of_the_definition() -> None:
    first, second = noise(2, 50000), noise(3, 50000, seed=1)
    found = correlate(first, second, 4, block_samples=100)
    for lag in range(4):
        expected = first[:, : 50000 - lag] @ second[:, lag:].T
        torch.testing.assert_close(found[..., lag], expected)


def test_it_is_museval_on_its_own_regression_track(shared_data: Path) -> None:
    """Vocals and accompaniment of a real track against seeded noise: the values that museval publishes as its test."""
    published = json.loads((shared_data / "fixtures" / "museval" / "Music Delta - 80s Rock.json").read_text())
    folder = shared_data / "fixtures" / "musdb18hq" / "train" / "Music Delta - 80s Rock"
    waves = {stem: torch.from_numpy(audio.read(folder / f"{stem}.wav")[0]) for stem in synth.STEMS}
    references = torch.stack([waves["vocals"], waves["bass"] + waves["drums"] + waves["other"]])
    evaluator = BssEval(references, 44100)
    found = evaluator.score(museval_noise(references))
    assert evaluator.load == 0
    assert [target["name"] for target in published["targets"]] == ["vocals", "accompaniment"]
    for source, target in enumerate(published["targets"]):
        for name in ("sdr", "isr", "sir", "sar"):
            values = [frame["metrics"][name.upper()] for frame in target["frames"]]
            assert getattr(found, name)[source].tolist() == pytest.approx(values, abs=PUBLISHED_DB), (source, name)


def test_it_is_as_close_to_museval_as_museval_to_itself_on_a_band_limited_track(shared_data: Path) -> None:
    """AAC leaves part of the band empty, where the normal equations hold nothing but rounding.

    There museval moves when its input is merely scaled, which no ratio should.
    """
    path = shared_data / "fixtures" / "musdb18" / "train" / "Music Delta - 80s Rock.stem.mp4"
    streams, rate = audio.read_streams(path)
    _, drums, bass, other, vocals = (torch.from_numpy(stream)[:, : 3 * rate].double() for stream in streams)
    references = torch.stack([vocals, drums + bass + other])
    estimates = museval_noise(references)
    found = BssEval(references, rate).score(estimates)
    expected = museval_v4(references, estimates, rate, rate)
    assert assert_equal(found, expected, SINGULAR_DB) == 24
    # Which scale moves it most depends on the processor.
    scaled = [museval_v4(scale * references, scale * estimates, rate, rate) for scale in (0.7, 0.3, 0.9)]
    assert max((moved[name] - expected[name]).abs().max() for moved in scaled for name in expected) > MUSEVAL_DB
    torch.testing.assert_close(found.sdr, expected["sdr"], atol=1e-9, rtol=0)  # no filter enters here


def museval_noise(references: Tensor) -> Tensor:
    """The estimates of museval's regression test."""
    random = np.random.RandomState(0)
    return torch.from_numpy(np.stack([random.random_sample(source.T.shape).T for source in references]))
