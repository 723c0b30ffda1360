"""SI-SIR and SI-SAR against the definition spelled out, and against the ways to get them wrong."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan.evaluation.metrics import MAXIMUM_DB, MINIMUM_DB, si_sdr
from sepgan.evaluation.scale_invariant import si_sir_and_sar

RATE = 8000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spelled_out(references: Tensor, estimate: Tensor, index: int) -> tuple[float, float]:
    """Le Roux et al., equations 5 to 7, by least squares in numpy on signals [K, C, T] and [C, T]."""
    sources = (references - references.mean(-1, keepdim=True)).flatten(1).numpy().T
    heard = (estimate - estimate.mean(-1, keepdim=True)).flatten().numpy()
    target = sources[:, index] * (sources[:, index] @ heard) / (sources[:, index] @ sources[:, index])
    residual = heard - target
    interference = sources @ np.linalg.lstsq(sources, residual, rcond=None)[0]
    artifacts = residual - interference
    power = (target**2).sum()
    return 10 * np.log10(power / (interference**2).sum()), 10 * np.log10(power / (artifacts**2).sum())


@pytest.mark.parametrize("channels", [1, 2])
def test_it_is_the_definition(channels: int) -> None:
    references = noise(3, channels, RATE) + 0.2
    references[1] += 0.5 * references[0]  # sources that are not orthogonal
    references[2] *= 1e-4
    estimates = 0.7 * references + 0.2 * references.roll(1, 0) + 0.05 * noise(3, channels, RATE, seed=1)
    sir, sar = si_sir_and_sar(references[:2], estimates[:2], references[2:])
    for index in range(2):
        expected = spelled_out(references, estimates[index], index)
        assert (float(sir[index]), float(sar[index])) == pytest.approx(expected, abs=1e-6)
    # The two add up to the error that SI-SDR sees.
    total = 10 ** (-sir / 10) + 10 ** (-sar / 10)
    torch.testing.assert_close(-10 * total.log10(), si_sdr(references[:2], estimates[:2]))


def test_scale_and_offset_do_not_count() -> None:
    references, estimates = noise(2, 2, RATE), noise(2, 2, RATE) + 0.3 * noise(2, 2, RATE, seed=1)
    plain = si_sir_and_sar(references, estimates)
    for ours, theirs in zip(si_sir_and_sar(references, -3 * estimates + 0.5), plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_leak_is_interference_and_noise_is_artifacts() -> None:
    references = noise(2, 1, 4 * RATE)
    sir, sar = si_sir_and_sar(references, references + 0.1 * references.flip(0))
    assert sir.tolist() == pytest.approx([20, 20], abs=0.2)
    assert sar.tolist() == [MAXIMUM_DB, MAXIMUM_DB]
    sir, sar = si_sir_and_sar(references, references + 0.1 * noise(2, 1, 4 * RATE, seed=1))
    assert sar.tolist() == pytest.approx([20, 20], abs=0.2)
    assert (sir > 40).all()


def test_swapping_estimates_is_seen() -> None:
    references = noise(2, 1, RATE)
    estimates = references + 0.1 * noise(2, 1, RATE, seed=1)
    right, wrong = si_sir_and_sar(references, estimates)[0], si_sir_and_sar(references, estimates.flip(0))[0]
    assert (wrong < right - 30).all()


def test_silence_and_copies_are_defined() -> None:
    references = noise(3, 1, RATE)
    references[1] = 0
    estimates = references + 0.1 * references.flip(0)
    estimates[2] = 0
    sir, sar = si_sir_and_sar(references, estimates)
    assert sir.isnan().tolist() == sar.isnan().tolist() == [False, True, False]
    assert (float(sir[2]), float(sar[2])) == (MINIMUM_DB, MINIMUM_DB)
    copies = noise(1, 1, RATE).expand(2, -1, -1)
    sir, sar = si_sir_and_sar(copies, copies + 0.1 * noise(2, 1, RATE, seed=1))
    assert sar.tolist() == pytest.approx([20, 20], abs=0.3)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    references, estimates = noise(2, 2, RATE), noise(2, 2, RATE, seed=1)
    whole = si_sir_and_sar(references, estimates)
    monkeypatch.setattr("sepgan.evaluation.metrics._BLOCK_SAMPLES", 1000)
    for ours, theirs in zip(si_sir_and_sar(references, estimates), whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
