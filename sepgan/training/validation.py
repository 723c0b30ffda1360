"""Global SDR on held-out songs during training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepgan.data import scan
from sepgan.data.excerpts import covers_of
from sepgan.data.store import FULL_SCALE, SampleStore
from sepgan.evaluation.metrics import global_sdr
from sepgan.recipe import Recipe, SourceRecipe
from sepgan.separator import Separator
from sepgan.streaming import separate_array, whole


@dataclass(frozen=True)
class ValidationSong:
    """Known sums of stems of one song."""

    name: str
    source: str  # what its entry in the recipe is called
    references: Mapping[str, Tensor]  # [C, T] by stem
    covers: Mapping[str, frozenset[int]]


def open_validation(recipe: Recipe, roots: Mapping[str, Path], store: SampleStore) -> list[ValidationSong]:
    """Decode the middle of every validation song of a recipe, up to `train.validation_s` seconds.

    Raises:
        DatasetError: A source is absent or empty.
    """
    songs = []
    samples = round(recipe.train.validation_s * store.sample_rate)
    for source, name in zip(recipe.data.validation, source_names(recipe.data.validation), strict=True):
        for track in scan(source, roots):
            maps = store.open(track)
            covers = covers_of(track, source, recipe.stems)  # without sums of other stems that lie beside them
            start = max(0, (len(next(iter(maps.values()))) - samples) // 2)
            references = {
                stem: torch.from_numpy(np.asarray(values[start : start + samples], dtype=np.float32).T / FULL_SCALE)
                for stem, values in maps.items()
                if stem in covers
            }
            songs.append(ValidationSong(track.name, name, *_joined(references, covers, recipe.stems)))
    return songs


def _joined(
    references: Mapping[str, Tensor], covers: Mapping[str, frozenset[int]], stems: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, frozenset[int]]]:
    """Add up what lies in the same stems of the model: drums and bass, for one of vocals and accompaniment."""
    together: dict[frozenset[int], list[str]] = {}
    for name in references:
        together.setdefault(covers[name], []).append(name)
    named = {
        names[0] if len(names) == 1 else "+".join(stems[index] for index in sorted(cover)): (cover, names)
        for cover, names in together.items()
    }
    sums = {name: torch.stack([references[one] for one in names]).sum(0) for name, (_, names) in named.items()}
    return sums, {name: cover for name, (cover, _) in named.items()}


def source_names(sources: Sequence[SourceRecipe]) -> list[str]:
    """What to call each of several sources: its title, or its root and pattern, and whatever else tells it apart.

    >>> songs = SourceRecipe(kind="folder", root="stems", include="MDB*")
    >>> source_names([songs, SourceRecipe(kind="pairs", root="pairs"), songs])
    ['stems/MDB', 'pairs', 'stems/MDB train']
    """
    names: list[str] = []
    for source in sources:
        pattern = source.include.strip("*/")
        name = source.title or "/".join(filter(None, (source.root.strip("/").split("/")[-1], pattern)))
        options = chain([name, f"{name} {source.split}"], (f"{name} {source.split} {number}" for number in count(2)))
        names.append(next(option for option in options if option not in names))
    return names


def validate(separator: Separator, songs: Sequence[ValidationSong]) -> dict[str, float]:
    """Return global SDR in dB: mean over songs for each source and stem, and the mean of all those as `mean`.

    Stems that lie inside another one (a bass line inside `other`) are scored as their sum, and silent references not
    at all.
    """
    device = separator.stft.window.device
    sums: dict[str, list[float]] = {}
    for song in songs:
        mixture = torch.stack(list(song.references.values())).sum(0).to(device)
        estimates = separate_array(whole(separator), mixture, segment=separator.segment, overlap=separator.overlap)
        for stem, reference in song.references.items():
            if float(reference.abs().max()) == 0.0:
                continue
            estimate = estimates[sorted(song.covers[stem])].sum(0).to(device)
            score = global_sdr(reference.to(device)[None], estimate[None])
            sums.setdefault(f"{song.source}/{stem}", []).append(float(score))
    scores = {key: float(np.mean(values)) for key, values in sorted(sums.items())}
    scores["mean"] = float(np.mean(list(scores.values()))) if scores else math.nan
    return scores
