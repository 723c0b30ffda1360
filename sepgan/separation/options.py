"""What can be asked of a separation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sepgan.errors import UsageError

TEMPLATE = "{track}/{stem}.{ext}"
MANIFEST = "manifest.json"

_NOT_OF_THE_RESULT = ("overwrite", "skip_existing", "manifest", "filename")  # they change no byte of a stem


@dataclass(frozen=True)
class SeparationOptions:
    """Which stems are written, from what part of a song, and how.

    Attributes:
        stems: which outputs to write; None for all. Names of the model's stems, of `aggregate`, or `no_<two_stems>`.
        two_stems: write this stem and `no_<stem>`, the sum of all others.
        aggregate: outputs that are sums of the model's stems: name and parts.
        residual: output that takes what no other output holds; "none" writes it nowhere; None gives it to the model's
            own residual stem (`other`).
        start_s: where to begin, in seconds.
        duration_s: how much to separate, in seconds; None for all that is there.
        channel_layout: which channels belong together; see `sepgan.separation.channels`.
        subtype: "int24", "int16" (dithered with a fixed seed) or "float32"; formats that code with loss have their own.
        file_format: what the files are, such as "wav" or "flac".
        bitrate_kbps: of formats that code with loss; None for their default.
        filename: template of the files below the output folder.
        manifest: template of the manifest below the output folder, "off" for none; None for `manifest.json` beside the
            stems, or `<track>.manifest.json` where the template gives songs no folder of their own.
        overwrite: replace files that exist.
        skip_existing: leave out songs whose manifest says that this very separation has been done.
        segment: samples separated at once, at the model's rate; None for the model's own choice.
        overlap: samples that neighbouring segments share, at most half a segment; None for the model's own choice.
        seed: of the dither.
    """

    stems: tuple[str, ...] | None = None
    two_stems: str | None = None
    aggregate: tuple[tuple[str, tuple[str, ...]], ...] = ()
    residual: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    channel_layout: str = "auto"
    subtype: str = "int24"
    file_format: str = "wav"
    bitrate_kbps: int | None = None
    filename: str = TEMPLATE
    manifest: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    segment: int | None = None
    overlap: int | None = None
    seed: int = 0

    def of_the_result(self) -> Mapping[str, Any]:
        """The options that decide what a stem holds, as plain JSON values."""
        plain = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_RESULT}
        plain["stems"] = None if self.stems is None else list(self.stems)
        plain["aggregate"] = {name: list(parts) for name, parts in self.aggregate}
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SeparationOptions":
        """Read what `of_the_result` gave.

        Raises:
            UsageError: there is an option that this version does not know.
        """
        values = {name: value for name, value in plain.items() if name != "engine"}
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise UsageError(f"option {sorted(unknown)[0]!r} is unknown to this version; separate the song again")
        if values.get("stems") is not None:
            values["stems"] = tuple(values["stems"])
        values["aggregate"] = tuple((name, tuple(parts)) for name, parts in dict(values.get("aggregate", {})).items())
        return cls(**values)


DEFAULTS = SeparationOptions()
