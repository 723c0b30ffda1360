"""What the network of a separator says of a mixture: a mask for each of its stems."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from sepgan.masks import WHOLE, Masks, in_blocks
from sepgan.models.branched import BranchedUNet
from sepgan.separator import Separator
from sepgan.streaming import Cut, separate_array, span

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Task:
    """What is asked of a pass.

    Attributes:
        outputs: Numbers of the stems that each output is the sum of.
        layout: Channels that the network sees together; each channel is in one group.
        precision: Of the network, one of `PRECISIONS`.
        kept: Samples of each item of the batch whose stems are wanted.
        cut: How the network is fed; None with all at once.
    """

    outputs: Sequence[Sequence[int]]
    layout: Sequence[Sequence[int]]
    precision: str
    kept: Sequence[slice]
    cut: Cut | None

    def later(self, samples: int) -> Task:
        """The same of a mixture that begins earlier."""
        return replace(self, kept=[slice(kept.start + samples, kept.stop + samples) for kept in self.kept])


class Masking:
    """Has the network say its masks.

    Args:
        separator: In evaluation mode, on the device that is to be used.
        singly: Whether a CPU hears the items of a batch one after the other, to save memory.
        turns: Entered while the network runs.
    """

    def __init__(self, separator: Separator, singly: bool, turns: AbstractContextManager[object]) -> None:
        self._separator = separator
        self._singly = singly
        self._turns = turns

    def masks(self, seen: Tensor, frames: slice, task: Task) -> Masks:
        """Return masks `[B, S, C, bands, n]` of some frames of `[B, C, bands, N]`."""
        with self._turns:
            return self._by_groups(seen, frames, task)

    def _by_groups(self, seen: Tensor, frames: slice, task: Task) -> Masks:
        """Masks of each group of channels by itself."""
        width = self._separator.recipe.generator.channels
        if [list(group) for group in task.layout] == [list(range(width))]:
            return self._network(seen, frames, task)
        batch, channels = seen.shape[:2]
        shape = (batch, len(self._separator.stems), channels, seen.shape[2], frames.stop - frames.start)
        masks: Tensor = seen.new_empty(shape)
        for size in sorted({len(group) for group in task.layout}):
            groups = [list(group) for group in task.layout if len(group) == size]
            if size == width:
                items = torch.stack([seen[:, group] for group in groups], dim=1)
            else:  # one by one, each repeated to the width of the network
                groups = [[channel] for group in groups for channel in group]
                items = torch.stack([seen[:, group].expand(-1, width, -1, -1) for group in groups], dim=1)
            found = self._network(items.flatten(0, 1), frames, task).at(WHOLE)
            found = found.reshape(batch, len(groups), *found.shape[1:])
            for number, group in enumerate(groups):
                masks[:, :, group] = found[:, number] if size == width else found[:, number].mean(2, keepdim=True)
        return Masks.of_cells(masks)

    def _network(self, seen: Tensor, frames: slice, task: Task) -> Masks:
        """Masks `[B, S, channels, bands, n]` of some frames, of pieces where not all is to be heard at once."""
        if seen.device.type == "cpu" and len(seen) > 1 and self._singly:  # else there is one group of channels
            return Masks.of_cells(torch.cat([self._network(item[None], frames, task).at(WHOLE) for item in seen]))
        cut = None if task.cut is None else self._separator.segmenting.in_frames(task.cut)
        if cut is None or cut.segment >= seen.shape[-1]:
            return self._heard(seen, frames, task)
        function = partial(self._piece, task=task)
        context = self._separator.frames_of_context
        pieces = [
            separate_array(function, item, segment=cut.segment, overlap=cut.overlap, context=context) for item in seen
        ]
        return Masks.of_cells(torch.stack(pieces)[..., frames].to(seen.device))

    def _piece(self, seen: Tensor, wanted: Sequence[slice], *, task: Task) -> Tensor:
        return self._heard(seen.to(self._separator.stft.window.device), span(wanted), task).at(WHOLE)

    def _heard(self, seen: Tensor, frames: slice, task: Task) -> Masks:
        if task.precision == "fp32":
            return self._said(seen, frames)
        with torch.autocast(seen.device.type, PRECISIONS[task.precision]):
            rough = self._said(seen, frames)
        return rough if rough.cells.is_complex() else rough.float()

    def _said(self, seen: Tensor, frames: slice) -> Masks:
        generator, fine = self._separator.generator, self._separator.recipe.separation.fine_bands
        if isinstance(generator, BranchedUNet):  # it need not make the others
            return generator.masks(seen, frames, fine)
        masks: Tensor = generator(seen)
        return Masks.of_cells((masks if fine is None else in_blocks(masks, fine))[..., frames])
