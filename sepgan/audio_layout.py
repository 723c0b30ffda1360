"""Which speaker each channel belongs to, and in which order channels come.

Inside the program channels come in the order of WAVE files: front left, front right, centre, LFE, back left, back
right, then side left, side right (the bits of `dwChannelMask`, Microsoft, *Multiple channel audio data and WAVE files*,
2007), as far as a layout has them. Layouts are named as FFmpeg does: "mono", "stereo", "5.1", "5.1(side)", "7.1".
Only Ogg files store another order (Vorbis I specification, 4.3.9; the same for Opus, RFC 7845, 5.1.1.2).
"""

import re

import av
import numpy as np
import numpy.typing as npt

from sepgan.errors import UsageError

_SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)  # bit 0 of the channel mask first
# Where the channel that an Ogg file stores first, second, ... is found in WAVE order.
_OGG_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}


def speakers(layout: str) -> tuple[str, ...]:
    """Name the speaker of each channel of a layout, in WAVE order.

    Raises:
        UsageError: there is no such layout.

    >>> speakers("5.1")
    ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR')
    """
    try:
        named = tuple(channel.name for channel in av.AudioLayout(layout).channels)
    except ValueError:
        named = ()
    if not named or any(name not in _SPEAKERS for name in named):
        raise UsageError(f"{layout!r} is no channel layout; known are mono, stereo, 3.0, quad, 5.0, 5.1, 7.1 and so on")
    return named


def mask_of(layout: str) -> int:
    """Give the channel mask of a WAVE file.

    >>> hex(mask_of("5.1"))
    '0x3f'
    """
    return sum(1 << _SPEAKERS.index(name) for name in speakers(layout))


def simple_layout(channels: int) -> str | None:
    """Name the layout that one or two channels have wherever nothing is said; None for more."""
    return {1: "mono", 2: "stereo"}.get(channels)


def named_layout(name: str, channels: int) -> str | None:
    """Give a layout that FFmpeg names, or None where it only counts channels, as in "6 channels".

    >>> named_layout("3 channels (FL+FR+TC)", 3)
    'FL+FR+TC'
    """
    if unnamed := re.fullmatch(r"\d+ channels \((.+)\)", name):
        name = unnamed[1]
    try:
        return name if len(speakers(name)) == channels else simple_layout(channels)
    except UsageError:
        return simple_layout(channels)


def to_ogg_order(block: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Put channels `[C, n]` from WAVE order into the order in which Ogg files store them."""
    order = _OGG_ORDER.get(block.shape[0])
    return block if order is None else block[list(order)]


def from_ogg_order(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Undo `to_ogg_order`.

    >>> from_ogg_order(to_ogg_order(np.arange(6, dtype=np.float32)[:, None])).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    order = _OGG_ORDER.get(block.shape[0])
    return block if order is None else block[np.argsort(order)]
