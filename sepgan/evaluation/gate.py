"""Fail when a system got worse than a stored baseline: `usdr.vocals < -0.1`, for continuous integration.

A condition names a metric and a stem, and compares the difference to the baseline (now less then) with a number. The
difference is that of the scores over the tracks that both have, summed up as the metric is. `*` stands for any stem.
With `@ 95%` behind it, a condition is met only where the whole bootstrap interval of that level meets it, so that
chance alone seldom fails a run; without, the difference itself decides. Either way, the verdict tells
both interval and p-value.

The baseline is the `scores.json` of an earlier evaluation. A gate that cannot compare what it should is an error, never
a pass.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation import statistics
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.scores import SCHEMA, SCHEMA_VERSION, Scores
from sepgan.evaluation.statistics import LEVEL, MINIMUM_TRACKS

ANY = "*"

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(
    r"(?P<metric>\w[\w.]*)\.(?P<stem>[^.<>=@]+?)\s*(?P<operator><=|>=|<|>)\s*"
    r"(?P<threshold>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)(\s*@\s*(?P<level>\d+(\.\d+)?)\s*%)?",
    re.IGNORECASE,
)
_SETTINGS = ("window_s", "hop_s", "silence")  # that change what a metric's name means

_Key = tuple[str, str, str]  # track, stem, metric


@dataclass(frozen=True)
class Condition:
    """When to fail, as `parse` reads it."""

    metric: str
    stem: str  # ANY stands for each
    operator: str
    threshold: float  # in the metric's unit, of the difference to the baseline
    level: float | None  # of the interval that has to meet it; None where the difference alone decides
    text: str


@dataclass(frozen=True)
class Baseline:
    """The scores of an earlier evaluation, by track."""

    path: Path
    systems: Mapping[str, Mapping[_Key, float]]  # models and estimates -> their scores
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a condition found for one stem."""

    condition: Condition
    stem: str
    system: str
    unit: str
    difference: float  # now less then
    low: float  # of the interval of the difference; NaN for a single track
    high: float
    level: float  # of that interval
    p_value: float  # of a paired Wilcoxon test, two-sided; NaN for a single track
    tracks: int
    failed: bool

    def __str__(self) -> str:
        """One line for people."""
        unit = f" {self.unit}" if self.unit else ""
        evidence = "a single track says nothing about chance"
        if not math.isnan(self.low):
            sign = "distinguishable from no change" if self.p_value < 0.05 else "not distinguishable from no change"
            evidence = (
                f"{100 * self.level:g} % interval {self.low:+.2f} to {self.high:+.2f}, p = {self.p_value:.2g}: {sign}"
            )
        return (
            f"{'FAILED' if self.failed else 'passed'}: {self.condition.text} ({self.system}, {self.stem}): "
            f"{self.difference:+.2f}{unit} on {self.tracks} track{'' if self.tracks == 1 else 's'}; {evidence}"
        )


def parse(text: str) -> Condition:
    """Read a condition such as `usdr.vocals < -0.1` or `bss_v4.sdr.* < -0.2 @ 95%`.

    Args:
        text: Metric, dot, stem or `*`, one of `<`, `<=`, `>`, `>=`, a number, and at will `@` and a level in percent.

    Raises:
        UsageError: It is not of that form.

    >>> condition = parse("bss_v4.sdr.vocals < -0.1 @ 95%")
    >>> condition.metric, condition.stem, condition.threshold, condition.level
    ('bss_v4.sdr', 'vocals', -0.1, 0.95)
    """
    found = _CONDITION.fullmatch(text.strip())
    level = float(found["level"]) / 100 if found and found["level"] else None
    if found is None or not (level is None or 0 < level < 1) or not math.isfinite(float(found["threshold"])):
        raise UsageError(
            f"condition {text!r} cannot be read; expected METRIC.STEM, a comparison and a number, such as "
            "'usdr.vocals < -0.1' or 'usdr.* < -0.1 @ 95%'"
        )
    return Condition(
        found["metric"], found["stem"].strip(), found["operator"], float(found["threshold"]), level, text.strip()
    )


