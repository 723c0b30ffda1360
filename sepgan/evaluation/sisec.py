"""Place systems among those of SiSEC 2018, from a table of that campaign's scores by track.

The table is a CSV file with the columns method, target, track, metric and a last one that begins with `median`: the
median over frames, in dB, of BSSEval v4. It is not part of this package; the campaign published the scores.

Source: Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sepgan.errors import EvaluationError
from sepgan.evaluation import statistics
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.comparison import judged
from sepgan.evaluation.museval_json import METRICS, NAMES
from sepgan.evaluation.scores import Scores
from sepgan.evaluation.statistics import MINIMUM_TRACKS

COLUMNS = ("method", "target", "track", "metric")
ORACLES = ("IBM1", "IBM2", "IRM1", "IRM2", "MWF")  # of the campaign: masks made from the true stems
RESAMPLES = 2000  # for the interval of a rank, which is a whole number

Table = Mapping[tuple[str, str, str], Mapping[str, float]]
"""(method, target, metric) -> track -> median over frames in dB; NaN where undefined."""


@dataclass(frozen=True)
class Place:
    """Where a system stands on one stem by one metric."""

    system: str
    stem: str
    metric: str  # one of METRICS
    score: float  # median over the tracks, dB
    tracks: int  # in common
    rank: int  # 1 is the best; of `methods` and the system
    low: int  # of the rank's 95 % bootstrap interval over tracks; 0 where there are too few tracks
    high: int
    methods: int  # that scored the stem on all these tracks
    rank_blind: int  # the same without the oracles
    methods_blind: int
    above: str  # the next better method, "" for the best
    below: str


def read(path: Path) -> Table:
    """Read the table.

    Args:
        path: The CSV file.

    Raises:
        EvaluationError: It cannot be read, lacks a column, or holds a bad or double row.
    """
    table: dict[tuple[str, str, str], dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            header = list(rows.fieldnames or ())
            value = next((name for name in header if name.startswith("median")), None)
            if value is None or not set(COLUMNS) <= set(header):
                raise EvaluationError(
                    f"'{path}' has the columns {', '.join(header) or 'of an empty file'}; expected "
                    f"{', '.join(COLUMNS)} and median"
                )
            for row in rows:
                of_tracks = table.setdefault((row["method"], row["target"], row["metric"]), {})
                if row["track"] in of_tracks:
                    raise EvaluationError(f"'{path}' line {rows.line_num} repeats a row: {', '.join(row.values())}")
                of_tracks[row["track"]] = float(row[value])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise EvaluationError(f"'{path}' cannot be read: {reason}; give SiSEC 2018's scores as CSV") from error
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"'{path}' line {rows.line_num} holds no number: {error}") from error
    if not table:
        raise EvaluationError(f"'{path}' holds no scores; give SiSEC 2018's scores as CSV")
    return table


def medians(table: Table) -> dict[tuple[str, str, str], float]:
    """The campaign's published summary: the median over tracks by (method, target, metric)."""
    return {
        key: float(np.median(defined)) if (defined := [v for v in scores.values() if not math.isnan(v)]) else math.nan
        for key, scores in table.items()
    }


def check(table: Table, tracks: Iterable[str], metrics: Iterable[Metric]) -> None:
    """Refuse a table that nothing could be compared with, before anything is computed.

    Args:
        table: As `read` gives it.
        tracks: Names of what will be scored.
        metrics: By which.

    Raises:
        EvaluationError: No track or metric is in common.
    """
    known = {track for of_tracks in table.values() for track in of_tracks}
    ours = list(tracks)
    if not known & set(ours):
        raise EvaluationError(
            f"no track of this evaluation, such as {next(iter(ours), '')!r}, is in SiSEC 2018's table, which has "
            f"{len(known)} such as {min(known)!r}; evaluate the test set of MUSDB18"
        )
    if not {metric.name for metric in metrics} & {name for names in NAMES.values() for name in names}:
        raise EvaluationError("no metric of SiSEC 2018's table is scored; score csdr or bss_v4")


def places(scores: Scores, table: Table) -> tuple[Place, ...]:
    """Where every system that was scored stands, by stem and metric of BSSEval v4.

    A system stands among the methods that have a score on every track that the system has one on and the table knows.

    Args:
        scores: Of systems, on tracks with the names of the table.
        table: As `read` gives it.
    """
    found = []
    for name in METRICS:
        metric = next((one for our in NAMES[name] for one in scores.metrics if one.name == our), None)
        if metric is not None:
            for stem in scores.stems:
                for system in judged(scores):
                    ours = {track.name: scores.of_track(track, system, stem, metric) for track in scores.tracks}
                    theirs = {
                        method: rest for (method, target, of), rest in table.items() if (target, of) == (stem, name)
                    }
                    place = _place(system, stem, name, ours, theirs)
                    found += [place] if place else []
    return tuple(found)


def _place(
    system: str, stem: str, metric: str, ours: Mapping[str, float], theirs: Mapping[str, Mapping[str, float]]
) -> Place | None:
    known = {track for of_tracks in theirs.values() for track in of_tracks}
    tracks = sorted(track for track, score in ours.items() if track in known and not math.isnan(score))
    methods = [
        method
        for method, of_tracks in theirs.items()
        if not any(math.isnan(of_tracks.get(track, math.nan)) for track in tracks)
    ]
    if not tracks or not methods:
        return None
    scores = np.array([[ours[track] for track in tracks], *([theirs[m][t] for t in tracks] for m in methods)])
    summed = statistics.summarize(scores, "median")
    order = sorted(range(len(methods)), key=lambda index: -summed[index + 1])
    rank = _rank(summed)
    blind = [0, *(index + 1 for index, method in enumerate(methods) if method not in ORACLES)]
    low = high = 0
    if len(tracks) >= MINIMUM_TRACKS:
        low, high = _rank_interval(scores)
    return Place(
        system,
        stem,
        metric,
        float(summed[0]),
        len(tracks),
        rank,
        low,
        high,
        len(methods),
        _rank(summed[blind]),
        len(blind) - 1,
        methods[order[rank - 2]] if rank > 1 else "",
        methods[order[rank - 1]] if rank <= len(methods) else "",
    )


def _rank(summed: npt.NDArray[np.float64]) -> int:
    """Of the first score among all: 1 plus how many are better."""
    return 1 + int((summed[1:] > summed[0]).sum())


def _rank_interval(scores: npt.NDArray[np.float64]) -> tuple[int, int]:
    """How far the rank moves when other tracks are drawn; scores [system, track]."""
    chosen = np.random.default_rng(0).integers(scores.shape[1], size=(RESAMPLES, scores.shape[1]))
    summed = statistics.summarize(scores[:, chosen], "median")  # [system, draw]
    ranks = 1 + (summed[1:] > summed[0]).sum(0)
    low, high = np.quantile(ranks, [0.025, 0.975], method="inverted_cdf")
    return int(low), int(high)
