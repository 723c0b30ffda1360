"""The report of an evaluation: a table to print, and a folder with `scores.{csv,json}`, `report.{md,html}` and frames.

Every file is written under a temporary name and renamed, so that no reader ever sees half of one.
"""

import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sepgan import __version__
from sepgan.errors import OutputError
from sepgan.evaluation import findings as conclusions
from sepgan.evaluation import html
from sepgan.evaluation import scores as files
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.comparison import Intervals
from sepgan.evaluation.excerpts import Excerpt
from sepgan.evaluation.findings import Findings
from sepgan.evaluation.scores import Scores, System, TrackScores
from sepgan.evaluation.sisec import Table
from sepgan.evaluation.statistics import Method

SHOWN = 3  # undefined values that the table for the terminal spells out

Row = Sequence[str]


@dataclass(frozen=True)
class Report:
    """What an evaluation found, and the folder it is written to."""

    scores: Scores
    folder: Path
    excerpts: tuple[Excerpt, ...] = ()  # what the page plays
    page: bool = True  # write report.html too
    anchor: str | None = None  # compare the other systems with this one alone
    published: Table | None = None  # scores of SiSEC 2018, to find the systems' places
    interval: Method = "percentile"  # bootstrap of all intervals

    @cached_property
    def findings(self) -> Findings:
        """Intervals, comparisons and places.

        Raises:
            UsageError: The anchor was not scored.
        """
        return conclusions.find(self.scores, anchor=self.anchor, published=self.published, method=self.interval)

    def write(self) -> None:
        """Write all files of the report.

        Raises:
            OutputError: A file cannot be written.
        """
        prepare(self.folder)
        frames = io.BytesIO()
        np.savez_compressed(frames, allow_pickle=False, **dict(_frame_arrays(self.scores)))
        content = {
            "scores.csv": files.to_csv(self.scores, intervals=self.findings.intervals).encode(),
            "scores.json": files.to_json(
                self.scores,
                version=__version__,
                intervals=self.findings.intervals,
                findings=conclusions.to_plain(self.findings),
            ).encode(),
            "frames.npz": frames.getvalue(),
            "report.md": self.markdown().encode(),
        }
        for name, data in content.items():
            write_atomic(self.folder / name, data)
        # Last, because it takes longest to make: an interrupted evaluation has its numbers by then.
        if self.page:
            shown = html.render(
                self.scores,
                self.excerpts,
                intervals=self.findings.intervals,
                comparisons=self.findings.comparisons,
                sections=conclusions.sections(self.findings),
            )
            write_atomic(self.folder / "report.html", shown.encode())

    def table(self) -> str:
        """Return the scores over the whole set in aligned columns, a row per stem and metric."""
        header, rows = _set_table(self.scores)
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        lines = []
        for row in [header, *rows]:
            cells = [
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        undefined = _undefined(self.scores)
        lines += [f"{text} is undefined" for text in undefined[:SHOWN]]
        lines += (
            [f"and {len(undefined) - SHOWN} more like these, listed in report.md"] if len(undefined) > SHOWN else []
        )
        return "\n".join(lines)

    def markdown(self) -> str:
        """The text of `report.md`."""
        scores = self.scores
        lines = ["# Evaluation", ""]
        if scores.failure:
            lines += [f"**Incomplete**: {scores.failure}.", ""]
        lines += [f"{len(scores.tracks)} tracks; sepgan {__version__}.", ""]
        lines += [f"- {_describe(system)}" for system in scores.systems]
        lines += [
            "",
            "## All tracks",
            "",
            *_markdown_table(*_set_table(scores, self.findings.intervals)),
            "",
            _SCALE_NOTE,
            "",
        ]
        lines += conclusions.markdown(self.findings, scores)
        lines += ["## Each track", "", *_markdown_table(*_track_table(scores)), ""]
        notes = [f"{track.name}: {note}" for track in scores.tracks for note in track.notes]
        notes += scores.remarks
        undefined = [f"{text} is undefined" for text in _undefined(scores)]
        if notes or undefined:
            lines += ["## Notes", "", *(f"- {note}" for note in [*notes, *undefined]), ""]
        lines += ["## Definitions", "", "s is the reference, e the estimate.", ""]
        lines += [
            f"- **{metric.title}** (`{metric.name}`, {metric.unit}). {metric.definition} Source: {metric.source}."
            for metric in scores.all_metrics
        ]
        lines += [f"- `{name}`: {value}" for name, value in scores.settings.items()]
        return "\n".join(lines) + "\n"


_SCALE_NOTE = (
    "The floor is the best score that doing nothing gets on the set: the mixture, an equal share of it, or silence as "
    "every estimate. Oracles know the true stems: the ideal ratio mask (irm), the ideal binary mask (ibm) and the "
    "multichannel Wiener filter (mwf), all with the phase of the mixture. Gap closed is (score - floor) / "
    "(irm - floor). In brackets behind a score: its 95 % bootstrap interval over tracks, told for 5 tracks or more."
)


def prepare(folder: Path) -> None:
    """Make the folder and prove that it can be written, before anything is computed.

    Raises:
        OutputError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be made: {error.strerror}; choose another output folder") from error
    probe = folder / f".write-test-{os.getpid()}"
    write_atomic(probe, b"")
    probe.unlink()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"'{path}' cannot be written: {error.strerror}; check the folder, permissions and space"
        ) from error


def _set_table(scores: Scores, intervals: Intervals | None = None) -> tuple[Row, list[Row]]:
    judged = [system for system in scores.systems if system.kind in ("model", "estimates")]
    rest = [system for system in scores.systems if system not in judged]
    oracle = next((system for system in rest if system.kind == "oracle"), None)
    gaps = [f"gap closed by {system.name}" if len(judged) > 1 else "gap closed" for system in judged] if oracle else []
    header = ["stem", "metric", *(system.name for system in judged), "floor", *gaps, *(system.name for system in rest)]
    rows: list[Row] = []
    for stem in scores.stems:
        for metric in scores.all_metrics:
            floor, by = scores.floor(stem, metric)
            values = {system.name: scores.of_set(system.name, stem, metric) for system in scores.systems}
            closed = (
                [_gap(metric, values[system.name], floor, values[oracle.name]) for system in judged] if oracle else []
            )
            row = [stem, _heading(metric)]
            for system in judged:
                ends = (intervals or {}).get((system.name, stem, metric.name))
                between = f" ({_number(ends[0], metric)} to {_number(ends[1], metric)})" if ends else ""
                row.append(_number(values[system.name], metric) + between)
            row += [f"{_number(floor, metric)} ({by})" if by else _number(floor, metric), *closed]
            row += [_number(values[system.name], metric) for system in rest]
            rows.append(row)
    return header, rows


def _track_table(scores: Scores) -> tuple[Row, list[Row]]:
    systems = [system for system in scores.systems if system.kind != "floor"]
    columns = [(system, metric) for metric in scores.metrics for system in [*systems, None]]
    header = [
        "track",
        "stem",
        *(f"{system.name if system else 'floor'} {_heading(metric)}" for system, metric in columns),
    ]
    rows: list[Row] = []
    for track in scores.tracks:
        for stem in track.stems:
            row = [track.name, stem]
            for system, metric in columns:
                score = (
                    scores.of_track(track, system.name, stem, metric)
                    if system
                    else scores.floor(stem, metric, track)[0]
                )
                row.append(_number(score, metric))
            rows.append(row)
    return header, rows


def _undefined(scores: Scores) -> list[str]:
    """One text per system, metric, track and stem whose value, or some of whose frames, are undefined."""
    found = []
    for system in scores.systems:
        if system.kind in ("model", "estimates"):
            for track in scores.tracks:
                found += list(_undefined_of(track, system, scores.metrics))
            found += [
                f"{system.name}, {stem}: {metric.title} on {score.windows} windows, of {score.needed} needed"
                for metric in scores.set_metrics
                for (name, stem, of), score in scores.set_scores.items()
                if (name, of) == (system.name, metric.name) and math.isnan(score.value)
            ]
    return found


def _undefined_of(track: TrackScores, system: System, metrics: Sequence[Metric]) -> Iterator[str]:
    for stem in track.stems:
        for metric in metrics:
            values = track.values.get((system.name, stem, metric.name))
            count = 0 if values is None else int(np.isnan(values).sum())
            if values is not None and count:
                where = f"{system.name}, {track.name}, {stem}: {metric.title}"
                yield f"{where} of {count} of {len(values)} frames" if metric.framewise else where


def _frame_arrays(scores: Scores) -> Iterator[tuple[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"]]:
    """Frames of framewise metrics under `system|track|stem|metric`; a slash would make folders in the archive."""
    framewise = {metric.name for metric in scores.metrics if metric.framewise}
    for track in scores.tracks:
        for (system, stem, metric), values in track.values.items():
            if metric in framewise:
                yield "|".join((system, track.name, stem, metric)).replace("/", "÷"), values


def _markdown_table(header: Row, rows: Sequence[Row]) -> list[str]:
    align = ["---", "---", *("---:" for _ in header[2:])]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in [header, align, *rows]]


def _describe(system: System) -> str:
    details = "; ".join(f"{key} {value}" for key, value in system.details.items())
    return f"`{system.name}` ({system.kind}{f': {details}' if details else ''})"


def _heading(metric: Metric) -> str:
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def _gap(metric: Metric, score: float, floor: float, oracle: float) -> str:
    closed = metric.gap_closed(score, floor, oracle)
    return "-" if math.isnan(closed) else f"{round(100 * closed)} %"


def _number(value: float, metric: Metric) -> str:
    return "-" if math.isnan(value) else f"{value:.{metric.digits}f}"
