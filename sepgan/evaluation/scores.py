"""Scores of systems on tracks: what was measured, how it is summed up, and the long-form and JSON files it is kept in.

`scores.csv` has one number a row: `system,track,stem,metric,statistic,value`. Rows of a track carry its name; rows over
the whole set have the track `*`. The statistics are:

| track | statistic | meaning |
| --- | --- | --- |
| name | `median`, `mean` | over the defined frames of a framewise metric |
| name | `frames`, `undefined` | how many frames there are, and how many of them are undefined |
| name | `value` | of any other metric |
| `*` | `median`, `mean` | over the tracks' scores: a framewise metric's median, any other's value |
| `*` | `tracks`, `undefined` | how many tracks have the stem, and for how many of them the score is undefined |
| `*` | `low_95`, `high_95` | ends of the 95 % bootstrap interval of the score over tracks, where there are 5 or more |
| `*` | `value`, `windows` | of a metric that only the whole set has, and the windows that it rests on |

Undefined values are `nan` in CSV and null in JSON. They are left out of medians and means, and counted.
"""

import csv
import io
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sepgan.evaluation.catalogue import Metric

SCHEMA = "sepgan-scores"
SCHEMA_VERSION = 1
ALL = "*"  # the track of rows over the whole set
STEM_ORDER = ("drums", "bass", "other", "vocals", "accompaniment")
COLUMNS = ("system", "track", "stem", "metric", "statistic", "value")


@dataclass(frozen=True)
class System:
    """Something that was scored."""

    name: str
    kind: Literal["model", "estimates", "floor", "oracle"]
    details: Mapping[str, str] = field(default_factory=dict)  # of a model: its sha256, recipe, licence


@dataclass(frozen=True)
class TrackScores:
    """All values of one track."""

    name: str
    sample_rate: int  # Hz
    channels: int
    samples: int
    stems: tuple[str, ...]
    values: Mapping[tuple[str, str, str], npt.NDArray[np.float64]]  # (system, stem, metric) -> one per frame, or one
    notes: tuple[str, ...] = ()
    diagonal_load: float = 0.0  # that BSSEval's equations took, relative to a channel's energy; 0 where regular


@dataclass(frozen=True)
class SetScore:
    """A value of a metric that exists for a whole set only."""

    value: float
    windows: int  # that it rests on
    needed: int  # below which it is undefined


@dataclass(frozen=True)
class Record:
    """One row of `scores.csv`."""

    system: str
    track: str
    stem: str
    metric: str
    statistic: str
    value: float


@dataclass(frozen=True)
class Scores:
    """The scores of systems on a set of tracks."""

    systems: tuple[System, ...]
    metrics: tuple[Metric, ...]
    tracks: tuple[TrackScores, ...]
    settings: Mapping[str, str | float]
    failure: str = ""  # why the set is incomplete
    set_metrics: tuple[Metric, ...] = ()  # that no single track has a value of
    set_scores: Mapping[tuple[str, str, str], SetScore] = field(default_factory=dict)  # (system, stem, metric) ->

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """Those of tracks, then those of the set."""
        return (*self.metrics, *self.set_metrics)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know about the numbers, apart from single tracks."""
        loads = [track.diagonal_load for track in self.tracks if track.diagonal_load > 0]
        if not loads:
            return []
        return [
            f"BSSEval's equations are singular for {len(loads)} of {len(self.tracks)} tracks, whose references leave "
            f"part of the band empty or have equal channels; at most {max(loads):.0e} of a channel's energy was added "
            "to their diagonal, and there ISR, SIR and SAR are as uncertain as those of any other program"
        ]

    @property
    def stems(self) -> tuple[str, ...]:
        """Every stem that some track has, in MUSDB18's order, then the others as they come."""
        found = dict.fromkeys(stem for track in self.tracks for stem in track.stems)
        return tuple(sorted(found, key=lambda stem: STEM_ORDER.index(stem) if stem in STEM_ORDER else len(STEM_ORDER)))

    def of_track(self, track: TrackScores, system: str, stem: str, metric: Metric) -> float:
        """A track's score, the median over frames of a framewise metric; NaN where undefined or absent."""
        values = track.values.get((system, stem, metric.name))
        return math.nan if values is None else _defined(np.median, values)

    def of_set(self, system: str, stem: str, metric: Metric) -> float:
        """The score over all tracks that have the stem, summed up as published tables of the metric do."""
        if metric in self.set_metrics:
            found = self.set_scores.get((system, stem, metric.name))
            return math.nan if found is None else found.value
        function = np.median if metric.over_tracks == "median" else np.mean
        return _defined(function, self._over_tracks(system, stem, metric))

    def floor(self, stem: str, metric: Metric, track: TrackScores | None = None) -> tuple[float, str]:
        """The best score that doing nothing gets, and the system that gets it; (NaN, "") if undefined.

        Args:
            stem: Name of the stem.
            metric: What is measured.
            track: The track; None for the set.
        """
        best, by = math.nan, ""
        for system in self.systems:
            if system.kind == "floor":
                score = (
                    self.of_set(system.name, stem, metric)
                    if track is None
                    else self.of_track(track, system.name, stem, metric)
                )
                if math.isnan(best) or (score > best if metric.higher_is_better else score < best):
                    best, by = score, system.name if not math.isnan(score) else ""
        return best, by

    def records(self, intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None) -> Iterator[Record]:
        """Every number in long form, tracks first and the whole set last.

        Args:
            intervals: (system, stem, metric) -> ends of the interval of the score over the set, told where given.
        """
        for track in self.tracks:
            for (system, stem, name), values in track.values.items():
                for statistic, value in _track_statistics(values, framewise=self._metric(name).framewise):
                    yield Record(system, track.name, stem, name, statistic, value)
        for by, stem, metric in itertools.product(self.systems, self.stems, self.metrics):
            values = self._over_tracks(by.name, stem, metric)
            if len(values):
                for statistic, value in _set_statistics(values):
                    yield Record(by.name, ALL, stem, metric.name, statistic, value)
            ends = (intervals or {}).get((by.name, stem, metric.name), ())
            for statistic, value in zip(("low_95", "high_95"), ends, strict=False):
                yield Record(by.name, ALL, stem, metric.name, statistic, value)
        for (system, stem, name), score in self.set_scores.items():
            yield Record(system, ALL, stem, name, "value", score.value)
            yield Record(system, ALL, stem, name, "windows", score.windows)

    def _over_tracks(self, system: str, stem: str, metric: Metric) -> npt.NDArray[np.float64]:
        present = [track for track in self.tracks if (system, stem, metric.name) in track.values]
        return np.array([self.of_track(track, system, stem, metric) for track in present], dtype=np.float64)

    def _metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)


