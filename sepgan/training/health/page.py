"""The report of a run: one HTML file with its curves, alarms and discriminator, and how its stems came to sound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sepgan.atomic import replacing
from sepgan.errors import OutputError
from sepgan.report import page as pages
from sepgan.report import plots, sound, spectrograms
from sepgan.report.blocks import Block, Column, Figure, Figures, Page, PlayerGroup, Section, Table, Text
from sepgan.training.health.alarms import Alarm, Health, raised
from sepgan.training.health.measures import Values, precision_recall, reliability, verdict

PAGE = "run.html"
SCORES = "health.json"
SAMPLES = "samples"

CURVES: Sequence[tuple[str, str, Mapping[str, str]]] = (
    (
        "Losses",
        "loss",
        {
            "reconstruction": "reconstruction",
            "teacher": "teacher",
            "adversarial": "adversarial",
            "discriminator_loss": "D",
        },
    ),
    ("Global SDR on held-out songs", "uSDR (dB)", {"usdr/mean": "mean"}),
    ("Can real and generated be told apart?", "share", {"health/auc": "AUC", "health/false_positive_rate": "fooled"}),
    ("Gradient of the generator over that of the discriminator", "ratio", {"gradient_ratio": "G / D"}),
    ("Upper half of the spectrum, generated over real", "dB", {"health/high_db": "level", "health/whine_db": "excess"}),
    ("Learning rate", "rate", {"learning_rate": "generator"}),
)
VERDICT = (
    Column("Discriminator"),
    Column("AUC", "probability that a real stem scores above a generated one", 3),
    Column("F1", "of finding real stems, both sides counting alike", 3),
    Column("False positives", "share of generated stems judged real", 3),
    Column("True positives", "share of real stems judged real", 3),
    Column("Calibration error", "expected, over ten bins; a critic's distances have none", 3),
)


def read_log(folder: Path) -> list[Health]:
    """Lines of a run's log that were validations, with what was measured."""
    path = folder / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    merged: dict[int, dict[str, float]] = {}
    for line in lines:
        values = {key: math.nan if value is None else float(value) for key, value in line.items() if key != "step"}
        merged.setdefault(int(line["step"]), {}).update(values)
    return sorted(merged.items())


def alarms_of(log: Sequence[Health]) -> list[Alarm]:
    """All alarms of a run, the first time each."""
    looks = [(step, values) for step, values in log if any(key.startswith("health/") for key in values)]
    first: dict[str, Alarm] = {}
    for end in range(1, len(looks) + 1):
        for alarm in raised(looks[:end]):
            first.setdefault(alarm.name, alarm)
    return list(first.values())


def write(folder: Path, name: str, boundary: float | None, sample_rate: int) -> list[Alarm]:
    """Write `run.html` from what lies in a run's folder, and return its alarms.

    Args:
        folder: Of the run.
        name: Of the recipe.
        boundary: Above which a score is judged real.
        sample_rate: Of the kept excerpts, in Hz.

    Raises:
        OutputError: It cannot be written.
    """
    log = read_log(folder)
    alarms = alarms_of(log)
    sections = [Section("Alarms", [_alarms(alarms)]), Section("Curves", [Figures(_curves(log))])]
    sections += _discriminators(folder, log, boundary)
    sections += _listen(folder, sample_rate)
    step = log[-1][0] if log else 0
    page = Page(f"Training of {name}", sections, subtitle=f"after {step} steps", warning=_warning(alarms))
    try:
        with replacing(folder / PAGE) as temporary:
            temporary.write_text(pages.render(page), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"report '{folder / PAGE}' cannot be written: {error}; free some space") from error
    return alarms


def _warning(alarms: Sequence[Alarm]) -> str:
    return f"Alarms: {', '.join(alarm.name for alarm in alarms)}." if alarms else ""


def _alarms(alarms: Sequence[Alarm]) -> Block:
    if not alarms:
        return Text("None was raised.")
    columns = (Column("Alarm"), Column("First at step", digits=0), Column("What it means"))
    return Table("Alarms", columns, [(alarm.name, float(alarm.step), alarm.text) for alarm in alarms])


