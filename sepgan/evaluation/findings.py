"""What follows from scores: intervals, comparisons of systems and places in SiSEC 2018, for every file of a report."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sepgan.evaluation import comparison, sisec
from sepgan.evaluation.comparison import Comparison, Intervals
from sepgan.evaluation.scores import Scores
from sepgan.evaluation.sisec import Place, Table
from sepgan.evaluation.statistics import Method
from sepgan.report import blocks
from sepgan.report.blocks import Column, Section, Text

_PLACES = (
    "Median over tracks of the median over frames, by BSSEval v4 in dB, among the methods of SiSEC 2018 that scored "
    "the stem on the same tracks. The best has rank 1. The interval holds 95 % of the ranks when tracks are drawn anew "
    f"(bootstrap). Oracles ({', '.join(sisec.ORACLES)}) know the true stems; the last column leaves them out."
)


@dataclass(frozen=True)
class Findings:
    """All of it, computed once for one report."""

    intervals: Intervals = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    places: tuple[Place, ...] = ()


def find(
    scores: Scores, *, anchor: str | None = None, published: Table | None = None, method: Method = "percentile"
) -> Findings:
    """Compute what the scores say.

    Args:
        scores: Of an evaluation.
        anchor: Compare the other systems with this one alone.
        published: The table of SiSEC 2018; without it there are no places.
        method: Of the bootstrap of scores and differences.

    Raises:
        UsageError: The anchor was not scored.
    """
    places = () if published is None else sisec.places(scores, published)
    return Findings(
        comparison.intervals(scores, method=method),
        comparison.compare(scores, anchor=anchor, method=method),
        places,
    )


def to_plain(findings: Findings) -> dict[str, Any]:
    """The same for `scores.json`, where NaN is null."""
    return {
        "comparisons": [_plain(asdict(one)) for one in findings.comparisons],
        "sisec18": [_plain(asdict(one)) for one in findings.places],
    }


def markdown(findings: Findings, scores: Scores) -> list[str]:
    """Chapters for `report.md`; none where there is nothing to tell."""
    lines: list[str] = []
    if findings.comparisons:
        units = {metric.name: metric for metric in scores.metrics}
        header = [
            "stem",
            "metric",
            "systems",
            "tracks",
            "difference",
            "95 % interval",
            "median of differences",
            "p",
            "p (Holm)",
            "effect",
            "",
        ]
        rows = [
            [
                one.stem,
                f"{units[one.metric].title}{', ' + units[one.metric].unit if units[one.metric].unit else ''}",
                f"{one.first} less {one.second}",
                str(one.tracks),
                f"{one.difference:+.{units[one.metric].digits}f}",
                _between(one.low, one.high, units[one.metric].digits),
                f"{one.typical:+.{units[one.metric].digits}f}",
                _p(one.p_value),
                _p(one.p_adjusted),
                f"{one.effect:+.2f}",
                one.verdict,
            ]
            for one in findings.comparisons
        ]
        lines += ["## Comparisons", "", comparison.note(findings.comparisons), "", *_table(header, rows), ""]
    if findings.places:
        header = [column.title for column in _PLACE_COLUMNS]
        rows = [
            [cell if isinstance(cell, str) else f"{cell:.2f}" for cell in _place_row(one)] for one in findings.places
        ]
        lines += ["## Among the systems of SiSEC 2018", "", _PLACES, "", *_table(header, rows), ""]
    return lines


def sections(findings: Findings) -> list[Section]:
    """What the page shows of the places; comparisons it lays out itself."""
    if not findings.places:
        return []
    rows = [_place_row(one) for one in findings.places]
    table = blocks.Table("Places by stem and metric", _PLACE_COLUMNS, rows, filtered=True)
    return [Section("SiSEC 2018", [Text(_PLACES), table])]


_PLACE_COLUMNS = [
    Column("stem"),
    Column("metric"),
    Column("system"),
    Column("score"),
    Column("rank", "1 is the best"),
    Column("95 % interval", "Of the rank, when tracks are drawn anew"),
    Column("tracks"),
    Column("next better"),
    Column("next worse"),
    Column("rank without oracles"),
]


def _place_row(place: Place) -> list[blocks.Cell]:
    return [
        place.stem,
        place.metric,
        place.system,
        place.score,
        f"{place.rank} of {place.methods + 1}",
        f"{place.low} to {place.high}" if place.low else "too few tracks",
        str(place.tracks),
        place.above or "none",
        place.below or "none",
        f"{place.rank_blind} of {place.methods_blind + 1}",
    ]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(one, float) and math.isnan(one) else one for key, one in values.items()}


def _between(low: float, high: float, digits: int) -> str:
    return "too few tracks" if math.isnan(low) else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
