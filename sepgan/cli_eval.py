"""`sepgan eval`: score stems or models, compare them with each other and with what others published, and gate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgan.cli_options import Device, ProgressStyle, find_device, load, names, set_threads
from sepgan.console import Reporter, Style
from sepgan.errors import OutputError, UsageError

if TYPE_CHECKING:
    from sepgan.evaluation.evaluate import Options, Progress
    from sepgan.evaluation.gate import Baseline, Condition
    from sepgan.evaluation.report import Report

GATE_FAILED = 1


def evaluate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    references: Annotated[Path | None, typer.Option(help="True stems: <track>/<stem>.<ext>.")] = None,
    estimates: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]DIR", help="Estimated stems, named alike; again for another.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-n", metavar="[NAME=]MODEL", help="Separate and score; again for another."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="musdb18, musdb18hq, folder or pairs.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    split: Annotated[str, typer.Option(help="Which part of it.")] = "test",
    include: Annotated[str, typer.Option(help="Only tracks whose name matches, for instance 'MDBDrums*'.")] = "*",
    museval_json: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="A system's files by museval, to compare; again for another."),
    ] = None,
    write_museval: Annotated[
        bool, typer.Option("--write-museval", help="Write museval's files too: OUT/museval/<system>/<track>.json.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare the others with this system alone, not every pair.")
    ] = None,
    sisec: Annotated[Path | None, typer.Option(metavar="CSV", help="SiSEC 2018's scores: tell places in them.")] = None,
    baseline: Annotated[Path | None, typer.Option(metavar="FILE", help="A scores.json for --fail-if.")] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="End with code 1 where, for instance, 'usdr.vocals < -0.1 @ 95%'."),
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="NAME", help="Which one --fail-if judges, of several.")] = None,
    stems: Annotated[str | None, typer.Option("--stems", help="Score only these.")] = None,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out estimates that have no reference.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(help="csdr, usdr, si_sdr (the default), bss_v4, mr_stft, lsd ...; commas between.")
    ] = None,
    silence: Annotated[
        str, typer.Option(help="'reference' leaves out frames with a silent reference, 'museval' does as museval.")
    ] = "reference",
    oracle: Annotated[bool, typer.Option(help="Score the ideal ratio mask too.")] = True,
    html: Annotated[bool, typer.Option(help="Write the page to read and listen to.")] = True,
    device: Device = "auto",
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Score stems: `--references DIR --estimates DIR`, or `--model NAME --dataset NAME --root DIR`.

    With several estimates or models, every pair is compared. With `--museval-json` alone, no audio is needed.
    """
    from sepgan.evaluation import gate
    from sepgan.evaluation.evaluate import Options
    from sepgan.evaluation.measures import DEFAULT_MEASURES, find_measures
    from sepgan.evaluation.metrics import SilenceRule
    from sepgan.evaluation.museval_json import read_folder
    from sepgan.evaluation.sisec import read as read_sisec

    set_threads()
    # Everything that a user may have mistyped is read before the work begins.
    if bool(fail_if) != (baseline is not None):
        raise UsageError("--fail-if needs --baseline, and the other way round: give both or neither")
    conditions = [gate.parse(text) for text in fail_if or ()]
    stored = gate.load_baseline(baseline) if baseline is not None else None
    if silence not in [rule.value for rule in SilenceRule]:
        raise UsageError(f"--silence '{silence}' is unknown: choose {' or '.join(rule.value for rule in SilenceRule)}")
    wanted = names(metrics) if metrics else DEFAULT_MEASURES
    find_measures(wanted)
    options = Options(
        metrics=wanted,
        silence=SilenceRule(silence),
        oracle=oracle,
        device=find_device(device),
        page=html,
        others={
            name: read_folder(Path(folder)) for name, folder in _named(museval_json or (), "--museval-json").items()
        },
        anchor=compare,
        published=read_sisec(sisec) if sisec is not None else None,
    )
    with Reporter(progress) as reporter:

        def report(done: int, total: int, track: str) -> None:
            reporter.advance("scoring", done, total)

        found = _evaluate(
            out,
            references,
            _named(estimates or (), "--estimates"),
            _named(model or (), "--model", _model_name),
            (dataset, root, split, include),
            names(stems) if stems else None,
            ignore_extra,
            device,
            options,
            report,
        )
    print(found.table())
    written = [out / "report.md", *([out / "report.html"] if html else [])]
    if write_museval:
        written.append(_write_museval(found))
    print(f"report: {', '.join(map(str, written))}", file=sys.stderr)
    if stored is not None:
        _judge(found, conditions, stored, system)


