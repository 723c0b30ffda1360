"""A comparison as JSON, as lines for a terminal, and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from sepgan.atomic import replacing
from sepgan.errors import OutputError
from sepgan.evaluation.statistics import MINIMUM_TRACKS
from sepgan.report import page as pages
from sepgan.report import plots
from sepgan.report.blocks import Column, Figures, Interval, Page, Section, Table, Text
from sepgan.training.comparison.measure import METRICS, REALISM, SDR_LOSS_DB, Difference, Scored, own_interval

UNITS = {"usdr": "dB", "mr_stft": "distance", "leakage": "dB"}
BETTER = "Global SDR: higher is better. Distances and leakage: lower is better."


def verdict(found: Difference) -> str:
    """What a difference says."""
    if found.songs < MINIMUM_TRACKS:
        songs = "1 song" if found.songs == 1 else f"{found.songs} songs"
        return f"undecided: {songs}, {MINIMUM_TRACKS} are the least for an interval"
    if math.isnan(found.low):
        return "undecided: too little music for an interval"
    return "differs" if found.low > 0 or found.high < 0 else "not distinguishable"


def lines(rows: Sequence[Difference], chosen: Scored) -> list[str]:
    """For a terminal."""
    table = [
        f"{row.name}: with {row.adversarial:.3f}, without {row.plain:.3f}, difference {row.difference:+.3f} "
        f"[{row.low:+.3f}, {row.high:+.3f}]: {verdict(row)}"
        for row in rows
    ]
    return [
        *table,
        f"choice under 'at most {SDR_LOSS_DB} dB of SDR lost': {chosen.share:.0%} of the adversarial weights",
    ]


def write(out: Path, name: str, rows: Sequence[Difference], curve: Sequence[Scored], chosen: Scored) -> None:
    """Write `compare.json` and `compare.html`.

    Raises:
        OutputError: They cannot be written.
    """
    plain = {
        "differences": [
            {key: _finite(value) for key, value in vars(row).items()} | {"verdict": verdict(row)} for row in rows
        ],
        "curve": [
            {"share": scored.share, "realism": _finite(scored.realism)}
            | {metric: _finite(scored.mean(metric)) for metric in METRICS}
            for scored in curve
        ],
        "chosen": chosen.share,
        "largest_sdr_loss_db": SDR_LOSS_DB,
    }
    texts = {
        "compare.json": json.dumps(plain, indent=2) + "\n",
        "compare.html": pages.render(_page(name, rows, curve, chosen)),
    }
    try:
        for file, text in texts.items():
            with replacing(out / file) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"comparison in '{out}' cannot be written: {error}; choose another --out") from error


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(name: str, rows: Sequence[Difference], curve: Sequence[Scored], chosen: Scored) -> Page:
    columns = (
        Column("Measure"), Column("With", digits=3), Column("Without", digits=3),
        Column("Difference", "with less without, and its 95 % interval over songs", 3), Column("Verdict"),
    )  # fmt: skip
    table = [
        (row.name, row.adversarial, row.plain, Interval(row.difference, row.low, row.high), verdict(row))
        for row in rows
    ]
    shares = [scored.share for scored in curve]
    figures = [
        plots.curves(title, {"mean over songs": (shares, [scored.mean(metric) for scored in curve])},
                     xlabel="share of the adversarial weights", ylabel=UNITS[metric])
        for metric, title in METRICS.items()
    ]  # fmt: skip
    if all(math.isfinite(scored.realism) for scored in curve):
        realism = {"all songs": (shares, [scored.realism for scored in curve])}
        figures.append(
            plots.curves(REALISM, realism, xlabel="share of the adversarial weights", ylabel="distance (dB²)")
        )
    points = []
    for scored in curve:
        low, high = own_interval(scored, "usdr")
        sdr = Interval(scored.mean("usdr"), low, high)
        points.append((f"{scored.share:.0%}", sdr, scored.mean("mr_stft"), scored.mean("leakage"), scored.realism))
    heads = (Column("Adversarial weights"), *(Column(title, digits=3) for title in (*METRICS.values(), REALISM)))
    choice = (
        f"Of the models between the two, the most realistic one that loses at most {SDR_LOSS_DB} dB of global SDR "
        f"holds {chosen.share:.0%} of the adversarial weights."
    )
    sections = [
        Section("Did the adversary help?", [Text(BETTER), Table("Side by side", columns, table)]),
        Section("Between the two", [Text(choice), Figures(figures), Table("Interpolated weights", heads, points)]),
    ]
    few = rows[0].songs < MINIMUM_TRACKS
    return Page(
        f"{name} with and without its adversary",
        sections,
        warning=f"Only {rows[0].songs} songs: no difference can be told from chance." if few else "",
    )
