"""A mask U-Net with one encoder, several decoders and no statistics of a batch.

In shape it is one network of Spleeter (Hennequin et al., JOSS 2020; after Jansson et al., ISMIR 2017), so that it can
begin as Spleeter's vocal network, with four changes. Its deepest level, which has no activation between the way down
and the way up and is thus one linear map, has fewer channels: two thirds of Spleeter's weights lie there. The last
levels of the decoder exist once per branch, so that drums, bass and other do not have to be read off features made for
vocals. Nothing is computed at the full resolution, where few channels keep a processor waiting for memory: the heads
read the masks of four neighbouring cells off each cell of half the resolution (a sub-pixel convolution, Shi et al.,
CVPR 2016). `full_resolution` keeps Spleeter's last level, at half as much time again. And the masks of all stems come
from one softmax, so they sum to one. `nested` makes it two: a stem with a branch of its own gets its share by its own
logit alone, and those of the other branch divide the rest, so that training one leaves the other as it is. Where the
branches have one stem fewer than the recipe, its first stem has no logit (it is 0) and takes what they leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.models.parities import Parities, convolve, sorted_bands
from sepgan.recipe import GeneratorRecipe

KERNEL = 5
LEAK = 0.2  # of the encoder's LeakyReLU, as in Jansson et al.
HEAD_KERNEL = 3
FULL_HEAD_KERNEL = 4  # dilated by two, as in Spleeter
COLUMNS_AT_ONCE = 64  # of a quarter of the resolution, four frames each
COLUMNS_REACH = 3  # that the last levels look at on either side
SHARED_UPS = 2  # decoder levels that all branches share, deepest first


class BranchedUNet(nn.Module):
    """Magnitudes to one soft mask per stem.

    Args:
        config: Widths of the levels, width of the bottleneck below them, stems in each branch; whether there is a level
            at the full resolution, and its width.
        stems: Number of masks, S.
        bands: Number of frequency bands F that come in.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`, masks in [0, 1] that sum to 1 over S; any N.

    Raises:
        RecipeError: The branches do not have as many stems as the recipe or one fewer, or there are too few levels to
            branch.
    """

    def __init__(self, config: GeneratorRecipe, stems: int, bands: int) -> None:
        super().__init__()
        branches = config.branches or (stems,)
        self.leaves = stems - sum(branches)  # stems without a logit
        if self.leaves not in (0, 1):
            raise RecipeError(
                f"generator.branches {list(branches)} has {sum(branches)} stems, the recipe {stems}: make them equal, "
                "or leave out the first, which then takes the rest"
            )
        if config.nested and (self.leaves or len(branches) < 2 or sum(count > 1 for count in branches) != 1):
            raise RecipeError(
                f"generator.nested needs one branch of several stems beside branches of one, got {list(branches)}"
            )
        if len(config.widths) <= SHARED_UPS:
            raise RecipeError(f"generator.widths needs at least {SHARED_UPS + 1} levels for kind 'branched'")
        self.stems = stems
        self.counts = [1] * self.leaves + list(branches)
        self.bands = bands
        self.channels = config.channels
        self.grid = 2 ** (len(config.widths) + 1)
        widths = config.widths
        self.encoder = nn.ModuleList(
            _Down(size_in, size_out) for size_in, size_out in zip((config.channels, *widths[:-1]), widths, strict=True)
        )
        self.bottleneck = _conv(widths[-1], config.bottleneck)
        self.full_resolution = config.full_resolution
        self.nested = config.nested
        outs = (widths[-1], *reversed(widths[:-1]), *((config.head_width,) if self.full_resolution else ()))
        ins = (config.bottleneck, *(2 * width for width in outs[:-1]))
        dropout = [config.dropout if level < config.dropout_levels else 0.0 for level in range(len(outs))]
        levels = list(zip(ins, outs, dropout, strict=True))
        self.shared = nn.ModuleList(_Up(*level) for level in levels[:SHARED_UPS])
        self.branches = nn.ModuleList(nn.ModuleList(_Up(*level) for level in levels[SHARED_UPS:]) for _ in branches)
        self.heads = nn.ModuleList(
            nn.Conv2d(config.head_width, count * config.channels, FULL_HEAD_KERNEL, dilation=2, padding=3)
            if self.full_resolution
            else nn.Conv2d(2 * widths[0], 4 * count * config.channels, HEAD_KERNEL, padding=HEAD_KERNEL // 2)
            for count in branches
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for magnitudes `[B, C, F, N]`."""
        return self.some(magnitudes, slice(0, magnitudes.shape[-1]))

    def some(self, magnitudes: Tensor, frames: slice) -> Tensor:
        """Return masks `[B, S, C, F, n]` of some frames, with less work: the way up is made of what they need alone."""
        bands = magnitudes.shape[-2]
        before, after = frames.start // 4, -(-frames.stop // 4)  # columns of four frames
        skips, x = self._shared_levels(magnitudes)
        last = skips[0].shape[-1] // 2
        made = range(max(0, before - COLUMNS_REACH), min(after + COLUMNS_REACH, last))
        if not torch.is_inference_mode_enabled() or magnitudes.device.type != "cpu":
            masks = torch.cat(self._shares(self._logits(*self._branch_levels(skips, x, made)), 1), dim=1)
            return masks[..., :bands, frames.start - 4 * made.start : frames.stop - 4 * made.start]
        # The largest arrays come last. Made some frames at a time they take little memory, and that in the cache.
        count = frames.stop - 4 * before
        masks = magnitudes.new_empty(magnitudes.shape[0], self.stems, self.channels, 2 * skips[0].shape[-2], count)
        for begin in range(before, after, COLUMNS_AT_ONCE):
            end = begin + COLUMNS_AT_ONCE
            made = range(max(0, begin - COLUMNS_REACH), min(end + COLUMNS_REACH, last))
            tile = self._branch_levels(skips, x, made)
            place = masks[..., 4 * (begin - before) : 4 * (end - before)]
            places: Sequence[Tensor] = torch.split(place, self.counts, dim=1)
            inside = slice(4 * (begin - made.start), 4 * (begin - made.start) + places[0].shape[-1])
            if self.full_resolution:
                shares = self._shares([part[..., inside] for part in self._sorted_logits(*tile)], 3)
                places = [sorted_bands(place) for place in places]
            else:
                shares = self._shares([part[..., inside] for part in self._logits(*tile)], 1)
            for place, share in zip(places, shares, strict=True):
                place.copy_(share)
        return masks[..., :bands, frames.start - 4 * before :]

    def decoded(self, magnitudes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The first skip connection, and what enters the level that it joins in each branch, filled up to the grid.

        Shape:
            `[B, C, F, N] -> [B, W, F / 2, N / 2]` and `[B, 2 V, F / 4, N / 4]` each, W and V the first two widths.
        """
        skips, x = self._shared_levels(magnitudes)
        return self._branch_levels(skips, x, range(skips[0].shape[-1] // 2))

    def _shared_levels(self, magnitudes: Tensor) -> tuple[list[Tensor], Tensor]:
        """The skip connections that branches join, and what enters the branches."""
        bands, frames = magnitudes.shape[-2:]
        x = magnitudes.contiguous(memory_format=torch.channels_last)
        if bands % self.grid or frames % self.grid:
            x = functional.pad(x, (0, -frames % self.grid, 0, -bands % self.grid))
        skips: list[Tensor] = []
        for down in self.encoder:
            skip, x = down(x)
            skips.append(skip)
        x = self.bottleneck(functional.pad(x, (1, 2, 1, 2)))
        for up in self.shared:
            x = torch.cat([skips.pop(), up(x)], dim=1)
        return skips, x

    def _branch_levels(self, skips: Sequence[Tensor], x: Tensor, columns: range) -> tuple[Tensor, list[Tensor]]:
        """Some columns of four frames of what `decoded` returns, from what they need alone."""
        first, *joined = skips
        parts = [columns]  # of the last level, of the one before it, and so on
        for skip in joined:
            parts.append(_needed(parts[-1], skip.shape[-1] // 2))
        x = _some(x, parts.pop())
        branches = []
        for branch in self.branches:
            y = x
            for up, skip, part in zip(_levels(branch), reversed(joined), reversed(parts), strict=False):
                y = _join(cast(_Up, up), y, skip, part)
            branches.append(y)
        return _some(first, range(2 * columns.start, 2 * columns.stop)), branches

    def seen_by_heads(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """What each head sees of what `decoded` returns.

        Shape:
            `[B, 2 W, F / 2, N / 2]`; `[B, H, F, N]`, H the width of the head, at the full resolution.
        """
        seen = []
        for branch, x in zip(self.branches, branches, strict=True):
            joining, *last = self._last_levels(branch)
            x = torch.cat([skip, joining(x)], dim=1)
            seen.append(last[0](x) if last else x)
        return seen

    def _last_levels(self, branch: nn.Module) -> list[_Up]:
        return cast("list[_Up]", list(_levels(branch)))[-2 if self.full_resolution else -1 :]

    def _logits(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """Logits `[B, S', C, F, N]` of each branch from what `decoded` returns.

        A frame depends on `COLUMNS_REACH` columns around it.
        """
        read = [head(x) for head, x in zip(self.heads, self.seen_by_heads(skip, branches), strict=True)]
        if self.full_resolution:
            return [torch.unflatten(part, 1, (-1, self.channels)) for part in read]
        # At half the resolution each cell holds four neighbours.
        cells = [torch.unflatten(part, 1, (2, 2, -1, self.channels)) for part in read]
        return [part.permute(0, 3, 4, 5, 1, 6, 2).flatten(5, 6).flatten(3, 4) for part in cells]

    def _sorted_logits(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """The same at the full resolution, by a way that is quicker on a CPU: `[B, 2, AT_ONCE, S', C, F / 8, N]`."""
        logits = []
        for branch, head, x in zip(self.branches, self.heads, branches, strict=True):
            joining, last = self._last_levels(branch)
            room = last.sorted(torch.cat([skip, joining(x)], dim=1))
            logits.append(torch.unflatten(convolve(cast(nn.Conv2d, head), room), 3, (-1, self.channels)))
        return logits

    def _shares(self, logits: Sequence[Tensor], stem: int) -> list[Tensor]:
        """Masks of the stems of each branch, all of which sum to one over dimension `stem`; before them the rest."""
        if self.leaves and self.stems == 2:
            return [torch.sigmoid(-logits[0]), torch.sigmoid(logits[0])]
        if self.leaves:
            logits = [torch.zeros_like(logits[0].narrow(stem, 0, 1)), *logits]
        if not self.nested:
            return list(torch.split(torch.softmax(torch.cat(list(logits), dim=stem), dim=stem), self.counts, dim=stem))
        # Several stems weigh as much as one with logit 0, and divide that.
        alone = [part for part in logits if part.shape[stem] == 1]
        if len(alone) == 1:
            parts = [torch.sigmoid(-alone[0]), torch.sigmoid(alone[0])]
        else:
            together = torch.cat([torch.zeros_like(alone[0]), *alone], dim=stem)
            parts = list(torch.split(torch.softmax(together, dim=stem), 1, dim=stem))
        rest, singles = parts[0], iter(parts[1:])
        return [torch.softmax(part, dim=stem) * rest if part.shape[stem] > 1 else next(singles) for part in logits]


class Affine(nn.Module):
    """A gain and an offset a channel: what is left of a normalisation once its statistics are fixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, F, N] -> [B, C, F, N]`."""
        return torch.addcmul(self.bias.view(1, -1, 1, 1), x, self.weight.view(1, -1, 1, 1))


def _levels(branch: nn.Module) -> Sequence[nn.Module]:
    return cast(Sequence[nn.Module], branch)  # a ModuleList, which mypy takes for a Module


def _needed(part: range, columns: int) -> range:
    """Which of the columns of a level, so many, `_Up` makes some of the next one's of."""
    return range(max(0, part.start // 2 - 1), min(columns, (part.stop - 1) // 2 + 2))


def _some(x: Tensor, part: range) -> Tensor:
    return x[..., part.start : part.stop]


def _join(up: _Up, x: Tensor, skip: Tensor, part: range) -> Tensor:
    """Some columns of a skip connection and of what `up` makes of `x`, which is no more than these need."""
    first = part.start - 2 * _needed(part, skip.shape[-1] // 2).start
    return torch.cat([_some(skip, part), _some(up(x), range(first, first + len(part)))], dim=1)


def _conv(size_in: int, size_out: int) -> nn.Conv2d:
    return nn.Conv2d(size_in, size_out, KERNEL, stride=2)


class _Down(nn.Module):
    """Halve both axes; the skip connection leaves before the activation."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.conv = _conv(size_in, size_out)
        self.affine = Affine(size_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # TensorFlow pads one cell before and two behind where the stride is two and the length even.
        skip = self.conv(functional.pad(x, (1, 2, 1, 2)))
        return skip, functional.leaky_relu_(self.affine(skip), LEAK)


class _Up(nn.Module):
    """Double both axes by a transposed convolution."""

    def __init__(self, size_in: int, size_out: int, dropout: float) -> None:
        super().__init__()
        # With a bias of its own, PyTorch's transposed convolution takes up to three times as long on a CPU.
        self.conv = nn.ConvTranspose2d(size_in, size_out, KERNEL, stride=2, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(size_out))
        self.affine = Affine(size_out)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)[..., :-1, :-1].add_(self.bias.view(1, -1, 1, 1))  # in place: nobody else has it
        y: Tensor = self.dropout(self.affine(functional.relu_(x)))
        return y

    def sorted(self, x: Tensor) -> Parities:
        """The same without dropout, where `convolve` reads it.

        With few channels it is quicker to make the four cells of each cell that comes in as channels, by a kernel of
        three that reaches all that any of them needs, with zeros where it is not needed.
        """
        kernel = self.conv.weight.transpose(0, 1)  # [O, I, KERNEL, KERNEL]
        cells = kernel.new_zeros(2, 2, *kernel.shape[:2], 3, 3)
        for band, frame in product(range(2), range(2)):
            taps = kernel[..., 1 - band :: 2, 1 - frame :: 2].flip(2, 3)
            cells[band, frame, ..., : taps.shape[2], : taps.shape[3]] = taps
        made = functional.relu_(functional.conv2d(x, cells.flatten(0, 2), self.bias.repeat(4), padding=1))
        batch, _, bands, frames = made.shape
        gain, shift = (part.repeat(2) for part in (self.affine.weight, self.affine.bias))
        room = Parities(batch, kernel.shape[0], 2 * bands, 2 * frames, like=gain)
        by_band = made.permute(0, 2, 3, 1).chunk(2, dim=-1)  # [B, F, N, 2 O] each, one frame after another
        for rows, inside in zip(reversed(by_band), room.insides, strict=True):
            torch.addcmul(shift, rows, gain, out=torch.unflatten(inside, -1, (frames, -1)))
        return room
