"""Look through a dataset for what spoils training and evaluation, and list it.

| fault | meaning |
| --- | --- |
| missing | a stem, a note list or a whole file that should be there is not |
| corrupt | a file cannot be decoded, or holds values that are no numbers |
| mismatched | stems of one song differ in rate, channels or length |
| silent | a stem or mixture holds nothing |
| clipped | flat tops at full scale |
| duplicate | two tracks of a split, or two stems of a song, are the same recording |
| bleeding | one stem is heard in another |
| misnamed | a stem with a name that looks like a slip, or whose sound belongs under another name |
| not a sum | the stems miss the mixture file |
| leakage | a track, its recording, its artist or its piece is in two splits |
| notes | the two note lists of a MAPS recording contradict each other |
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sepgan.data import DATASETS
from sepgan.data.faults import (
    Fingerprint,
    Float,
    Spectra,
    clipped_share,
    explained_in_rests,
    explained_share,
    fingerprint,
    fitting_gain_db,
    frames_of,
    is_silent,
    median_frequency,
    residual_db,
    same_recording,
)
from sepgan.data.inventory import expected_stems, inventory
from sepgan.data.maps import compare_notes, note_files, read_midi, read_txt
from sepgan.data.store import MIXTURE, sources_of
from sepgan.data.track import ACCOMPANIMENT, Track, files_of, load_track, sum_stems
from sepgan.errors import AudioError, DatasetError

# dB by which stems may miss their mixture. That of a .stem.mp4 was coded by itself: -15 dB were seen in good songs.
TOLERANCE_DB: Mapping[str, float] = {"musdb18": -12.0, "musdb18hq": -12.0}
DEFAULT_TOLERANCE_DB = -30.0
CLIPPED_SHARE = 1e-4  # of all samples
BLEEDING = 0.1  # share of a stem's energy that another explains
BLEEDING_IN_RESTS = 0.5  # the same, of what is heard while the stem rests
COPY = 0.98  # share above which two stems are one
PREVIEW_S = 8.0
KNOWN = ("vocals", "drums", "bass", "other", "accompaniment", "piano", "guitar", "mixture", "solo")
ALIASES = {"voice": "vocals", "vox": "vocals", "singing": "vocals", "lead": "vocals", "percussion": "drums"} | {
    "mix": "mixture",
    "master": "mixture",
    "instrumental": "accompaniment",
    "backing": "accompaniment",
    "rest": "other",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """One fault."""

    fault: str
    split: str
    track: str
    stems: tuple[str, ...]
    detail: str
    value: float | None = None


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    tracks: Mapping[str, int]  # by split
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # known errata and the like: worth knowing, but no fault of this copy


@dataclass(frozen=True)
class _Heard:
    """A track that was decoded."""

    track: Track
    print: Fingerprint | None


def check(
    kind: str,
    root: Path,
    splits: Sequence[str] | None = None,
    *,
    stems: Sequence[str] = (),
    progress: Progress | None = None,
) -> Checked:
    """Look through a dataset.

    Args:
        kind: A name of `DATASETS`.
        root: Its folder, or the file of a list.
        splits: Which parts; None takes all that are there.
        stems: What every track must have, beside what the dataset itself promises.
        progress: Called with tracks done and their number.

    Raises:
        DatasetError: The kind is unknown, or there is no such folder or split.
    """
    if kind not in DATASETS:
        raise DatasetError(f"dataset kind '{kind}' is unknown: choose one of {', '.join(sorted(DATASETS))}")
    found = inventory(kind, root, splits)
    findings = [Finding("missing", gap.split, gap.track, gap.stems, gap.detail) for gap in found.gaps]
    heard: list[_Heard] = []
    shortest = math.inf
    for done, track in enumerate(found.tracks, start=1):
        new, fingerprints, seconds = _check_track(kind, track, stems)
        findings += new
        heard.append(_Heard(track, fingerprints))
        shortest = min(shortest, seconds)
        if progress:
            progress(done, len(found.tracks))
    findings += _repeated(heard)
    counts = {split: sum(track.split == split for track in found.tracks) for split in found.splits}
    notes = [f"{track.name}: {warning}" for track in found.tracks for warning in track.warnings]
    if kind == "musdb18" and shortest < PREVIEW_S:
        notes.append("these are the previews of seven seconds: good for tests, too short to train or score on")
    order = sorted(findings, key=lambda item: (item.split, item.track, item.fault, item.stems))
    return Checked(counts, tuple(order), (*found.notes, *notes))


def _check_track(kind: str, track: Track, wanted: Sequence[str]) -> tuple[list[Finding], Fingerprint | None, float]:
    findings = [
        Finding("missing", track.split, track.name, (stem,), f"there is no '{stem}'")
        for stem in sorted({*expected_stems(kind), *wanted})
        if stem not in track.stems
    ]
    findings += list(_misnamed_by_name(track))
    if kind == "maps":
        findings += list(_contradicting_notes(track))
    try:
        stems, mixture, rate = load_track(track)
    except AudioError:
        return [*findings, *_corrupt(track)], None, math.inf
    except DatasetError as error:
        return [*findings, Finding("mismatched", track.split, track.name, (), str(error))], None, math.inf
    waveforms = stems | ({MIXTURE: mixture} if mixture is not None else {})
    for name, waveform in waveforms.items():
        if is_silent(waveform):
            findings.append(Finding("silent", track.split, track.name, (name,), "nothing is heard"))
        elif (share := clipped_share(waveform)) > CLIPPED_SHARE:
            detail = f"{100 * share:.2f} % of its samples are flat tops"
            findings.append(Finding("clipped", track.split, track.name, (name,), detail, share))
    total = sum_stems(stems) if stems else mixture
    assert total is not None
    if stems and mixture is not None and not is_silent(mixture):
        findings += list(_not_a_sum(kind, track, total, mixture))
    findings += list(_compare_stems(track, stems, mixture, rate))
    whole = mixture if mixture is not None else total
    print_of = None if is_silent(whole) else fingerprint(whole, rate)
    return findings, print_of, whole.shape[1] / rate


def _corrupt(track: Track) -> Iterator[Finding]:
    """Which of the sources it is, one at a time."""
    sources = dict(sources_of(track)) | ({MIXTURE: track.mixture} if track.mixture else {})
    for stem, source in sources.items():
        try:
            load_track(replace(track, stems={stem: source}, mixture=None))
        except AudioError as error:
            yield Finding("corrupt", track.split, track.name, (stem,), str(error))


def _not_a_sum(kind: str, track: Track, total: Float, mixture: Float) -> Iterator[Finding]:
    ratio_db = residual_db(total, mixture)
    if ratio_db <= TOLERANCE_DB.get(kind, DEFAULT_TOLERANCE_DB):
        return
    gain_db = fitting_gain_db(total, mixture)
    hint = f"; a gain of {gain_db:+.1f} dB on all stems mends it" if gain_db is not None else ""
    detail = f"the stems miss the mixture by {ratio_db:.1f} dB{hint}"
    yield Finding("not a sum", track.split, track.name, tuple(sorted(track.stems)), detail, ratio_db)


def _compare_stems(track: Track, stems: Mapping[str, Float], mixture: Float | None, rate: int) -> Iterator[Finding]:
    audible = {stem: wave for stem, wave in stems.items() if not is_silent(wave) and stem != ACCOMPANIMENT}
    spectra = {stem: frames_of(wave) for stem, wave in audible.items()}
    names = sorted(audible)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            if min(explained_share(spectra[a], spectra[b]) for a, b in ((one, other), (other, one))) > COPY:
                yield Finding("duplicate", track.split, track.name, (one, other), f"'{one}' and '{other}' are the same")
            else:
                yield from _bleed(track, {one: spectra[one], other: spectra[other]})
    yield from _misnamed_by_sound(track, audible, spectra, mixture, rate)


def _bleed(track: Track, pair: Mapping[str, Spectra]) -> Iterator[Finding]:
    """Two stems that share sound. Coherence does not tell which of them it belongs to; where one rests, that does."""
    (one, first), (other, second) = pair.items()
    in_rests = {(one, other): explained_in_rests(first, second), (other, one): explained_in_rests(second, first)}
    resting = max(in_rests, key=lambda key: np.nan_to_num(in_rests[key], nan=-1.0))
    together = np.nanmax([explained_share(first, second), explained_share(second, first), 0.0])
    if in_rests[resting] > BLEEDING_IN_RESTS:
        heard, source = resting
        detail = f"'{source}' is heard in '{heard}' where that rests: {100 * in_rests[resting]:.0f} % of what is left"
        yield Finding("bleeding", track.split, track.name, (one, other), detail, in_rests[resting])
    elif together > BLEEDING:
        detail = f"'{one}' and '{other}' share sound: {100 * together:.0f} % of one of them"
        yield Finding("bleeding", track.split, track.name, (one, other), detail, float(together))


def _misnamed_by_name(track: Track) -> Iterator[Finding]:
    for stem in track.stems:
        if stem in KNOWN:
            continue
        meant = ALIASES.get(stem) or next(iter(difflib.get_close_matches(stem, KNOWN, n=1, cutoff=0.75)), None)
        if meant:
            detail = f"'{stem}' looks like '{meant}': rename the file, or give the recipe `map: {{{stem}: {meant}}}`"
            yield Finding("misnamed", track.split, track.name, (stem,), detail)


def _misnamed_by_sound(
    track: Track, stems: Mapping[str, Float], spectra: Mapping[str, Spectra], mixture: Float | None, rate: int
) -> Iterator[Finding]:
    if mixture is not None and len(stems) > 1:
        for stem, waveform in stems.items():
            if residual_db(waveform, mixture) < -30 and residual_db(sum_stems(stems), mixture) > -30:
                yield Finding("misnamed", track.split, track.name, (stem,), f"'{stem}' holds the mixture")
    if "bass" not in stems:
        return
    pitch_hz = {stem: median_frequency(spectra[stem], rate) for stem in stems}
    for stem, value in pitch_hz.items():
        if stem not in ("bass", "drums") and pitch_hz["bass"] > 250 and value < 150:  # a bass lies at 40 to 200 Hz
            detail = (
                f"half of 'bass' lies above {pitch_hz['bass']:.0f} Hz, half of '{stem}' below {value:.0f}: exchanged?"
            )
            yield Finding("misnamed", track.split, track.name, ("bass", stem), detail)


def _contradicting_notes(track: Track) -> Iterator[Finding]:
    txt, mid = note_files(track)
    absent = [file for file in (txt, mid) if not file.is_file()]
    for file in absent:
        yield Finding("missing", track.split, track.name, (), f"there is no {file.name}")
    if absent:
        return
    try:
        written, played = read_txt(txt), read_midi(mid)
    except DatasetError as error:
        yield Finding("corrupt", track.split, track.name, (), str(error))
        return
    unmatched = compare_notes(written, played)
    if unmatched:
        detail = f"{unmatched} notes of {txt.name} ({len(written)}) and {mid.name} ({len(played)}) have no partner"
        yield Finding("notes", track.split, track.name, (), detail, unmatched)


def _repeated(heard: Sequence[_Heard]) -> Iterator[Finding]:
    """Tracks that occur twice: in one split they are duplicates, in two they leak."""
    for position, one in enumerate(heard):
        for other in heard[position + 1 :]:
            first, second = one.track, other.track
            same_place = first.split == second.split
            reason = "the same recording" if _same(one, other) else None
            if reason is None and not same_place:
                reason = _same_song(first, second)
            if reason:
                detail = f"{reason} as '{second.name}'" + ("" if same_place else f" of split {second.split}")
                yield Finding("duplicate" if same_place else "leakage", first.split, first.name, (), detail)


def _same(one: _Heard, other: _Heard) -> bool:
    if one.print is None or other.print is None:
        return False
    return same_recording(one.print, other.print)


def _same_song(first: Track, second: Track) -> str | None:
    if first.name.casefold() == second.name.casefold():
        return "the same name"
    for source in (*sources_of(first).values(),):
        if set(files_of(source)) & {file for other in sources_of(second).values() for file in files_of(other)}:
            return "the same file"
    if (piece := first.labels.get("piece")) is not None and piece == second.labels.get("piece"):
        return "the same piece"
    # Of songs this is by design: MUSDB18 has artists in both parts. Of clips of one record it is not.
    genre = first.labels.get("genre")
    if genre and (artist := first.labels.get("artist")) is not None and artist == second.labels.get("artist"):
        return f"the same artist ({artist})"
    return None


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how often each fault was found."""
    names = [finding.fault for finding in findings]
    return {fault: names.count(fault) for fault in sorted(set(names))}


def plain(value: float | None) -> float | None:
    """A number that JSON has."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
