"""Datasets: one function per layout, from a folder and a split to a list of tracks."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path

from sepgan.data.folder import folder, pairs, singles
from sepgan.data.musdb18 import musdb18, musdb18hq
from sepgan.data.track import ACCOMPANIMENT, AudioSource, Track, load_mixture, load_stems
from sepgan.errors import DatasetError
from sepgan.recipe import SourceRecipe

__all__ = ["ACCOMPANIMENT", "DATASETS", "AudioSource", "Track", "load_mixture", "load_stems", "scan"]

DATASETS: dict[str, Callable[[Path, str], list[Track]]] = {
    "folder": folder,
    "musdb18": musdb18,
    "musdb18hq": musdb18hq,
    "pairs": pairs,
    "singles": singles,
}


def scan(source: SourceRecipe, roots: Mapping[str, Path]) -> list[Track]:
    """Return the tracks that one entry of a recipe names.

    Args:
        source: The entry.
        roots: Folders by the names that `--data NAME=PATH` gave them.

    Raises:
        DatasetError: The layout is unknown, its folder was not given, or nothing matches.
    """
    if source.kind not in DATASETS:
        raise DatasetError(f"dataset kind '{source.kind}' is unknown: choose one of {', '.join(sorted(DATASETS))}")
    # A bare word is a name and never a folder: where one happens to lie in the working folder must not matter, least of
    # all for `stems`, which is where `separate` writes.
    if source.root not in roots and Path(source.root).name == source.root:
        raise DatasetError(f"the recipe needs dataset '{source.root}': give its folder with --data {source.root}=PATH")
    root = roots.get(source.root, Path(source.root))
    tracks = [
        track for track in DATASETS[source.kind](root, source.split) if fnmatch.fnmatch(track.name, source.include)
    ]
    if not tracks:
        raise DatasetError(f"no track of '{root}' ({source.split}) matches '{source.include}'")
    if source.kind == "singles":
        tracks = [Track(track.name, track.split, {source.stem: track.stems["solo"]}) for track in tracks]
    if source.limit is not None and len(tracks) > source.limit:
        step = len(tracks) / source.limit
        tracks = [tracks[int(index * step)] for index in range(source.limit)]
    return tracks
