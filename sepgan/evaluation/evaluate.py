"""Score estimates of any separator against references: folders of files, or a model on tracks of a dataset.

Beside every system stand the floors (mixture, an equal share of it, silence) and the oracles, on the same tracks.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sepgan import data
from sepgan.checkpoint import CheckpointHeader
from sepgan.ensemble import Ensemble
from sepgan.errors import AudioError, DatasetError, EvaluationError, SepganError, UsageError
from sepgan.evaluation import museval_json, report, sisec
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.excerpts import ExcerptKeeper
from sepgan.evaluation.floors import count_parts
from sepgan.evaluation.material import Load, Model, file_loader, track_loader
from sepgan.evaluation.measures import MEASURES, Measure, find_embedders, find_measures
from sepgan.evaluation.museval_json import NAMES
from sepgan.evaluation.options import Options as Options
from sepgan.evaluation.oracles import HOP_LENGTH, N_FFT, ORACLES
from sepgan.evaluation.pairing import Pair, pair_folders
from sepgan.evaluation.report import Report
from sepgan.evaluation.scores import Scores, System
from sepgan.evaluation.scoring import Scored, score_track, set_scores
from sepgan.separator import Separator

Progress = Callable[[int, int, str], None]
"""Called with the number of finished tracks, of all tracks, and the name of the track that comes next ("" at the
end)."""

_TRACK_ERRORS = (AudioError, DatasetError, EvaluationError)  # that cost one track and not the others


def evaluate_folders(
    references: Path,
    estimates: Path | Mapping[str, Path],
    out: Path,
    *,
    stems: Sequence[str] | None = None,
    ignore_extra: bool = False,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score folders of estimated stems against a folder of true stems and write the report.

    Files are paired by name, `<track>/<stem>.<ext>`, or a single flat folder of stems on either side. Without a file
    named `mixture` among the references, the mixture is their sum. A reference `accompaniment` without an estimate of
    that name is scored against the sum of all estimated stems but the vocals.

    Args:
        references: Folder of the true stems.
        estimates: Folder of the estimated stems, scored under its own name; or several by name.
        out: Folder for the report; made when needed.
        stems: Score only these.
        ignore_extra: Leave out estimates that have no reference, instead of refusing them.
        options: Metrics and conventions.
        progress: Told before every track and at the end.

    Raises:
        EvaluationError: Files are missing, extra, or of another rate, length or channel count, or hold no numbers.
        AudioError: A file cannot be read.
        OutputError: The report cannot be written.
    """
    options = options or Options()
    measures = find_measures(options.metrics)
    folders = {estimates.resolve().name: estimates} if isinstance(estimates, Path) else dict(estimates)
    pairs = {
        name: pair_folders(references, folder, stems=stems, ignore_extra=ignore_extra)
        for name, folder in folders.items()
    }
    systems = [System(name, "estimates", {"folder": str(folder)}) for name, folder in folders.items()]
    of_track: dict[str, dict[str, Pair]] = {}
    for name, found in pairs.items():
        for pair in found:
            of_track.setdefault(pair.track, {})[name] = pair
    jobs = [(track, file_loader(by_system, options.mixture_tolerance_db)) for track, by_system in of_track.items()]
    estimated = [
        {path.stem for pair in found for paths in pair.estimates.values() for path in paths} for found in pairs.values()
    ]
    settings: dict[str, str | float] = {"references": str(references)}
    parts = max(map(count_parts, estimated))
    return _evaluate(jobs, systems, parts, measures, options, settings, out, progress)


