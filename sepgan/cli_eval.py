"""`sepgan eval`: score stems or models, compare them with each other and with what others published, and gate."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgan.cli_options import Device, ProgressStyle, find_device, load_engine, names, parse_weighted, set_threads
from sepgan.cli_separate_options import Repetition, Shifts, WienerIterations
from sepgan.console import Reporter, Style
from sepgan.errors import OutputError, UsageError

if TYPE_CHECKING:
    from sepgan.engine import EngineOptions
    from sepgan.evaluation.evaluate import Progress
    from sepgan.evaluation.frechet import Embedder
    from sepgan.evaluation.gate import Baseline, Condition
    from sepgan.evaluation.metrics import SilenceRule
    from sepgan.evaluation.museval_json import MusevalTrack
    from sepgan.evaluation.options import Options
    from sepgan.evaluation.report import Report
    from sepgan.evaluation.sisec import Table
    from sepgan.evaluation.statistics import Method

GATE_FAILED = 1

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")]
References = Annotated[Path | None, typer.Option(help="True stems: <track>/<stem>.<ext>.")]
Estimates = Annotated[
    list[str] | None, typer.Option(metavar="[NAME=]DIR", help="Estimated stems, named alike; again for another.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-n",
        metavar="[NAME=]MODEL",
        help="Separate and score; A,B:0.5 is an ensemble; again for another.",
    ),
]
Dataset = Annotated[str | None, typer.Option(help="musdb18, musdb18hq, folder or pairs.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the dataset.")]
Split = Annotated[str, typer.Option(help="Which part of it.")]
Include = Annotated[str, typer.Option(help="Only tracks whose name matches, for instance 'MDBDrums*'.")]
MusevalJson = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]DIR", help="A system's files by museval, to compare; again for another."),
]
WriteMuseval = Annotated[
    bool, typer.Option("--write-museval", help="Write museval's files too: OUT/museval/<system>/<track>.json.")
]
Compare = Annotated[
    str | None, typer.Option(metavar="NAME", help="Compare the others with this system alone, not every pair.")
]
Interval = Annotated[str, typer.Option(help="Bootstrap of the 95 % intervals: 'percentile' or 'bca'.")]
Sisec = Annotated[Path | None, typer.Option(metavar="CSV", help="SiSEC 2018's scores: tell places in them.")]
StoredBaseline = Annotated[Path | None, typer.Option(metavar="FILE", help="A scores.json for --fail-if.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option(metavar="EXPR", help="End with code 1 where, for instance, 'usdr.vocals < -0.1 @ 95%'."),
]
JudgedSystem = Annotated[str | None, typer.Option(metavar="NAME", help="Which one --fail-if judges, of several.")]
Stems = Annotated[str | None, typer.Option("--stems", help="Score only these.")]
IgnoreExtra = Annotated[bool, typer.Option("--ignore-extra", help="Leave out estimates that have no reference.")]
MixtureTolerance = Annotated[
    float, typer.Option(metavar="DB", help="By how much references may miss a mixture's file, relative to it; or inf.")
]
Metrics = Annotated[
    str | None,
    typer.Option(
        help="csdr, usdr, si_sdr (the default), si_bss, bss_v4, bss_v3, mse, mr_stft, lsd, bleed, leakage, frechet; "
        "commas between."
    ),
]
Embedding = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An ONNX model whose embeddings give one more Fréchet distance.")
]
EmbeddingRate = Annotated[int, typer.Option(metavar="HZ", help="The sample rate that it expects.")]
Silence = Annotated[
    str, typer.Option(help="'reference' leaves out frames with a silent reference, 'museval' does as museval.")
]
Oracle = Annotated[bool, typer.Option(help="Score the oracles too: irm, ibm, mwf.")]
Html = Annotated[bool, typer.Option(help="Write the page to read and listen to.")]


def evaluate(
    out: Out,
    references: References = None,
    estimates: Estimates = None,
    model: Models = None,
    dataset: Dataset = None,
    root: Root = None,
    split: Split = "test",
    include: Include = "*",
    museval_json: MusevalJson = None,
    write_museval: WriteMuseval = False,
    compare: Compare = None,
    interval: Interval = "percentile",
    sisec: Sisec = None,
    baseline: StoredBaseline = None,
    fail_if: FailIf = None,
    system: JudgedSystem = None,
    stems: Stems = None,
    ignore_extra: IgnoreExtra = False,
    mixture_tolerance: MixtureTolerance = -10.0,
    metrics: Metrics = None,
    embedding: Embedding = None,
    embedding_rate: EmbeddingRate = 16000,
    silence: Silence = "reference",
    oracle: Oracle = True,
    html: Html = True,
    shifts: Shifts = 0,
    wiener: WienerIterations = 0,
    repetition: Repetition = None,
    device: Device = "auto",
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Score stems: `--references DIR --estimates DIR`, or `--model NAME --dataset NAME --root DIR`.

    With several estimates or models, every pair is compared. With `--museval-json` alone, no audio is needed.
    """
    from sepgan.engine import EngineOptions
    from sepgan.evaluation.options import Options

    set_threads()
    engine = EngineOptions(shifts=shifts, wiener=wiener, repetition=repetition)
    # Everything that a user may have mistyped is read before the work begins.
    conditions, stored = _gate(fail_if or (), baseline)
    options = Options(
        metrics=_metrics(metrics),
        silence=_silence(silence),
        oracle=oracle,
        device=find_device(device),
        page=html,
        others=_published(museval_json or ()),
        anchor=compare,
        published=_table(sisec),
        mixture_tolerance_db=_tolerance(mixture_tolerance),
        embedding=_embedding(embedding, embedding_rate),
        interval=_interval(interval),
    )
    with Reporter(progress) as reporter:
        found = _evaluate(
            out,
            references,
            _named(estimates or (), "--estimates"),
            _named(model or (), "--model", _model_name),
            (dataset, root, split, include),
            names(stems) if stems else None,
            ignore_extra,
            device,
            engine,
            options,
            lambda done, total, track: reporter.advance("scoring", done, total),
        )
    print(found.table())
    written = [out / "report.md", *([out / "report.html"] if html else [])]
    if write_museval:
        written.append(_write_museval(found))
    print(f"report: {', '.join(map(str, written))}", file=sys.stderr)
    if stored is not None:
        _judge(found, conditions, stored, system)


