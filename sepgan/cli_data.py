"""`sepgan data`: look through a dataset, describe it, decode it ahead of training, and make tasks and songs of it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sepgan.cli_options import ProgressStyle, names
from sepgan.cli_render import render
from sepgan.console import Reporter, Style
from sepgan.errors import UsageError

FAULTS_FOUND = 1
SOME_FAILED = 1

data_app = typer.Typer(no_args_is_help=True, help="Look through datasets, decode them ahead of training, make songs.")
data_app.command("render")(render)

Kind = Annotated[str, typer.Argument(metavar="NAME", help="musdb18, musdb18hq, gtzan, maps, folder, pairs, list ...")]
Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the dataset, or the file of a list.")]
Split = Annotated[str | None, typer.Option("--split", help="Only these, commas between; default: all there are.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@data_app.command("check")
def check_dataset(
    name: Kind,
    root: Root,
    split: Split = None,
    stems: Annotated[str | None, typer.Option(help="Stems that every song must have, commas between.")] = None,
    as_json: Json = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """List what is wrong with a dataset; the exit code is 1 where anything is."""
    from sepgan.data.check import check, counts, plain

    splits = names(split) if split else None
    with Reporter(progress) as reporter:
        found = check(
            name,
            root,
            splits,
            stems=names(stems) if stems else (),
            progress=lambda done, total: reporter.advance("checking", done, total),
        )
    if as_json:
        findings = [asdict(finding) | {"value": plain(finding.value)} for finding in found.findings]
        report = {"dataset": name, "root": str(root), "tracks": dict(found.tracks), "ok": not findings}
        print(json.dumps(report | {"findings": findings, "notes": list(found.notes)}, indent=2))
    else:
        for finding in found.findings:
            print(f"{finding.fault:<10}  {finding.split}/{finding.track}: {finding.detail}")
        for note in found.notes:
            print(f"note        {note}")
        total = sum(found.tracks.values())
        summary = ", ".join(f"{count} {fault}" for fault, count in counts(found.findings).items()) or "nothing wrong"
        print(f"{total} tracks: {summary}")
    if found.findings:
        raise typer.Exit(FAULTS_FOUND)


@data_app.command("prepare")
def prepare_dataset(
    name: Kind,
    root: Root,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to fill; give it to a recipe as data.cache.")],
    split: Split = None,
    sample_rate: Annotated[int, typer.Option(min=8000, max=192000, help="In Hz; that of the recipe.")] = 44100,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Songs at a time; default: cores.")] = None,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Decode a dataset once, so that training copies and does not decode; stop with Ctrl-C and repeat to go on."""
    from sepgan.data.inventory import inventory
    from sepgan.data.prepare import prepare
    from sepgan.data.store import SampleStore

    tracks = inventory(name, root, names(split) if split else None).tracks
    with Reporter(progress) as reporter:
        done = prepare(
            tracks,
            SampleStore(out, sample_rate),
            jobs=jobs or os.cpu_count() or 1,
            progress=lambda count, total, track: reporter.advance("decoding", count, total),
        )
    for track, reason in done.failed:
        print(f"failed: {track}: {reason}", file=sys.stderr)
    size = done.bytes_written / 1e9
    print(f"{done.decoded} tracks decoded ({size:.2f} GB), {done.present} were there, {len(done.failed)} failed: {out}")
    if done.failed:
        raise typer.Exit(SOME_FAILED)


@data_app.command("info")
def dataset_info(
    name: Kind,
    root: Root,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write FILE.html or FILE.png too.")] = None,
    split: Split = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read headers only: no levels.")] = False,
    as_json: Json = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Tell hours by stem, sample rates, channels and loudness of a dataset."""
    from sepgan.data.info import describe

    if out is not None and out.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"--out '{out}' must end in .html or .png")
    with Reporter(progress) as reporter:
        info = describe(
            name,
            root,
            names(split) if split else None,
            listen=not quick,
            progress=lambda done, total: reporter.advance("reading", done, total),
        )
    if as_json:
        print(json.dumps(info.to_dict(), indent=2))
    else:
        print("\n".join(info.lines()))
    if out is not None:
        from sepgan.report.dataset import write_page, write_picture

        (write_page if out.suffix.lower() == ".html" else write_picture)(info, out)
        print(f"written: {out}", file=sys.stderr)


@data_app.command("task")
def make_task(
    task: Annotated[str, typer.Argument(metavar="TASK", help="'piano' (against other music) or 'registers'.")],
    maps: Annotated[Path, typer.Option(help="Folder of MAPS.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .json list to write: dataset kind 'list'.")],
    rest: Annotated[
        list[str] | None, typer.Option(metavar="NAME=ROOT", help="For 'piano': music without piano; again for more.")
    ] = None,
    rest_stems: Annotated[str, typer.Option(help="Stems of it to add up.")] = "drums,bass,vocals",
    split: Annotated[str, typer.Option(help="Of MAPS, and of the list.")] = "test",
    rest_split: Annotated[str | None, typer.Option(help="Of the other music; default: the same.")] = None,
    tracks: Annotated[int, typer.Option(min=1, help="How many, for 'registers'.")] = 50,
    seconds: Annotated[float, typer.Option(min=0.5, help="Longest duration of a track.")] = 30.0,
    middle: Annotated[int, typer.Option(min=22, max=108, help="Lowest MIDI pitch of the high stem.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of all choices.")] = 0,
) -> None:
    """Make a separation task with exact references from MAPS: a list of what to add up, no audio."""
    from sepgan.cli_options import dataset_roots
    from sepgan.data.lists import write_list
    from sepgan.data.tasks import piano_task, register_task

    if out.suffix.lower() != ".json":
        raise UsageError(f"--out '{out}' must end in .json")
    if task == "registers":
        made = register_task(maps, split, tracks=tracks, seconds=seconds, middle=middle, seed=seed)
    elif task == "piano":
        others = dataset_roots(rest or ())
        if not others:
            raise UsageError("task 'piano' needs --rest NAME=ROOT, for instance --rest musdb18=/data/musdb18")
        made = piano_task(maps, split, others, names(rest_stems), rest_split or split, seconds=seconds, seed=seed)
    else:
        raise UsageError(f"task '{task}' is unknown: choose piano or registers")
    write_list(out, made)
    print(f"{len(made)} tracks: {out}")
