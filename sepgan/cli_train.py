"""`sepgan train`: parse, call one function, print."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgan.cli_options import Device, ProgressStyle, dataset_roots, set_threads
from sepgan.console import Reporter, Style
from sepgan.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from sepgan.recipe import Recipe
    from sepgan.training.requests import Requests


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of one that ships.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Changed keys.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("runs/latest"),
    data: Annotated[list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="Folder of a dataset.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the state in OUT, if there is one.")] = True,
    overfit: Annotated[
        int | None, typer.Option("--overfit", min=1, help="Train on the first N excerpts only: can it learn at all?")
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe and data, say what the run would cost, train nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: print the recipe and its cost for programs.")
    ] = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Train a recipe; stop with Ctrl-C and give the same command to go on."""
    from sepgan import recipe as recipes

    loaded = recipes.load(recipe, [*(overrides or ()), *([f"train.overfit={overfit}"] if overfit else [])])
    roots = dataset_roots(data or ())
    if as_json and not dry_run:
        raise UsageError("--json says what a dry run found: add --dry-run; for progress there is --progress json")
    if dry_run:
        _forecast(loaded, out, roots, device, as_json=as_json)
        return
    need_training_extra()
    from sepgan.training.requests import Requests
    from sepgan.training.trainer import train as run_training

    set_threads()
    with Reporter(progress) as reporter:
        reporter.say(f"recipe {loaded.name}, run folder {out}; Ctrl-C stops, the same command goes on")

        def report(step: int, steps: int, measured: Mapping[str, float]) -> None:
            reporter.advance(loaded.name, step, steps, {"step": step, **_headline(measured)})

        asked = Requests()
        try:
            with signals(asked):
                best = run_training(loaded, out, roots, resume=resume, device=device, progress=report, requests=asked)
        except KeyboardInterrupt:
            reporter.say("stopped: the same command goes on from the last saved state")
            raise
        reporter.say(f"model: {best}; {_what_next(loaded, best, out)}")


def _what_next(recipe: Recipe, model: Path, out: Path) -> str:
    """What can be done with what a run has left; a toy separates no song."""
    board = f"`tensorboard --logdir {out}`"
    if recipe.toy is None:
        return f"try `sepgan separate SONG --model {model}`, or {board}"
    return f"its samples are in {out / 'samples.png'}; try {board}" if recipe.toy.picture else f"try {board}"


def _forecast(recipe: Recipe, out: Path, roots: Mapping[str, Path], device: str, *, as_json: bool) -> None:
    from sepgan.data import scan
    from sepgan.recipe import to_dict

    sources = [
        {"source": f"{source.root}/{source.split} {source.include}", "tracks": len(scan(source, roots))}
        for source in (*recipe.data.train, *recipe.data.validation)
    ]
    need_training_extra()
    from sepgan.training.estimate import estimate

    set_threads()
    found = estimate(recipe, out, roots, device=device)
    if as_json:
        print(json.dumps({"recipe": to_dict(recipe), "sources": sources, "estimate": found.to_dict()}, indent=2))
        return
    for source in sources:
        print(f"{source['source']}: {source['tracks']} tracks")
    print("\n".join(found.lines()))


@contextmanager
def signals(asked: Requests) -> Iterator[None]:
    """Ctrl-C and SIGTERM save and end the run, SIGUSR1 saves and goes on; a second Ctrl-C waits for nothing."""
    actions = {signal.SIGINT: asked.stop, signal.SIGTERM: asked.stop}
    if hasattr(signal, "SIGUSR1"):  # which Windows does not have
        actions[signal.SIGUSR1] = asked.save
    before = {number: signal.signal(number, lambda *_, act=act: act()) for number, act in actions.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _headline(measured: Mapping[str, float]) -> dict[str, float]:
    """The few numbers that fit on a line; the rest is in train.jsonl."""
    shown = ("reconstruction", "teacher", "adversarial", "discriminator_loss", "usdr/mean")
    return {key: measured[key] for key in shown if key in measured}


def need_training_extra() -> None:
    """Refuse to go on without what training needs.

    Raises:
        RecipeError: Packages are missing.
    """
    from importlib.util import find_spec

    needed = ("lightning_fabric", "tensorboard", "jinja2", "matplotlib", "PIL")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise RecipeError(f"training needs {', '.join(missing)}: install them with `pip install 'sepgan[train]'`")