def _gate(fail_if: Sequence[str], baseline: Path | None) -> tuple[list[Condition], Baseline | None]:
    from sepgan.evaluation import gate

    if bool(fail_if) != (baseline is not None):
        raise UsageError("--fail-if needs --baseline, and the other way round: give both or neither")
    return [gate.parse(text) for text in fail_if], gate.load_baseline(baseline) if baseline is not None else None


def _metrics(wanted: str | None) -> tuple[str, ...]:
    from sepgan.evaluation.measures import DEFAULT_MEASURES, find_measures

    found = tuple(names(wanted)) if wanted else DEFAULT_MEASURES
    find_measures(found)
    return found


def _silence(rule: str) -> SilenceRule:
    from sepgan.evaluation.metrics import SilenceRule

    known = [one.value for one in SilenceRule]
    if rule not in known:
        raise UsageError(f"--silence '{rule}' is unknown: choose {' or '.join(known)}")
    return SilenceRule(rule)


def _interval(name: str) -> Method:
    from sepgan.evaluation.statistics import METHODS

    for method in METHODS:
        if method == name:
            return method
    raise UsageError(f"--interval '{name}' is unknown: choose {' or '.join(METHODS)}")


def _tolerance(tolerance_db: float) -> float:
    if math.isnan(tolerance_db):
        raise UsageError("--mixture-tolerance must be a number of dB or inf, got nan")
    return tolerance_db


def _published(entries: Sequence[str]) -> dict[str, dict[str, MusevalTrack]]:
    from sepgan.evaluation.museval_json import read_folder

    return {name: read_folder(Path(folder)) for name, folder in _named(entries, "--museval-json").items()}


def _table(path: Path | None) -> Table | None:
    from sepgan.evaluation.sisec import read

    return None if path is None else read(path)


def _embedding(path: Path | None, sample_rate: int) -> Embedder | None:
    from sepgan.evaluation.embedding import OnnxEmbedding

    return None if path is None else OnnxEmbedding(path, sample_rate)


def _evaluate(
    out: Path,
    references: Path | None,
    estimates: dict[str, str],
    models: dict[str, str],
    source: tuple[str | None, Path | None, str, str],
    stems: Sequence[str] | None,
    ignore_extra: bool,
    device: str,
    engine: EngineOptions,
    options: Options,
    progress: Progress,
) -> Report:
    """Run the one kind of evaluation that the options ask for."""
    from sepgan.evaluation.evaluate import evaluate_folders, evaluate_published, evaluate_tracks

    dataset, root, split, include = source
    of_folders, of_models = references is not None or bool(estimates), bool(models or dataset or root)
    if engine.changed() and not models:
        raise UsageError(
            "--shifts, --wiener and --repetition say how models are run: name one with --model, or drop them"
        )
    if references is not None and estimates and not of_models:
        folders = {name: Path(folder) for name, folder in estimates.items()}
        return evaluate_folders(
            references, folders, out, stems=stems, ignore_extra=ignore_extra, options=options, progress=progress
        )
    if models and dataset is not None and root is not None and not of_folders:
        from sepgan.data import scan
        from sepgan.recipe import SourceRecipe

        tracks = scan(SourceRecipe(kind=dataset, root=str(root), split=split, include=include), {str(root): root})
        separators = {name: load_engine(_members(model), device, engine) for name, model in models.items()}
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


def _members(model: str) -> list[tuple[str, float]]:
    """A model, or those of an ensemble, with their weights."""
    return [(model, 1.0)] if Path(model).exists() else [parse_weighted(text) for text in names(model)]


def _model_name(model: str) -> str:
    from sepgan import checkpoint

    paths = [checkpoint.find(name) for name, _ in _members(model)]
    return "+".join(checkpoint.read_header(path).name or path.stem for path in paths)


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
