"""Random excerpts for training: crop, remix over songs, gain, panning, channel swap.

An excerpt is a list of sounds that sum to the mixture. Each sound *covers* one or more stems of the model: a drum stem
covers `drums`; an `accompaniment` covers everything but the vocals; the `other` of a song without a bass stem covers
`other` and `bass`, because its bass line lies inside it. Stems that are covered together form a group, and the loss
sees the sum of a group. So no stem is ever taught a silence that is not known to be true.

Excerpt number `i` depends on the seed and `i` alone: any number of workers gives the same data, and a resumed run
goes on with the excerpt it stopped before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sepgan.data import scan
from sepgan.data.store import FULL_SCALE, Samples, SampleStore, native_band_hz
from sepgan.data.track import ACCOMPANIMENT, Track
from sepgan.errors import DatasetError
from sepgan.recipe import DataRecipe, Recipe, SourceRecipe

SILENT_PEAK = 0.003 * FULL_SCALE  # below about -50 dBFS a crop teaches nothing
TRIES = 3  # to find a crop that is not silent; stems rest often, and some rests must stay in the data


class Batch(NamedTuple):
    """What one step sees.

    `targets[:, g]` is the sum of the stems `s` with `groups[:, g, s] = 1`; those of empty groups are zero.
    """

    mixture: Tensor  # [B, C, T]
    targets: Tensor  # [B, G, C, T], G = S
    groups: Tensor  # [B, G, S]
    band_hz: Tensor  # [B]: nothing is known above


@dataclass(frozen=True)
class Sound:
    """One decoded stem and the model's stems that it covers."""

    samples: Samples | NDArray[np.int16]  # [T, C]
    covers: frozenset[int]
    band_hz: float


@dataclass(frozen=True)
class Song:
    """Sounds that were made together, all of one length."""

    sounds: tuple[Sound, ...]


