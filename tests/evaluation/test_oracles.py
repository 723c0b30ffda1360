"""The oracles against their definitions, and the scores published with the data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import data
from sepgan.evaluation.floors import floors
from sepgan.evaluation.metrics import framewise_sdr, global_sdr, si_sdr
from sepgan.evaluation.oracles import ORACLES, ideal_estimates
from tests import synth

BASELINE_DB = 0.02  # another program's float32 STFT, and its numbers rounded to 0.001


def tensors(duration_s: float = 1.0) -> dict[str, torch.Tensor]:
    return {stem: torch.from_numpy(wave) for stem, wave in synth.song(duration_s).items()}


def mixture_of(stems: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(stems.values())).sum(0)


@pytest.mark.parametrize("oracle", ORACLES)
def test_oracles_are_good_and_consistent(oracle: str) -> None:
    stems = tensors()
    references = {**stems, "accompaniment": stems["drums"] + stems["bass"] + stems["other"]}
    mixture = mixture_of(stems)
    estimates = ideal_estimates(references, mixture)[oracle]
    assert list(estimates) == list(references)
    if oracle != "ibm":  # whose masks may overlap
        torch.testing.assert_close(mixture_of({stem: estimates[stem] for stem in stems}), mixture, atol=1e-5, rtol=0)
        torch.testing.assert_close(estimates["accompaniment"] + estimates["vocals"], mixture, atol=1e-5, rtol=0)
    for stem in references:
        assert global_sdr(references[stem][None], estimates[stem][None]) > 5
        assert global_sdr(references[stem][None], estimates["bass" if stem == "vocals" else "vocals"][None]) < 5


def spectrum(wave: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(4096, dtype=wave.dtype)
    return torch.stft(wave, 4096, 1024, window=window, pad_mode="constant", return_complex=True)


def inverse(spectra: torch.Tensor, samples: int) -> torch.Tensor:
    return torch.istft(spectra, 4096, 1024, window=torch.hann_window(4096, dtype=spectra.real.dtype), length=samples)


def test_masks_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spelled out with torch's own transforms of whole signals; ours go block by block."""
    monkeypatch.setattr("sepgan.evaluation.oracles._BINS", 1 << 17)
    stems = {stem: wave.double() for stem, wave in tensors(0.7).items()}
    mixture = mixture_of(stems)
    found = ideal_estimates(stems, mixture)
    magnitudes = {stem: spectrum(wave).abs() for stem, wave in stems.items()}
    mixed = spectrum(mixture)
    for stem, magnitude in magnitudes.items():
        ratio = magnitude / (sum(magnitudes.values(), torch.zeros(())) + 1e-10)
        binary = (magnitude >= 0.5 * mixed.abs()).double()
        for oracle, mask in (("irm", ratio), ("ibm", binary)):
            expected = inverse(mask * mixed, mixture.shape[-1])
            torch.testing.assert_close(found[oracle][stem], expected, atol=1e-9, rtol=0)


def test_the_wiener_filter_is_that_of_the_definition() -> None:
    """Matrix by matrix in numpy, where no source is silent."""
    stems = {stem: wave.double() for stem, wave in tensors(0.3).items()}
    generator = torch.Generator().manual_seed(0)
    stems = {s: w + 1e-3 * torch.randn(w.shape, generator=generator, dtype=w.dtype) for s, w in stems.items()}
    mixture = mixture_of(stems)
    spectra = np.stack([spectrum(wave).numpy() for wave in stems.values()])  # [S, C, F, N]
    observed = np.einsum("scfn,sdfn->sfncd", spectra, spectra.conj())
    spatial = (observed / (np.abs(spectra) ** 2).mean(1)[..., None, None]).mean(2)
    spatial = 2 * spatial / np.trace(spatial, axis1=-2, axis2=-1)[..., None, None] + 1e-6 * np.eye(2)
    power = np.einsum("sfcd,sfndc->sfn", np.linalg.inv(spatial), observed).real / 2
    total = np.einsum("sfn,sfcd->fncd", power, spatial)
    gains = np.einsum("sfn,sfcd,fnde->sfnce", power, spatial, np.linalg.inv(total))
    expected = np.einsum("sfnce,efn->scfn", gains, spectrum(mixture).numpy())
    found = ideal_estimates(stems, mixture)["mwf"]
    for stem, spectra_of in zip(stems, expected, strict=True):
        wave = inverse(torch.from_numpy(spectra_of), mixture.shape[-1])
        torch.testing.assert_close(found[stem], wave, atol=1e-6, rtol=0)


