"""The short-time Fourier transform with its exact inverse, and the bands a network sees of it.

All tables are buffers of modules, so they follow the device and type of the model; nothing is cached globally.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.recipe import FrontendRecipe

SAMPLES_AT_ONCE = 64 * 4096  # of one channel's windows: a stereo block of them stays in a core's cache


class Stft(nn.Module):
    """Short-time Fourier transform with a periodic Hann window and its exact inverse.

    Frames are centred and the ends padded with zeros, so any length from one sample on is transformed, and the inverse
    returns exactly that length (weighted overlap-add divided by the summed squared window; Griffin and Lim, 1984).

    Args:
        n_fft: Window and transform length in samples.
        hop_length: Step between frames in samples, at most `n_fft / 3`.

    Shape:
        `forward`: `[..., T] -> [..., F, N]` complex, `F = n_fft // 2 + 1`, `N = 1 + T // hop_length`;
        `inverse`: `[..., F, N], length -> [..., length]`.

    >>> x = torch.randn(2, 1000)
    >>> stft = Stft(256, 64)
    >>> bool((stft.inverse(stft(x), 1000) - x).abs().max() < 1e-5)
    True
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform `[..., T]` to `[..., F, N]`."""
        flat = waveform.reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(
            flat, self.n_fft, self.hop_length, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Return the waveform of `length` samples: `[..., F, N] -> [..., length]`."""
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        waveform = torch.istft(flat, self.n_fft, self.hop_length, window=self.window, center=True, length=length)
        return waveform.reshape(*spectrum.shape[:-2], length)

    def reaching(self, samples: slice) -> slice:
        """Which frames have a part in some samples of a waveform, were it longer."""
        half = self.n_fft // 2
        return slice(
            max(0, (samples.start - half) // self.hop_length + 1), -(-(samples.stop + half) // self.hop_length)
        )

    @property
    def frames_at_once(self) -> int:
        """How many are best transformed at once."""
        return max(1, SAMPLES_AT_ONCE // self.n_fft)

    def count(self, samples: int) -> int:
        """How many frames a waveform of so many samples has."""
        return 1 + samples // self.hop_length

    def frames(self, waveform: Tensor, wanted: range | None = None) -> Tensor:
        """Transform `[..., T]` to `[..., N, F]`: the same numbers as `forward`, frame after frame in memory.

        Args:
            waveform: `[..., T]`.
            wanted: Which frames, at least one; None for all.
        """
        wanted = range(self.count(waveform.shape[-1])) if wanted is None else wanted
        at_once = self.frames_at_once
        if len(wanted) <= at_once:
            return self._transformed(waveform, wanted)
        shape = (*waveform.shape[:-1], len(wanted), self.n_fft // 2 + 1)
        spectrum = waveform.new_empty(shape, dtype=self.window.dtype.to_complex())
        for first in range(0, len(wanted), at_once):  # overlapping frames are four times the waveform
            part = slice(first, first + at_once)
            spectrum[..., part, :] = self._transformed(waveform, wanted[part])
        return spectrum

    def _transformed(self, waveform: Tensor, frames: range) -> Tensor:
        half, length = self.n_fft // 2, waveform.shape[-1]
        begin, end = frames.start * self.hop_length - half, (frames.stop - 1) * self.hop_length + half
        heard = waveform[..., max(0, begin) : min(end, length)]
        heard = functional.pad(heard, (max(0, -begin), max(0, end - length)))
        spectrum: Tensor = torch.fft.rfft(heard.unfold(-1, self.n_fft, self.hop_length) * self.window)
        return spectrum


class OverlapAdd:
    """The inverse of a transform, fed with some frames at a time, so that no whole spectrum of a stem is ever held.

    Large blocks of memory are what it saves: the system clears them anew each time, and on a CPU that takes longer than
    the arithmetic. Equal to `Stft.inverse` up to rounding.

    Args:
        stft: The transform.
        shape: Leading axes of the waveforms.
        frames: How many there will be, N.

    Shape:
        `add`: `[*shape, n, F]`; `waveform`: `[*shape, length]`.
    """

    def __init__(self, stft: Stft, shape: tuple[int, ...], frames: int) -> None:
        self._stft = stft
        self._parts = -(-stft.n_fft // stft.hop_length)  # hops that a window covers, the last perhaps in part
        # Row after row of one hop each: a frame adds to as many rows as it has parts.
        self._rows = stft.window.new_zeros(*shape, frames + self._parts - 1, stft.hop_length)

    def add(self, spectrum: Tensor, first: int, place: tuple[int | slice, ...] = ()) -> None:
        """Add the frames `[..., n, F]` that begin with number `first`, at one place of the leading axes."""
        waveforms = torch.fft.irfft(spectrum, n=self._stft.n_fft)
        self._scatter(self._rows[place] if place else self._rows, waveforms, self._stft.window, first)

    def waveform(self, length: int, begin: int = 0) -> Tensor:
        """Return what has been added up, divided by the summed squared window; only once, for it is done in place.

        Args:
            length: Samples.
            begin: Sample, counted from the middle of the first frame; below 0 where earlier frames do not reach.
        """
        window, half = self._stft.window, self._stft.n_fft // 2
        frames = self._rows.shape[-2] - self._parts + 1
        weight = torch.zeros_like(self._rows[(0,) * (self._rows.ndim - 2)])
        self._scatter(weight, window.expand(frames, -1), window, 0)
        inside = slice(half + begin, half + begin + length)
        return self._rows.flatten(-2)[..., inside].div_(weight.flatten()[inside])

    def _scatter(self, rows: Tensor, frames: Tensor, window: Tensor, first: int) -> None:
        """Add windowed frames `[..., n, n_fft]` to rows `[..., N + parts - 1, hop]`."""
        hop, count = self._stft.hop_length, frames.shape[-2]
        for part in range(self._parts):
            piece = slice(part * hop, min((part + 1) * hop, self._stft.n_fft))
            width = piece.stop - piece.start
            row = slice(first + part, first + part + count)
            rows[..., row, :width].addcmul_(frames[..., piece], window[piece])


class LinearBands(nn.Module):
    """The lowest `bands` bins as they are; masks above them repeat the mean of the highest ones.

    That mean is what Spleeter calls mask extension "average" (Hennequin et al., 2020).

    Shape:
        `forward`: `[..., F, N] -> [..., bands, N]`; `to_bins`: `[..., bands, N] -> [..., F, N]`.
    """

    TOP_MASKS = 32  # enough to smooth single-bin noise, few enough to still be "the top of the band"

    def __init__(self, n_bins: int, bands: int) -> None:
        super().__init__()
        self.n_bins = n_bins
        self.bands = bands

    def forward(self, bins: Tensor) -> Tensor:
        """Keep the lowest bins: `[..., F, N] -> [..., bands, N]`."""
        return bins[..., : self.bands, :]

    def to_bins(self, masks: Tensor) -> Tensor:
        """Extend masks to all bins: `[..., bands, N] -> [..., F, N]`."""
        missing = self.n_bins - self.bands
        if missing == 0:
            return masks
        top = masks[..., -self.TOP_MASKS :, :].mean(-2, keepdim=True)
        return torch.cat([masks, top.expand(*masks.shape[:-2], missing, masks.shape[-1])], dim=-2)

    def to_frames(self, masks: Tensor) -> Tensor:
        """Extend masks to all bins, frame after frame: `[..., bands, N] -> [..., N, F]`."""
        extended = masks.new_empty(*masks.shape[:-2], masks.shape[-1], self.n_bins)
        extended[..., : self.bands] = masks.transpose(-1, -2)
        extended[..., self.bands :] = masks[..., -self.TOP_MASKS :, :].mean(-2).unsqueeze(-1)
        return extended

    def centres_hz(self, sample_rate: int) -> Tensor:
        """Centre frequency of each band in Hz, `[bands]`."""
        return torch.arange(self.bands) * sample_rate / (2 * (self.n_bins - 1))


class MelBands(nn.Module):
    """Mel bands of a magnitude spectrum, and masks over bands brought back to bins.

    Triangles are librosa's with the HTK scale and no area normalisation: a band is the weighted sum of its bins. Bins
    to bands to bins is not an identity and need not be: a mask at a bin is the mean of the masks of the bands that
    cover it, weighted by the triangles, so masks that sum to one over stems still do.

    Args:
        sample_rate: Hz.
        n_fft: Transform length in samples.
        bands: How many, from 0 Hz to half the sample rate.

    Shape:
        `forward`: `[..., F, N] -> [..., bands, N]`; `to_bins`: `[..., bands, N] -> [..., F, N]`.
    """

    weights: Tensor
    spread: Tensor
    lower: Tensor
    upper: Tensor
    lower_share: Tensor
    upper_share: Tensor

    def __init__(self, sample_rate: int, n_fft: int, bands: int) -> None:
        super().__init__()
        self.n_bins = n_fft // 2 + 1
        self.bands = bands
        weights = mel_weights(sample_rate, n_fft, bands)
        cover = weights.sum(0)
        # The first and last bin lie on the outer feet of the triangles; they follow their neighbour's band.
        spread = weights.T.clone()
        spread[0, 0] += float(cover[0] == 0)
        spread[-1, -1] += float(cover[-1] == 0)
        self.register_buffer("weights", weights, persistent=False)
        spread /= spread.sum(1, keepdim=True)
        self.register_buffer("spread", spread, persistent=False)
        lower = (spread > 0).int().argmax(1)
        upper = (lower + 1).clamp_max(bands - 1)
        lower_share = spread.gather(1, lower[:, None])
        self.register_buffer("lower", lower, persistent=False)
        self.register_buffer("upper", upper, persistent=False)
        self.register_buffer("lower_share", lower_share, persistent=False)
        self.register_buffer("upper_share", 1.0 - lower_share, persistent=False)

    def forward(self, bins: Tensor) -> Tensor:
        """Weighted sums of bins: `[..., F, N] -> [..., bands, N]`."""
        return torch.matmul(self.weights, bins)

    def to_bins(self, masks: Tensor) -> Tensor:
        """Masks over bands to masks over bins: `[..., bands, N] -> [..., F, N]`."""
        return torch.matmul(self.spread, masks)

    def to_frames(self, masks: Tensor) -> Tensor:
        """Masks over bands to masks over bins, frame after frame: `[..., bands, N] -> [..., N, F]`.

        At most two triangles cover a bin, so two looked-up rows do what `to_bins` does with a whole matrix.
        """
        spread = torch.index_select(masks, -2, self.lower) * self.lower_share
        spread.addcmul_(torch.index_select(masks, -2, self.upper), self.upper_share)
        return spread.transpose(-1, -2).contiguous()

    def centres_hz(self, sample_rate: int) -> Tensor:
        """Centre frequency of each band in Hz, `[bands]`."""
        return _mel_to_hz(torch.linspace(0.0, float(_hz_to_mel(torch.tensor(sample_rate / 2))), self.bands + 2))[1:-1]


Bands = LinearBands | MelBands


def mel_weights(sample_rate: int, n_fft: int, bands: int) -> Tensor:
    """Triangular mel filters on the HTK scale, `[bands, n_fft // 2 + 1]`, each with peak near 1.

    Equal to `librosa.filters.mel(..., htk=True, norm=None)` (tested); written here so that separation needs no librosa.

    Raises:
        ValueError: There are so many bands that one of them falls between two bins.
    """
    bin_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    top_mel = _hz_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64))
    edges_hz = _mel_to_hz(torch.linspace(0.0, float(top_mel), bands + 2, dtype=torch.float64))
    rising = (bin_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    falling = (edges_hz[2:, None] - bin_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    weights = torch.minimum(rising, falling).clamp_min(0.0)
    if bool((weights.sum(1) == 0).any()) or bool((weights.sum(0)[1:-1] == 0).any()):
        raise ValueError(f"{bands} mel bands are too many for n_fft {n_fft} at {sample_rate} Hz: a band covers no bin")
    return weights.float()


def build_bands(config: FrontendRecipe) -> Bands:
    """Return the view of the spectrum that the recipe asks for.

    Raises:
        RecipeError: There are more mel bands than the bins can tell apart.
    """
    n_bins = config.n_fft // 2 + 1
    if config.mel_bands is not None:
        try:
            return MelBands(config.sample_rate, config.n_fft, config.mel_bands)
        except ValueError as error:
            raise RecipeError(f"frontend.mel_bands: {error}; lower it or raise frontend.n_fft") from error
    return LinearBands(n_bins, config.bins or n_bins)


def _hz_to_mel(frequency_hz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + frequency_hz / 700.0)  # O'Shaughnessy 1987, as HTK


def _mel_to_hz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
