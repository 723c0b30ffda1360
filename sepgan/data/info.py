"""What a dataset holds: hours by split and stem, rates, channels, how loud and how often each stem sounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sepgan import audio
from sepgan.audio_loudness import LoudnessMeter
from sepgan.data.inventory import inventory
from sepgan.data.store import MIXTURE
from sepgan.data.track import Source, Track, files_of, load_track
from sepgan.errors import AudioError, DatasetError

BLOCK_S = 0.4  # of the blocks that are counted as sounding or resting
RESTING_DB = -50.0  # RMS of full scale below which a block rests

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StemInfo:
    """One stem of a track."""

    split: str
    track: str
    stem: str
    seconds: float
    sample_rate: int
    channels: int
    codec: str
    loudness_lufs: float | None = None  # integrated, BS.1770; None in silence or where nobody listened
    peak_db: float | None = None
    active: float | None = None  # share of the time in which it sounds


@dataclass(frozen=True)
class Info:
    """A dataset."""

    kind: str
    root: str
    stems: tuple[StemInfo, ...]
    unreadable: tuple[tuple[str, str], ...]  # track and reason
    labels: dict[str, dict[str, int]]  # label -> value -> tracks, of those with few values

    def hours(self) -> dict[str, dict[str, float]]:
        """Return hours by split and stem."""
        table: dict[str, dict[str, float]] = {}
        for entry in self.stems:
            row = table.setdefault(entry.split, {})
            row[entry.stem] = row.get(entry.stem, 0.0) + entry.seconds / 3600
        return table

    def tracks(self) -> dict[str, int]:
        """Return the number of tracks of each split."""
        return dict(Counter(split for split, _ in {(entry.split, entry.track) for entry in self.stems}))

    def median(self, what: str, stem: str, split: str | None = None) -> float | None:
        """Return the median of `loudness_lufs`, `peak_db` or `active` over the tracks of a split that have a stem."""
        chosen = [entry for entry in self.stems if entry.stem == stem and split in (None, entry.split)]
        values = [getattr(entry, what) for entry in chosen]
        known = [value for value in values if value is not None and math.isfinite(value)]
        return float(np.median(known)) if known else None

    def lines(self) -> list[str]:
        """Return a table as text."""
        tracks = self.tracks()
        lines = [f"{'split':<12} {'stem':<14} {'hours':>8} {'LUFS':>7} {'peak dB':>8} {'sounds':>7}"]
        for split, row in self.hours().items():
            for stem, hours in row.items():
                values = [self.median(what, stem, split) for what in ("loudness_lufs", "peak_db", "active")]
                cells = ["-" if value is None else f"{value:.1f}" for value in values[:2]]
                share = "-" if values[2] is None else f"{100 * values[2]:.0f} %"
                lines.append(f"{split:<12} {stem:<14} {hours:>8.3f} {cells[0]:>7} {cells[1]:>8} {share:>7}")
        forms = Counter((entry.sample_rate, entry.channels, entry.codec) for entry in self.stems)
        lines += [f"{count} x {rate} Hz, {channels} ch, {codec}" for (rate, channels, codec), count in forms.items()]
        lines.append(", ".join(f"{count} tracks in {split or 'the list'}" for split, count in tracks.items()))
        return lines + [f"unreadable: {track}: {reason}" for track, reason in self.unreadable]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "kind": self.kind,
            "root": self.root,
            "tracks": self.tracks(),
            "hours": self.hours(),
            "labels": self.labels,
            "stems": [asdict(entry) for entry in self.stems],
            "unreadable": [{"track": track, "reason": reason} for track, reason in self.unreadable],
        }


def describe(
    kind: str,
    root: Path,
    splits: Sequence[str] | None = None,
    *,
    listen: bool = True,
    progress: Progress | None = None,
) -> Info:
    """Describe a dataset.

    Args:
        kind: A name of `DATASETS`.
        root: Its folder, or the file of a list.
        splits: Which parts; None takes all that are there.
        listen: Decode everything to tell levels; otherwise only headers are read.
        progress: Called with tracks done and their number.

    Raises:
        DatasetError: There is no such folder or split.
    """
    tracks = inventory(kind, root, splits).tracks
    stems: list[StemInfo] = []
    unreadable: list[tuple[str, str]] = []
    for done, track in enumerate(tracks, start=1):
        try:
            stems += _stems(track, listen)
        except (AudioError, DatasetError) as error:
            unreadable.append((track.name, str(error)))
        if progress:
            progress(done, len(tracks))
    names = {name for track in tracks for name in track.labels}
    tables = {name: dict(Counter(track.labels[name] for track in tracks if name in track.labels)) for name in names}
    few = {name: table for name, table in sorted(tables.items()) if len(table) <= 12}
    return Info(kind, str(root), tuple(stems), tuple(unreadable), few)


def _stems(track: Track, listen: bool) -> list[StemInfo]:
    sources: dict[str, Source] = dict(track.stems) | ({MIXTURE: track.mixture} if track.mixture else {})
    waveforms: dict[str, audio.Waveform] = {}
    rate = 1
    if listen:
        decoded, mixture, rate = load_track(track)
        waveforms = decoded | ({MIXTURE: mixture} if mixture is not None else {})
    found = []
    for stem, source in sources.items():
        probed = [audio.probe(file.path, file.stream) for file in files_of(source)]
        richest = max(probed, key=lambda info: (info.sample_rate, info.channels))
        seconds = max(info.duration_s or 0.0 for info in probed)
        level = _levels(waveforms[stem], rate) if stem in waveforms else (None, None, None)
        if stem in waveforms:
            seconds = waveforms[stem].shape[1] / rate
        codec = "+".join(sorted({info.codec for info in probed}))
        channels = max(info.channels for info in probed)
        found.append(StemInfo(track.split, track.name, stem, seconds, richest.sample_rate, channels, codec, *level))
    return found


def _levels(waveform: audio.Waveform, rate: int) -> tuple[float | None, float | None, float]:
    """Integrated loudness and peak, None in silence, and the share of time that sounds."""
    size = max(1, min(round(BLOCK_S * rate), waveform.shape[1]))
    blocks = np.square(waveform[:, : waveform.shape[1] // size * size], dtype=np.float64).mean(0)
    power = blocks.reshape(-1, size).mean(1)
    sounding = power > 10 ** (RESTING_DB / 10)
    peak = float(np.abs(waveform).max(initial=0.0))
    meter = LoudnessMeter(rate, len(waveform))
    meter.push(waveform)
    lufs = meter.integrated_lufs()
    return (
        lufs if math.isfinite(lufs) else None,
        float(20 * np.log10(peak)) if peak > 0 else None,
        float(sounding.mean()),
    )
