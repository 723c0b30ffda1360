"""Frames of any number of channels, their spectra one by one and together, and the exact way back.

One code path serves one channel, stereo and surround sound: channels are an axis like any other until `covariance`,
which looks at all of them at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.recipe import FramingRecipe


class Framing(nn.Module):
    """Cuts waveforms into overlapping frames, and joins frames to the waveform they came from.

    Frames are centred on every `hop_length`th sample and the ends are padded with zeros, so every sample is covered and
    any length from one sample on works. Joining divides by the summed squared window (Griffin and Lim, 1984), which is
    exact for any window that leaves no gap.

    Args:
        config: Length, step and window.

    Shape:
        `forward`: `[..., C, T] -> [..., C, N, L]`, windowed, `N = 1 + ceil(T / hop_length)`;
        `spectra`: `[..., C, T] -> [..., C, N, F]` complex, `F = L // 2 + 1`;
        `join`: `[..., C, N, L], length -> [..., C, length]`;
        `join_spectra`: `[..., C, N, F], length -> [..., C, length]`.

    >>> framing = Framing(FramingRecipe(frame_length=256, hop_length=64, window="symmetric"))
    >>> surround = torch.randn(5, 1000)
    >>> bool((framing.join(framing(surround), 1000) - surround).abs().max() < 1e-5)
    True
    """

    window: Tensor

    def __init__(self, config: FramingRecipe) -> None:
        super().__init__()
        self.config = config
        window = torch.hann_window(config.frame_length, periodic=config.window == "periodic")
        self.register_buffer("window", window, persistent=False)

    def count(self, samples: int) -> int:
        """Return the number of frames N of `samples` samples."""
        return 1 - (-samples // self.config.hop_length)

    def forward(self, waveform: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Cut into windowed frames, all or `count` of them from number `first` on.

        Part after part gives the same frames as all at once, so sounds of any length can be worked through in pieces.
        """
        length, hop = self.config.frame_length, self.config.hop_length
        samples = waveform.shape[-1]
        count = self.count(samples) - first if count is None else count
        start = first * hop - length // 2
        stop = start + (count - 1) * hop + length
        inside = waveform[..., max(0, start) : max(0, min(stop, samples))]
        before = max(0, -start)
        padded = functional.pad(inside, (before, stop - start - before - inside.shape[-1]))
        frames: Tensor = padded.unfold(-1, length, hop) * self.window
        return frames

    def spectra(self, waveform: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Transform the frames of each channel."""
        frames: Tensor = self(waveform, first, count)
        spectra: Tensor = torch.fft.rfft(frames)
        return spectra

    def join(self, frames: Tensor, length: int) -> Tensor:
        """Return the waveform of `length` samples that windowed frames came from, or the nearest to changed ones."""
        flat = (frames * self.window).flatten(0, -3).transpose(-1, -2)
        weight = self.window.square()[None, :, None].expand(1, -1, frames.shape[-2])
        summed = self._fold(flat) / self._fold(weight).clamp_min(torch.finfo(frames.dtype).tiny)
        half = self.config.frame_length // 2
        return summed[:, half : half + length].reshape(*frames.shape[:-2], length)

    def join_spectra(self, spectra: Tensor, length: int) -> Tensor:
        """Return the waveform of `length` samples that spectra came from."""
        return self.join(torch.fft.irfft(spectra, self.config.frame_length), length)

    def _fold(self, columns: Tensor) -> Tensor:
        """Overlap-add: `[M, L, N] -> [M, samples]`."""
        length, hop = self.config.frame_length, self.config.hop_length
        samples = (columns.shape[-1] - 1) * hop + length
        return functional.fold(columns, (1, samples), (1, length), stride=(1, hop))[:, 0, 0]


def covariance(spectra: Tensor, smoothing: int = 1) -> Tensor:
    """Return what channels have in common in each bin: level on the diagonal, phase and coherence beside it.

    Args:
        spectra: `[..., C, N, F]` complex.
        smoothing: Frames over which products are averaged, an odd number; at the ends over those there are.

    Returns:
        `[..., N, F, C, C]`, Hermitian; entry `(i, j)` is the mean of `X_i * conj(X_j)`.

    Raises:
        ValueError: `smoothing` is even or below 1.
    """
    if smoothing < 1 or smoothing % 2 == 0:
        raise ValueError(f"smoothing must be an odd number of frames, got {smoothing}")
    bins = spectra.movedim(-3, -1)  # [..., N, F, C]
    products = bins.unsqueeze(-1) * bins.conj().unsqueeze(-2)  # [..., N, F, C, C]
    # A mean over shifted copies: running sums would lose quiet passages beside loud ones.
    frames, half = products.shape[-4], smoothing // 2
    means = torch.zeros_like(products)
    for row in range(-half, half + 1):
        kept = slice(max(0, -row), min(frames, frames - row))
        source = slice(kept.start + row, kept.stop + row)
        if kept.stop > kept.start:
            means[..., kept, :, :, :] += products[..., source, :, :, :]
    place = torch.arange(frames, device=spectra.device)
    counts = (place + half).clamp_max(frames - 1) - (place - half).clamp_min(0) + 1
    return means / counts.view(-1, 1, 1, 1)


def coherence(covariances: Tensor) -> Tensor:
    """Return how far channels move together, from 0 to 1: `[..., N, F, C, C] -> [..., N, F, C, C]`, real.

    It says something where `covariance` was averaged over several frames; over one frame it is 1 by definition.
    """
    level = covariances.diagonal(dim1=-2, dim2=-1).real
    scale = (level.unsqueeze(-1) * level.unsqueeze(-2)).clamp_min(torch.finfo(level.dtype).tiny).sqrt()
    return covariances.abs() / scale
