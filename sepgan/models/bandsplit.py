"""A band-split U-Net with complex masks.

After TFC-TDF-UNet (Kim, Lee and Jung, "Sound demixing challenge 2023: TFC-TDF-UNet v3", 2023): the spectrum is folded
into equal subbands that become channels, and each level mixes neighbours in time and frequency by convolutions (TFC)
and all frequencies of a frame by two matrices (TDF, Choi et al., ISMIR 2020). Below lies a dual path (Luo, Chen and
Yoshioka, "Dual-path RNN", ICASSP 2020), with attention over frequency and dilated convolutions over time in place of
its recurrences. Four choices differ:

- Nothing is averaged or attended to over time, and only frequency is made shorter on the way down. A mask depends on
  `reach` frames to either side and no more, so excerpts with that much context give what the whole song gives,
  wherever they begin.
- Normalisation is over the channels of one cell, so neither the batch nor other frames matter.
- The network sees levels and differences of phase: between neighbouring bins, between three frames, between left and
  right. The phase of a mixture as a whole tells nothing about its stems, and changes no mask.
- A mask is the stem's share of the mixture times a complex gain. See `complex_masks`.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.recipe import GeneratorRecipe

LOG_FLOOR = 1e-3  # added to magnitudes: about -66 dB below a full-scale partial of a 4096-point Hann window
LARGEST_GAIN = 2.0  # of a stem's complex gain, before that of all stems is subtracted
MASK_LIMIT = 25 / 16  # what the magnitude of a mask can reach with it: max of a (1 + 2 LARGEST_GAIN (1 - a))
NARROW = 8  # by how much the matrices over frequency are narrower in their middle
TIME_KERNEL, TIME_DILATION = 5, 4  # of the dual path's layers over time: each looks four times as far as the last
HEAD_WIDTH = 32  # channels that one head of the attention over frequency sees


class BandSplitUNet(nn.Module):
    """Complex spectra to one complex mask per stem.

    Args:
        config: `widths` of the levels, the last of which is the dual path's; `strides` over frequency between them;
            `subbands`; `dual_path` layers.
        stems: Number of masks, S.
        bands: Number of frequency bins F that come in.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`, both complex; masks sum to 1 over S, magnitudes at most `MASK_LIMIT`; any N.

    Raises:
        RecipeError: There is not one stride between each two widths.
    """

    complex_masks = True
    grid = 1  # frames; time is never made shorter

    def __init__(self, config: GeneratorRecipe, stems: int, bands: int) -> None:
        super().__init__()
        widths, strides = config.widths, config.strides
        if len(strides) != len(widths) - 1:
            raise RecipeError(
                f"generator.strides {list(strides)} must have one number fewer than generator.widths {list(widths)}: "
                "one for each way from a level to the next"
            )
        self.stems, self.channels, self.bands, self.subbands = stems, config.channels, bands, config.subbands
        multiple = config.subbands * prod(strides)
        self.padding = -bands % multiple
        size = (bands + self.padding) // config.subbands
        seen = 5 * config.channels + (2 if config.channels == 2 else 0)
        # About the mean logarithm of a song by bin, and one over its spread. Training finds both.
        self.offset = nn.Parameter(torch.linspace(1.0, -5.0, bands))
        self.gain = nn.Parameter(torch.full((bands,), 0.7))
        self.first = nn.Conv2d(seen * config.subbands, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for width, deeper, stride in zip(widths, widths[1:], strides, strict=False):
            self.encoder.append(_Block(width, size))
            self.decoder.insert(0, _Block(width, size))
            self.down.append(nn.Conv2d(width, deeper, (stride, 1), stride=(stride, 1)))
            self.up.insert(0, nn.ConvTranspose2d(deeper, width, (stride, 1), stride=(stride, 1)))
            size //= stride
        self.place = nn.Parameter(0.02 * torch.randn(1, widths[-1], size, 1))
        self.dual_path = nn.ModuleList(
            _DualPath(widths[-1], TIME_DILATION**layer, config.dropout) for layer in range(config.dual_path)
        )
        self.last = _Norm(widths[0])
        self.head = nn.Conv2d(widths[0], 3 * stems * config.channels * config.subbands, 1)
        dilated = sum(TIME_KERNEL // 2 * TIME_DILATION**layer for layer in range(config.dual_path))
        # One frame for the features and one for the first convolution; each block has two convolutions.
        self.reach = 2 + 2 * (len(self.encoder) + len(self.decoder)) + dilated

    def forward(self, spectrum: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for a spectrum `[B, C, F, N]`."""
        x = self.first(self._fold(self._features(spectrum)))
        skips: list[Tensor] = []
        for block, down in zip(self.encoder, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(x)
        x = x + self.place
        for layer in self.dual_path:
            x = layer(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(up(x) + skips.pop())
        x = self._unfold(self.head(functional.relu(self.last(x))))
        shares, real, imaginary = x.float().unbind(1)
        return complex_masks(shares, real, imaginary)

    def _features(self, spectrum: Tensor) -> Tensor:
        """Levels and differences of phase, real: `[B, C, F, N] -> [B, 5 C (+ 2), F, N]`."""
        magnitude = spectrum.abs()
        level = self.gain[:, None] * (torch.log(magnitude + LOG_FLOOR) - self.offset[:, None])
        unit = spectrum / (magnitude + LOG_FLOOR)  # near silence it shrinks, and noise of rounding with it
        across = functional.pad(unit[:, :, 1:] * unit[:, :, :-1].conj(), (0, 0, 0, 1))
        # A steady partial advances by the same angle each frame, whatever its frequency: the second difference is zero.
        around = functional.pad(unit, (1, 1))
        along = around[..., 2:] * unit.conj().square() * around[..., :-2]
        phases = [across, along] if self.channels == 1 else [across, along, unit[:, :1] * unit[:, 1:].conj()]
        parts = torch.cat(phases, dim=1)
        return torch.cat([level, parts.real, parts.imag], dim=1)

    def _fold(self, x: Tensor) -> Tensor:
        """Subbands to channels, which then lie innermost in memory: `[B, K, F, N] -> [B, subbands K, F', N]`."""
        x = functional.pad(x, (0, 0, 0, self.padding))
        batch, kinds, bands, frames = x.shape
        x = x.reshape(batch, kinds * self.subbands, bands // self.subbands, frames)
        return x.contiguous(memory_format=torch.channels_last)

    def _unfold(self, x: Tensor) -> Tensor:
        """Back to bins: `[B, 3 S C subbands, F', N] -> [B, 3, S, C, F, N]`."""
        batch, _, _, frames = x.shape
        x = x.contiguous().reshape(batch, 3, self.stems, self.channels, self.bands + self.padding, frames)
        return x[..., : self.bands, :]


def complex_masks(shares: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """Masks that sum to one: a share of the mixture times a complex gain, relative to the gain of all.

    With shares `a` (softmax over stems) and gains `g`, bounded to `LARGEST_GAIN`, the mask is
    `a (1 + g - sum of a g over stems)`. What the stems' gains would add to the mixture is taken from each in proportion
    to its share (mixture consistency, after Wisdom et al., ICASSP 2019), so a stem without a share stays silent. Equal
    gains leave the shares.

    Args:
        shares: Logits, `[B, S, C, F, N]`.
        real: Of the gain before it is bounded.
        imaginary: Likewise.

    Returns:
        Complex, of the same shape; magnitudes at most `MASK_LIMIT`.
    """
    share = torch.softmax(shares, dim=1)
    scale = LARGEST_GAIN * torch.rsqrt(1 + real.square() + imaginary.square())
    real, imaginary = scale * real, scale * imaginary
    real = share * (1 + real - (share * real).sum(1, keepdim=True))
    imaginary = share * (imaginary - (share * imaginary).sum(1, keepdim=True))
    return torch.complex(real, imaginary)


class _Norm(nn.LayerNorm):
    """Normalise the channels of each cell by themselves: `[B, C, F, N] -> [B, C, F, N]`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Convolutions over time and frequency around matrices over all frequencies of a frame."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        narrow = max(1, size // NARROW)
        self.norms = nn.ModuleList(_Norm(width) for _ in range(3))
        self.before = nn.Conv2d(width, width, 3, padding=1)
        self.narrow = nn.Parameter(torch.randn(narrow, size) / size**0.5)
        self.widen = nn.Parameter(torch.randn(size, narrow) / narrow**0.5)
        self.after = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.before(functional.relu(self.norms[0](x)))
        y = y + self._mix(functional.relu(self.norms[1](y)))
        y = self.after(functional.relu(self.norms[2](y)))
        return x + y

    def _mix(self, x: Tensor) -> Tensor:
        """With channels innermost in memory, a matrix over frequency is one product: `[F', F] @ [F, N C]`."""
        frames, channels = x.shape[3], x.shape[1]
        flat = x.permute(0, 2, 3, 1).flatten(2)  # [B, F, N C]
        y = torch.matmul(self.widen, functional.relu(torch.matmul(self.narrow, flat)))
        return y.reshape(*y.shape[:2], frames, channels).permute(0, 3, 1, 2)


class _DualPath(nn.Module):
    """Attention over the frequencies of each frame, then a dilated convolution over time at each frequency."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norms = nn.ModuleList(_Norm(width) for _ in range(2))
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        padding = TIME_KERNEL // 2 * dilation
        self.convolve = nn.Conv2d(width, width, (1, TIME_KERNEL), dilation=(1, dilation), padding=(0, padding))
        self.mix = nn.Conv2d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self._attend(self.norms[0](x)))
        y: Tensor = self.convolve(self.norms[1](x))
        y = self.dropout(self.mix(functional.relu(y)))
        return x + y

    def _attend(self, x: Tensor) -> Tensor:
        batch, width, bands, frames = x.shape
        tokens = self.query_key_value(x.permute(0, 3, 2, 1))  # [B, N, F, 3 C]
        tokens = tokens.reshape(batch * frames, bands, 3, self.heads, width // self.heads)
        query, key, value = tokens.permute(2, 0, 3, 1, 4).unbind(0)  # [B N, heads, F, C / heads]
        found = functional.scaled_dot_product_attention(query, key, value)
        joined = self.project(found.transpose(1, 2).reshape(batch, frames, bands, width)).permute(0, 3, 2, 1)
        assert isinstance(joined, Tensor)
        return joined
