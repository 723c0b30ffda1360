"""What is swapped in the input is swapped in every file of the report, and nothing else moves.

A check that looks for the nearest number anywhere would miss a swap; here every cell is bound to its row and column.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sepgan.evaluation import html
from sepgan.evaluation.evaluate import Options, evaluate_folders
from sepgan.evaluation.measures import find_measures
from tests import synth

RATE = 8000
GAINS = {  # of estimates: every one another, so that every score is unique
    "one": dict(zip(synth.STEMS, (0.95, 0.85, 0.75, 0.65), strict=True)),
    "two": dict(zip(synth.STEMS, (0.92, 0.82, 0.72, 0.62), strict=True)),
}
METRICS = ("csdr", "usdr")
Cells = Mapping[tuple[str, str, str], str]  # system, stem, metric


def write(root: Path, *, rename: Mapping[str, str]) -> Path:
    """References and estimates of two tracks; stems are filed under other names where asked."""
    for seed, track in enumerate(("A", "B")):
        for stem, wave in synth.song(2.0, seed=seed, sample_rate=RATE, channels=1).items():
            louder = np.where(np.arange(wave.shape[-1]) < RATE, 1.0, 1.04)  # frames differ, and so median and mean
            folders: dict[str, Any] = {name: gains[stem] * louder * wave for name, gains in GAINS.items()}
            folders["true"] = wave
            for folder, signal in folders.items():
                path = root / folder / track / f"{rename.get(stem, stem)}.wav"
                synth.write(path, signal.astype(np.float32), sample_rate=RATE, subtype="FLOAT")
    return root


def report(
    root: Path, out: Path, *, folders: Mapping[str, str] | None = None, metrics: tuple[str, ...] = METRICS
) -> dict[str, Cells]:
    """The scores over the set as each file of the report tells them."""
    folders = folders or {name: name for name in GAINS}
    estimates = {name: root / folder for name, folder in folders.items()}
    options = Options(metrics=metrics, oracle=False, page=False)
    scores = evaluate_folders(root / "true", estimates, out, options=options).scores
    over_tracks = {metric.name: metric for measure in find_measures(metrics) for metric in measure.metrics}
    titles = {f"{metric.title}, {metric.unit}": metric.name for metric in over_tracks.values()}
    summary = json.loads((out / "scores.json").read_text())["summary"]
    keys = [(system, stem, metric) for system in folders for stem in synth.STEMS for metric in metrics]
    found: dict[str, dict[tuple[str, str, str], str]] = {
        "json": {key: f"{summary[key[0]][key[1]][key[2]][over_tracks[key[2]].over_tracks]:.4f}" for key in keys},
        "csv": {},
        "markdown": {},
        "page": {},
    }
    for one in csv.DictReader((out / "scores.csv").read_text().splitlines()):
        of_set = one["track"] == "*" and one["system"] in folders
        if of_set and one["statistic"] == over_tracks[one["metric"]].over_tracks:
            found["csv"][one["system"], one["stem"], one["metric"]] = f"{float(one['value']):.4f}"
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (out / "report.md").read_text().splitlines()]
    page = html.render(scores)  # without excerpts, which take long
    page = page[page.index("Scores over all tracks") : page.index("Distributions</h2>")]
    rows = [re.findall(r"<t[dh][ >].*?</t[dh]>", row, re.DOTALL) for row in page.split("<tr>")]
    texts = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows]
    for name, table in (("markdown", lines), ("page", texts)):
        header = next(row for row in table if row[:2] == ["stem", "metric"])
        for row in table:
            if len(row) == len(header) and row[0] in synth.STEMS and row[1] in titles:
                for system in folders:
                    found[name][system, row[0], titles[row[1]]] = row[header.index(system)]
    assert all(set(cells) == set(keys) for cells in found.values())
    return dict(found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Cells]]:
    root = write(tmp_path_factory.mktemp("plain"), rename={})
    found = report(root, root / "out")
    assert len(set(found["json"].values())) == len(found["json"])  # no two scores are equal
    return root, found


def swapped(cells: Cells, first: str, second: str) -> Cells:
    other = {first: second, second: first}
    return {(other.get(a, a), other.get(b, b), c): value for (a, b, c), value in cells.items()}


def test_two_systems(plain: tuple[Path, dict[str, Cells]], tmp_path: Path) -> None:
    root, before = plain
    after = report(root, tmp_path, folders={"one": "two", "two": "one"})
    assert after == {name: swapped(cells, "one", "two") for name, cells in before.items()}
    assert after != before


def test_two_stems(plain: tuple[Path, dict[str, Cells]], tmp_path: Path) -> None:
    _, before = plain
    root = write(tmp_path / "renamed", rename={"bass": "vocals", "vocals": "bass"})
    assert report(root, tmp_path / "out") == {name: swapped(cells, "bass", "vocals") for name, cells in before.items()}


def test_two_metrics(plain: tuple[Path, dict[str, Cells]], tmp_path: Path) -> None:
    """The order of columns and rows follows the request; each number stays with its name."""
    root, before = plain
    assert report(root, tmp_path, metrics=METRICS[::-1]) == before
    titles = re.findall(r"\| drums \| (\S+),", (tmp_path / "report.md").read_text())
    assert titles[:2] == ["uSDR", "cSDR"]
