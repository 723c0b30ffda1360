"""From a recipe to decoded songs: scan, decode or map, and say which of the model's stems each sound covers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sepgan import audio
from sepgan.data import scan
from sepgan.data.augment.matching import Tags
from sepgan.data.credits import credit_of, read_credits, require_allowed
from sepgan.data.direct import DirectSamples
from sepgan.data.plan import Song, Sound
from sepgan.data.store import Samples, SampleStore, native_band_hz, sources_of
from sepgan.data.tags import of_stem, read_tags, tags_of
from sepgan.data.track import ACCOMPANIMENT, VOCALS, AudioSource, Track, without_doubles
from sepgan.errors import AudioError, DatasetError
from sepgan.recipe import DataRecipe, Recipe, SourceRecipe

_log = logging.getLogger(__name__)

_INSTRUMENTS = ("drums", "bass", "other", "piano", "guitar")  # parts of an accompaniment


def open_songs(
    recipe: Recipe, roots: Mapping[str, Path], store: SampleStore, report: Callable[[str], None]
) -> list[list[Song]]:
    """Scan and decode all training data of a recipe.

    Tracks that cannot be decoded are left out and counted. Tracks without stems are unlabelled mixtures; a recipe
    with nothing but those trains nothing, unless it has a teacher.

    Args:
        recipe: Names the sources.
        roots: Folders by the names that `--data NAME=PATH` gave them.
        store: Where decoded samples live.
        report: Called with a line for each source.

    Raises:
        DatasetError: A source is absent, empty, holds more unreadable tracks than the recipe allows or a song under a
            licence that it does not, or none of all has stems.
    """
    everything: list[list[Song]] = []
    for source in recipe.data.train:
        tracks = scan(source, roots)
        if not source.unlabelled:
            _require_stems(tracks, source)
        matched = recipe.data.match.active and not source.unlabelled
        root = roots.get(source.root, Path(source.root))
        listed = read_tags(root) if matched else {}
        told = read_credits(root)
        credits = {track.name: credit_of(track, source, told) for track in tracks}
        for credit in credits.values() if recipe.data.licences else ():
            require_allowed(credit, recipe.data.licences)
        if listed and not any(track.name in listed for track in tracks):
            _log.warning("tags.csv of '%s' names none of its tracks: compare `sepgan data info`", source.root)
        songs, failures = [], 0
        for track in tracks:
            try:
                song = _open(track, source, recipe, store, listed)
                songs.append(replace(song, credit=credits[track.name]))
            except AudioError as error:
                failures += 1
                _log.warning("'%s' is left out: %s", track.name, error)
                if failures == len(tracks) or failures > max(1.0, recipe.data.unreadable * len(tracks)):
                    raise DatasetError(
                        f"{failures} of {len(tracks)} tracks of {source.kind} '{source.root}' cannot be read, the last "
                        f"one because: {error}; see `sepgan data check`, or raise data.unreadable"
                    ) from error
        minutes = sum(len(song.sounds[0].samples) for song in songs) / store.sample_rate / 60
        left_out = f", {failures} unreadable and left out" if failures else ""
        report(f"{source.root}/{source.split} {source.include}: {len(songs)} tracks, {minutes:.1f} minutes{left_out}")
        if matched:
            report(_known(songs))
        everything.append(songs)
    taught = recipe.teacher is not None and recipe.teacher.weight > 0
    unpaired = recipe.adversary.weight > 0 and any(judge.unpaired for judge in recipe.adversary.discriminators)
    if any(source.unlabelled for source in recipe.data.train) and not taught and not unpaired:
        _log.warning(
            "nothing learns from mixtures without stems: give the recipe a teacher with teacher.weight above 0, or "
            "adversary.unpaired, or leave those sources out"
        )
    known = any(sound.covers for songs in everything for song in songs for sound in song.sounds)
    if everything and not known and not taught:
        raise DatasetError(
            f"recipe '{recipe.name}' has mixtures without stems only: add a source with stems, or a teacher"
        )
    return everything


def covers_of(track: Track, source: SourceRecipe, stems: Sequence[str]) -> dict[str, frozenset[int]]:
    """Return for each file of a track that takes part in the mixture which of the model's stems it covers.

    Raises:
        DatasetError: The track has a stem that the model does not know.
    """
    position = {stem: index for index, stem in enumerate(stems)}
    accompaniment = frozenset(index for stem, index in position.items() if stem != VOCALS)
    covers: dict[str, frozenset[int]] = {}
    for stem in without_doubles(track.stems):
        if stem == ACCOMPANIMENT and stem not in position:
            covers[stem] = accompaniment
        elif stem in position:
            covers[stem] = frozenset({position[stem]})
        elif ACCOMPANIMENT in position and stem in _INSTRUMENTS:
            covers[stem] = frozenset({position[ACCOMPANIMENT]})
        else:
            raise DatasetError(
                f"'{track.name}' has a stem '{stem}' that the recipe does not know: stems are {', '.join(stems)}; "
                f"give the source `map: {{{stem}: NAME}}` (null leaves it out), or add the stem"
            )
    if source.absent == "in_other" and "other" in covers:
        missing = frozenset(range(len(stems))) - frozenset().union(*covers.values())
        covers["other"] |= missing
    return covers


def _require_stems(tracks: Sequence[Track], source: SourceRecipe) -> None:
    without = next((track for track in tracks if not track.stems), None)
    if without is not None:
        raise DatasetError(
            f"'{without.name}' of {source.kind} '{source.root}' has no stems: "
            "it can feed `separate`, not this training; say `unlabelled: true` where a teacher or an unpaired "
            "adversary is to judge what is made of such mixtures"
        )


def _known(songs: Sequence[Song]) -> str:
    """How many songs there is something to match of."""
    tags = [[sound.tags for sound in song.sounds] for song in songs]
    tempos = sum(any(tag.tempo_bpm is not None for tag in song) for song in tags)
    keys = sum(any(tag.key is not None for tag in song) for song in tags)
    return f"  to match: the tempo of {tempos} and the key of {keys} of {len(songs)} tracks"


def _open(track: Track, source: SourceRecipe, recipe: Recipe, store: SampleStore, listed: Mapping[str, Tags]) -> Song:
    band_hz = source.band_hz or native_band_hz(track)
    if source.unlabelled:
        covers: dict[str, frozenset[int]] = {"mixture": frozenset()}
        track = Track(track.name, track.split, {}, track.mixture) if track.mixture else track
        if track.stems:
            raise DatasetError(f"'{track.name}' has no mixture file: `unlabelled` needs one")
    else:
        covers = covers_of(track, source, recipe.stems)
        track = Track(track.name, track.split, {stem: track.stems[stem] for stem in covers}, labels=track.labels)
    samples = _decode(track, recipe.data, store)
    matched = recipe.data.match.active and not source.unlabelled
    tags = tags_of(track, listed, samples, store) if matched else Tags()
    return Song(tuple(Sound(samples[stem], covers[stem], band_hz, of_stem(tags, stem)) for stem in covers))


def _decode(track: Track, config: DataRecipe, store: SampleStore) -> Mapping[str, Samples]:
    if config.decode == "direct":
        direct: dict[str, Samples] = {}
        for stem, source in sources_of(track).items():
            if not isinstance(source, AudioSource):
                break
            if audio.probe(source.path, source.stream).sample_rate != store.sample_rate:
                break
            direct[stem] = DirectSamples(source)
        if len(direct) == len(sources_of(track)):
            return direct
    return store.open(track)
