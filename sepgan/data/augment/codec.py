"""A round trip through a lossy codec: what songs have been through before they reach a listener."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from sepgan.errors import UsageError

_CODERS = {"mp3": ("libmp3lame", "mp3"), "aac": ("aac", "adts")}  # encoder and container
_FRAME = 4096  # samples handed over at a time
_MOST_DELAY = 8192  # samples; encoders delay by 529 to 2112 and more
_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def round_trip(waveform: NDArray[np.float32], sample_rate: int, codec: str, kbps: int) -> NDArray[np.float32]:
    """Encode and decode.

    The delay of the codec is measured by cross-correlation and taken back, so that the result lies over the original.

    Args:
        waveform: `[C, T]`, one or two channels.
        sample_rate: In Hz; one that MP3 and AAC know.
        codec: mp3 or aac.
        kbps: Bit rate in kbit/s for two channels.

    Returns:
        `[C, T]`.

    Raises:
        UsageError: The codec, the rate or the number of channels is none of these.
    """
    if codec not in _CODERS or sample_rate not in _RATES_HZ or waveform.shape[0] > 2:
        raise UsageError(
            f"codec '{codec}' at {sample_rate} Hz with {waveform.shape[0]} channels: choose mp3 or aac, "
            f"{_RATES_HZ[0]} to {_RATES_HZ[-1]} Hz, one or two channels"
        )
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(waveform.shape, np.float32)
    # Encoders clip what is louder than full scale; their judgement of what is audible expects ordinary levels.
    scale = np.float32(min(1.0, 0.9 / peak))
    coded: NDArray[np.float32] = _decode(_encode(waveform * scale, sample_rate, codec, kbps)) / scale
    delay = _delay(waveform[0], coded[0])
    aligned: NDArray[np.float32] = np.zeros(waveform.shape, np.float32)
    piece = coded[:, delay : delay + waveform.shape[1]]
    aligned[:, : piece.shape[1]] = piece
    return aligned


def _encode(waveform: NDArray[np.float32], sample_rate: int, codec: str, kbps: int) -> bytes:
    name, container = _CODERS[codec]
    layout = "mono" if waveform.shape[0] == 1 else "stereo"
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as file:
        stream = file.add_stream(name, rate=sample_rate)
        stream.layout = layout
        stream.bit_rate = kbps * 1000 * waveform.shape[0] // 2
        padded = np.pad(waveform, ((0, 0), (0, _MOST_DELAY)))  # so that the delayed end comes out as well
        for start in range(0, padded.shape[1], _FRAME):
            block = np.ascontiguousarray(padded[:, start : start + _FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = sample_rate
            frame.pts = start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return memory.getvalue()


def _decode(data: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(data)) as file:
        blocks = [frame.to_ndarray() for frame in file.decode(audio=0)]
    decoded: NDArray[np.float32] = np.concatenate(blocks, axis=1).astype(np.float32)
    return decoded


def _delay(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """Samples by which the second lags the first, by the highest correlation."""
    length = 1 << (before.size + _MOST_DELAY).bit_length()
    product = np.fft.rfft(after[: before.size + _MOST_DELAY], length) * np.conj(np.fft.rfft(before, length))
    return int(np.argmax(np.fft.irfft(product, length)[:_MOST_DELAY]))
