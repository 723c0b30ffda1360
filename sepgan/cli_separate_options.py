"""The options of `sepgan separate`, and how what a user types for some of them is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sepgan.errors import UsageError

_STEMS, _FILES, _ENGINE, _RUN = "Which stems", "Files", "Engine", "Run"

Songs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SONG...", help="Files, folders (their tree is mirrored), quoted patterns, @list.txt, or -."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder, or -.", rich_help_panel=_FILES)]
Stems = Annotated[str | None, typer.Option(help="Write only these, for instance vocals,drums.", rich_help_panel=_STEMS)]
TwoStems = Annotated[
    str | None, typer.Option(help="Write this stem and no_<stem>, all the rest.", rich_help_panel=_STEMS)
]
Aggregates = Annotated[
    list[str] | None,
    typer.Option(help="Write a sum of stems, such as instrumental=drums+bass+other.", rich_help_panel=_STEMS),
]
Residual = Annotated[
    str | None,
    typer.Option(help="Write what no stem holds under this name; none drops it.", rich_help_panel=_STEMS),
]
Start = Annotated[float, typer.Option(min=0.0, help="Begin at this second.", rich_help_panel=_STEMS)]
Duration = Annotated[float | None, typer.Option(min=0.0, help="Separate so many seconds.", rich_help_panel=_STEMS)]
FileFormat = Annotated[
    str, typer.Option("--format", help="wav, flac, mp3, m4a, opus, stem.mp4 ...", rich_help_panel=_FILES)
]
Bitrate = Annotated[int | None, typer.Option(min=1, help="kbit/s of lossy formats.", rich_help_panel=_FILES)]
Float32 = Annotated[bool, typer.Option("--float32", help="32-bit float.", rich_help_panel=_FILES)]
Int24 = Annotated[bool, typer.Option("--int24", help="24-bit, the default.", rich_help_panel=_FILES)]
Int16 = Annotated[bool, typer.Option("--int16", help="16-bit integer with dither.", rich_help_panel=_FILES)]
FileName = Annotated[str, typer.Option(help="Template of the files below --out.", rich_help_panel=_FILES)]
ManifestName = Annotated[
    str | None, typer.Option(help="Template of the manifest below --out, or off.", rich_help_panel=_FILES)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace stems that exist.", rich_help_panel=_FILES)]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out songs that were done with this model and these options.",
        rich_help_panel=_FILES,
    ),
]
Segment = Annotated[float | None, typer.Option(min=0.1, help="Seconds separated at once.", rich_help_panel=_ENGINE)]
Overlap = Annotated[float | None, typer.Option(min=0.0, max=0.5, help="Share of a segment.", rich_help_panel=_ENGINE)]
ChannelLayout = Annotated[
    str,
    typer.Option(
        help="auto, mono, names in file order (L,R,C,LFE,Ls,Rs), or numbers (1+2,3,4,5+6).", rich_help_panel=_ENGINE
    ),
]
Precision = Annotated[str, typer.Option(help="fp32, bf16 or fp16: of the network.", rich_help_panel=_ENGINE)]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Segments at once; else as many as fit.", rich_help_panel=_ENGINE)
]
Shifts = Annotated[int, typer.Option(min=0, help="Average so many shifted runs.", rich_help_panel=_ENGINE)]
WienerIterations = Annotated[
    int, typer.Option(min=0, help="Iterations of the multichannel Wiener filter.", rich_help_panel=_ENGINE)
]
Repetition = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Passes that average drums, bass and the like over similar moments; what the model says by default.",
        rich_help_panel=_ENGINE,
    ),
]
MoreModels = Annotated[
    str | None,
    typer.Option(help="More models to average with, such as other.safetensors:0.5,third.", rich_help_panel=_ENGINE),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Songs separated at once.", rich_help_panel=_RUN)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be done, and how long it may take.", rich_help_panel=_RUN)
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="SONG... are manifests: repeat their runs, compare bytes.", rich_help_panel=_RUN),
]


def parse_aggregate(text: str) -> tuple[str, tuple[str, ...]]:
    """Read a sum of stems.

    Raises:
        UsageError: it has another shape.

    >>> parse_aggregate("instrumental=drums+bass")
    ('instrumental', ('drums', 'bass'))
    """
    name, equals, parts = text.partition("=")
    stems = tuple(part.strip() for part in parts.split("+"))
    if not equals or not name.strip() or not all(stems):
        raise UsageError(f"--aggregate '{text}' must look like NAME=STEM+STEM, such as instrumental=drums+bass+other")
    return name.strip(), stems
