"""Streams and arrays of samples: resampled to exact lengths, and cut into blocks."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

Waveform = npt.NDArray[np.float32]


def resample(waveform: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """Resample with soxr's high quality filter (20 bit, linear phase, no delay).

    Args:
        waveform: `[C, T]`.
        from_hz: its rate.
        to_hz: the wanted rate.

    Returns:
        `[C, ceil(T * to_hz / from_hz)]`; the input itself where the rates are equal.

    >>> resample(np.zeros((2, 48001), np.float32), 48000, 44100).shape
    (2, 44101)
    """
    if from_hz == to_hz:
        return waveform
    resampled: Waveform = soxr.resample(_interleaved(waveform), from_hz, to_hz, quality="HQ").T
    return fit(resampled, resampled_frames(waveform.shape[1], from_hz, to_hz))


def resampled_frames(frames: int, from_hz: int, to_hz: int) -> int:
    """Length of `frames` samples once they are resampled, rounded up so that nothing is lost."""
    return -(-frames * to_hz // from_hz)


class Resampler:
    """`resample` for a stream of blocks: the pushed and flushed blocks together equal the whole resampled at once."""

    def __init__(self, from_hz: int, to_hz: int, channels: int) -> None:
        """Start a stream of `channels` channels from `from_hz` to `to_hz`."""
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
        self._channels = channels
        self._frames_in = 0
        self._frames_out = 0

    def push(self, block: Waveform) -> Waveform:
        """Take `[C, n]` and give `[C, m]`, m >= 0: what can be told so far."""
        self._frames_in += block.shape[1]
        resampled: Waveform = np.ascontiguousarray(self._stream.resample_chunk(_interleaved(block)).T)
        self._frames_out += resampled.shape[1]
        return resampled

    def flush(self) -> Waveform:
        """End the stream and give the rest `[C, m]`; all blocks together have `resampled_frames` samples."""
        rest: Waveform = self._stream.resample_chunk(np.zeros((0, self._channels), np.float32), last=True).T
        return fit(rest, resampled_frames(self._frames_in, self._from_hz, self._to_hz) - self._frames_out)


def _interleaved(waveform: Waveform) -> Waveform:
    """Give `[T, C]` as soxr wants it; numpy calls a transposed single sample contiguous, and soxr does not."""
    interleaved: Waveform = waveform.T.copy(order="C")
    return interleaved


def fit(waveform: Waveform, frames: int) -> Waveform:
    """Cut or zero-pad at the end to `frames` samples; soxr rounds its count where ours is rounded up."""
    missing = frames - waveform.shape[1]
    return np.ascontiguousarray(np.pad(waveform, ((0, 0), (0, missing))) if missing > 0 else waveform[:, :frames])


def recut(chunks: Iterable[Waveform], block_frames: int, frames: int | None) -> Iterator[Waveform]:
    """Join and cut chunks to blocks of `block_frames` samples and the rest, `frames` in all at most."""
    held: list[Waveform] = []
    count = 0
    left = frames
    for chunk in chunks:
        if left is not None:
            chunk = chunk[:, :left]
            left -= chunk.shape[1]
        held.append(chunk)
        count += chunk.shape[1]
        if count >= block_frames:
            joined = np.concatenate(held, axis=1)
            whole = count - count % block_frames
            for begin in range(0, whole, block_frames):
                yield np.ascontiguousarray(joined[:, begin : begin + block_frames])
            held = [joined[:, whole:]]
            count -= whole
        if left == 0:
            break
    if count:
        yield np.concatenate(held, axis=1)
