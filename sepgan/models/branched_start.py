"""How a branched U-Net begins as one network of Spleeter.

All levels but the deepest are copied. Between the deepest level's convolution down and its convolution up there is no
activation, so both are one linear map, and the narrower one that comes nearest to it on given music follows from a
singular value decomposition (Eckart and Young, 1936, in the metric of the features' second moments). Every branch
begins with the same decoder. Spleeter's last level works at the full resolution. A branched U-Net with such a level
copies it into its first channels; for one without, the head of the last branch is the linear map that comes nearest to
the logits of Spleeter's gain on the same music, by weighted least squares. The heads of all others begin with equal
shares of the rest, so that before any training the last stem's mask is Spleeter's, as far as the size allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import CheckpointError
from sepgan.models.branched import BranchedUNet
from sepgan.models.branched_levels import Affine
from sepgan.models.spleeter import LEAK, SpleeterUNet

RIDGE = 1e-6  # of the mean variance, so that features that never vary do not divide by zero
MAX_LOGIT = 12.0  # a gain of -104 dB; beyond it nothing is heard any more
DECIDED = 0.02  # share of the weight of a cell that is left where the gain is 0 or 1


def begin_as(branched: BranchedUNet, network: SpleeterUNet, music: Iterable[Tensor]) -> float:
    """Give a branched U-Net the weights of a network of Spleeter.

    Args:
        branched: Changed in place; its last branch must have one stem.
        network: For instance the vocal network of `spleeter-2stems`.
        music: Magnitudes `[B, C, F, N]` that tell which features of the deepest level matter.

    Returns:
        Share of the deepest level's effect that is kept, from 0 to 1.

    Raises:
        CheckpointError: The two differ in their widths, or the last branch has several stems.
    """
    widths = [level.conv.out_channels for level in branched.encoder]  # type: ignore[union-attr]
    theirs = [level.out_channels for level in network.down]
    cells = 1 if branched.full_resolution else 4
    stems = branched.heads[-1].out_channels // (cells * branched.channels)  # type: ignore[operator]
    if widths != theirs[:-1] or stems != 1:
        raise CheckpointError(
            f"a generator with widths {widths} and {stems} stems in its last branch cannot begin as one with widths "
            f"{theirs[:-1]}: make the widths equal and give the last branch one stem"
        )
    with torch.no_grad():
        for level, (ours, convolve) in enumerate(zip(branched.encoder, network.down, strict=False)):
            _copy(ours.conv, convolve)  # type: ignore[arg-type]
            _fix(ours.affine, network.down_normalise[level])  # type: ignore[arg-type]
        heard = list(music)
        kept = _narrow(branched, network, torch.cat([_deepest(network, magnitudes) for magnitudes in heard]))
        for branch in branched.branches:
            for depth, ours in enumerate([*branched.shared, *branch]):  # type: ignore[misc]
                if depth > 0:
                    _copy_into(ours.conv.weight, network.up[depth].get_parameter("weight"))
                _copy_into(ours.bias, network.up[depth].get_parameter("bias"))
                _fix(ours.affine, network.up_normalise[depth])  # type: ignore[arg-type]
        # sigmoid(x) = exp(x) / (exp(x) + 1): with the others' logits at -log(count) they share exactly the rest.
        for head in branched.heads[:-1]:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.constant_(head.bias, -math.log(branched.stems - 1))  # type: ignore[arg-type]
        if branched.full_resolution:
            last = branched.heads[-1]
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            for name, weights in network.head.named_parameters():
                _copy_into(last.get_parameter(name), weights)
        else:
            _fit_head(branched, network, heard)
    return kept


def _copy(ours: nn.Module, theirs: nn.Module) -> None:
    for name, source in theirs.named_parameters():
        ours.get_parameter(name).copy_(source)


def _copy_into(ours: Tensor, theirs: Tensor) -> None:
    """Copy weights into the first channels of a layer that may be wider."""
    ours[tuple(slice(size) for size in theirs.shape)] = theirs


def _fix(affine: Affine, normalise: nn.BatchNorm2d) -> None:
    """Turn a normalisation with fixed statistics into a gain and an offset."""
    assert normalise.running_mean is not None
    assert normalise.running_var is not None
    gain = normalise.weight / torch.sqrt(normalise.running_var + normalise.eps)
    _copy_into(affine.weight, gain)
    _copy_into(affine.bias, normalise.bias - normalise.running_mean * gain)


def _deepest(network: SpleeterUNet, magnitudes: Tensor) -> Tensor:
    """Features of the deepest level, one row a cell: `[B, C, F, N] -> [cells, width]`."""
    grid = 2 ** len(network.down)
    bands, frames = magnitudes.shape[-2:]
    x = functional.pad(magnitudes, (0, -frames % grid, 0, -bands % grid))
    for level, convolve in enumerate(network.down):
        x = convolve(functional.pad(x, (1, 2, 1, 2)))
        if level < len(network.down_normalise):
            x = functional.leaky_relu(network.down_normalise[level](x), LEAK)
    return x.transpose(0, 1).flatten(1).T


def _narrow(branched: BranchedUNet, network: SpleeterUNet, features: Tensor) -> float:
    """Fill the two deepest convolutions with the nearest map of fewer channels."""
    down, up = network.down[-1], network.up[0]
    features = features.double()
    moments = features.T @ features / len(features)  # not centred: a constant is a feature like any other
    width = len(moments)
    ridge = RIDGE * moments.diagonal().mean().clamp_min(1e-12)
    root = torch.linalg.cholesky(moments + ridge * torch.eye(width, dtype=torch.float64))
    kernel = up.get_parameter("weight").double()  # [width, out, 5, 5]
    _, energy, directions = torch.linalg.svd(kernel.flatten(1).T @ root, full_matrices=False)
    rank = min(branched.bottleneck.out_channels, width)
    into = directions[:rank] @ torch.linalg.inv(root)
    back = root @ directions[:rank].T
    narrow = branched.bottleneck
    assert narrow.bias is not None
    narrow.weight[:rank] = torch.einsum("kw,wchi->kchi", into, down.get_parameter("weight").double()).float()
    narrow.bias[:rank] = (into @ down.get_parameter("bias").double()).float()
    first = branched.shared[0].conv
    first.weight[:rank] = torch.einsum("wk,wohi->kohi", back, kernel).float()  # type: ignore[union-attr, operator]
    return float(energy[:rank].square().sum() / energy.square().sum())


def _fit_head(branched: BranchedUNet, network: SpleeterUNet, music: Iterable[Tensor]) -> None:
    """Fill the last head with the linear map that comes nearest to the logits of the network's gain.

    A cell weighs as much as its magnitude, and more where the gain is undecided, as a slip of the logit is heard there.
    """
    head = branched.heads[-1]
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    size = head.weight[0].numel() + 1
    moments = torch.zeros(size, size, dtype=torch.float64)
    wanted = torch.zeros(size, head.out_channels, dtype=torch.float64)
    for magnitudes in music:
        bands, frames = magnitudes.shape[-2:]
        x = functional.pad(magnitudes, (0, -frames % branched.grid, 0, -bands % branched.grid))
        *_, features = branched.seen_by_heads(*branched.decoded(x))
        gain = network(x)
        weight = _by_cell((x * (gain * (1 - gain) + DECIDED)).mean(1, keepdim=True)).mean(1).flatten()
        logits = _by_cell(torch.logit(gain, eps=math.exp(-MAX_LOGIT))).transpose(0, 1).flatten(1)
        seen = functional.unfold(features, head.kernel_size, padding=head.padding).transpose(0, 1).flatten(1)  # type: ignore[arg-type]
        seen = torch.cat([seen, torch.ones_like(seen[:1])])
        moments += ((seen * weight) @ seen.T).double()
        wanted += ((seen * weight) @ logits.T).double()
    ridge = RIDGE * moments.diagonal().mean().clamp_min(1e-12)
    map_ = torch.linalg.solve(moments + ridge * torch.eye(size, dtype=torch.float64), wanted).float()
    head.weight.copy_(map_[:-1].T.reshape(head.weight.shape))
    head.bias.copy_(map_[-1])


def _by_cell(full: Tensor) -> Tensor:
    """Gather four neighbouring cells: `[B, C, F, N] -> [B, 2 * 2 * C, F / 2, N / 2]`, as a head gives them."""
    batch, channels, bands, frames = full.shape
    cells = full.reshape(batch, channels, bands // 2, 2, frames // 2, 2)
    return cells.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
