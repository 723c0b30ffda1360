"""Applies drawn effects to waveforms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepgan.data.augment.codec import round_trip
from sepgan.data.augment.distortion import distort
from sepgan.data.augment.drawing import LONGEST_DELAY_S, Drawn, draw
from sepgan.data.augment.filters import Band, Room, band_response, lowpass_response, room_impulse, settle_samples
from sepgan.data.augment.warp import apply_warp, fit
from sepgan.recipe import AugmentationRecipe


class Augmenter:
    """The effects of a recipe.

    Args:
        config: How often and how strong.
        sample_rate: Of all waveforms, in Hz.
    """

    def __init__(self, config: AugmentationRecipe, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate
        # The length of the transform is the same for all excerpts: a filter that is cut off in time comes out a little
        # different at another length, and what an excerpt sounds like must not depend on the rest of its batch.
        longest = Room(config.reverb_s[1], 0.0, 1.0, LONGEST_DELAY_S, 0)
        self._tail = self._settle([Drawn(bands=(Band("peak", 1.0, 0.0),), room=longest, lowpass_hz=1.0)])

    def __call__(
        self, rng: np.random.Generator, crop: NDArray[np.float32], covers: frozenset[int] = frozenset()
    ) -> NDArray[np.float32]:
        """Change one crop `[C, T]`, as `Excerpts` asks for it; all stems are treated alike.

        Args:
            rng: Of the crop.
            crop: Is left as it is.
            covers: Stems in it.
        """
        effects = draw(self.config, rng)
        if effects == Drawn():
            return crop
        changed = self.apply(torch.from_numpy(np.ascontiguousarray(crop))[None], [effects])[0]
        return np.asarray(changed.numpy())

    def apply(self, waveforms: Tensor, effects: Sequence[Drawn]) -> Tensor:
        """Change a batch; each item comes out as it would alone.

        Args:
            waveforms: `[B, C, T]`, on any device; are left as they are.
            effects: For each item.

        Returns:
            `[B, C, T]` on the same device.
        """
        samples = waveforms.shape[-1]
        items = [
            fit(apply_warp(waveform, drawn.warp), samples, self.sample_rate) if drawn.warp.active else waveform
            for waveform, drawn in zip(waveforms, effects, strict=True)
        ]
        for row, drawn in enumerate(effects):
            if drawn.distortion is not None:
                items[row] = distort(items[row], drawn.distortion, self.sample_rate)
        changed = self._filter(torch.stack(items), effects)
        signs = torch.tensor([drawn.polarity for drawn in effects], device=changed.device, dtype=changed.dtype)
        changed = changed * signs[:, None, None]
        for row, drawn in enumerate(effects):
            if drawn.codec is not None:
                coded = round_trip(changed[row].cpu().numpy(), self.sample_rate, *drawn.codec)
                changed[row] = torch.from_numpy(coded).to(changed.device)
            if drawn.bits is not None:
                # Steps of full scale, as a converter has them; what is louder is not clipped, there is no converter.
                steps = 2 ** (drawn.bits - 1)
                changed[row] = torch.round(changed[row] * steps) / steps
        return changed

    def _filter(self, waveforms: Tensor, effects: Sequence[Drawn]) -> Tensor:
        rows = [row for row, drawn in enumerate(effects) if drawn.bands or drawn.room or drawn.lowpass_hz]
        if not rows:
            return waveforms
        channels, samples = waveforms.shape[1:]
        n_fft = _fast_length(samples + max(self._tail, self._settle(effects)))
        radians = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (2 * math.pi / n_fft)
        spectra = torch.fft.rfft(waveforms[rows], n_fft)
        for spectrum, row in zip(spectra, rows, strict=True):
            spectrum *= self._response(effects[row], channels, radians, waveforms.device)
        changed = waveforms.clone()
        changed[rows] = torch.fft.irfft(spectra, n_fft)[..., :samples]
        return changed

    def _settle(self, effects: Sequence[Drawn]) -> int:
        rooms = [drawn.room for drawn in effects if drawn.room]
        bands, lowpass = any(drawn.bands for drawn in effects), any(drawn.lowpass_hz for drawn in effects)
        return settle_samples(bands, lowpass, rooms, self.sample_rate)

    def _response(self, drawn: Drawn, channels: int, radians: Tensor, device: torch.device) -> Tensor:
        """Everything linear that happens to an item, `[C, F]` on the device; `radians` `[F]` are on the processor."""
        response = torch.ones(channels, radians.numel(), dtype=torch.complex64, device=device)
        for band in drawn.bands:
            response *= band_response(band, radians, self.sample_rate).to(device)
        if drawn.room is not None:
            impulse = room_impulse(drawn.room, channels, self.sample_rate).to(device)
            response *= 1 + torch.fft.rfft(impulse, 2 * (radians.numel() - 1))
        if drawn.lowpass_hz is not None:
            response *= lowpass_response(drawn.lowpass_hz, radians, self.sample_rate).float().to(device)
        return response


def _fast_length(samples: int) -> int:
    """The next length with small factors: an eighth of a power of two is fine enough."""
    step = 1 << max(1, samples.bit_length() - 3)
    return -(-samples // step) * step
