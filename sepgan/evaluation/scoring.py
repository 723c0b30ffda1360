"""Score one track: every system, floor and oracle, by every measure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sepgan.errors import EvaluationError
from sepgan.evaluation.floors import floors
from sepgan.evaluation.frechet import Embedder, Moments, frechet_distance
from sepgan.evaluation.material import Material
from sepgan.evaluation.measures import Measure, Truth
from sepgan.evaluation.options import Options
from sepgan.evaluation.oracles import ideal_estimates
from sepgan.evaluation.scores import SetScore, TrackScores

Key = tuple[str, str, str]
"""System, stem, metric."""


@dataclass(frozen=True)
class Scored:
    """What one track gives."""

    scores: TrackScores
    points: Mapping[Key, tuple[Moments, Moments]]  # of estimates and of references, for distances over the set


def score_track(
    name: str,
    material: Material,
    parts: int,
    measures: Sequence[Measure],
    embedders: Sequence[Embedder],
    options: Options,
) -> Scored:
    """Score all estimates of a track.

    Args:
        name: Of the track.
        material: Its audio.
        parts: How many equal parts a mixture has, for the floor.
        measures: Of single tracks.
        embedders: Of distances over the set.
        options: Conventions.

    Raises:
        EvaluationError: A reference or estimate is not finite.
    """
    stems = [stem for stem in material.references if any(stem in found for found in material.estimates.values())]
    mixture = material.mixture.to(options.device)
    references = {stem: material.references[stem].to(options.device) for stem in material.references}
    for stem, reference in references.items():
        _check_finite(reference, f"reference {stem!r} of track {name!r}")
    others = {stem: reference for stem, reference in references.items() if stem not in stems}
    stacked = torch.stack([references[stem] for stem in stems])
    truth = Truth(stacked, mixture, material.sample_rate, options.silence, tuple(stems), others)
    scorers = [measure.prepare(truth) for measure in measures]
    true_points = {
        (stem, embedder.metric.name): Moments.of(embedder(references[stem], material.sample_rate))
        for stem in stems
        for embedder in embedders
    }
    values: dict[Key, npt.NDArray[np.float64]] = {}
    points: dict[Key, tuple[Moments, Moments]] = {}
    for system, estimates in _estimates(name, material, stems, references, mixture, parts, options):
        # In place of a stem that this system lacks stands the mixture, and its score is dropped.
        heard = torch.stack([estimates.get(stem, mixture) for stem in stems])
        for scorer in scorers:
            for metric, scores in scorer(heard).items():
                for stem, score in zip(stems, scores.cpu(), strict=True):
                    if stem in estimates:
                        values[system, stem, metric] = np.atleast_1d(score.double().numpy())
        for embedder in embedders:
            for stem in set(stems) & set(estimates):
                metric = embedder.metric.name
                found = Moments.of(embedder(estimates[stem], material.sample_rate))
                points[system, stem, metric] = found, true_points[stem, metric]
    load = max((scorer.load for scorer in scorers), default=0.0)
    notes = (*material.notes, *([f"BSSEval took a diagonal load of {load:.0e}"] if load else []))
    samples = mixture.shape[-1]
    return Scored(
        TrackScores(name, material.sample_rate, len(mixture), samples, tuple(stems), values, notes, load), points
    )


def set_scores(tracks: Sequence[Scored]) -> dict[Key, SetScore]:
    """Distances over the points of all tracks.

    Args:
        tracks: Those that were scored.
    """
    total: dict[Key, tuple[Moments, Moments]] = {}
    for track in tracks:
        for key, (estimated, true) in track.points.items():
            before = total.get(key)
            total[key] = (estimated, true) if before is None else (before[0] + estimated, before[1] + true)
    return {key: SetScore(frechet_distance(*both), both[0].count, both[0].enough) for key, both in total.items()}


def _estimates(
    track: str,
    material: Material,
    stems: Sequence[str],
    references: Mapping[str, Tensor],
    mixture: Tensor,
    parts: int,
    options: Options,
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every row of the report for one track, one at a time to spare memory: the systems, the floors, the oracles."""
    for system, estimates in material.estimates.items():
        moved = {stem: estimate.to(options.device) for stem, estimate in estimates.items()}
        for stem, estimate in moved.items():
            _check_finite(estimate, f"estimate {stem!r} by {system!r} of track {track!r}")
        yield system, moved
    for floor, stacked in floors(mixture, stems, parts).items():
        yield floor, dict(zip(stems, stacked, strict=True))
    if options.oracle:
        yield from ideal_estimates(references, mixture).items()


def _check_finite(waveform: Tensor, what: str) -> None:
    if not torch.isfinite(waveform).all():
        raise EvaluationError(f"{what} holds NaN or infinite samples; expected finite audio")