def load_baseline(path: Path) -> Baseline:
    """Read the `scores.json` of an earlier evaluation.

    Args:
        path: The file.

    Raises:
        EvaluationError: It is absent, no such file, of another version, or incomplete.
    """
    advice = "give the scores.json of an earlier `sepgan eval`"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise EvaluationError(f"baseline '{path}' cannot be read: {reason}; {advice}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise EvaluationError(f"baseline '{path}' holds no scores; {advice}")
    if document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version")
        raise EvaluationError(
            f"baseline '{path}' has schema version {version!r} where {SCHEMA_VERSION} is read; evaluate it again"
        )
    if document.get("complete") is not True:
        raise EvaluationError(f"baseline '{path}' is of an evaluation that did not finish; {advice}")
    try:
        judged = [system["name"] for system in document["systems"] if system["kind"] in ("model", "estimates")]
        systems: dict[str, dict[_Key, float]] = {name: {} for name in judged}
        for track, entry in document["tracks"].items():
            for name in set(judged) & set(entry["scores"]):
                for stem, by_metric in entry["scores"][name].items():
                    for metric, values in by_metric.items():
                        value = values["value"] if "value" in values else values["median"]
                        systems[name][track, stem, metric] = math.nan if value is None else float(value)
        settings = dict(document["settings"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"baseline '{path}' is malformed near {error}; {advice}") from error
    return Baseline(path, systems, settings)


def check(
    scores: Scores, conditions: Sequence[Condition], baseline: Baseline, *, system: str | None = None
) -> tuple[Verdict, ...]:
    """Compare an evaluation with a baseline; one verdict for each condition and stem.

    Args:
        scores: Of this evaluation.
        conditions: When to fail.
        baseline: What to compare with.
        system: Whose scores; needed only where several were scored.

    Raises:
        UsageError: A condition names a metric or stem that was not scored, or the system is not clear.
        EvaluationError: The baseline lacks what is to be compared, has other settings, or scores that this evaluation
            lacks.
    """
    now_name, then_name = _pick(scores, baseline, system)
    for name in _SETTINGS:
        ours, theirs = scores.settings.get(name), baseline.settings.get(name)
        if ours is not None and theirs is not None and ours != theirs:
            raise EvaluationError(
                f"baseline '{baseline.path}' was scored with {name} {theirs} and this evaluation with {ours}; "
                "scores are comparable only with equal settings"
            )
    then = baseline.systems[then_name]
    lost = sorted({track for track, _, _ in then} - {track.name for track in scores.tracks})
    if lost:
        raise EvaluationError(
            f"{len(lost)} tracks of baseline '{baseline.path}' were not scored, such as {lost[0]!r}; "
            "evaluate the same set, or store a new baseline"
        )
    verdicts = []
    for condition in conditions:
        metric = next((metric for metric in scores.metrics if metric.name == condition.metric), None)
        if metric is None:
            names = ", ".join(metric.name for metric in scores.metrics)
            raise UsageError(f"metric {condition.metric!r} of {condition.text!r} was not scored; choose from {names}")
        if condition.stem not in (ANY, *scores.stems):
            names = ", ".join([*scores.stems, ANY])
            raise UsageError(f"stem {condition.stem!r} of {condition.text!r} was not scored; choose from {names}")
        of_metric = [stem for _, stem, name in then if name == metric.name]
        for stem in dict.fromkeys([*scores.stems, *of_metric]) if condition.stem == ANY else [condition.stem]:
            now = {track.name: scores.of_track(track, now_name, stem, metric) for track in scores.tracks}
            pairs = {track: (value, then.get((track, stem, metric.name), math.nan)) for track, value in now.items()}
            verdicts.append(_judge(condition, stem, now_name, metric, pairs, baseline))
    return tuple(verdicts)


def _judge(
    condition: Condition,
    stem: str,
    system: str,
    metric: Metric,
    pairs: Mapping[str, tuple[float, float]],
    baseline: Baseline,
) -> Verdict:
    lost = [track for track, (now, then) in pairs.items() if math.isnan(now) and not math.isnan(then)]
    if lost:
        raise EvaluationError(
            f"{metric.name} of {stem!r} is in baseline '{baseline.path}' but not in this evaluation for {len(lost)} "
            f"tracks, such as {lost[0]!r}; evaluate the same stems, or store a new baseline"
        )
    found = [pair for pair in pairs.values() if not any(map(math.isnan, pair))]
    defined = np.array(found, np.float64).reshape(-1, 2)
    if not len(defined):
        raise EvaluationError(
            f"baseline '{baseline.path}' and this evaluation share no track with a defined {metric.name} of {stem!r}; "
            "evaluate the same set, or store a new baseline"
        )
    if condition.level is not None and len(defined) < MINIMUM_TRACKS:
        raise EvaluationError(
            f"{condition.text!r} asks for an interval of {len(defined)} tracks; it needs {MINIMUM_TRACKS} or more, "
            "leave out '@ ...%'"
        )
    level = LEVEL if condition.level is None else condition.level
    now, then = defined.T
    over_tracks = metric.over_tracks
    difference = float(statistics.summarize(now, over_tracks) - statistics.summarize(then, over_tracks))
    low, high = statistics.difference_interval(now, then, over_tracks, level=level)
    compare = _OPERATORS[condition.operator]
    # The end of the interval that meets the condition last.
    decisive = difference if condition.level is None else high if condition.operator.startswith("<") else low
    return Verdict(
        condition,
        stem,
        system,
        metric.unit,
        difference,
        low,
        high,
        level,
        statistics.wilcoxon(now - then) if len(defined) > 1 else math.nan,
        len(defined),
        compare(decisive, condition.threshold),
    )


def _pick(scores: Scores, baseline: Baseline, system: str | None) -> tuple[str, str]:
    """The system now and its counterpart then: of the same name, or the only one."""
    judged = [one.name for one in scores.systems if one.kind in ("model", "estimates")]
    if system is None and len(judged) != 1:
        raise UsageError(
            f"{len(judged)} systems were scored; say which to compare with the baseline: {', '.join(judged)}"
        )
    name = judged[0] if system is None else system
    if name not in judged:
        raise UsageError(f"system {name!r} was not scored; choose from {', '.join(judged)}")
    if name in baseline.systems:
        return name, name
    if len(baseline.systems) == 1:  # a new version may bear a new name
        return name, next(iter(baseline.systems))
    known = ", ".join(baseline.systems) or "none"
    raise EvaluationError(f"baseline '{baseline.path}' has no system {name!r}; it has {known}")
