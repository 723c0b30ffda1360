"""Datasets: one function per layout, from a folder and a split to a list of tracks."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sepgan.data.folder import folder, pairs, singles, stem_folders
from sepgan.data.gtzan import gtzan
from sepgan.data.lists import tracks_of_list
from sepgan.data.maps import maps
from sepgan.data.musdb18 import musdb18, musdb18hq
from sepgan.data.track import (
    ACCOMPANIMENT,
    AudioSource,
    Part,
    Source,
    Sum,
    Track,
    load_mixture,
    load_stems,
    load_track,
    without_doubles,
)
from sepgan.errors import DatasetError
from sepgan.recipe import SourceRecipe

__all__ = ["ACCOMPANIMENT", "DATASETS", "AudioSource", "Track", "load_mixture", "load_stems", "load_track", "scan"]

_log = logging.getLogger(__name__)

DATASETS: dict[str, Callable[[Path, str], list[Track]]] = {
    "folder": folder,
    "gtzan": gtzan,
    "list": tracks_of_list,
    "maps": maps,
    "musdb18": musdb18,
    "musdb18hq": musdb18hq,
    "pairs": pairs,
    "singles": singles,
    "stem_folders": stem_folders,
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
    for track in tracks:
        if track.damage:
            _log.warning("%s is left out: %s", track.name, track.damage)
        for warning in track.warnings:
            _log.warning("%s: %s", track.name, warning)
    tracks = [track for track in tracks if not track.damage]
    if not tracks:
        raise DatasetError(f"no track of '{root}' ({source.split}) can be decoded: see `sepgan data check`")
    if source.kind == "singles":
        tracks = [_alone(track, source) for track in tracks]
    if source.map:
        tracks = [rename_stems(track, source.map) for track in tracks]
    if source.limit is not None and len(tracks) > source.limit:
        step = len(tracks) / source.limit
        tracks = [tracks[int(index * step)] for index in range(source.limit)]
    return tracks


def rename_stems(track: Track, names: Mapping[str, str | None]) -> Track:
    """Give the stems of a track the names that a recipe has for them.

    Args:
        track: The song.
        names: New names by old ones. Stems of one new name are added up, `None` leaves a stem out, and others stay.

    >>> song = Track("song", "train", {stem: AudioSource(Path(f"{stem}.wav")) for stem in ("voice", "kick", "hum")})
    >>> list(rename_stems(song, {"voice": "vocals", "kick": "drums", "hum": None}).stems)
    ['vocals', 'drums']
    """
    merged = len(set(names.values())) < len(names) or bool(set(names.values()) & (set(track.stems) - set(names)))
    parts: dict[str, list[Source]] = {}
    for stem in without_doubles(track.stems) if merged else track.stems:
        new = names.get(stem, stem)
        if new is not None:
            parts.setdefault(new, []).append(track.stems[stem])
    stems = {new: sources[0] if len(sources) == 1 else _sum(sources) for new, sources in parts.items()}
    # What is left out is no longer in the sum, so the mixture file tells of another song.
    complete = None not in {names.get(stem, stem) for stem in track.stems}
    return replace(track, stems=stems, mixture=track.mixture if complete else None)


def _alone(track: Track, source: SourceRecipe) -> Track:
    """A recording of one stem, or of a whole song that nothing more is known of."""
    sound = track.stems["solo"]
    if source.unlabelled:
        return replace(track, stems={}, mixture=sound)
    return replace(track, stems={source.stem: sound})


def _sum(sources: list[Source]) -> Sum:
    durations = [source.duration_s for source in sources if isinstance(source, Sum) and source.duration_s is not None]
    parts = [part for source in sources for part in (source.parts if isinstance(source, Sum) else (Part(source),))]
    return Sum(tuple(parts), max(durations) if durations else None)
