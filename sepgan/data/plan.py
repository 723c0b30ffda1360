"""What an excerpt consists of, drawn as a few numbers before any audio is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sepgan.data.augment.matching import Tags, match
from sepgan.data.augment.warp import Warp
from sepgan.data.credits import Credit
from sepgan.data.store import Samples
from sepgan.recipe import DataRecipe

SILENT_PEAK = 0.003  # of full scale: below about -50 dBFS a crop teaches nothing
TRIES = 3  # to find a crop that is not silent; stems rest often, and some rests must stay in the data
UNKNOWN = Tags()
AS_IT_IS = Warp()


@dataclass(frozen=True)
class Sound:
    """One decoded stem and the model's stems that it covers; none: it is a mixture of unknown stems."""

    samples: Samples
    covers: frozenset[int]
    band_hz: float
    tags: Tags = UNKNOWN  # what there is to match


@dataclass(frozen=True)
class Song:
    """Sounds that were made together, all of one length."""

    sounds: tuple[Sound, ...]
    credit: Credit | None = None  # whose they are


@dataclass(frozen=True)
class Placement:
    """A crop of a sound and its place in the excerpt."""

    sound: Sound
    start: int
    slot: int | None  # which target it is added to; None: it is the mixture
    gains: tuple[float, ...]  # of each channel
    swapped: bool = False  # channels in reverse order
    seed: tuple[int, ...] | None = None  # of further augmentation; None: leave the crop as it is
    warp: Warp = AS_IT_IS  # to the key and tempo of the others, or of all stems alike


@dataclass(frozen=True)
class Plan:
    """An excerpt."""

    placements: tuple[Placement, ...]
    groups: tuple[frozenset[int], ...]  # stems of each target
    band_hz: float
    supervised: bool


