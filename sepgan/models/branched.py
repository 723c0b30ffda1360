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
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.masks import BLOCK, WHOLE, Masks, blocks_of
from sepgan.models.branched_coarse import ROWS_BEFORE, CoarseEnd
from sepgan.models.branched_levels import Down, Up, halving, needed
from sepgan.models.branched_streamed import Streamed
from sepgan.models.parities import STEM, sorted_bands
from sepgan.recipe import GeneratorRecipe

HEAD_KERNEL = 3
FULL_HEAD_KERNEL = 4  # dilated by two, as in Spleeter
LEAST_FRAMES = 128  # of the way up at the full resolution: with less oneDNN adds up in another order
FRAMES_AT_ONCE = 256  # without a level at the full resolution
COLUMNS_REACH = 3  # that the last levels look at on either side
ROWS_BEYOND = 3  # of half the resolution, that the last levels look at above bands
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
            Down(size_in, size_out) for size_in, size_out in zip((config.channels, *widths[:-1]), widths, strict=True)
        )
        self.bottleneck = halving(widths[-1], config.bottleneck)
        self.full_resolution = config.full_resolution
        self.nested = config.nested
        outs = (widths[-1], *reversed(widths[:-1]), *((config.head_width,) if self.full_resolution else ()))
        ins = (config.bottleneck, *(2 * width for width in outs[:-1]))
        dropout = [config.dropout if level < config.dropout_levels else 0.0 for level in range(len(outs))]
        levels = list(zip(ins, outs, dropout, strict=True))
        self.shared = nn.ModuleList(Up(*level) for level in levels[:SHARED_UPS])
        self.branches = nn.ModuleList(nn.ModuleList(Up(*level) for level in levels[SHARED_UPS:]) for _ in branches)
        self.heads = nn.ModuleList(
            nn.Conv2d(config.head_width, count * config.channels, FULL_HEAD_KERNEL, dilation=2, padding=3)
            if self.full_resolution
            else nn.Conv2d(2 * widths[0], 4 * count * config.channels, HEAD_KERNEL, padding=HEAD_KERNEL // 2)
            for count in branches
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for magnitudes `[B, C, F, N]`."""
        return self.some(magnitudes, slice(0, magnitudes.shape[-1]))

    def some(self, magnitudes: Tensor, frames: slice, fine_bands: int | None = None) -> Tensor:
        """Return masks `[B, S, C, F, n]` of some frames; see `masks`."""
        return self.masks(magnitudes, frames, fine_bands).at(WHOLE)

    def masks(self, magnitudes: Tensor, frames: slice, fine_bands: int | None = None) -> Masks:
        """Return masks of some frames, with less work: the way up is made of what they need alone.

        Args:
            magnitudes: `[B, C, F, N]`.
            frames: Which.
            fine_bands: Those above have one mask for each block of the grid, that of the cell whose band and frame are
                odd: less work for a level at the full resolution, which there must be, and without gradients. 32
                divides it. None for a mask for each cell.
        """
        size = self._filled(magnitudes)
        fine = None if fine_bands is None or fine_bands >= size[0] else fine_bands
        bands, count = magnitudes.shape[-2], frames.stop - frames.start
        if not torch.is_inference_mode_enabled() or magnitudes.device.type != "cpu":
            skips, x = self._shared_levels(magnitudes)
            return Masks.of_cells(self._some(skips, x, frames, fine)[..., :bands, :])
        shape = (len(magnitudes), self.stems, self.channels)
        # The largest arrays come last. Made some frames at a time they take little memory, and that in the cache.
        if not self.full_resolution or self.training:
            cells = magnitudes.new_empty(*shape, size[0], count)
            skips, x = self._shared_levels(magnitudes)
            for begin in range(frames.start, frames.stop, FRAMES_AT_ONCE):
                end = min(begin + FRAMES_AT_ONCE, frames.stop)
                cells[..., begin - frames.start : end - frames.start] = self._some(skips, x, slice(begin, end), fine)
            return Masks.of_cells(cells[..., :bands, :])
        if (wider := _widened(frames, size[1])) != frames:
            found = self.masks(magnitudes, wider, fine_bands)
            return found.cut(slice(frames.start - wider.start, frames.stop - wider.start))
        columns = blocks_of(range(frames.start, frames.stop))
        cells = magnitudes.new_empty(*shape, fine or size[0], count)
        blocks = None if fine is None else magnitudes.new_empty(*shape, (size[0] - fine) // BLOCK, len(columns))
        for part, logits in self._streamed(fine).logits(magnitudes, size, frames):
            here = cells[..., part.start - frames.start : part.stop - frames.start]
            self._write_cells([each for each, _ in logits], here)
            if blocks is not None:
                some = blocks_of(part)
                there = blocks[..., some.start - columns.start : some.stop - columns.start]
                self._write_blocks([each for _, each in logits if each is not None], there)
        return Masks(cells, blocks, bands, frames.start % BLOCK)

    def _write_cells(self, logits: Sequence[Tensor], place: Tensor) -> None:
        """Write masks of cells, of which logits may have some bands more, beyond the highest."""
        parts = [torch.unflatten(each, STEM, (-1, self.channels)).to(place.dtype) for each in logits]
        places = [sorted_bands(each) for each in torch.split(place, self.counts, dim=1)]
        if parts[0].shape[-2] == places[0].shape[-2]:
            self._shares(parts, STEM, places)
            return
        for share, each in zip(self._shares(parts, STEM), places, strict=True):
            each.copy_(share[..., : each.shape[-2], :])

    def _write_blocks(self, logits: Sequence[Tensor], place: Tensor) -> None:
        """Write masks of blocks."""
        parts = [torch.unflatten(each, 2, (-1, self.channels)).to(place.dtype) for each in logits]
        rows = torch.unflatten(place, -2, (-1, parts[0].shape[1])).movedim(-2, 1)
        self._shares(parts, 2, torch.split(rows, self.counts, dim=2))

    def _some(self, skips: Sequence[Tensor], x: Tensor, frames: slice, fine: int | None) -> Tensor:
        """Masks of some frames of what `_shared_levels` returns."""
        columns = skips[0].shape[-1] // 2  # of four frames
        before, after = frames.start // 4 - COLUMNS_REACH, -(-frames.stop // 4) + COLUMNS_REACH
        made = range(max(0, before), min(after, columns))
        found = self._branch_levels(skips, x, made)
        wanted = slice(frames.start - 4 * made.start, frames.stop - 4 * made.start)
        if fine is None:
            return torch.cat(self._shares(self._logits(*found), 1), dim=1)[..., wanted]
        cells, blocks = [], []
        there = blocks_of(range(frames.start, frames.stop))
        for branch, head, joined in zip(self.branches, self.heads, self._joined(*found), strict=True):
            _, last = self._last_levels(branch)
            below = joined[:, :, : fine // 2 + ROWS_BEYOND]
            cells.append(self._by_stem(head(last(below)))[..., :fine, wanted])
            above = functional.pad(joined[:, :, fine // 2 - ROWS_BEFORE :], (1, 0)).permute(0, 2, 3, 1)
            end = CoarseEnd(last, cast(nn.Conv2d, head), last.bias.dtype)
            blocks.append(self._by_stem(end(above, 2 * made.start - 1, there, 2 * columns)[:, 0]))
        fine_masks, coarse = (torch.cat(self._shares(logits, 1), dim=1) for logits in (cells, blocks))
        return Masks(fine_masks, coarse, fine + BLOCK * coarse.shape[-2], frames.start % BLOCK).at(WHOLE)

    def _by_stem(self, logits: Tensor) -> Tensor:
        """`[B, S' * C, F, N] -> [B, S', C, F, N]`."""
        return torch.unflatten(logits, 1, (-1, self.channels))

    def _streamed(self, fine: int | None) -> Streamed:
        autocast = torch.is_autocast_enabled("cpu")
        return Streamed(
            cast("list[Down]", list(self.encoder)),
            self.bottleneck,
            cast("list[Up]", list(self.shared)),
            [cast("list[Up]", list(_levels(branch))) for branch in self.branches],
            cast("list[nn.Conv2d]", list(self.heads)),
            torch.get_autocast_dtype("cpu") if autocast else self.bottleneck.weight.dtype,
            fine,
        )

    def _filled(self, magnitudes: Tensor) -> tuple[int, int]:
        """Bands and frames, filled up so that every level can halve them."""
        bands, frames = (-(-count // self.grid) * self.grid for count in magnitudes.shape[-2:])
        return bands, frames

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
            parts.append(needed(parts[-1], skip.shape[-1] // 2))
        x = _cut(x, parts.pop())
        branches = []
        for branch in self.branches:
            y = x
            for up, skip, part in zip(_levels(branch), reversed(joined), reversed(parts), strict=False):
                y = _join(cast(Up, up), y, skip, part)
            branches.append(y)
        return _cut(first, range(2 * columns.start, 2 * columns.stop)), branches

    def seen_by_heads(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """What each head sees of what `decoded` returns.

        Shape:
            `[B, 2 W, F / 2, N / 2]`; `[B, H, F, N]`, H the width of the head, at the full resolution.
        """
        joined = self._joined(skip, branches)
        if not self.full_resolution:
            return joined
        return [self._last_levels(branch)[-1](x) for branch, x in zip(self.branches, joined, strict=True)]

    def _joined(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """What the last skip connection joins, `[B, 2 W, F / 2, N / 2]`."""
        ups = [self._last_levels(branch)[0] for branch in self.branches]
        return [torch.cat([skip, up(x)], dim=1) for up, x in zip(ups, branches, strict=True)]

    def _last_levels(self, branch: nn.Module) -> list[Up]:
        return cast("list[Up]", list(_levels(branch)))[-2 if self.full_resolution else -1 :]

    def _logits(self, skip: Tensor, branches: Sequence[Tensor]) -> list[Tensor]:
        """Logits `[B, S', C, F, N]` of each branch from what `decoded` returns.

        A frame depends on `COLUMNS_REACH` columns around it.
        """
        read = [head(x) for head, x in zip(self.heads, self.seen_by_heads(skip, branches), strict=True)]
        if self.full_resolution:
            return [self._by_stem(part) for part in read]
        # At half the resolution each cell holds four neighbours.
        cells = [torch.unflatten(part, 1, (2, 2, -1, self.channels)) for part in read]
        return [part.permute(0, 3, 4, 5, 1, 6, 2).flatten(5, 6).flatten(3, 4) for part in cells]

    def _shares(self, logits: Sequence[Tensor], stem: int, places: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Masks of the stems of each branch, all of which sum to one over dimension `stem`; before them the rest.

        Args:
            logits: Of each branch.
            stem: The dimension of stems.
            places: Where masks are to be written; None to return new tensors. What is computed goes through all of
                memory in one, for the last bits of an exponential depend on where a row of numbers ends.
        """
        to: Sequence[Tensor | None] = [None] * len(self.counts) if places is None else places
        if self.leaves and self.stems == 2:
            return _placed([torch.sigmoid(-logits[0]), torch.sigmoid(logits[0])], to)
        if self.leaves:
            logits = [torch.zeros_like(logits[0].narrow(stem, 0, 1)), *logits]
        if not self.nested:
            shares = torch.softmax(torch.cat(list(logits), dim=stem), dim=stem)
            return _placed(torch.split(shares, self.counts, dim=stem), to)
        # Several stems weigh as much as one with logit 0, and divide that.
        singles = [number for number, count in enumerate(self.counts) if count == 1]
        several = next(number for number, count in enumerate(self.counts) if count > 1)
        if len(singles) == 1:
            rest, *parts = torch.sigmoid(-logits[singles[0]]), torch.sigmoid(logits[singles[0]])
        else:
            together = [torch.zeros_like(logits[singles[0]]), *(logits[number] for number in singles)]
            rest, *parts = torch.split(torch.softmax(torch.cat(together, dim=stem), dim=stem), 1, dim=stem)
        shared = dict(zip(singles, _placed(parts, [to[number] for number in singles]), strict=True))
        shared[several] = torch.mul(_softmax(logits[several], stem), rest, out=to[several])
        return [shared[number] for number in range(len(logits))]


def _widened(frames: slice, total: int) -> slice:
    """At least `LEAST_FRAMES` of all, if there are as many, with those that are wanted."""
    start = max(0, min(frames.start, total - LEAST_FRAMES))
    return slice(start, max(frames.stop, min(start + LEAST_FRAMES, total)))


def _softmax(x: Tensor, dim: int) -> Tensor:
    """The softmax in the order of memory, for PyTorch copies what is in another one."""
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    shares = torch.softmax(x.permute(order), dim=order.index(dim))
    return shares.permute([order.index(number) for number in range(x.ndim)])


def _placed(shares: Sequence[Tensor], places: Sequence[Tensor | None]) -> list[Tensor]:
    return [share if place is None else place.copy_(share) for share, place in zip(shares, places, strict=True)]


def _levels(branch: nn.Module) -> Sequence[nn.Module]:
    return cast(Sequence[nn.Module], branch)  # a ModuleList, which mypy takes for a Module


def _cut(x: Tensor, part: range) -> Tensor:
    return x[..., part.start : part.stop]


def _join(up: Up, x: Tensor, skip: Tensor, part: range) -> Tensor:
    """Some columns of a skip connection and of what `up` makes of `x`, which is no more than these need."""
    first = part.start - 2 * needed(part, skip.shape[-1] // 2).start
    return torch.cat([_cut(skip, part), _cut(up(x), range(first, first + len(part)))], dim=1)
