"""What a page is made of: plain values, laid out by `page.render`.

A `Page` holds sections, a section holds blocks, and a block is text, a table, a figure, a group of players or a fold of
more blocks. Nothing here knows what was measured, so that evaluations and training runs share one look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Union

Mode = Literal["switch", "mix"]
"""How players start: `switch` lets one track be heard at a time, `mix` all of them."""


@dataclass(frozen=True)
class Interval:
    """A number with the interval it is believed to lie in."""

    value: float
    low: float
    high: float


Cell = str | float | Interval
"""Text, a number, or a number with its interval; NaN is shown as a dash and sorts last."""


@dataclass(frozen=True)
class Column:
    """How a column of a table is headed and its numbers are written."""

    title: str
    hint: str = ""  # a longer explanation, shown on demand
    digits: int = 2
    least: float = 0.0  # numbers from zero up to here are only said to be below it


@dataclass(frozen=True)
class Table:
    """A table that sorts when a column's head is activated."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    filtered: bool = False  # offer a box that keeps only rows with a text in them


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG text, ready to stand inside a page; `plots` makes them."""

    title: str
    svg: str
    description: str  # what it shows, for those who cannot see it


@dataclass(frozen=True)
class Figures:
    """Figures side by side where the screen is wide enough."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Spectrogram:
    """A picture of levels over time and log frequency; `spectrograms` makes them."""

    title: str
    png: bytes
    ticks: Sequence[tuple[str, float]]  # frequency label -> height above the lower edge, 0 to 1
    scale: tuple[str, str, str]  # what the colours at the lower end, middle and upper end stand for
    kind: Literal["level", "difference"] = "level"


@dataclass(frozen=True)
class Player:
    """One track of a group: compressed audio."""

    label: str
    audio: bytes  # Ogg Vorbis


@dataclass(frozen=True)
class PlayerGroup:
    """Tracks of one length that play on one clock, so that switching between them does not lose the place.

    `sound.player_group` makes them from waveforms.
    """

    name: str
    players: Sequence[Player]
    duration_s: float
    note: str = ""
    mode: Mode = "switch"
    compare: Sequence[str] = ()  # labels of the tracks offered for a blind A/B/X comparison; two or more, or none
    spectrograms: Sequence[Spectrogram] = ()

    @property
    def size_bytes(self) -> int:
        """What audio and pictures take in the page, where they are written in base64."""
        sizes = [len(player.audio) for player in self.players] + [len(picture.png) for picture in self.spectrograms]
        return sum(-(-size // 3) * 4 for size in sizes)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Definitions:
    """Terms, each with what it means."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Fold:
    """Blocks that can be folded away."""

    title: str
    blocks: Sequence["Block"]
    opened: bool = False


Block = Union[Text, Table, Figure, Figures, PlayerGroup, Definitions, Fold]  # noqa: UP007  a forward reference in `|` fails


@dataclass(frozen=True)
class Section:
    """A titled part of a page, listed in its navigation."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    warning: str = ""  # shown on top, such as why a result is incomplete
    footer: str = ""
