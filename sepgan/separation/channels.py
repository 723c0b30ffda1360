"""Which channels of a song a stereo model sees together.

Pairs of a left and a right channel are separated together, all others alone. `auto` takes what the file says of its
channels; where it says nothing, the order of WAVE files for 1 to 8 channels:

| channels | order | together |
| --- | --- | --- |
| 1 | FC | |
| 2 | FL FR | FL+FR |
| 3 | FL FR FC | FL+FR |
| 4 | FL FR BL BR | FL+FR, BL+BR |
| 5 | FL FR FC BL BR | FL+FR, BL+BR |
| 6 | FL FR FC LFE BL BR | FL+FR, BL+BR |
| 7 | FL FR FC LFE BC SL SR | FL+FR, SL+SR |
| 8 | FL FR FC LFE BL BR SL SR | FL+FR, BL+BR, SL+SR |

The centre and the LFE channel are separated alone, like every channel without a partner. With more than 8 channels
nothing is known, and each is alone. Every channel keeps its place in every stem, so each channel of the stems sums to
that channel of the song.
"""

from collections.abc import Sequence

from sepgan.audio_layout import speakers
from sepgan.errors import UsageError

Layout = tuple[tuple[int, ...], ...]
"""Groups of one or two channels, counted from 0; every channel is in one group."""

_WAVE_ORDER = {
    1: "FC",
    2: "FL,FR",
    3: "FL,FR,FC",
    4: "FL,FR,BL,BR",
    5: "FL,FR,FC,BL,BR",
    6: "FL,FR,FC,LFE,BL,BR",
    7: "FL,FR,FC,LFE,BC,SL,SR",
    8: "FL,FR,FC,LFE,BL,BR,SL,SR",
}
_MATES = {
    "FL": "FR", "BL": "BR", "SL": "SR", "FLC": "FRC", "TFL": "TFR", "TBL": "TBR", "TSL": "TSR", "WL": "WR",
    "L": "R", "LS": "RS", "LB": "RB", "LRS": "RRS", "LTF": "RTF",
}  # fmt: skip
_ALONE = {"FC", "C", "LFE", "LFE2", "BC", "CS", "S", "TC", "TFC", "TBC", "M"}
_NAMES = {*_MATES, *_MATES.values(), *_ALONE}


def parse_layout(text: str, channels: int, declared: str | None = None) -> Layout:
    """Read a channel layout.

    Args:
        text: "auto" (the table above), "mono" (each channel alone), names of all channels in the order of the file such
            as "L,C,R,Ls,Rs,LFE", or groups of channels counted from 1 such as "1+3,2,4+5,6".
        channels: of the song.
        declared: what the file says of its channels, such as "5.1(side)"; for "auto".

    Raises:
        UsageError: the text is neither, or does not fit the number of channels.

    >>> parse_layout("auto", 6)
    ((0, 1), (2,), (3,), (4, 5))
    >>> parse_layout("L,C,R,Ls,Rs,LFE", 6)
    ((0, 2), (1,), (3, 4), (5,))
    """
    if text == "auto":
        text = _WAVE_ORDER.get(channels, "mono") if declared is None else ",".join(speakers(declared))
    if text == "mono":
        return tuple((channel,) for channel in range(channels))
    groups = [group.strip().split("+") for group in text.upper().split(",")]
    if all(number.strip().isdecimal() for group in groups for number in group):
        layout = tuple(tuple(int(number) - 1 for number in group) for group in groups)
    else:
        layout = _from_names([group[0].strip() if len(group) == 1 else "+".join(group) for group in groups], text)
    named = sorted(channel for group in layout for channel in group)
    if named != list(range(channels)):
        raise UsageError(
            f"channel layout '{text}' names {len(named)} channels; the song has {channels}, and each must be named once"
        )
    if wide := [group for group in layout if len(group) > 2]:
        raise UsageError(f"channel layout '{text}' joins {len(wide[0])} channels; two at most belong together")
    return layout


def _from_names(names: Sequence[str], text: str) -> Layout:
    if unknown := [name for name in names if name not in _NAMES]:
        raise UsageError(
            f"channel layout '{text}': {unknown[0]!r} is unknown; give auto, mono, names such as L,R,C,LFE,Ls,Rs in "
            "the order of the file, or numbers such as 1+2,3,4,5+6"
        )
    if len(set(names)) < len(names):
        raise UsageError(f"channel layout '{text}' names a channel twice")
    places = {name: place for place, name in enumerate(names)}
    layout: list[tuple[int, ...]] = []
    followers = {_MATES[name] for name in names if name in _MATES}
    for name, place in places.items():
        mate = _MATES.get(name)
        if mate in places:
            layout.append((place, places[mate]))
        elif name not in followers:
            layout.append((place,))
    return tuple(layout)