def test_directions_help_the_wiener_filter_alone() -> None:
    """Two noises from left and right, one in the other's band: masks cannot tell them apart, directions can."""
    noise = torch.randn(2, 22050, generator=torch.Generator().manual_seed(0))
    stems = {"vocals": noise[0] * torch.tensor([[1.0], [0.1]]), "other": noise[1] * torch.tensor([[0.1], [1.0]])}
    found = ideal_estimates(stems, mixture_of(stems))
    scores = {name: float(global_sdr(stems["vocals"][None], of["vocals"][None])) for name, of in found.items()}
    assert scores["mwf"] > max(scores["irm"], scores["ibm"]) + 10


@pytest.mark.parametrize("channels", [1, 3])
def test_any_number_of_channels_and_silence_are_taken(channels: int) -> None:
    stems = {stem: wave[:1].expand(channels, -1).clone() for stem, wave in tensors(0.5).items()}
    stems["vocals"] = torch.zeros_like(stems["vocals"])
    found = ideal_estimates(stems, mixture_of(stems))
    assert all(estimate.isfinite().all() for of in found.values() for estimate in of.values())
    assert all(of["vocals"].abs().max() < 1e-4 for of in found.values())
    assert global_sdr(stems["bass"][None], found["mwf"]["bass"][None]) > 5


def test_a_lone_stem_is_weighed_against_the_rest() -> None:
    stems = tensors()
    mixture = stems["vocals"] + stems["drums"]
    both = ideal_estimates({"vocals": stems["vocals"], "drums": stems["drums"]}, mixture)
    alone = ideal_estimates({"vocals": stems["vocals"]}, mixture)
    for oracle in ORACLES:
        torch.testing.assert_close(alone[oracle]["vocals"], both[oracle]["vocals"], atol=1e-4, rtol=0)
    part = ideal_estimates({"vocals": stems["vocals"], "bass": stems["bass"]}, mixture_of(stems))  # drums, other left
    assert global_sdr(stems["vocals"][None], part["irm"]["vocals"][None]) > 5


def test_oracles_take_signals_shorter_than_a_window() -> None:
    stems = {stem: wave[:, :100] for stem, wave in tensors().items()}
    found = ideal_estimates(stems, mixture_of(stems))
    assert {of["bass"].shape for of in found.values()} == {(2, 100)}


@pytest.mark.parametrize(
    ("kind", "folder", "group", "oracle"),
    [("folder", "stems", "stems_mdb", "irm4"), ("pairs", "pairs", "pairs_mir1k", "irm2")],
)
def test_floor_and_oracle_are_those_published_with_the_data(
    shared_data: Path, kind: str, folder: str, group: str, oracle: str
) -> None:
    baselines = json.loads((shared_data / "reference" / "baselines_valid.json").read_text())["tracks"][group]
    tracks = [track for track in data.DATASETS[kind](shared_data / folder, "valid") if track.name in baselines[oracle]]
    for track in tracks[:4]:
        waves, rate = data.load_stems(track)
        stems = {stem: torch.from_numpy(wave) for stem, wave in waves.items()}
        references = torch.stack(list(stems.values()))
        mixture = references.sum(0)
        estimates = {
            "mixture": floors(mixture, stems, 4)["mixture"],
            oracle: torch.stack(list(ideal_estimates(stems, mixture)["irm"].values())),
        }
        for system, estimate in estimates.items():
            expected = baselines[system][track.name]
            found = {
                "SDR": global_sdr(references, estimate),
                "SI-SDR": si_sdr(references, estimate),
                "cSDR": framewise_sdr(references, estimate, rate).nanquantile(0.5, dim=-1),
            }
            for metric, scores in found.items():
                for stem, score in zip(stems, scores.tolist(), strict=True):
                    assert score == pytest.approx(expected[stem][metric], abs=BASELINE_DB), (track.name, stem, metric)