class Planner:
    """Draws excerpts.

    Args:
        songs: For each source of the recipe its songs.
        weights: For each source its relative number of excerpts.
        config: How to mix.
        stems: Number of the model's stems, S.
        channels: Audio channels C of the excerpts.
        samples: Length T.
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
    ) -> None:
        self.songs = songs
        self.shares = np.asarray(weights, dtype=np.float64) / sum(weights)
        self.config = config
        self.stems = stems
        self.channels = channels
        self.samples = samples
        # Where to look for a replacement of a sound: all sounds that cover the same stems, by source.
        self.by_cover: dict[frozenset[int], list[tuple[int, list[Sound]]]] = {}
        for index, source in enumerate(songs):
            found: dict[frozenset[int], list[Sound]] = {}
            for song in source:
                for sound in song.sounds:
                    if sound.covers:
                        found.setdefault(sound.covers, []).append(sound)
            for covers, sounds in found.items():
                self.by_cover.setdefault(covers, []).append((index, sounds))

    def draw(self, rng: np.random.Generator) -> Plan:
        """Return one excerpt."""
        source = self._choose_source(rng, range(len(self.songs)))
        song = self.songs[source][int(rng.integers(len(self.songs[source])))]
        if not song.sounds[0].covers:
            return self._unlabelled(rng, song.sounds[0])
        remix = rng.random() < self.config.remix
        if remix or self._open_stems(song.sounds):
            parts = self._remix(rng, song, remix)
            sounds = [sound for sound, _ in parts]
            starts = [
                (sound, warp, self._start(rng, sound, warp))
                for sound, warp in parts
                if rng.random() >= self.config.drop_stem
            ]
        else:
            sounds = list(song.sounds)
            warp = self._speed(rng)
            start = self._start(rng, sounds[rng.integers(len(sounds))], warp)
            starts = [(sound, warp, start) for sound in sounds]
        groups = tuple(merge_covers([sound.covers for sound in sounds], self.stems))
        placements = []
        for sound, warp, start in starts:
            slot = next(slot for slot, members in enumerate(groups) if sound.covers <= members)
            placements.append(replace(self._place(rng, sound, start, slot, augmented=remix), warp=warp))
        return Plan(tuple(placements), groups, min(sound.band_hz for sound in sounds), supervised=True)

    def _unlabelled(self, rng: np.random.Generator, sound: Sound) -> Plan:
        placement = self._place(rng, sound, self._start(rng, sound), None, augmented=False)
        return Plan((placement,), (), sound.band_hz, supervised=False)

    def _choose_source(self, rng: np.random.Generator, among: Sequence[int]) -> int:
        shares = self.shares[list(among)]
        return int(among[rng.choice(len(among), p=shares / shares.sum())])

    def _open_stems(self, sounds: Sequence[Sound]) -> frozenset[int]:
        """Stems that no sound covers: a solo recording needs a band around it."""
        covered = frozenset().union(*(sound.covers for sound in sounds))
        return frozenset(range(self.stems)) - covered if len(sounds) == 1 else frozenset()

    def _remix(self, rng: np.random.Generator, song: Song, anew: bool) -> list[tuple[Sound, Warp]]:
        parts: list[tuple[Sound, Warp]] = []
        target = UNKNOWN  # of the sounds so far: each brings what those before it do not tell
        for sound in song.sounds:
            parts.append(self._draw(rng, sound.covers, target) if anew else (sound, AS_IT_IS))
            target = self._joined(target, parts[-1][0].tags)
        missing = frozenset(range(self.stems)) - frozenset().union(*(sound.covers for sound, _ in parts))
        for _ in range(max(TRIES, len(missing))):
            fitting = [covers for covers in self.by_cover if covers <= missing]
            if not fitting:
                break
            # Weigh by how many sources can give it, so that whole accompaniments and single stems do not crowd each
            # other out.
            odds = np.array([sum(self.shares[source] for source, _ in self.by_cover[covers]) for covers in fitting])
            covers = fitting[rng.choice(len(fitting), p=odds / odds.sum())]
            parts.append(self._draw(rng, covers, target))
            target = self._joined(target, parts[-1][0].tags)
            missing -= covers
        return parts

    def _draw(self, rng: np.random.Generator, covers: frozenset[int], target: Tags) -> tuple[Sound, Warp]:
        """A sound, and how to bring it to what the others share; as it is where none of its source comes near."""
        options = self.by_cover[covers]
        source = self._choose_source(rng, [index for index, _ in options])
        sounds = next(sounds for index, sounds in options if index == source)
        if not self.config.match.active:
            return sounds[rng.integers(len(sounds))], AS_IT_IS
        order = rng.permutation(len(sounds))
        for index in order:
            warp = self._match(sounds[index].tags, target)
            if warp is not None:
                return sounds[index], warp
        return sounds[order[0]], AS_IT_IS

    def _match(self, tags: Tags, target: Tags) -> Warp | None:
        config = self.config.match
        wanted = Tags(target.tempo_bpm if config.tempo else None, target.key if config.key else None, target.minor)
        return match(tags, wanted, most_semitones=config.semitones, most_tempo=config.tempo_share)

    def _speed(self, rng: np.random.Generator) -> Warp:
        """Of all stems of a song alike, so that they stay together."""
        most = self.config.song_speed
        if not most:
            return AS_IT_IS
        factor = 1 + rng.uniform(-most, most)
        return Warp(pitch=factor, tempo=factor)

    def _joined(self, target: Tags, tags: Tags) -> Tags:
        known = target if target.key is not None else tags
        return Tags(target.tempo_bpm or tags.tempo_bpm, known.key, known.minor)

    def _start(self, rng: np.random.Generator, sound: Sound, warp: Warp = AS_IT_IS) -> int:
        """A random position, preferably where the sound is not silent."""
        samples = warp.source_samples(self.samples)
        room = max(0, len(sound.samples) - samples)
        start = 0
        for _ in range(TRIES):
            start = int(rng.integers(room + 1))
            if sound.samples.peak(start, start + samples) > SILENT_PEAK:
                break
        return start

    def _place(
        self, rng: np.random.Generator, sound: Sound, start: int, slot: int | None, *, augmented: bool
    ) -> Placement:
        if not augmented:
            return Placement(sound, start, slot, (1.0,) * self.channels)
        low, high = self.config.gain_db
        gain = 10 ** (rng.uniform(low, high) / 20)
        gains, swapped = (gain,) * self.channels, False
        if self.channels == 2:
            if self.config.pan and sound.samples.mono:
                pan = rng.uniform(-self.config.pan, self.config.pan)
                gains = (gain * (1 - max(pan, 0.0)), gain * (1 + min(pan, 0.0)))
            swapped = bool(rng.random() < self.config.swap_channels)
        return Placement(sound, start, slot, gains, swapped, (int(rng.integers(2**32)),))


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
