"""Loudness and peaks of a stream, in memory that does not grow with its sound.

Integrated loudness after ITU-R BS.1770-4: K-weighting, mean squares over 400 ms every 100 ms, channels weighted and
summed, gated at -70 LUFS and again 10 LU below the mean of what is left. True peak after its annex 2: the highest
absolute value at four times the rate.

The K-weighting is recursive, and sample by sample Python is slow. So samples are filtered in blocks, as a state space:
the outputs of a block are a matrix times its inputs plus a matrix times the state at its beginning, and the states at
the beginnings of blocks follow from each other in the same way, one level higher.
"""

import math

import numpy as np
import numpy.typing as npt

from sepgan.audio_layout import speakers

Matrix = npt.NDArray[np.float64]

_BLOCK = 64  # samples whose outputs one matrix product gives
_GROUP = 64  # blocks whose states one matrix product gives
_SPAN = _BLOCK * _GROUP
_HOPS_PER_S = 10
_HOPS_PER_WINDOW = 4  # 400 ms
_ABSOLUTE_GATE = -70.0  # LUFS
_RELATIVE_GATE = -10.0  # LU
_OFFSET = -0.691  # dB; so that a full-scale sine of 997 Hz in one channel is at -3.01 LUFS
_SURROUND = 1.41  # +1.5 dB
_SURROUNDS = {"BL", "BR", "SL", "SR"}
# BS.1770-4, annex 2, table of the interpolating filter: phases 0 and 1; 2 and 3 are these in reverse.
_PHASES = (
    (
        *(0.0017089843750, 0.0109863281250, -0.0196533203125, 0.0332031250000, -0.0594482421875, 0.1373291015625),
        *(0.9721679687500, -0.1022949218750, 0.0476074218750, -0.0266113281250, 0.0148925781250, -0.0083007812500),
    ),
    (
        *(-0.0291748046875, 0.0292968750000, -0.0517578125000, 0.0891113281250, -0.1665039062500, 0.4650878906250),
        *(0.7797851562500, -0.2003173828125, 0.1015625000000, -0.0582275390625, 0.0330810546875, -0.0189208984375),
    ),
)
_TAPS = len(_PHASES[0])