def _curves(log: Sequence[Health]) -> list[Figure]:
    figures = []
    for title, ylabel, series in CURVES:
        lines = {}
        for key, label in series.items():
            found = [(float(step), values[key]) for step, values in log if math.isfinite(values.get(key, math.nan))]
            if found:
                lines[label] = ([step for step, _ in found], [value for _, value in found])
        if lines:
            figures.append(plots.curves(title, lines, xlabel="step", ylabel=ylabel))
    return figures


def _discriminators(folder: Path, log: Sequence[Health], boundary: float | None) -> list[Section]:
    path = folder / SCORES
    if not path.is_file():
        return []
    stored = json.loads(path.read_text(encoding="utf-8"))
    rows, precision, honest = [], {}, {}
    for name, sides in stored["scores"].items():
        real, fake = (np.asarray(side, dtype=np.float64) for side in sides)
        rows.append((name, *verdict(real, fake, boundary)))
        if len(real) and len(fake):
            curve = precision_recall(real, fake)
            precision[name] = (curve.recall.tolist(), curve.precision.tolist())
        found = reliability(real, fake, boundary)
        if found is not None:
            honest[name] = _drawn(found)
    figures = (
        [plots.curves("Precision over recall", precision, xlabel="recall", ylabel="precision")] if precision else []
    )
    if honest:
        honest["calibrated"] = ([0.0, 1.0], [0.0, 1.0])
        figures.append(plots.curves("Calibration", honest, xlabel="stated probability", ylabel="share that is real"))
    blocks: list[Block] = [Table(f"At step {stored['step']}, on held-out stems", VERDICT, rows), Figures(figures)]
    last = next((values for _, values in reversed(log) if "health/auc" in values), {})
    parts = [
        (key.removeprefix("health/auc/"), value, last.get(key.replace("/auc/", "/false_positive_rate/"), math.nan))
        for key, value in last.items()
        if key.startswith("health/auc/")
    ]
    if parts:
        columns = (Column("Stem, or bands that are generated"), VERDICT[1], VERDICT[3])
        blocks.append(Table("By stem and by band", columns, parts))
    return [Section("Discriminator", blocks)]


def _drawn(bins: tuple[Values, Values, Values]) -> tuple[list[float], list[float]]:
    used = np.isfinite(bins[0])
    return bins[0][used].tolist(), bins[1][used].tolist()


def _listen(folder: Path, sample_rate: int) -> list[Section]:
    paths = sorted((folder / SAMPLES).glob("*.npz"))
    if not paths:
        return []
    excerpts = {int(path.stem): {name: value.astype(np.float32)[None] for name, value in _read(path)} for path in paths}
    newest = excerpts[max(excerpts)]
    groups: list[Block] = []
    for name in (name for name in newest if name.startswith("estimate/")):
        stem = name.removeprefix("estimate/")
        tracks = {"mixture": newest["mixture"]}
        if f"reference/{stem}" in newest:
            tracks["reference"] = newest[f"reference/{stem}"]
        tracks |= {f"step {step}": waveforms[name] for step, waveforms in excerpts.items() if name in waveforms}
        groups.append(_group(stem, tracks, sample_rate))
    return [Section("Listen", [Text("One held-out excerpt, as the averaged model separated it then."), *groups])]


def _group(stem: str, tracks: Mapping[str, sound.Waveform], sample_rate: int) -> PlayerGroup:
    shown = {title: waveform for title, waveform in tracks.items() if title != "mixture"}
    return sound.player_group(
        stem,
        [(title, waveform, sample_rate) for title, waveform in tracks.items()],
        spectrograms=spectrograms.strip(shown, sample_rate),
    )


def _read(path: Path) -> list[tuple[str, sound.Waveform]]:
    with np.load(path) as stored:
        return [(name, stored[name]) for name in stored.files]
