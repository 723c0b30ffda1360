"""Make docs/results.md: every model on the held-out songs, beside floors and oracles, by the evaluator.

    python -m benchmarks.results --data DATA                       # the bundled models
    python -m benchmarks.results --data DATA --model default --model NAME=FILE --listen page.html

Prose in the page stays; tables stand between marks. Scores are kept in a cache under a model's sha256, so that a second
run computes only what is new. Sets with five songs or more have a 95 % bootstrap interval over songs; of smaller ones
the lowest and the highest song are given instead. `--listen` writes the evaluator's page of the one held-out song that
may be published, with all models to hear.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import bad_songs
from benchmarks.pages import replace_between
from sepgan import checkpoint
from sepgan.atomic import replacing
from sepgan.data import ACCOMPANIMENT, Track, scan
from sepgan.data.track import VOCALS
from sepgan.evaluation.evaluate import evaluate_tracks
from sepgan.evaluation.options import Options
from sepgan.recipe import SourceRecipe
from sepgan.separation import api
from sepgan.separator import Separator

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
METRICS = ("usdr", "csdr")
ORACLE = "irm"
TIMED_S = 30.0
KEPT = 3  # version of what the cache holds, and of how models are run
LOUDNESS = 0.1


@dataclass(frozen=True)
class Set:
    """A held-out set, and which stems of it are true."""

    key: str
    title: str
    source: SourceRecipe
    stems: tuple[str, ...]
    folder: str  # below the data

    def tracks(self, data: Path) -> list[Track]:
        """What is scored."""
        return scan(self.source, {"root": data / self.folder})


SETS = (
    Set(
        "mdb",
        "MDB Drums (MedleyDB)",
        SourceRecipe(kind="folder", root="root", split="valid", include="MDBDrums*"),
        ("vocals", "drums", "bass", "other"),
        "stems",
    ),
    Set(
        "free",
        "Everything Is Free",
        SourceRecipe(kind="folder", root="root", split="valid", include="Everything*"),
        ("vocals", "drums"),  # its bass line lies inside `other`
        "stems",
    ),
    Set(
        "mir",
        "MIR-1K",
        SourceRecipe(kind="pairs", root="root", split="valid"),
        ("vocals", "accompaniment"),
        "pairs",
    ),
)


@dataclass(frozen=True)
class Score:
    """A number over the songs of a set."""

    value: float
    low: float
    high: float
    songs: int

    def __str__(self) -> str:
        """As a cell of a table."""
        if not math.isfinite(self.value):
            return "-"
        if self.songs == 1:
            return f"{self.value:.1f}"
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


Scores = dict[str, dict[str, dict[str, Score]]]  # system -> stem -> metric


def read_scores(folder: Path) -> Scores:
    """Read `scores.csv` of the evaluator."""
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found: Scores = {}
    for system, stem, metric in dict.fromkeys((row["system"], row["stem"], row["metric"]) for row in rows):
        mine = [row for row in rows if (row["system"], row["stem"], row["metric"]) == (system, stem, metric)]
        whole = {row["statistic"]: float(row["value"]) for row in mine if row["track"] == "*"}
        of_track = "value" if metric == "usdr" else "median"
        songs = [float(row["value"]) for row in mine if row["track"] != "*" and row["statistic"] == of_track]
        defined = [song for song in songs if math.isfinite(song)]
        if not defined:
            continue
        over_set = whole["mean" if metric == "usdr" else "median"]
        ends = (whole.get("low_95", min(defined)), whole.get("high_95", max(defined)))
        found.setdefault(system, {}).setdefault(stem, {})[metric] = Score(over_set, *ends, len(defined))
    return found


def kept(file: Path, compute: Callable[[], Any]) -> Any:
    """Return what a file of the cache holds, or compute and keep it."""
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    value = compute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(value), encoding="utf-8")
    return value


def scored(model: str, chosen: Set, tracks: Sequence[Track], *, oracle: bool) -> dict[str, Any]:
    """Score one model on one set, as plain data."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(metrics=METRICS, oracle=oracle, page=False)
        evaluate_tracks({"model": Separator.load(model)}, tracks, Path(folder), stems=chosen.stems, options=options)
        scores = read_scores(Path(folder))
    return {
        system: {stem: {metric: asdict(score) for metric, score in metrics.items()} for stem, metrics in stems.items()}
        for system, stems in scores.items()
    }