def _evaluate(
    out: Path,
    references: Path | None,
    estimates: dict[str, str],
    models: dict[str, str],
    source: tuple[str | None, Path | None, str, str],
    stems: Sequence[str] | None,
    ignore_extra: bool,
    device: str,
    options: Options,
    progress: Progress,
) -> Report:
    """Run the one kind of evaluation that the options ask for."""
    from sepgan.evaluation.evaluate import evaluate_folders, evaluate_published, evaluate_tracks

    dataset, root, split, include = source
    of_folders, of_models = references is not None or bool(estimates), bool(models or dataset or root)
    if references is not None and estimates and not of_models:
        folders = {name: Path(folder) for name, folder in estimates.items()}
        return evaluate_folders(
            references, folders, out, stems=stems, ignore_extra=ignore_extra, options=options, progress=progress
        )
    if models and dataset is not None and root is not None and not of_folders:
        from sepgan.data import scan
        from sepgan.recipe import SourceRecipe

        tracks = scan(SourceRecipe(kind=dataset, root=str(root), split=split, include=include), {str(root): root})
        separators = {name: load(model, device) for name, model in models.items()}
        return evaluate_tracks(separators, tracks, out, stems=stems, options=options, progress=progress)
    if options.others and not of_folders and not of_models:
        return evaluate_published(out, options=options)
    raise UsageError(
        "give either --references and --estimates, or --model, --dataset and --root (with --split), or --museval-json; "
        "see `sepgan eval --help`"
    )


def _named(
    entries: Sequence[str], option: str, name_of: Callable[[str], str] = lambda entry: Path(entry).resolve().name
) -> dict[str, str]:
    """Name -> folder or model, from `NAME=IT`, or `IT`, which has a name of its own.

    >>> _named(["ours=/data/out", "/data/theirs"], "--estimates")
    {'ours': '/data/out', 'theirs': '/data/theirs'}
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, rest = entry.partition("=")
        if not equals or "/" in name or Path(entry).exists():  # a path may itself hold a sign of equality
            name, rest = name_of(entry), entry
        if not name or not rest:
            raise UsageError(f"{option} '{entry}' must look like NAME=PATH or PATH")
        if name in found:
            raise UsageError(f"two systems are named '{name}': tell them apart with {option} NAME={rest}")
        found[name] = rest
    return found


def _model_name(model: str) -> str:
    from sepgan import checkpoint

    path = checkpoint.find(model)
    return checkpoint.read_header(path).name or path.stem


def _write_museval(report: Report) -> Path:
    from sepgan.evaluation import museval_json

    folder = report.folder / "museval"
    try:
        for system in report.scores.systems:
            if system.kind in ("model", "estimates"):
                museval_json.write(report.scores, system.name, folder / system.name)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror}; check permissions and space") from error
    return folder


def _judge(report: Report, conditions: Sequence[Condition], baseline: Baseline, system: str | None) -> None:
    """Print the verdicts of the gate; the report stands already, whatever they are."""
    from sepgan.evaluation import gate

    verdicts = gate.check(report.scores, conditions, baseline, system=system)
    for verdict in verdicts:
        print(verdict)
    if any(verdict.failed for verdict in verdicts):
        raise typer.Exit(GATE_FAILED)
