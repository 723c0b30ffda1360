"""`sepgan models`: what can be used by name, and what it says of itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

models_app = typer.Typer(no_args_is_help=True, help="The models that can be used by name.")


@models_app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List the models that ship."""
    from sepgan import checkpoint

    headers = {name: checkpoint.read_header(path) for name, path in checkpoint.bundled().items()}
    if as_json:
        print(json.dumps({name: _plain(header) for name, header in headers.items()}, indent=2))
        return
    for name, header in headers.items():
        print(f"{name}: {', '.join(header.stems)}; {header.sample_rate} Hz; {header.licence}")


@models_app.command("info")
def show_model(
    model: Annotated[str, typer.Argument(help="A model's name or file.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a model says of itself: data, licences, training, scores. Its sha256 is checked."""
    from sepgan import checkpoint

    path = checkpoint.find(model)
    header, _ = checkpoint.read(path)
    if as_json:
        print(json.dumps(_plain(header), indent=2))
        return
    print(f"{header.name}  ({path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {header.sha256})")
    print(f"stems: {', '.join(header.stems)}; {header.sample_rate} Hz; weights under {header.licence}")
    print(f"trained {header.step} steps, {header.seconds_trained / 60:.0f} minutes on {header.machine}")
    for entry in header.training_data:
        print(f"  {entry['title']}: {entry['tracks']} tracks, {entry['minutes']} minutes; {entry['licence']}")
    for key, value in header.scores.items():
        print(f"  validation uSDR {key}: {value:.2f} dB")
    card = path.with_suffix(".md")
    if card.is_file():
        print(f"\n{card.read_text(encoding='utf-8')}")


def _plain(header: Any) -> dict[str, Any]:
    plain: dict[str, Any] = header.model_dump(mode="json")
    return plain