class LoudnessMeter:
    """Takes blocks of a stream and tells its loudness and its peaks at any time.

    Attributes:
        sample_peak: highest absolute sample so far.
        true_peak: highest absolute value between samples so far; None unless it was asked for.
    """

    def __init__(self, sample_rate: int, channels: int, layout: str | None = None, *, true_peak: bool = False) -> None:
        """Prepare the filters.

        Args:
            sample_rate: in Hz.
            channels: number of channels, in WAVE order.
            layout: of the channels: an LFE does not count, and surrounds count 1.5 dB more. Where it is None, five, six
                and eight channels are taken for 5.0, 5.1 and 7.1, and others count alike.
            true_peak: measure it too, which takes about one and a half times as long again.
        """
        self.sample_peak = 0.0
        self.true_peak: float | None = 0.0 if true_peak else None
        self._rate = sample_rate
        self._weights = _channel_weights(channels, layout)
        self._filter = _BlockFilter(*_k_weighting(sample_rate), channels)
        self._waiting = np.zeros((channels, 0), np.float32)
        self._tail = np.zeros((channels, _TAPS - 1), np.float32)
        self._interpolator = _interpolator()
        self._filtered = 0
        self._open_hop = 0.0  # weighted energy of the 100 ms that are not complete
        self._hops: list[float] = []

    def push(self, block: npt.NDArray[np.float32]) -> None:
        """Take samples `[C, n]`, n >= 0."""
        if not block.shape[1]:
            return
        self.sample_peak = max(self.sample_peak, float(block.max()), -float(block.min()))
        if self.true_peak is not None:
            self.true_peak = max(self.true_peak, self._interpolated_peak(block))
        waiting = np.concatenate((self._waiting, block), axis=1)
        whole = waiting.shape[1] - waiting.shape[1] % _SPAN
        if whole:
            self._open_hop = self._measure(self._filter.push(waiting[:, :whole]), self._filtered, self._hops)
            self._filtered += whole
        self._waiting = waiting[:, whole:].copy()

    def integrated_lufs(self) -> float:
        """Tell the loudness of all blocks so far, in LUFS; -inf where nothing passes the gates.

        Sound shorter than 400 ms is measured as one window of its own length.
        """
        hops = list(self._hops)
        rest = self._waiting.shape[1]
        open_hop = self._open_hop
        if rest:
            padded = np.pad(self._waiting, ((0, 0), (0, _SPAN - rest)))
            open_hop = self._measure(self._filter.peek(padded)[:, :rest], self._filtered, hops)
        if len(hops) < _HOPS_PER_WINDOW:
            frames = self._filtered + rest
            windows = np.array([(sum(hops) + open_hop) / max(frames, 1)])
        else:
            bounds = self._bound(np.arange(len(hops) + 1))
            energies = np.convolve(hops, np.ones(_HOPS_PER_WINDOW), "valid")
            windows = energies / (bounds[_HOPS_PER_WINDOW:] - bounds[:-_HOPS_PER_WINDOW])
        loud = windows[windows > _power(_ABSOLUTE_GATE)]
        if not loud.size:
            return -math.inf
        # The second gate stands 10 LU below the mean power of what passed the first.
        loud = loud[loud > loud.mean() * 10 ** (_RELATIVE_GATE / 10)]
        return _OFFSET + 10 * math.log10(float(loud.mean()))

    def _bound(self, hops: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give the samples at which hops begin; 100 ms need not be a whole number of them."""
        return (hops * self._rate + _HOPS_PER_S // 2) // _HOPS_PER_S

    def _measure(self, filtered: npt.NDArray[np.float32], position: int, hops: list[float]) -> float:
        """Add filtered samples `[C, n]` from `position` on to the hops; gives what the last, open one has."""
        energy = self._weights.astype(np.float32) @ np.square(filtered)
        end = position + filtered.shape[1]
        bounds = self._bound(np.arange(len(hops) + 1, len(hops) + 2 + filtered.shape[1] * _HOPS_PER_S // self._rate))
        inner = bounds[bounds < end] - position
        sums = [float(part.sum(dtype=np.float64)) for part in np.split(energy, inner)]
        sums[0] += self._open_hop
        if bounds.size and end in bounds:
            sums.append(0.0)
        hops.extend(sums[:-1])
        return sums[-1]

    def _interpolated_peak(self, block: npt.NDArray[np.float32]) -> float:
        joined = np.concatenate((self._tail, block), axis=1)
        self._tail = joined[:, 1 - _TAPS :].copy()
        missing = -block.shape[1] % _BLOCK
        padded = np.pad(joined, ((0, 0), (0, missing)), mode="edge") if missing else joined
        windows = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK + _TAPS - 1, axis=1)[:, ::_BLOCK]
        values = np.abs(windows @ self._interpolator).reshape(block.shape[0], -1)
        return float(values[:, : 4 * block.shape[1]].max())


class _BlockFilter:
    """A linear filter `s' = A s + B x, y = C s + D x` for each of several channels, computed a span at a time."""

    def __init__(self, a: Matrix, b: Matrix, c: Matrix, d: float, channels: int) -> None:
        order = len(b)
        powers = [np.eye(order)]
        for _ in range(_BLOCK):
            powers.append(powers[-1] @ a)
        response = np.array([d, *(float(c @ power @ b) for power in powers[:-2])])
        lag = np.arange(_BLOCK)[None] - np.arange(_BLOCK)[:, None]  # [input, output]
        self._direct = np.where(lag >= 0, response[np.maximum(lag, 0)], 0).astype(np.float32)
        self._observed = np.stack([c @ power for power in powers[:-1]], axis=1)  # [state, output]
        self._driven = np.stack([powers[_BLOCK - 1 - i] @ b for i in range(_BLOCK)])  # [input, state]
        leaps = [np.eye(order)]
        for _ in range(_GROUP):
            leaps.append(leaps[-1] @ powers[_BLOCK])
        self._leap = leaps[_GROUP].T
        # From the drives of the blocks of a span to the states at the beginnings of its blocks, and of the next span.
        carried = np.zeros((_GROUP, order, _GROUP + 1, order))
        for later in range(1, _GROUP + 1):
            for earlier in range(later):
                carried[earlier, :, later] = leaps[later - 1 - earlier].T
        self._carried = carried.reshape(_GROUP * order, (_GROUP + 1) * order)
        self._kept = np.concatenate([leap.T for leap in leaps[:-1]], axis=1)  # [state, block * state]
        self._state = np.zeros((channels, order))

    def push(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Filter samples `[C, n]`, n a multiple of the span."""
        filtered, self._state = self._run(samples)
        return filtered

    def peek(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Filter samples and forget them."""
        return self._run(samples)[0]

    def _run(self, samples: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Matrix]:
        channels, count = samples.shape
        order = self._state.shape[1]
        blocks = samples.reshape(channels, -1, _BLOCK)
        drives = (blocks @ self._driven.astype(np.float32)).reshape(channels, count // _SPAN, _GROUP * order)
        states = drives.astype(np.float64) @ self._carried
        begins = np.empty((channels, count // _SPAN + 1, order))
        begins[:, 0] = self._state
        for span in range(count // _SPAN):  # one step is 4096 samples
            begins[:, span + 1] = begins[:, span] @ self._leap + states[:, span, -order:]
        starts = states[:, :, :-order] + begins[:, :-1] @ self._kept
        filtered = blocks @ self._direct
        filtered += starts.reshape(channels, -1, order).astype(np.float32) @ self._observed.astype(np.float32)
        return filtered.reshape(channels, count), begins[:, -1]


def _channel_weights(channels: int, layout: str | None) -> Matrix:
    if layout is None:
        layout = {5: "5.0", 6: "5.1", 8: "7.1"}.get(channels)
    if layout is None:
        return np.ones(channels)
    named = speakers(layout)
    return np.array([0.0 if name == "LFE" else _SURROUND if name in _SURROUNDS else 1.0 for name in named])


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


def _k_weighting(sample_rate: int) -> tuple[Matrix, Matrix, Matrix, float]:
    """Give the two stages of K-weighting as one state space.

    BS.1770-4 lists coefficients for 48 kHz only; these are the analogue filters behind them, as in libebur128, so that
    at 48 kHz they come out as listed.
    """
    warp = math.tan(math.pi * 1681.974450955533 / sample_rate)
    high, quality = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    middle = high**0.4996667741545416
    scale = 1 + warp / quality + warp**2
    shelf = (
        (high + middle * warp / quality + warp**2) / scale,
        2 * (warp**2 - high) / scale,
        (high - middle * warp / quality + warp**2) / scale,
        2 * (warp**2 - 1) / scale,
        (1 - warp / quality + warp**2) / scale,
    )
    warp = math.tan(math.pi * 38.13547087602444 / sample_rate)
    quality = 0.5003270373238773
    scale = 1 + warp / quality + warp**2
    high_pass = (1.0, -2.0, 1.0, 2 * (warp**2 - 1) / scale, (1 - warp / quality + warp**2) / scale)
    (a1, b1, c1, d1), (a2, b2, c2, d2) = _biquad(*shelf), _biquad(*high_pass)
    a = np.block([[a1, np.zeros((2, 2))], [np.outer(b2, c1), a2]])
    return a, np.concatenate((b1, b2 * d1)), np.concatenate((d2 * c1, c2)), d1 * d2


def _biquad(b0: float, b1: float, b2: float, a1: float, a2: float) -> tuple[Matrix, Matrix, Matrix, float]:
    """Give the transposed direct form II of a second-order filter as a state space."""
    a = np.array([[-a1, 1.0], [-a2, 0.0]])
    return a, np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([1.0, 0.0]), b0


def _interpolator() -> npt.NDArray[np.float32]:
    """Give the matrix from a block and what precedes it to four values for each sample."""
    phases = np.array([*_PHASES, _PHASES[1][::-1], _PHASES[0][::-1]])
    matrix = np.zeros((_BLOCK + _TAPS - 1, _BLOCK, 4), np.float32)
    for sample in range(_BLOCK):
        # The newest sample meets the first tap.
        matrix[sample : sample + _TAPS, sample] = phases[:, ::-1].T
    return matrix.reshape(-1, 4 * _BLOCK)
