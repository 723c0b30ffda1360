"""`sepgan compare`: parse, call functions, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sepgan.cli_options import Device, ProgressStyle, dataset_roots, find_device, set_threads
from sepgan.cli_train import need_training_extra, signals
from sepgan.console import Reporter, Style
from sepgan.errors import UsageError


def compare(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Whose validation songs are scored.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Changed keys.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of both runs and the report.")] = Path("compare"),
    data: Annotated[list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="Folder of a dataset.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A model trained with the adversary.")] = None,
    twin: Annotated[Path | None, typer.Option("--twin", help="Its twin without.")] = None,
    points: Annotated[int, typer.Option("--points", min=2, help="Models on the way between the two.")] = 5,
    device: Device = "auto",
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Train a recipe with and without its adversary, or take two such models, and say what the adversary bought."""
    from sepgan import recipe as recipes

    if (model is None) != (twin is None):
        raise UsageError("--model and --twin belong together: give both, or neither to train them")
    loaded = recipes.load(recipe, overrides or ())
    roots = dataset_roots(data or ())
    if not loaded.data.validation:
        raise UsageError(f"recipe '{loaded.name}' has no validation songs to compare on: add data.validation")
    need_training_extra()
    from sepgan.data.store import SampleStore
    from sepgan.training.comparison import measure, report, twins
    from sepgan.training.requests import Requests
    from sepgan.training.validation import open_validation

    set_threads()
    with Reporter(progress) as reporter:

        def tell(step: int, steps: int, measured: Mapping[str, float]) -> None:
            reporter.advance(loaded.name, step, steps, {"step": step})

        if model is None or twin is None:
            asked = Requests()
            with signals(asked):
                model, twin = twins.train_twins(loaded, out, roots, device=device, progress=tell, requests=asked)
        pair = twins.read_twins(model, twin)
        cache = Path(loaded.data.cache) if loaded.data.cache else out / "cache"
        songs = open_validation(loaded, roots, SampleStore(cache, pair.header.sample_rate))
        curve = []
        for index in range(points):
            share = index / (points - 1)
            reporter.advance("scoring", index, points, {"share": share})
            curve.append(measure.score(pair.between(share).to(find_device(device)), songs, share))
        rows = measure.differences(curve[-1], curve[0])
        chosen = measure.choose(curve)
        report.write(out, loaded.name, rows, curve, chosen)
        for line in report.lines(rows, chosen):
            print(line)
        reporter.say(f"report: {out / 'compare.html'}")
