"""Score estimates of any separator against references: folders of files, or a model on tracks of a dataset.

Beside every system stand the floors (mixture, an equal share of it, silence) and the oracle ratio mask, on the same
tracks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepgan import data
from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation import museval_json, oracles, report, sisec
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.excerpts import ExcerptKeeper
from sepgan.evaluation.material import Load, Material, file_loader, track_loader
from sepgan.evaluation.measures import DEFAULT_MEASURES, MEASURES, Measure, Truth, find_measures
from sepgan.evaluation.metrics import SilenceRule
from sepgan.evaluation.museval_json import NAMES, MusevalTrack
from sepgan.evaluation.pairing import Pair, pair_folders
from sepgan.evaluation.report import Report
from sepgan.evaluation.scores import Scores, System, TrackScores
from sepgan.evaluation.sisec import Table
from sepgan.separator import Separator

IRM = "irm"

Progress = Callable[[int, int, str], None]
"""Called with the number of finished tracks, of all tracks, and the name of the track that comes next ("" at the
end)."""


@dataclass(frozen=True)
class Options:
    """How to score, whatever is scored."""

    metrics: Sequence[str] = DEFAULT_MEASURES  # keys of MEASURES
    silence: SilenceRule = SilenceRule.REFERENCE
    oracle: bool = True  # score the ideal ratio mask too
    page: bool = True  # write report.html
    others: Mapping[str, Mapping[str, MusevalTrack]] = field(default_factory=dict)  # systems that museval scored
    anchor: str | None = None  # compare the other systems with this one alone, not every pair
    published: Table | None = None  # SiSEC 2018, to find the systems' places in
    device: str | torch.device = "cpu"  # of the metrics


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
    jobs = [(track, file_loader(by_system)) for track, by_system in of_track.items()]
    estimated = [
        {path.stem for pair in found for paths in pair.estimates.values() for path in paths} for found in pairs.values()
    ]
    settings: dict[str, str | float] = {"references": str(references)}
    parts = max(map(oracles.count_parts, estimated))
    return _evaluate(jobs, systems, parts, measures, options, settings, out, progress)


def evaluate_tracks(
    separator: Separator | Mapping[str, Separator],
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
        separator: The model, scored under its checkpoint's name; or several by name.
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
    separators = {_name(separator): separator} if isinstance(separator, Separator) else dict(separator)
    systems = [System(name, "model", _details(model)) for name, model in separators.items()]

    jobs = [(track.name, track_loader(track, separators, stems, segment, overlap)) for track in tracks]
    settings: dict[str, str | float] = {
        "tracks": len(tracks),
        "split": ", ".join(sorted({track.split for track in tracks})),
    }
    parts = max(oracles.count_parts(model.stems) for model in separators.values())
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
    found = Report(scores, out, (), options.page, options.anchor, options.published)
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
    """Score job after job. The report is written even when one fails, with what was finished until then."""
    if not jobs:
        raise EvaluationError("there are no tracks to evaluate; check the folder, the dataset and the split")
    names = [name for name, _ in jobs]
    _check_unique("tracks", names)
    rows = [*systems, *(System(name, "floor") for name in ("mixture", f"mixture/{parts}", "silence"))]
    rows += [System(IRM, "oracle")] if options.oracle else []
    _check_unique("systems", [system.name for system in rows] + list(options.others))
    report.prepare(out)
    settings = {
        **settings,
        "window_s": 1.0,
        "hop_s": 1.0,
        "silence": options.silence.value,
        "oracle": "magnitude ratio mask, STFT 4096/1024 Hann" if options.oracle else "none",
    }
    metrics = tuple(metric for measure in measures for metric in measure.metrics)
    _check_comparable(names, [system.name for system in systems], metrics, settings, options)
    finished: list[TrackScores] = []
    keeper = ExcerptKeeper()

    def result(failure: str = "") -> Report:
        scores = Scores(tuple(rows), metrics, tuple(finished), settings, failure)
        for name, files in options.others.items():
            scores = museval_json.add_system(scores, museval_json.system_of(name, files), files)
        return Report(scores, out, keeper.kept(), options.page, options.anchor, options.published)

    try:
        for index, (name, load) in enumerate(jobs):
            if progress:
                progress(index, len(jobs), name)
            finished.append(_score(name, load(), parts, measures, options, keeper))
    except BaseException as error:
        if finished:
            kind = type(error).__name__
            result(f"stopped at track {names[len(finished)]!r}: {kind}{f': {error}' if str(error) else ''}").write()
        raise
    if progress:
        progress(len(jobs), len(jobs), "")
    complete = result()
    complete.write()
    return complete


def _score(
    name: str,
    material: Material,
    parts: int,
    measures: Sequence[Measure],
    options: Options,
    keeper: ExcerptKeeper,
) -> TrackScores:
    stems = [stem for stem in material.references if any(stem in found for found in material.estimates.values())]
    mixture = material.mixture.to(options.device)
    references = {stem: material.references[stem].to(options.device) for stem in material.references}
    for stem, reference in references.items():
        _check_finite(reference, f"reference {stem!r} of track {name!r}")
    others = {stem: reference for stem, reference in references.items() if stem not in stems}
    scored = torch.stack([references[stem] for stem in stems])
    truth = Truth(scored, mixture, material.sample_rate, options.silence, tuple(stems), others)
    scorers = [measure.prepare(truth) for measure in measures]
    values: dict[tuple[str, str, str], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for system, estimates in _estimates(name, material, stems, references, mixture, parts, options):
        # In place of a stem that this system lacks stands the mixture, and its score is dropped.
        stacked = torch.stack([estimates.get(stem, mixture) for stem in stems])
        for scorer in scorers:
            for metric, scores in scorer(stacked).items():
                for stem, score in zip(stems, scores.cpu(), strict=True):
                    if stem in estimates:
                        values[system, stem, metric] = np.atleast_1d(score.double().numpy())
    keeper.offer(name, material)
    samples = mixture.shape[-1]
    return TrackScores(name, material.sample_rate, len(mixture), samples, tuple(stems), values, material.notes)


def _estimates(
    track: str,
    material: Material,
    stems: Sequence[str],
    references: Mapping[str, Tensor],
    mixture: Tensor,
    parts: int,
    options: Options,
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every row of the report for one track, one at a time to spare memory: the systems, the floors, the oracle."""
    for system, estimates in material.estimates.items():
        moved = {stem: estimate.to(options.device) for stem, estimate in estimates.items()}
        for stem, estimate in moved.items():
            _check_finite(estimate, f"estimate {stem!r} by {system!r} of track {track!r}")
        yield system, moved
    for floor, stacked in oracles.floors(mixture, stems, parts).items():
        yield floor, dict(zip(stems, stacked, strict=True))
    if options.oracle:
        yield IRM, oracles.ideal_ratio_mask(references, mixture)


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


def _check_finite(waveform: Tensor, what: str) -> None:
    if not torch.isfinite(waveform).all():
        raise EvaluationError(f"{what} holds NaN or infinite samples; expected finite audio")


def _name(separator: Separator) -> str:
    return separator.header.name if separator.header is not None and separator.header.name else "model"


def _details(separator: Separator) -> dict[str, str]:
    details = {"stems": ", ".join(separator.stems), "sample_rate": str(separator.sample_rate)}
    if separator.header is not None:
        header = separator.header
        details |= {"sha256": header.sha256, "step": str(header.step), "licence": header.licence}
    return details
