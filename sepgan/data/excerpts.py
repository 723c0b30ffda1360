"""Random excerpts for training: crop, remix over songs, gain, panning, channel swap.

An excerpt is a list of sounds that sum to the mixture. Each sound *covers* one or more stems of the model: a drum stem
covers `drums`; an `accompaniment` covers everything but the vocals; the `other` of a song without a bass stem covers
`other` and `bass`, because its bass line lies inside it. Stems that are covered together form a group, and the loss
sees the sum of a group. So no stem is ever taught a silence that is not known to be true. A mixture without stems
covers nothing: it is in the batch for an adversary that needs no references, and not `supervised`.

What an excerpt consists of is drawn first, as a few numbers (`sepgan.data.plan`); the audio is then written straight
into the batch, by the processor or on the device. Excerpt number `i` depends on the seed and `i` alone: any number of
workers gives the same data, and a resumed run goes on with the excerpt it stopped before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sepgan.data.augment.warp import apply_warp
from sepgan.data.opening import covers_of, open_songs
from sepgan.data.plan import Placement, Plan, Planner, Song, Sound, merge_covers
from sepgan.data.store import FULL_SCALE
from sepgan.errors import AudioError, DatasetError
from sepgan.recipe import DataRecipe

__all__ = ["Augment", "Batch", "Excerpts", "Song", "Sound", "covers_of", "merge_covers", "open_songs"]

_log = logging.getLogger(__name__)

PATIENCE = 8  # excerpts that may fail one after the other, and failures that are forgiven whatever their share

Float = NDArray[np.float32]
Augment = Callable[[np.random.Generator, Float, frozenset[int]], Float]
_T = TypeVar("_T")


class Batch(NamedTuple):
    """What one step sees.

    `targets[:, g]` is the sum of the stems `s` with `groups[:, g, s] = 1`; those of empty groups are zero. Where
    `supervised` is false, all groups are empty: the mixture is all that is known.
    """

    mixture: Tensor  # [B, C, T]
    targets: Tensor  # [B, G, C, T], G = S
    groups: Tensor  # [B, G, S]
    band_hz: Tensor  # [B]: nothing is known above
    supervised: Tensor  # [B], bool


class Excerpts(Dataset[Batch]):
    """Endless excerpts of a recipe's training data; item `i` is always the same.

    Args:
        songs: For each source of the recipe its songs.
        weights: For each source its relative number of excerpts.
        config: How to mix.
        stems: Number of the model's stems, S.
        channels: Audio channels C of the excerpts.
        samples: Length T.
        seed: Of all randomness.
        first: Number of the first excerpt.
        count: Number of excerpts.
        augment: Changes a crop `[C, T]` of the sound that covers the given stems, and keeps its shape.
    """

    def __init__(
        self,
        songs: Sequence[Sequence[Song]],
        weights: Sequence[float],
        config: DataRecipe,
        *,
        stems: int,
        channels: int,
        samples: int,
        seed: int,
        first: int,
        count: int,
        augment: Augment | None = None,
    ) -> None:
        self.planner = Planner(songs, weights, config, stems=stems, channels=channels, samples=samples)
        self.songs = songs
        self.config = config
        self.stems = stems
        self.channels = channels
        self.samples = samples
        self.seed = seed
        self.first = first
        self.count = count
        self.augment = augment
        self.failures = 0  # excerpts that could not be read, of `served`; each worker counts its own
        self.served = 0

    def __len__(self) -> int:
        """Number of excerpts."""
        return self.count

    def __getitem__(self, index: int) -> Batch:
        """Return one excerpt, without the batch axis."""
        return Batch(*(tensor[0] for tensor in self.batch([index])))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return several excerpts, written straight into their place in the batch.

        Raises:
            DatasetError: More excerpts cannot be read than the recipe allows.
        """
        shape = (len(indices), self.stems, self.channels, self.samples)
        # Zeros that nobody writes to cost nothing: the system hands them out when they are touched.
        targets = np.zeros(shape, dtype=np.float32)
        mixture = np.zeros((shape[0], *shape[2:]), dtype=np.float32)
        plans = [
            self.readable(index, partial(self._write, mixture=mixture[row], targets=targets[row]))[0]
            for row, index in enumerate(indices)
        ]
        return assemble(plans, torch.from_numpy(mixture), torch.from_numpy(targets), self.stems)

    def readable(self, index: int, make: Callable[[Plan], _T]) -> tuple[Plan, _T]:
        """Plan an excerpt and make it; where its audio cannot be read, take another in its place and count.

        Raises:
            DatasetError: More excerpts cannot be read than the recipe allows.
        """
        self.served += 1
        for attempt in range(PATIENCE):
            key = (self.seed, self.first + index) if attempt == 0 else (self.seed, self.first + index, attempt)
            plan = self.planner.draw(np.random.default_rng(key))
            try:
                return plan, make(plan)
            except (OSError, AudioError) as error:
                self.failures += 1
                _log.warning("an excerpt is skipped: %s", error)
                if self.failures > max(PATIENCE, self.config.unreadable * self.served):
                    raise DatasetError(
                        f"{self.failures} of {self.served} excerpts cannot be read, the last one because: {error}; run "
                        "`sepgan data check`, or raise data.unreadable"
                    ) from error
        raise DatasetError(f"{PATIENCE} excerpts in a row cannot be read: run `sepgan data check`")

    def _write(self, plan: Plan, mixture: Float, targets: Float) -> None:
        """Write an excerpt into zeros, `mixture` `[C, T]` and `targets` `[S, C, T]`, and leave zeros where it fails."""
        try:
            self._place(plan, mixture, targets)
        except (OSError, AudioError):
            mixture[:] = 0.0
            targets[:] = 0.0
            raise
        peak = max(float(mixture.max(initial=0.0)), -float(mixture.min(initial=0.0)))
        if peak > 1.0:
            mixture /= peak
            targets /= peak

    def _place(self, plan: Plan, mixture: Float, targets: Float) -> None:
        written: set[int] = set()
        for placement in plan.placements:
            place = mixture if placement.slot is None else targets[placement.slot]
            fresh = placement.slot is None or placement.slot not in written
            target = place if fresh else np.empty_like(place)
            self.cut(placement, target)
            if self.augment is not None and placement.seed is not None:
                rng = np.random.default_rng(placement.seed)
                target[:] = self.augment(rng, target, placement.sound.covers)
            if not fresh:
                place += target
            if placement.slot is not None:
                written.add(placement.slot)
        if plan.supervised:
            _sum_into(mixture, [targets[slot] for slot in sorted(written)])

    def cut(self, placement: Placement, out: Float) -> None:
        """Write a crop into `[C, T]`: converted, scaled, panned, padded with zeros where the song ends, and matched."""
        if placement.warp.active:
            # What plays faster needs more of the song.
            longer = np.empty((self.channels, placement.warp.source_samples(out.shape[1])), dtype=np.float32)
            self._copy(placement, longer)
            out[:] = apply_warp(torch.from_numpy(longer), placement.warp)[:, : out.shape[1]].numpy()
        else:
            self._copy(placement, out)

    def _copy(self, placement: Placement, out: Float) -> None:
        piece = placement.sound.samples.window(placement.start, placement.start + out.shape[1])
        scale = 1.0 / FULL_SCALE if piece.dtype == np.int16 else 1.0
        count = piece.shape[1]
        out[:, count:] = 0.0
        if self.channels == 1:
            np.mean(piece, axis=0, dtype=np.float32, out=out[0, :count])
        else:
            order = range(self.channels)[::-1] if placement.swapped else range(self.channels)
            for channel, source in enumerate(order):
                # Of surround sound the front channels are taken; a single channel goes everywhere.
                np.copyto(out[channel, :count], piece[source if len(piece) > 1 else 0])
        for channel, gain in enumerate(placement.gains):
            out[channel, :count] *= np.float32(gain * scale)


def assemble(plans: Sequence[Plan], mixture: Tensor, targets: Tensor, stems: int) -> Batch:
    """Return a batch of waveforms together with what their plans say of them."""
    groups = torch.zeros(len(plans), stems, stems)
    for row, plan in enumerate(plans):
        for slot, members in enumerate(plan.groups):
            groups[row, slot, list(members)] = 1.0
    return Batch(
        mixture,
        targets,
        groups.to(mixture.device),
        torch.tensor([plan.band_hz for plan in plans], dtype=torch.float32, device=mixture.device),
        torch.tensor([plan.supervised for plan in plans], device=mixture.device),
    )


def _sum_into(out: Float, parts: Sequence[Float]) -> None:
    if not parts:
        return
    np.copyto(out, parts[0])
    for part in parts[1:]:
        out += part