def seconds_per_minute(model: str) -> float:
    """Processor seconds, on one core, for a minute of stereo at the model's rate; the better of two runs."""
    separator = api.Separator.load(model)
    rate = separator.model.sample_rate
    noise = np.random.default_rng(0).normal(0, LOUDNESS, (2, round(TIMED_S * rate))).astype(np.float32)
    times = []
    for _ in range(2):
        begin = time.process_time()
        separator.separate(noise, rate)
        times.append(time.process_time() - begin)
    return min(times) * 60 / TIMED_S


def leakage(model: str, data: Path) -> dict[str, dict[str, list[float]]]:
    """Levels of each stem, in dB, over inputs that are one stem alone."""
    separator = api.Separator.load(model)
    levels: dict[str, dict[str, list[float]]] = {}
    for case in bad_songs.real(data, 6.0):
        if case.alone and "Everything" not in case.name:  # whose stems hold effects of others
            for stem, level in bad_songs.measure(separator, case).level_db.items():
                levels.setdefault(case.alone, {}).setdefault(stem, []).append(level)
    return levels


def of_sets(names: Sequence[str], found: Mapping[str, Any], floors: Mapping[str, Any], metric: str) -> list[str]:
    """Tables of one metric, one a set: a row a model, then the best floor and the oracle."""
    lines: list[str] = []
    for chosen in SETS:
        lines += ["", f"**{chosen.title}**, {_count(floors[chosen.key])}", "", f"| | {' | '.join(chosen.stems)} |"]
        lines.append("| --- " * (1 + len(chosen.stems)) + "|")
        for name in names:
            cells = [_cell(found[name]["scores"][chosen.key].get("model", {}), stem, metric) for stem in chosen.stems]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
        around = floors[chosen.key]
        best = []
        for stem in chosen.stems:
            rows = [Score(**around[floor][stem][metric]) for floor in around if _is_floor(floor)]
            best.append(f"{max(row.value for row in rows):.1f}")
        lines.append(f"| doing nothing: the best of mixture, an equal share, silence | {' | '.join(best)} |")
        cells = [f"{around[ORACLE][stem][metric]['value']:.1f}" for stem in chosen.stems]
        lines.append(f"| oracle: ratio mask of the true stems | {' | '.join(cells)} |")
    return lines[1:]


def of_models(names: Sequence[str], found: Mapping[str, Any]) -> list[str]:
    """A table of what each model is."""
    lines = ["| | network | parameters | weights | CPU seconds for a minute | trained | licence of weights |"]
    lines.append("| --- " * 7 + "|")
    for name in names:
        facts = found[name]["facts"]
        trained = f"{facts['steps']} steps, {facts['minutes']:.0f} min" if facts["steps"] else "by others"
        lines.append(
            f"| `{name}` | {facts['network']} | {facts['parameters'] / 1e6:.1f} M | {facts['megabytes']:.1f} MB "
            f"| {found[name]['seconds']:.1f} | {trained} | {facts['licence']} |"
        )
    return lines


def of_leakage(names: Sequence[str], found: Mapping[str, Any]) -> list[str]:
    """A table of median leakage: which stem is alone, and how loud those are that it is no part of."""
    stems = dict.fromkeys(stem for name in names for into in found[name]["leakage"].values() for stem in into)
    lines = [f"| {' | '.join(['alone', 'leaks into', *(f'`{name}`' for name in names)])} |"]
    lines.append("| --- " * (2 + len(names)) + "|")
    for alone, stem in product(found[names[0]]["leakage"], stems):
        if stem == alone or (stem == ACCOMPANIMENT and alone != VOCALS):
            continue
        cells = []
        for name in names:
            levels = found[name]["leakage"][alone].get(stem)
            cells.append(f"{np.median(levels):.0f} ({max(levels):.0f})" if levels else "-")
        lines.append(f"| {alone} | {stem} | {' | '.join(cells)} |")
    return lines


