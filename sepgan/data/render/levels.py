"""How loud stems are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FRAME = 16384  # samples over which loudness is taken: 0.37 s at 44.1 kHz


def active_level_db(waveform: NDArray[np.float32]) -> float:
    """Level where a stem plays, dB: of the frames within 30 dB of the loudest; 0 where it never does."""
    frames = waveform[:, : waveform.shape[1] // _FRAME * _FRAME].reshape(2, -1, _FRAME)
    power = np.square(frames, dtype=np.float64).mean((0, 2))
    loudest = power.max(initial=0.0)
    return float(10 * np.log10(power[power > 1e-3 * loudest].mean())) if loudest > 0 else 0.0
