"""One pass of a separator over a mixture: what the network says of its channels, refined, as waveforms.

The mixture is transformed once to be heard and once to be masked, and masks are spread, applied and inverted, some
frames at a time: no spectrum of the mixture or a stem is ever held, and only what is asked for is inverted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from sepgan.frontend import LinearBands, OverlapAdd, Stft
from sepgan.masking import Masking, Task
from sepgan.masks import WHOLE, Masks
from sepgan.repetition import FRAMES_AT_ONCE as DIVIDED_AT_ONCE
from sepgan.repetition import SINGLE, Gains, Grid, find_gains
from sepgan.separator import Separator
from sepgan.streaming import span
from sepgan.synchronous import corrections, slowest
from sepgan.wiener import wiener

STRIKING = ("drums", "bass")  # stems of strokes and notes that come again, wave by wave


@dataclass(frozen=True)
class Pass:
    """How a pass goes.

    Attributes:
        separator: In evaluation mode, on the device that is to be used.
        wiener: Iterations of the multichannel Wiener filter.
        repetition: Passes that average all stems but vocals over similar moments, whose words are the same. With any,
            the lowest bands are divided once more by patterns that the stems are sums of, and then, without the filter,
            strokes of drums and notes of a bass are averaged wave by wave.
        masking: Has the network say its masks.
    """

    separator: Separator
    wiener: int
    repetition: int
    masking: Masking

    def run(self, mixture: Tensor, task: Task) -> Tensor:
        """Separate `[B, C, T]` into `[B, len(outputs), C, n]`, the samples from the first kept to the last."""
        device = self.separator.stft.window.device
        if device.type == "cuda" and mixture.device.type == "cpu":
            mixture = mixture.pin_memory()
        if self.wiener or self.repetition or device.type != "cpu":
            return self._together(mixture, task)
        outputs: Tensor | None = None
        for group in task.layout:  # one by one, to save memory
            if sorted(group) == list(range(mixture.shape[1])):
                return self._together(mixture, replace(task, layout=[group]))
            found = self._together(mixture[:, list(group)], replace(task, layout=[range(len(group))]))
            if outputs is None:
                outputs = found.new_empty(*found.shape[:2], mixture.shape[1], found.shape[-1])
            outputs[:, :, list(group)] = found
            del found  # before the next group of channels needs room
        assert outputs is not None
        return outputs

    def _together(self, mixture: Tensor, task: Task) -> Tensor:
        stft, kept = self.separator.stft, span(task.kept)
        mixture = mixture.to(stft.window.device, non_blocking=True)
        # Frames that have no part in what is kept are heard, and nothing more.
        reaching = stft.reaching(kept)
        frames = range(reaching.start, min(reaching.stop, stft.count(mixture.shape[-1])))
        seen, lowest = self._seen(mixture)
        masks = self.masking.masks(seen, slice(frames.start, frames.stop), task)
        seen, lowest = (each[..., frames.start : frames.stop] for each in (seen, lowest))
        gains = changes = None
        if self.repetition and self._repeating:
            near = map(stft.reaching, task.kept)
            heard = [slice(each.start - frames.start, each.stop - frames.start) for each in near]
            gains = find_gains(masks, seen, self._repeating, self.repetition, self._grid(), heard, patterns=True)
            changes = self._synchronised(lowest.mT, masks, gains, heard, task.outputs)
        del seen
        canvas = OverlapAdd(stft, (len(mixture), len(task.outputs), mixture.shape[1]), len(frames))
        for begin, rows in _divided(masks, gains, len(frames) if self.wiener else stft.frames_at_once):
            here = slice(begin, begin + rows.shape[-1])
            spectrum = stft.frames(mixture, frames[here])
            for output, masked in self._masked(spectrum, masks, rows, task.outputs):
                if changes is not None:
                    masked[..., : changes.shape[-1]] += changes[:, output, :, here]
                canvas.add(masked, begin, (slice(None), output))
        return canvas.waveform(kept.stop - kept.start, kept.start - frames.start * stft.hop_length)

    def _seen(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is shown of `[B, C, T]`, `[B, C, bands, N]`, and the lowest bins, `[B, C, K, N]`."""
        stft, slow = self.separator.stft, self._slow
        count, bins = stft.count(mixture.shape[-1]), 0 if slow is None else slow.n_fft // 2
        seen: Tensor | None = None
        lowest = mixture.new_empty(*mixture.shape[:2], bins, count, dtype=stft.window.dtype.to_complex())
        for first in range(0, count, stft.frames_at_once):
            part = slice(first, min(first + stft.frames_at_once, count))
            spectrum = stft.frames(mixture, range(part.start, part.stop)).mT
            lowest[..., part] = spectrum[..., :bins, :]
            some = self.separator.seen(spectrum)
            seen = some.new_empty(*some.shape[:-1], count) if seen is None else seen
            seen[..., part] = some
        assert seen is not None
        return seen, lowest

    @property
    def _striking(self) -> list[int]:
        stems = self.separator.stems
        return [] if self.wiener or not self.repetition else [stems.index(stem) for stem in STRIKING if stem in stems]

    @property
    def _slow(self) -> Stft | None:
        """The transform at the rate of strokes, where they are averaged; its bins are the lowest of the other one's."""
        if not self._striking:
            return None
        stft = self.separator.stft
        times = slowest(self.separator.sample_rate, math.gcd(stft.n_fft, stft.hop_length))
        return Stft(stft.n_fft // times, stft.hop_length // times).to(stft.window.device)

    def _synchronised(
        self, spectrum: Tensor, masks: Masks, gains: Gains, heard: Sequence[slice], outputs: Sequence[Sequence[int]]
    ) -> Tensor | None:
        """What averages of strokes add to the lowest bins of each output, `[B, len(outputs), C, N, K]`, if any.

        The stems are made at a rate so low that it has little more than these bins.

        Args:
            spectrum: The lowest bins of the mixture, `[B, C, N, K]`.
            masks: Of all bands, `[B, S, C, bands, N]`.
            gains: What they are multiplied by.
            heard: Frames of each item.
            outputs: As of `Task`.
        """
        slow = self._slow
        if slow is None:
            return None
        times, bins = self.separator.stft.n_fft // slow.n_fft, spectrum.shape[-1]
        rate = self.separator.sample_rate / times
        shares = self._shares(masks, gains, bins)
        changes = spectrum.new_zeros(len(spectrum), len(outputs), *spectrum.shape[1:3], bins)
        for item, frames in enumerate(heard):
            stems = shares[item, :, :, frames] * (spectrum[item, :, frames] / times)  # [S, C, n, bins]
            canvas = OverlapAdd(slow, stems.shape[:2], stems.shape[2])
            canvas.add(functional.pad(stems, (0, 1)), 0)
            waves = canvas.waveform((stems.shape[2] - 1) * slow.hop_length)
            found = corrections(waves, self._striking, rate)
            for output, group in enumerate(outputs):
                changed = slow.frames(found[list(group)].sum(0))[..., :bins]
                changes[item, output, :, frames] = changed * times
        return changes

    def _shares(self, masks: Masks, gains: Gains, bins: int) -> Tensor:
        """Masks of all stems over the lowest bins, with the gains, `[B, S, C, N, bins]`."""
        bands = self.separator.bands
        if isinstance(bands, LinearBands) and bins <= min(masks.fine, SINGLE):
            return gains.lowest(bins).divide(masks.cells[..., :bins, :], WHOLE).mT
        divided = masks.spread(gains.divide(masks.rows(WHOLE), WHOLE))
        return torch.stack([bands.to_frames(mask)[..., :bins] for mask in divided.unbind(1)], dim=1)

    def _masked(
        self, spectrum: Tensor, masks: Masks, rows: Tensor, outputs: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, Tensor]]:
        """Frames `[B, C, n, F]` of each output, from rows `[B, S, C, R, n]` of masks."""
        if self.wiener:
            stems = self._refined(spectrum, masks.spread(rows))
            yield from enumerate(stems[:, list(group)].sum(1) for group in outputs)
            return
        for output, group in enumerate(outputs):
            some = rows[:, group[0]] if len(group) == 1 else rows[:, list(group)].sum(1)
            yield output, spectrum * self.separator.bands.to_frames(masks.spread(some))

    def _refined(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Filter the stems, and give what the filter leaves over to the residual stem, so that they still sum."""
        separator = self.separator
        masks = torch.stack([separator.bands.to_frames(mask) for mask in masks.unbind(1)], dim=1)
        stems = wiener((masks * spectrum.unsqueeze(1)).mT, spectrum.mT, self.wiener).mT  # [B, S, C, N, F]
        stems[:, separator.stems.index(separator.residual_stem)] += spectrum - stems.sum(1)
        return stems

    @property
    def _repeating(self) -> list[int]:
        return [number for number, stem in enumerate(self.separator.stems) if stem != "vocals"]  # these have new words

    def _grid(self) -> Grid:
        separator = self.separator
        return Grid(
            separator.bands.centres_hz(separator.sample_rate), separator.sample_rate / separator.stft.hop_length
        )


def _divided(masks: Masks, gains: Gains | None, at_once: int) -> Iterator[tuple[int, Tensor]]:
    """Rows of masks of some frames at a time, with the gains, and the number of the first of these frames."""
    count = masks.frames
    longer = max(at_once, DIVIDED_AT_ONCE)
    for begin in range(0, count, longer):
        block = slice(begin, min(begin + longer, count))
        rows = masks.rows(block) if gains is None else gains.divide(masks.rows(block), block)
        for first in range(0, rows.shape[-1], at_once):
            yield begin + first, rows[..., first : first + at_once]