def facts_of(model: str) -> dict[str, Any]:
    """What the header says."""
    path = checkpoint.find(model)
    header, tensors = checkpoint.read(path)
    return {
        "sha256": header.sha256,
        "network": header.recipe.get("generator", {}).get("kind", "?"),
        "parameters": sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
        "megabytes": path.stat().st_size / 1e6,
        "steps": header.step,
        "minutes": header.seconds_trained / 60,
        "licence": header.licence,
    }


def look(model: str, data: Path, cache: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """All that the page says of one model."""
    facts = facts_of(model)
    own = cache / f"{facts['sha256'][:16]}_{KEPT}"
    scores = {}
    for chosen in SETS:
        tell(f"{model}: {chosen.title}")
        tracks = chosen.tracks(data)
        file = own / f"{chosen.key}_{_digest(tracks)}.json"
        scores[chosen.key] = kept(file, partial(scored, model, chosen, tracks, oracle=False))
    tell(f"{model}: time, leakage")
    return {
        "facts": facts,
        "scores": scores,
        "seconds": kept(own / "seconds.json", partial(seconds_per_minute, model)),
        "leakage": kept(own / "leakage.json", partial(leakage, model, data)),
    }


def around(model: str, data: Path, cache: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Floors and oracles, which are the same for every model."""
    found = {}
    for chosen in SETS:
        tell(f"floors and oracles: {chosen.title}")
        tracks = chosen.tracks(data)
        file = cache / f"around_{KEPT}" / f"{chosen.key}_{_digest(tracks)}.json"
        found[chosen.key] = kept(file, partial(scored, model, chosen, tracks, oracle=True))
    return found


def listen(models: Mapping[str, str], data: Path, out: Path) -> None:
    """Write the evaluator's page, with sound, of the set that may be published."""
    chosen = next(chosen for chosen in SETS if chosen.key == "free")
    separators = {name: Separator.load(model) for name, model in models.items()}
    with tempfile.TemporaryDirectory() as folder:
        options = Options(metrics=METRICS, oracle=True, page=True)
        evaluate_tracks(separators, chosen.tracks(data), Path(folder), stems=chosen.stems, options=options)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / "report.html", out)


def write(page: Path, names: Sequence[str], found: Mapping[str, Any], floors: Mapping[str, Any]) -> None:
    """Put all tables into the page."""
    replace_between(page, "usdr", of_sets(names, found, floors, "usdr"))
    replace_between(page, "csdr", of_sets(names, found, floors, "csdr"))
    replace_between(page, "models", of_models(names, found))
    replace_between(page, "leakage", of_leakage(names, found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="[NAME=]MODEL", help="several times; default: the bundled")
    parser.add_argument("--data", type=Path, required=True, help="folder with stems/valid and pairs/valid")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "sepgan" / "results")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--listen", type=Path, metavar="HTML", help="write the page with sound here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # processor seconds of one core
    models = dict(_named(model) for model in options.model or checkpoint.bundled())

    def tell(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    found = {name: look(model, options.data, options.cache, tell) for name, model in models.items()}
    floors = around(next(iter(models.values())), options.data, options.cache, tell)
    write(options.page, list(models), found, floors)
    tell(f"written: {options.page}")
    if options.listen:
        listen(models, options.data, options.listen)
        tell(f"written: {options.listen}, {options.listen.stat().st_size / 1e6:.1f} MB")


def _named(model: str) -> tuple[str, str]:
    name, equals, path = model.partition("=")
    return (name, path) if equals else (Path(model).stem if "/" in model else model, model)


def _is_floor(system: str) -> bool:
    return system == "silence" or system.split("/")[0] == "mixture"


def _cell(stems: Mapping[str, Any], stem: str, metric: str) -> str:
    return str(Score(**stems[stem][metric])) if stem in stems else "-"


def _count(systems: Mapping[str, Any]) -> str:
    songs = max(metrics["usdr"]["songs"] for metrics in systems["model"].values())
    return f"{songs} song{'s' * (songs > 1)}" + (", with the lowest and the highest" if 1 < songs < 5 else "")


def _digest(tracks: Iterable[Track]) -> str:
    return hashlib.sha256(json.dumps([[track.name, *sorted(track.stems)] for track in tracks]).encode()).hexdigest()[:8]


if __name__ == "__main__":
    main()
