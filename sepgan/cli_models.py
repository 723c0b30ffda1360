"""`sepgan models`: what can be used by name, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sepgan.model_library import Entry

models_app = typer.Typer(no_args_is_help=True, help="The models that can be used by name.")

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that ship and those that were added."""
    from sepgan import checkpoint, model_library

    entries = model_library.entries()
    missing = sorted(model_library.ADAPTERS.keys() - {entry.name for entry in entries})
    if as_json:
        folder = str(checkpoint.user_folder())
        plain = {"folder": folder, "models": [entry.plain() for entry in entries], "can_be_added": missing}
        print(json.dumps(plain, indent=2))
        return
    for entry in entries:
        print(f"{entry.name}: {entry.fault or _summary(entry)}")
    for name in missing:
        print(f"{name}: not here yet, `sepgan models add {name}`")


@models_app.command("info")
def show_model(
    model: Annotated[str, typer.Argument(help="A model's name or file.")],
    files: Annotated[bool, typer.Option("--files", help="Name every file, its source and its licence.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a model says of itself: data, licences, training, scores. Its sha256 is checked."""
    from sepgan import checkpoint
    from sepgan.inference import STRIKING

    path = checkpoint.find(model)
    header, tensors = checkpoint.read(path)
    parameters = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    if as_json:
        size = {"file": str(path), "bytes": path.stat().st_size, "parameters": parameters}
        print(json.dumps(header.model_dump(mode="json") | size, indent=2))
        return
    print(f"{header.name}  ({path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {header.sha256})")
    print(f"stems: {', '.join(header.stems)}; {header.sample_rate} Hz; weights under {header.licence}")
    print(f"{parameters / 1e6:.1f} million parameters; generator {header.recipe.get('generator', {}).get('kind', '?')}")
    if header.step:
        print(f"trained {header.step} steps, {header.seconds_trained / 60:.0f} minutes on {header.machine}")
    passes = header.recipe.get("separation", {}).get("repetition", 0)
    if passes:
        then = "then patterns, then strokes" if set(header.stems) & set(STRIKING) else "then patterns"
        print(f"run with --repetition {passes}, unless told otherwise: averages over similar moments, {then}")
    for told, songs in _training_data(header.training_data, apart=files):
        print(f"  {told}")
        for group in songs if files else ():
            print("".join(f"    {file}: {group['source']}; {group['licence']}\n" for file in group["files"]), end="")
    for key, value in header.scores.items():
        print(f"  validation uSDR {key}: {value:.2f} dB")
    card = path.with_suffix(".md")
    if card.is_file():
        print(f"\n{card.read_text(encoding='utf-8')}")


@models_app.command("verify")
def verify_models(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names or files; none: all.")] = None,
    as_json: Json = False,
) -> None:
    """Compare every model with its own sha256, and see whether this version can run it."""
    from sepgan import model_library
    from sepgan.errors import CheckpointError

    entries = model_library.verify(models or ())
    if as_json:
        print(json.dumps([entry.plain() for entry in entries], indent=2))
    else:
        for entry in entries:
            good = f"good, sha256 {entry.header.sha256}" if entry.header else ""
            print(f"{entry.name}: {entry.fault or good}")
    if any(entry.fault for entry in entries):
        raise typer.Exit(CheckpointError.exit_code)


@models_app.command("add")
def add_model(
    source: Annotated[str, typer.Argument(help="A model's file, a training folder, or spleeter-2stems.")],
    name: Annotated[str | None, typer.Option("--name", help="Keep it under this name; default: its own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another model of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Check a model and copy it to where `--model NAME` finds it; $SEPGAN_MODELS names another folder."""
    from sepgan import model_library

    entry = model_library.add(source, name, overwrite=overwrite)
    if as_json:
        print(json.dumps(entry.plain(), indent=2))
    else:
        print(f"{entry.name}: {_summary(entry)}\nkept as {entry.path}; use it by --model {entry.name}")


@models_app.command("begin")
def begin_model(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="With a generator of kind `branched`.")],
    songs: Annotated[list[Path], typer.Argument(metavar="SONG...", help="Music that tells which features matter.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write, for train.fine_tune.")] = Path(
        "start.safetensors"
    ),
    origin: Annotated[str, typer.Option("--from", help="Where its weights come from.")] = "spleeter-2stems",
    licence: Annotated[str, typer.Option("--licence", help="Of the songs, for the header.")] = "not stated",
) -> None:
    """Write a first checkpoint for a recipe: Spleeter's vocal network, in the recipe's smaller shape."""
    from sepgan import recipe as recipes
    from sepgan.training.begin import begin

    kept = begin(recipes.load(recipe), origin, songs, out, licence)
    print(f"{out}: keeps {kept:.1%} of the deepest level; go on with `sepgan train {recipe} train.fine_tune={out}`")


def _summary(entry: Entry) -> str:
    header = entry.header
    return f"{', '.join(header.stems)}; {header.sample_rate} Hz; {header.licence}" if header else ""


def _training_data(entries: Sequence[Mapping[str, Any]], *, apart: bool) -> Iterator[tuple[str, Sequence[Any]]]:
    """Tell of each source in a line, with its songs; what several earlier models have heard once, unless apart."""
    heard: dict[tuple[str, str, str, str], list[str]] = {}
    songs: dict[tuple[str, str, str, str], Sequence[Any]] = {}
    for number, entry in enumerate(entries):
        amounts = ", ".join(f"{entry[unit]} {unit}" for unit in ("tracks", "minutes") if unit in entry)
        told = f"{entry['title']}: {'; '.join([amounts, entry['licence']]).removeprefix('; ')}"
        role = next((role for role in ("begins_as", "taught_by") if entry.get(role)), "")
        key = (role, str(entry.get("weights", "")), told, str(number) if apart else "")
        heard.setdefault(key, []).append(entry.get(role, ""))
        songs[key] = entry.get("songs", ())
    for key, models in heard.items():
        role, weights, told, _ = key
        of = f"{role.replace('_', ' ')} {', '.join(dict.fromkeys(models))} ({weights}): " if role else ""
        yield of + told, songs[key]
