"""What a dataset holds, as a page and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from sepgan import atomic
from sepgan.data.info import Info
from sepgan.errors import OutputError
from sepgan.report import plots
from sepgan.report.blocks import Block, Cell, Column, Page, Section, Table, Text
from sepgan.report.page import render


def write_page(info: Info, path: Path) -> None:
    """Write a dataset as one HTML file.

    Raises:
        OutputError: The file cannot be written.
    """
    columns = [Column("split"), Column("stem"), Column("tracks", digits=0), Column("hours", digits=3)]
    columns += [Column("loudness, LUFS", "median over tracks", digits=1), Column("peak, dB", "median", digits=1)]
    columns += [Column("sounding, %", "share of the time above -50 dB, median over tracks", digits=0)]
    hours = info.hours()
    rows: list[list[Cell]] = []
    for split, stems in hours.items():
        for stem, amount in stems.items():
            chosen = [entry for entry in info.stems if (entry.split, entry.stem) == (split, stem)]
            measured = [info.median(what, stem, split) for what in ("loudness_lufs", "peak_db", "active")]
            numbers = [math.nan if value is None else value for value in measured]
            rows.append([split, stem, float(len(chosen)), amount, numbers[0], numbers[1], 100 * numbers[2]])
    blocks: list[Block] = [Table("Hours and levels", columns, rows)]
    loudness = _values(info, "loudness_lufs")
    if loudness:
        blocks.append(plots.distributions("Loudness of each stem", loudness, ylabel="LUFS"))
        blocks.append(plots.distributions("Share of the time that sounds", _values(info, "active"), ylabel="share"))
    formats = sorted({(e.sample_rate, e.channels, e.codec) for e in info.stems})
    counted: list[list[Cell]] = [
        [f"{rate} Hz, {channels} channels, {codec}", float(_count(info, (rate, channels, codec)))]
        for rate, channels, codec in formats
    ]
    blocks.append(Table("Files", [Column("form"), Column("files", digits=0)], counted))
    sections = [Section("What there is", blocks)]
    for label, table in info.labels.items():
        rows_of: list[list[Cell]] = [[value, float(count)] for value, count in sorted(table.items())]
        sections.append(Section(label, [Table(label, [Column(label), Column("tracks", digits=0)], rows_of)]))
    if info.unreadable:
        lines: list[Block] = [Text(f"{track}: {reason}") for track, reason in info.unreadable]
        sections.append(Section("Unreadable", lines))
    tracks = ", ".join(f"{count} in {split or 'the list'}" for split, count in info.tracks().items())
    page = Page(f"Dataset {info.kind}", sections, subtitle=f"{info.root}: {tracks} tracks")
    _write(path, render(page).encode())


def write_picture(info: Info, path: Path) -> None:
    """Write hours, loudness and activity of a dataset as one PNG picture.

    Raises:
        OutputError: The file cannot be written.
    """
    hours = info.hours()
    stems = list(dict.fromkeys(entry.stem for entry in info.stems))
    canvas = Canvas(figsize=(12, 0.5 * len(stems) + 2.5), layout="constrained")
    axes = canvas.subplots(1, 3)
    left = [0.0] * len(stems)
    for split, table in hours.items():
        widths = [table.get(stem, 0.0) for stem in stems]
        axes[0].barh(stems, widths, left=left, label=split or "all")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes[0].set_xlabel("hours")
    axes[0].legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    axes[2].set_xlim(-0.02, 1.02)
    for axis, what, label in ((axes[1], "loudness_lufs", "loudness, LUFS"), (axes[2], "active", "share that sounds")):
        found = [[getattr(e, what) for e in info.stems if e.stem == stem] for stem in stems]
        known = [[value for value in values if value is not None and math.isfinite(value)] for values in found]
        if any(known):
            for row, values in enumerate(known):
                axis.plot(values, [row] * len(values), "o", alpha=0.4)
            axis.set_yticks(range(len(stems)), stems)
            axis.set_ylim(-0.6, len(stems) - 0.4)
        else:
            axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
        axis.set_xlabel(label)
    canvas.suptitle(f"{info.kind}: {sum(info.tracks().values())} tracks")
    try:
        with atomic.replacing(path) as temporary:
            canvas.savefig(temporary, format="png", dpi=120)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}; choose another --out") from error


def _values(info: Info, what: str) -> Mapping[str, Mapping[str, list[float]]]:
    """Measured values by stem and split."""
    table: dict[str, dict[str, list[float]]] = {}
    for entry in info.stems:
        value = getattr(entry, what)
        if value is not None and math.isfinite(value):
            table.setdefault(entry.stem, {}).setdefault(entry.split or "all", []).append(value)
    return table


def _count(info: Info, form: tuple[int, int, str]) -> int:
    return sum((entry.sample_rate, entry.channels, entry.codec) == form for entry in info.stems)


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic.replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}; choose another --out") from error
