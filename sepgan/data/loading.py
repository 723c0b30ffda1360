"""From excerpts to batches on the device: by worker processes, or cut where the stems already lie.

A GPU that trains on thousands of seconds of audio a second is starved by copies between memories. Where the decoded
stems fit into its own memory (the training songs of MUSDB18 take 15 GB as int16), excerpts are cut, mixed and scaled
there; what is in them is drawn as ever, so both ways give the same excerpts but for rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sepgan.data.augment.warp import apply_warp
from sepgan.data.excerpts import Batch, Excerpts, assemble
from sepgan.data.plan import Placement, Plan
from sepgan.data.store import FULL_SCALE, Samples
from sepgan.errors import DatasetError

_log = logging.getLogger(__name__)

ROOM = 0.5  # largest share of the device's free memory that stems may take: networks need the rest


def batches(
    excerpts: Excerpts, numbers: Iterable[list[int]], *, device: torch.device | str = "cpu", workers: int = 0
) -> Iterator[Batch]:
    """Give batches on a device.

    Args:
        excerpts: What to cut; `config.resident` asks for stems in the memory of the device.
        numbers: Numbers of the excerpts of each batch.
        device: Where the batches are wanted.
        workers: Processes that prepare them ahead; 0 prepares them here. Stems on the device need none.

    Raises:
        DatasetError: More excerpts cannot be read than the recipe allows.
    """
    device = torch.device(device)
    if excerpts.config.resident and excerpts.augment is not None:
        _log.warning("data.augmentation works on the processor: the stems stay on disk, data.resident is passed over")
    elif excerpts.config.resident:
        resident = ResidentExcerpts(excerpts, device)
        if resident.bytes <= ROOM * free_bytes(device):
            for indices in numbers:
                yield resident.batch(indices)
            return
        _log.warning(
            "the stems take %.1f GB, more than half of the free memory of %s: they stay on disk",
            resident.bytes / 1e9,
            device,
        )
    pinned = device.type == "cuda"
    loader: DataLoader[Batch] = DataLoader(
        _Batches(excerpts),
        batch_size=None,
        sampler=numbers,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # typed for lists of samples only
        num_workers=workers,
        pin_memory=pinned,
        # A loader draws a number when it starts; from the global generator that would shift the dropout of a run that
        # goes on.
        generator=torch.Generator(),
    )
    for batch in loader:
        yield Batch(*(tensor.to(device, non_blocking=pinned) for tensor in batch))


class _Batches(Dataset[Batch]):
    """Excerpts by lists of their numbers: a batch is written where it stays, and not collated from copies."""

    def __init__(self, excerpts: Excerpts) -> None:
        self.excerpts = excerpts

    def __getitem__(self, indices: list[int]) -> Batch:
        return self.excerpts.batch(indices)


def _as_it_is(batch: Batch) -> Batch:
    return batch


class ResidentExcerpts:
    """Excerpts of stems that lie in the memory of a device; each stem is copied there when it is first drawn.

    Args:
        excerpts: What to cut; without augmentation, which works on crops in main memory.
        device: Where.
    """

    def __init__(self, excerpts: Excerpts, device: torch.device) -> None:
        if excerpts.augment is not None:
            raise DatasetError("data.augment works on the processor: set data.resident to false")
        self.excerpts = excerpts
        self.device = device
        sounds = [sound for songs in excerpts.songs for song in songs for sound in song.sounds]
        self.bytes = sum(2 * len(sound.samples) * sound.samples.channels for sound in sounds)
        self._held: dict[int, Tensor] = {}

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return a batch; the same excerpts as `Excerpts` gives.

        Raises:
            DatasetError: More excerpts cannot be read than the recipe allows.
        """
        excerpts = self.excerpts
        shape = (len(indices), excerpts.stems, excerpts.channels, excerpts.samples)
        targets = torch.zeros(shape, device=self.device)
        mixture = torch.zeros(shape[0], *shape[2:], device=self.device)
        plans = []
        for row, index in enumerate(indices):
            plan, crops = excerpts.readable(index, self._crops)
            plans.append(plan)
            for placement, crop in zip(plan.placements, crops, strict=True):
                place = mixture[row] if placement.slot is None else targets[row, placement.slot]
                gains = torch.tensor(placement.gains, dtype=torch.float32, device=self.device) / FULL_SCALE
                place[:, : crop.shape[1]] += crop * gains[:, None]
        supervised = torch.tensor([plan.supervised for plan in plans], device=self.device)
        mixture = torch.where(supervised[:, None, None], targets.sum(1), mixture)
        peak = mixture.abs().amax((1, 2)).clamp_min(1.0)
        return assemble(plans, mixture / peak[:, None, None], targets / peak[:, None, None, None], excerpts.stems)

    def _crops(self, plan: Plan) -> list[Tensor]:
        return [self._crop(placement) for placement in plan.placements]

    def _crop(self, placement: Placement) -> Tensor:
        excerpts = self.excerpts
        warp, count = placement.warp, placement.warp.source_samples(excerpts.samples)
        piece = self._on_device(placement.sound.samples)[:, placement.start : placement.start + count].float()
        if excerpts.channels == 1:
            piece = piece.mean(0, keepdim=True)
        else:
            piece = piece.expand(excerpts.channels, -1) if len(piece) == 1 else piece[: excerpts.channels]
            piece = piece.flip(0) if placement.swapped else piece
        if warp.active:
            padded = torch.nn.functional.pad(piece, (0, count - piece.shape[1]))
            piece = apply_warp(padded, warp)[:, : excerpts.samples]
        return piece

    def _on_device(self, samples: Samples) -> Tensor:
        held = self._held.get(id(samples))
        if held is None:
            counts = samples.window(0, len(samples))
            if counts.dtype != np.int16:
                raise DatasetError("data.resident needs decoded stems: set data.decode to once")
            held = torch.from_numpy(np.array(counts)).to(self.device)
            self._held[id(samples)] = held
        return held


def free_bytes(device: torch.device) -> float:
    """Return how much memory a device has left; no bound is known for the processor's."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float("inf")