class Excerpts(Dataset[Batch]):
    """Endless excerpts of a recipe's training data; item `i` is always the same.

    Args:
        songs: For each source of the recipe its songs.
        weights: For each source its relative number of excerpts.
        config: How to mix.
        stems: Number of the model's stems, S.
        channels: Audio channels C of the excerpts.
        samples: Length T.
        seed: Of all randomness.
        first: Number of the first excerpt.
        count: Number of excerpts.
    """

    def __init__(
        self,
        songs: Sequence[Sequence[Song]],
        weights: Sequence[float],
        config: DataRecipe,
        *,
        stems: int,
        channels: int,
        samples: int,
        seed: int,
        first: int,
        count: int,
    ) -> None:
        self.songs = songs
        self.shares = np.asarray(weights, dtype=np.float64) / sum(weights)
        self.config = config
        self.stems = stems
        self.channels = channels
        self.samples = samples
        self.seed = seed
        self.first = first
        self.count = count
        # Where to look for a replacement of a sound: all sounds that cover the same stems, by source.
        self.by_cover: dict[frozenset[int], list[tuple[int, list[Sound]]]] = {}
        for index, source in enumerate(songs):
            found: dict[frozenset[int], list[Sound]] = {}
            for song in source:
                for sound in song.sounds:
                    found.setdefault(sound.covers, []).append(sound)
            for covers, sounds in found.items():
                self.by_cover.setdefault(covers, []).append((index, sounds))

    def __len__(self) -> int:
        """Number of excerpts."""
        return self.count

    def __getitem__(self, index: int) -> Batch:
        """Return one excerpt, without the batch axis."""
        rng = np.random.default_rng((self.seed, self.first + index))
        source = self._choose_source(rng, range(len(self.songs)))
        song = self.songs[source][int(rng.integers(len(self.songs[source])))]
        remix = rng.random() < self.config.remix
        if remix or self._open_stems(song.sounds):
            sounds = self._remix(rng, song, remix)
            crops = [(sound, self._crop(rng, sound)) for sound in sounds if rng.random() >= self.config.drop_stem]
        else:
            sounds = list(song.sounds)
            start = self._start(rng, sounds[rng.integers(len(sounds))])
            crops = [(sound, self._cut(sound, start)) for sound in sounds]
        if remix:
            crops = [(sound, self._augment(rng, crop)) for sound, crop in crops]
        return self._mix(rng, sounds, crops)

    def _choose_source(self, rng: np.random.Generator, among: Sequence[int]) -> int:
        shares = self.shares[list(among)]
        return int(among[rng.choice(len(among), p=shares / shares.sum())])

    def _open_stems(self, sounds: Sequence[Sound]) -> frozenset[int]:
        """Stems that no sound covers: a solo recording needs a band around it."""
        covered = frozenset().union(*(sound.covers for sound in sounds))
        return frozenset(range(self.stems)) - covered if len(sounds) == 1 else frozenset()

    def _remix(self, rng: np.random.Generator, song: Song, replace: bool) -> list[Sound]:
        sounds = [self._another(rng, sound) if replace else sound for sound in song.sounds]
        missing = frozenset(range(self.stems)) - frozenset().union(*(sound.covers for sound in sounds))
        for _ in range(TRIES):
            fitting = [covers for covers in self.by_cover if covers <= missing]
            if not fitting:
                break
            # Weigh by how many sources can give it, so that whole accompaniments and single stems do not crowd each
            # other out.
            odds = np.array([sum(self.shares[source] for source, _ in self.by_cover[covers]) for covers in fitting])
            covers = fitting[rng.choice(len(fitting), p=odds / odds.sum())]
            sounds.append(self._draw(rng, covers))
            missing -= covers
        return sounds

    def _another(self, rng: np.random.Generator, sound: Sound) -> Sound:
        return self._draw(rng, sound.covers)

    def _draw(self, rng: np.random.Generator, covers: frozenset[int]) -> Sound:
        options = self.by_cover[covers]
        source = self._choose_source(rng, [index for index, _ in options])
        sounds = next(sounds for index, sounds in options if index == source)
        return sounds[rng.integers(len(sounds))]

    def _start(self, rng: np.random.Generator, sound: Sound) -> int:
        """A random position, preferably where the sound is not silent."""
        room = max(0, len(sound.samples) - self.samples)
        start = 0
        for _ in range(TRIES):
            start = int(rng.integers(room + 1))
            # Every 64th sample is enough to see a rest.
            if np.abs(sound.samples[start : start + self.samples : 64]).max(initial=0) > SILENT_PEAK:
                break
        return start

    def _crop(self, rng: np.random.Generator, sound: Sound) -> NDArray[np.float32]:
        return self._cut(sound, self._start(rng, sound))

    def _cut(self, sound: Sound, start: int) -> NDArray[np.float32]:
        """`[C, T]` float32, padded with zeros where the song ends."""
        piece = np.asarray(sound.samples[start : start + self.samples], dtype=np.float32).T / FULL_SCALE
        if self.channels == 1:
            piece = piece.mean(0, keepdims=True)
        elif piece.shape[0] == 1:
            piece = np.repeat(piece, self.channels, 0)
        else:  # of surround sound the front pair
            piece = piece[: self.channels]
        return np.pad(piece, ((0, 0), (0, self.samples - piece.shape[1])))

    def _augment(self, rng: np.random.Generator, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        low, high = self.config.gain_db
        crop = crop * np.float32(10 ** (rng.uniform(low, high) / 20))
        if self.channels == 2:
            if self.config.pan and np.array_equal(crop[0], crop[1]):
                pan = rng.uniform(-self.config.pan, self.config.pan)
                crop = crop * np.array([[1 - max(pan, 0.0)], [1 + min(pan, 0.0)]], dtype=np.float32)
            if rng.random() < self.config.swap_channels:
                crop = crop[::-1]
        return crop

    def _mix(
        self, rng: np.random.Generator, sounds: Sequence[Sound], crops: Sequence[tuple[Sound, NDArray[np.float32]]]
    ) -> Batch:
        groups = merge_covers([sound.covers for sound in sounds], self.stems)
        targets = np.zeros((self.stems, self.channels, self.samples), dtype=np.float32)
        matrix = np.zeros((self.stems, self.stems), dtype=np.float32)
        for slot, members in enumerate(groups):
            matrix[slot, list(members)] = 1.0
            for sound, crop in crops:
                if sound.covers <= members:
                    targets[slot] += crop
        mixture = targets.sum(0)
        peak = float(np.abs(mixture).max(initial=0.0))
        if peak > 1.0:
            mixture /= peak
            targets /= peak
        band_hz = min(sound.band_hz for sound in sounds)
        return Batch(
            torch.from_numpy(mixture),
            torch.from_numpy(targets),
            torch.from_numpy(matrix),
            torch.tensor(band_hz, dtype=torch.float32),
        )


def merge_covers(covers: Sequence[frozenset[int]], stems: int) -> list[frozenset[int]]:
    """Join sets of stems that overlap, and add each stem that is in none as a group of its own.

    >>> [sorted(group) for group in merge_covers([frozenset({0}), frozenset({1, 2}), frozenset({2})], 4)]
    [[0], [1, 2], [3]]
    """
    groups: list[frozenset[int]] = []
    for cover in [*covers, *(frozenset({stem}) for stem in range(stems))]:
        touching = [group for group in groups if group & cover]
        merged = cover.union(*touching)
        groups = [group for group in groups if not group & cover] + [merged]
    return sorted(groups, key=min)


def covers_of(track: Track, source: SourceRecipe, stems: Sequence[str]) -> dict[str, frozenset[int]]:
    """Return for each file of a track which of the model's stems it covers.

    Raises:
        DatasetError: The track has a stem that the model does not know.
    """
    position = {stem: index for index, stem in enumerate(stems)}
    accompaniment = frozenset(index for stem, index in position.items() if stem != "vocals")
    covers: dict[str, frozenset[int]] = {}
    for stem in track.stems:
        if stem == ACCOMPANIMENT and stem not in position:
            covers[stem] = accompaniment
        elif stem in position:
            covers[stem] = frozenset({position[stem]})
        else:
            raise DatasetError(
                f"'{track.name}' has a stem '{stem}' that the recipe does not know: stems are {', '.join(stems)}; "
                "rename the file or add the stem"
            )
    if source.absent == "in_other" and "other" in covers:
        missing = frozenset(range(len(stems))) - frozenset().union(*covers.values())
        covers["other"] |= missing
    return covers


def open_songs(
    recipe: Recipe, roots: Mapping[str, Path], store: SampleStore, report: Callable[[str], None]
) -> list[list[Song]]:
    """Scan and decode all training data of a recipe.

    Args:
        recipe: Names the sources.
        roots: Folders by the names that `--data NAME=PATH` gave them.
        store: Where decoded samples live.
        report: Called with a line for each source.

    Raises:
        DatasetError: A source is absent, empty, or has no stems.
    """
    everything = []
    for source in recipe.data.train:
        tracks = scan(source, roots)
        without = next((track for track in tracks if not track.stems), None)
        if without is not None:
            raise DatasetError(
                f"'{without.name}' of {source.kind} '{source.root}' has no stems: "
                "it can feed `separate`, not this training"
            )
        songs = []
        for track in tracks:
            covers = covers_of(track, source, recipe.stems)
            band_hz = source.band_hz or native_band_hz(track)
            maps = store.open(track)
            songs.append(Song(tuple(Sound(maps[stem], covers[stem], band_hz) for stem in track.stems)))
        minutes = sum(len(song.sounds[0].samples) for song in songs) / store.sample_rate / 60
        report(f"{source.root}/{source.split} {source.include}: {len(songs)} tracks, {minutes:.1f} minutes")
        everything.append(songs)
    return everything