def evaluate_tracks(
    separator: Model | Mapping[str, Model],
    tracks: Sequence[data.Track],
    out: Path,
    *,
    stems: Sequence[str] | None = None,
    segment: int | None = None,
    overlap: int | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Report:
    """Separate every track with a model, score the stems that have a reference, and write the report.

    A track of another sample rate than the model's is resampled for the model, and scored at its own rate; what the
    model's band cannot hold goes to the same stem as in `sepgan separate`. A reference `accompaniment` is scored
    against the sum of all estimated stems but the vocals. Stems that the references or the model lack are not scored.

    Args:
        separator: The model or ensemble, scored under the names of its checkpoints; or several by name.
        tracks: What to separate; all of them need references.
        out: Folder for the report; made when needed.
        stems: Score only these.
        segment: Samples separated at once, at the model's rate; its default when None.
        overlap: Samples that segments share, at the model's rate; its default when None.
        options: Metrics and conventions.
        progress: Told before every track and at the end.

    Raises:
        EvaluationError: There are no tracks, a track has no stem that the model estimates, or the model gave NaN.
        AudioError: A file cannot be read.
        DatasetError: Stems of a track differ in rate, length or channels.
        OutputError: The report cannot be written.
    """
    options = options or Options()
    measures = find_measures(options.metrics)
    separators = dict(separator) if isinstance(separator, Mapping) else {_name(separator): separator}
    systems = [System(name, "model", _details(model)) for name, model in separators.items()]

    tolerance_db = options.mixture_tolerance_db
    jobs = [(track.name, track_loader(track, separators, stems, segment, overlap, tolerance_db)) for track in tracks]
    settings: dict[str, str | float] = {
        "tracks": len(tracks),
        "split": ", ".join(sorted({track.split for track in tracks})),
    }
    parts = max(count_parts(model.stems) for model in separators.values())
    return _evaluate(jobs, systems, parts, measures, options, settings, out, progress)


def evaluate_published(out: Path, *, options: Options) -> Report:
    """Compare systems that are known by museval's files alone, without any audio, and write the report.

    There are no floors, no oracle and nothing to hear.

    Args:
        out: Folder for the report; made when needed.
        options: Whose `others` are the systems; all metrics of museval that are known here are used.

    Raises:
        EvaluationError: There are no files, the windows of two systems differ, or no track is in SiSEC 2018's table.
        UsageError: The anchor is not among the systems.
        OutputError: The report cannot be written.
    """
    if not options.others:
        raise EvaluationError("there are no files of museval to compare")
    known = [metric for measure in MEASURES.values() for metric in measure.metrics]
    # Of two names for one number, such as bss_v4.sdr and csdr, the first will do.
    wanted = [next((name for name in names if name in {m.name for m in known}), "") for names in NAMES.values()]
    scores = museval_json.scores_of(options.others, [metric for metric in known if metric.name in wanted])
    tracks = [track.name for track in scores.tracks]
    _check_comparable(tracks, [], scores.metrics, scores.settings, options)
    report.prepare(out)
    found = Report(scores, out, (), options.page, options.anchor, options.published, options.interval)
    found.write()
    return found


def _evaluate(
    jobs: Sequence[tuple[str, Load]],
    systems: Sequence[System],
    parts: int,
    measures: Sequence[Measure],
    options: Options,
    settings: Mapping[str, str | float],
    out: Path,
    progress: Progress | None,
) -> Report:
    """Score job after job. A track that cannot be scored does not cost the others: the report tells what it lacks."""
    if not jobs:
        raise EvaluationError("there are no tracks to evaluate; check the folder, the dataset and the split")
    names = [name for name, _ in jobs]
    _check_unique("tracks", names)
    rows = [*systems, *(System(name, "floor") for name in ("mixture", f"mixture/{parts}", "silence"))]
    rows += [System(name, "oracle") for name in ORACLES] if options.oracle else []
    _check_unique("systems", [system.name for system in rows] + list(options.others))
    report.prepare(out)
    settings = {
        **settings,
        "window_s": 1.0,
        "hop_s": 1.0,
        "silence": options.silence.value,
        "interval": options.interval,
        "mixture_tolerance_db": f"{options.mixture_tolerance_db:g}",  # JSON has no infinity
        "oracles": f"{', '.join(ORACLES)}; STFT {N_FFT}/{HOP_LENGTH} Hann" if options.oracle else "none",
    }
    metrics = tuple(metric for measure in measures for metric in measure.metrics)
    embedders = [*find_embedders(options.metrics), *([options.embedding] if options.embedding else [])]
    _check_comparable(names, [system.name for system in systems], metrics, settings, options)
    finished: list[Scored] = []
    failed: dict[str, SepganError] = {}
    keeper = ExcerptKeeper()

    def result(failure: str = "") -> Report:
        scores = Scores(
            tuple(rows),
            metrics,
            tuple(track.scores for track in finished),
            settings,
            failure,
            tuple(embedder.metric for embedder in embedders),
            set_scores(finished),
        )
        for name, files in options.others.items():
            scores = museval_json.add_system(scores, museval_json.system_of(name, files), files)
        return Report(scores, out, keeper.kept(), options.page, options.anchor, options.published, options.interval)

    for index, (name, load) in enumerate(jobs):
        try:
            if progress:
                progress(index, len(jobs), name)
            material = load()
            finished.append(score_track(name, material, parts, measures, embedders, options))
            keeper.offer(name, material)
        except _TRACK_ERRORS as error:
            failed[name] = error
        except BaseException as error:
            if finished:
                kind = type(error).__name__
                result(f"stopped at track {name!r}: {kind}{f': {error}' if str(error) else ''}").write()
            raise
    if failed:
        if finished:
            reasons = "; ".join(f"{name!r}: {error}" for name, error in failed.items())
            result(f"{len(failed)} of {len(jobs)} tracks failed: {reasons}").write()
        raise _all_of(failed, len(jobs), out if finished else None)
    if progress:
        progress(len(jobs), len(jobs), "")
    complete = result()
    complete.write()
    return complete


def _all_of(failed: Mapping[str, SepganError], tracks: int, out: Path | None) -> SepganError:
    """One error for all tracks that failed."""
    first = next(iter(failed.values()))
    kept = f"; the scores of the others are in '{out}'" if out else ""
    more = f" ({len(failed)} of {tracks} tracks failed{kept})"
    found: SepganError = type(first)(f"{first}{more}")
    return found


def _check_comparable(
    tracks: Sequence[str],
    systems: Sequence[str],
    metrics: Sequence[Metric],
    settings: Mapping[str, str | float],
    options: Options,
) -> None:
    """Refuse what could not be compared in the end, before anything is computed."""
    names = [*systems, *options.others]
    if options.anchor is not None and options.anchor not in names:
        raise UsageError(f"system {options.anchor!r} is not scored; choose from {', '.join(names)}")
    for name, files in options.others.items():
        museval_json.check(name, files, tracks, metrics, settings)
    if options.published is not None:
        sisec.check(options.published, tracks, metrics)


def _check_unique(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise EvaluationError(f"two {what} are named {twice!r}; rename one of them")


def _name(separator: Model) -> str:
    return "+".join(header.name for header in _headers(separator) if header.name) or "model"


def _details(separator: Model) -> dict[str, str]:
    details = {"stems": ", ".join(separator.stems), "sample_rate": str(separator.sample_rate)}
    headers = _headers(separator)
    if headers:
        details["sha256"] = ", ".join(header.sha256 for header in headers)
        details["step"] = ", ".join(str(header.step) for header in headers)
        details["licence"] = "; ".join(dict.fromkeys(header.licence for header in headers))
    if isinstance(separator, Ensemble):
        details["weights"] = ", ".join(f"{weight:g}" for weight in separator.weights)
    if not isinstance(separator, Separator):
        details |= {name: str(value) for name, value in separator.options.changed().items()}
    return details


def _headers(separator: Model) -> tuple[CheckpointHeader, ...]:
    if isinstance(separator, Separator):
        return () if separator.header is None else (separator.header,)
    return separator.headers