def to_csv(scores: Scores, *, intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None) -> str:
    """The text of `scores.csv`.

    Args:
        scores: What to write.
        intervals: Of the scores over the set.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([*list(asdict(record).values())[:-1], f"{record.value:.6g}"] for record in scores.records(intervals))
    return text.getvalue()


def to_json(
    scores: Scores,
    *,
    version: str,
    intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None,
    findings: Mapping[str, Any] | None = None,
) -> str:
    """The text of `scores.json`: settings, systems, metrics, per-track and set statistics.

    Args:
        scores: What to write.
        version: Of this package, for whoever reads the file later.
        intervals: Of the scores over the set.
        findings: More that follows from the scores, by key.
    """
    tracks: dict[str, Any] = {
        track.name: {
            "sample_rate": track.sample_rate,
            "channels": track.channels,
            "samples": track.samples,
            "stems": list(track.stems),
            "notes": list(track.notes),
            "diagonal_load": track.diagonal_load,
            "scores": {},
        }
        for track in scores.tracks
    }
    summary: dict[str, Any] = {}
    for record in scores.records(intervals):
        tree = summary if record.track == ALL else tracks[record.track]["scores"]
        statistics = tree.setdefault(record.system, {}).setdefault(record.stem, {}).setdefault(record.metric, {})
        statistics[record.statistic] = None if math.isnan(record.value) else record.value
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "sepgan_version": version,
        "complete": not scores.failure,
        "failure": scores.failure or None,
        "settings": dict(scores.settings),
        "systems": [asdict(system) for system in scores.systems],
        "metrics": [asdict(metric) for metric in scores.all_metrics],
        "summary": summary,
        **(findings or {}),
        "tracks": tracks,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _track_statistics(values: npt.NDArray[np.float64], *, framewise: bool) -> Sequence[tuple[str, float]]:
    if not framewise:
        return [("value", float(values[0]))]
    return [
        ("median", _defined(np.median, values)),
        ("mean", _defined(np.mean, values)),
        ("frames", len(values)),
        ("undefined", int(np.isnan(values).sum())),
    ]


def _set_statistics(values: npt.NDArray[np.float64]) -> Sequence[tuple[str, float]]:
    return [
        ("median", _defined(np.median, values)),
        ("mean", _defined(np.mean, values)),
        ("tracks", len(values)),
        ("undefined", int(np.isnan(values).sum())),
    ]


def _defined(function: Any, values: npt.NDArray[np.float64]) -> float:
    """The function of the values that are not NaN; NaN if there is none (numpy's nan functions warn then)."""
    defined = values[~np.isnan(values)]
    return float(function(defined)) if len(defined) else math.nan
