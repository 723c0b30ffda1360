"""The band-split U-Net: what its masks promise, how far it hears, what it costs, and that it learns."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sepgan import checkpoint, recipe
from sepgan.checkpoint import CheckpointHeader
from sepgan.engine import Engine, EngineOptions
from sepgan.errors import CheckpointError, RecipeError, UsageError
from sepgan.models import build_generator
from sepgan.models.bandsplit import MASK_LIMIT, BandSplitUNet, complex_masks
from sepgan.recipe import GeneratorRecipe
from sepgan.separator import Separator
from sepgan.streaming import separate_array, whole
from sepgan.training.export import PARITY, export

SUM_OF_MASKS = 1e-5  # absolute
SAME = 1e-5  # absolute difference of masks that should be equal
NULL_DB = -100.0  # of what stems leave over, relative to the mixture
SMALL: dict[str, Any] = {"kind": "bandsplit", "widths": (8, 12, 16), "strides": (4, 2), "subbands": 2, "dual_path": 2}
GMAC_LIMIT = 2.4  # for a second of stereo at 44.1 kHz
MILLIONS = (2.0, 6.0)  # of weights


def make(stems: int = 4, bands: int = 64, **keys: Any) -> BandSplitUNet:
    """A small network whose masks are not all alike."""
    torch.manual_seed(0)
    network = build_generator(GeneratorRecipe(**SMALL | keys), stems, bands)
    assert isinstance(network, BandSplitUNet)
    torch.nn.init.normal_(network.head.weight, std=0.5)
    return network


def spectrum(*shape: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def separator(**frontend: Any) -> Separator:
    torch.manual_seed(0)
    raw = {"name": "small", "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 200} | frontend}
    found = Separator(recipe.from_dict(raw | {"generator": {key: listed(value) for key, value in SMALL.items()}}))
    torch.nn.init.normal_(found.generator.head.weight, std=0.5)  # type: ignore[union-attr, arg-type]
    return found.eval()


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def residual_db(stems: torch.Tensor, mixture: torch.Tensor) -> float:
    error = (stems.sum(1) - mixture).double().square().sum() / mixture.double().square().sum()
    return 10 * math.log10(float(error) + 1e-30)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("bands", "frames"), [(64, 32), (37, 1), (33, 2), (50, 9)])
def test_masks_have_the_size_of_the_input_and_sum_to_one(channels: int, bands: int, frames: int) -> None:
    masks = make(bands=bands, channels=channels)(spectrum(2, channels, bands, frames)).detach()
    assert masks.shape == (2, 4, channels, bands, frames)
    assert masks.is_complex()
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS
    assert float(masks.imag.abs().max()) > 0.01, "the phase is used"
    assert float(masks.abs().max()) <= MASK_LIMIT + SAME


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_no_head_can_make_a_mask_larger_than_the_limit(scale: float) -> None:
    random = torch.Generator().manual_seed(1)
    shares, real, imaginary = (scale * torch.randn(1, 3, 2, 40, 500, generator=random) for _ in range(3))
    masks = complex_masks(shares, real, imaginary)
    assert float(masks.abs().max()) <= MASK_LIMIT + SAME
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS


def test_the_limit_is_reached_and_no_share_is_no_mask() -> None:
    """Two stems, one with 5/8 of the mixture, gains opposite: 5/8 (1 + 2 * 2 * 3/8) = 25/16."""
    shares = torch.log(torch.tensor([5 / 8, 3 / 8])).view(1, 2, 1, 1, 1)
    gains = torch.tensor([1e6, -1e6]).view(1, 2, 1, 1, 1)
    masks = complex_masks(shares, gains, torch.zeros_like(gains))
    assert float(masks[0, 0].abs()) == pytest.approx(MASK_LIMIT, abs=1e-4)
    masks = complex_masks(torch.tensor([0.0, -200.0]).view(1, 2, 1, 1, 1), gains, gains)
    assert float(masks[0, 1].abs()) == 0.0
    equal = complex_masks(shares, torch.ones_like(gains), torch.ones_like(gains))
    assert float((equal - torch.softmax(shares, 1)).abs().max()) <= SAME, "equal gains leave the shares"


def test_a_mask_depends_on_as_many_frames_as_it_says_and_on_no_more() -> None:
    network = make().double()
    x = spectrum(1, 2, 64, 2 * network.reach + 21).to(torch.complex128).requires_grad_(True)
    middle = x.shape[-1] // 2
    network(x)[..., middle].abs().sum().backward()
    assert x.grad is not None
    heard = (x.grad.abs().amax((0, 1, 2)) > 0).nonzero()[:, 0]
    assert (int(heard.min()), int(heard.max())) == (middle - network.reach, middle + network.reach)


def test_an_item_is_judged_the_same_alone_and_in_a_batch_even_while_training() -> None:
    network = make().train()
    batch = spectrum(3, 2, 64, 32)
    assert float((network(batch)[1:2] - network(batch[1:2])).detach().abs().max()) <= SAME


def test_the_phase_of_all_the_mixture_changes_no_mask() -> None:
    network = make().eval()
    x = spectrum(1, 2, 64, 20)
    turned = x * torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    assert float((network(turned) - network(x)).detach().abs().max()) <= SAME
    differently = x * torch.polar(torch.tensor(1.0), torch.tensor([0.7, 0.0]).view(1, 2, 1, 1))
    assert float((network(differently) - network(x)).detach().abs().max()) > 1e-3, "left against right matters"


def test_excerpts_with_enough_context_give_what_the_whole_song_gives() -> None:
    network = make().eval()
    x = spectrum(1, 2, 64, 160)
    with torch.no_grad():
        whole, part = network(x), network(x[..., 40:155])  # begins at a frame that is on no grid
    inside = slice(network.reach, 115 - network.reach)
    assert float((part[..., inside] - whole[..., 40:155][..., inside]).abs().max()) <= SAME


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_stems_of_any_number_of_channels_sum_to_the_mixture(channels: int) -> None:
    model = separator()
    mixture = torch.randn(1, channels, 5000, generator=torch.Generator().manual_seed(channels))
    with torch.no_grad():
        stems = model(mixture)
    assert residual_db(stems, mixture) <= NULL_DB
    options = [EngineOptions(), EngineOptions(wiener=1), EngineOptions(precision="bf16", shifts=1)]
    found = [Engine(model, chosen).separate(mixture) for chosen in options]
    assert float((found[0] - stems).abs().max()) <= SAME
    assert all(residual_db(each, mixture) <= NULL_DB for each in found)


def test_an_engine_sums_groups_and_keeps_pairs_apart() -> None:
    model = separator()
    mixture = torch.randn(2, 4, 4000, generator=torch.Generator().manual_seed(5))
    groups = [("vocals",), ("drums", "bass", "other")]
    found = Engine(model).separate(mixture, groups=groups, layout=[[0, 3], [1], [2]])
    with torch.no_grad():
        pair, single = model(mixture[:, [0, 3]]), model(mixture[:, 1:2])
    assert float((found[:, 0][:, [0, 3]] - pair[:, 3]).abs().max()) <= SAME
    assert float((found[:, 1][:, [0, 3]] - pair[:, :3].sum(1)).abs().max()) <= SAME
    assert float((found[:, 0][:, 1:2] - single[:, 3]).abs().max()) <= SAME


def test_bf16_costs_little() -> None:
    engine = Engine(separator(), EngineOptions(precision="bf16"))
    engine.separate(torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(5)))
    assert engine.precision_error_db is not None
    assert -80 < engine.precision_error_db < -30


def test_silence_stays_silent_and_finite() -> None:
    model = separator()
    silence = torch.zeros(1, 2, 3000, requires_grad=True)
    stems = model(silence)
    assert float(stems.detach().abs().max()) == 0.0
    stems.sum().backward()
    assert silence.grad is not None
    assert bool(silence.grad.isfinite().all())
    assert float(separate_array(whole(model), torch.zeros(2, 9000), segment=4096, overlap=512).abs().max()) == 0.0


def test_mel_bands_are_refused_as_they_have_no_phase() -> None:
    with pytest.raises(RecipeError, match=r"frontend.mel_bands is 64, .*set frontend.mel_bands to null"):
        separator(mel_bands=64, bins=None)


@pytest.mark.parametrize("keys", [{"strides": (4,)}, {"strides": (4, 2, 2)}])
def test_strides_that_do_not_fit_the_widths_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"generator.strides .* one number fewer than generator.widths"):
        make(**keys)


def test_the_default_size_keeps_to_its_limits() -> None:
    """The counter is that of `train --dry-run`; a second of stereo at 44.1 kHz has 43.1 frames of 1024 samples."""
    network = build_generator(GeneratorRecipe(kind="bandsplit"), 4, 1024).eval()
    frames = 43
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(spectrum(1, 2, 1024, frames))
    gmac = counter.get_total_flops() / 2e9 * 44100 / 1024 / frames
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert 0.5 < gmac <= GMAC_LIMIT
    assert MILLIONS[0] <= millions <= MILLIONS[1]


def test_it_overfits_one_batch_of_complex_masks() -> None:
    torch.manual_seed(0)
    network = build_generator(GeneratorRecipe(**SMALL), 4, 64)
    x = spectrum(1, 2, 64, 16)
    shares = 4 * torch.randn(1, 4, 2, 8, 4, generator=torch.Generator().manual_seed(2))
    wanted = torch.softmax(shares, 1).repeat_interleave(8, -2).repeat_interleave(4, -1)
    gain = torch.polar(torch.tensor(0.8), torch.tensor([0.9, -0.9, 0.5, -0.5])).view(1, 4, 1, 1, 1)
    wanted = wanted * (1 + gain - (wanted * gain).sum(1, keepdim=True))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = (network(x) - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_torchscript_carries_it_and_onnx_is_refused(tmp_path: Path) -> None:
    """ONNX has no complex numbers."""
    plain, path = separator(), tmp_path / "small.safetensors"
    raw = recipe.to_dict(plain.recipe)
    header = CheckpointHeader(name="small", stems=plain.stems, sample_rate=16000, recipe=raw, licence="CC0 1.0")
    checkpoint.write(path, header, plain.generator.state_dict())
    model = Separator.load(path)
    with pytest.raises(UsageError, match=r"ONNX has no complex numbers.*\.torchscript"):
        export(model, tmp_path / "graph.onnx")
    assert export(model, tmp_path / "graph.torchscript").largest_difference <= PARITY
    graph = Separator.load(tmp_path / "graph.torchscript")
    mixture = torch.randn(1, 3, 5000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(graph(mixture), model(mixture), rtol=0, atol=1e-4)
    (tmp_path / "graph.torchscript").write_bytes(b"")
    with pytest.raises(CheckpointError, match="sha256"):
        Separator.load(tmp_path / "graph.torchscript")
