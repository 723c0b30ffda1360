"""One rendered song: a folder of stems in the layout of MUSDB18-HQ, with a file that says how it came about.

The folder appears whole or not at all, so a set that was interrupted goes on with the same command.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

from sepgan import __version__
from sepgan.audio_writer import AudioWriter, StagedFolder, output_errors
from sepgan.data.render import midi
from sepgan.data.render.band import draw_band, play_band
from sepgan.data.render.fluidsynth import Synthesiser
from sepgan.data.render.kits import Kit
from sepgan.data.render.levels import active_level_db
from sepgan.data.render.performance import Performance, Ranges, draw, seed_of
from sepgan.data.render.pictures import draw_stem
from sepgan.data.render.singing import Placed, Recording, phrase_bars, place, sing
from sepgan.data.tags import PROVENANCE, name_of_key
from sepgan.data.track import VOCALS
from sepgan.errors import DatasetError, UsageError

FORMATS = ("flac", "wav", "ogg")
PEAK = 0.9  # of the sum of the stems; one gain for all
VOCALS_DB = (-2.0, 4.0)  # level of singing beside the other stems
SILENT_PEAK = 1e-4  # -80 dBFS beside a mixture at PEAK: such a stem is left out, not written

Stems = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class SoundFont:
    """A SoundFont and what identifies it."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class RenderSettings:
    """What all songs of a set have in common.

    Attributes:
        soundfonts: One is drawn for each song.
        seed: Of the whole set.
        ranges: How far performances may stray from the files.
        sample_rate: In Hz.
        file_format: flac, wav or ogg.
        licence: Of the MIDI files and what is made of them, as the user says.
        recordings: Singing to lay over the songs; none leaves them without vocals.
        kits: Drum kits that play in place of the SoundFont in their share of the songs.
    """

    soundfonts: tuple[SoundFont, ...]
    seed: int = 0
    ranges: Ranges = field(default_factory=Ranges)
    sample_rate: int = 44100
    file_format: str = "flac"
    licence: str = "not stated"
    recordings: tuple[Recording, ...] = ()
    kits: tuple[Kit, ...] = ()


@dataclass(frozen=True)
class Job:
    """One song to render.

    Attributes:
        path: The MIDI file.
        name: Of the song and its folder.
        variant: Which performance of it, from 0.
    """

    path: Path
    name: str
    variant: int = 0

    @property
    def folder(self) -> str:
        """Name of the folder: the first performance has the song's own name."""
        return self.name if self.variant == 0 else f"{self.name} (take {self.variant + 1})"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def plan_jobs(root: Path, variants: int) -> list[Job]:
    """List what is to be rendered: all songs once, then all once more, and so on.

    Args:
        root: A MIDI file or a folder of them; a song is called by its path below it.
        variants: Performances of each song.

    Raises:
        DatasetError: No MIDI file is there.
    """
    files = midi.find(root)
    base = root if root.is_dir() else root.parent
    names: dict[str, Path] = {}
    for path in files:
        name = " - ".join(path.relative_to(base).with_suffix("").parts)
        names[name if name not in names else " - ".join(path.relative_to(base).parts)] = path
    return [Job(path, name, variant) for variant in range(variants) for name, path in names.items()]


def is_done(job: Job, out: Path, settings: RenderSettings) -> bool:
    """Tell whether a song is there already, made from the same file with the same settings.

    Raises:
        UsageError: It is there, but was made from something else.
    """
    folder = out / job.folder
    if not folder.exists():
        return False
    try:
        known = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known != _key(job, settings):
        raise UsageError(
            f"'{folder}' was made from another file or with other settings: choose another --out, or give --overwrite"
        )
    return True


def render_song(
    job: Job, out: Path, settings: RenderSettings, synthesiser: Synthesiser, *, pictures: bool = False
) -> float:
    """Render one song into `out/<song>`; what was there is replaced.

    Args:
        job: The song.
        out: Folder of the set.
        settings: Of the set.
        synthesiser: Plays it.
        pictures: Add a picture of each stem.

    Returns:
        Its length in seconds.

    Raises:
        DatasetError: The MIDI file cannot be used, or nothing sounds.
        OutputError: The folder cannot be written.
    """
    performance = draw(job.name, job.variant, settings.seed, len(settings.soundfonts), midi.STEMS, settings.ranges)
    soundfont = settings.soundfonts[performance.soundfont]
    score = midi.read(job.path)
    played = midi.split(score, performance)
    band = draw_band(settings.kits, job.name, job.variant, settings.seed, settings.ranges)
    raw = play_band(played, band, synthesiser, soundfont.path, performance, settings.sample_rate)
    phrases: list[Placed] = []
    if settings.recordings:
        rng = np.random.default_rng(seed_of(performance.seed, VOCALS))
        samples = max(waveform.shape[1] for waveform in raw.values())
        beats_s, duration_s = midi.beats_s(score, performance), samples / settings.sample_rate
        phrases = place(settings.recordings, midi.key_of(played), beats_s, duration_s, rng)
        if phrases:
            raw[VOCALS] = sing(phrases, samples, settings.sample_rate, rng)
            gain_db = float(rng.uniform(*VOCALS_DB)) * bool(settings.ranges.gain_db)
            performance = replace(performance, gains_db=performance.gains_db | {VOCALS: round(gain_db, 4)})
    stems = balance(raw, performance)
    if not stems:
        raise DatasetError(f"'{job.path}' is silent with '{soundfont.path.name}': use a General MIDI SoundFont")
    provenance = _provenance(job, settings, synthesiser, soundfont, performance, score, played, stems, phrases)
    if settings.kits:
        provenance["band"] = band.describe()
    length: int = next(iter(stems.values())).shape[1]
    target = out / job.folder
    with StagedFolder(target, needed_bytes=len(stems) * length * 4) as staged:
        _write(staged.path, stems, provenance, settings, performance.seed)
        if pictures:
            for stem, waveform in stems.items():
                path, title = staged.path / f"{stem}.png", f"{job.folder}: {stem}"
                if stem == VOCALS:
                    draw_stem(path, title, phrase_bars(phrases), waveform, settings.sample_rate, height="shift")
                else:
                    draw_stem(path, title, midi.note_bars(played[stem]), waveform, settings.sample_rate)
        if target.exists():
            shutil.rmtree(target)
        staged.commit()
    return float(length) / settings.sample_rate


def balance(raw: Stems, performance: Performance) -> dict[str, NDArray[np.float32]]:
    """Give stems one length and their levels, so that their sum peaks at `PEAK`; leave out silent ones."""
    length = max((_sounding(waveform) for waveform in raw.values()), default=0)
    if length == 0:
        return {}
    stems = {}
    for stem, waveform in raw.items():
        # Voices have no level of their own beside the synthesiser's, so they are always levelled, to the others.
        gain_db = performance.gains_db[stem]
        if performance.level:
            gain_db -= active_level_db(waveform)
        elif stem == VOCALS:
            others = [other for name, other in raw.items() if name != VOCALS]
            gain_db += max(active_level_db(other) for other in others) - active_level_db(waveform)
        padded = np.pad(waveform[:, :length], ((0, 0), (0, max(0, length - waveform.shape[1]))))
        stems[stem] = padded * np.float32(10 ** (gain_db / 20))
    # A stem alone may exceed the sum where they cancel.
    peak = max(float(np.abs(waveform).max()) for waveform in (sum(stems.values()), *stems.values()))
    scaled = {stem: waveform * np.float32(PEAK / peak) for stem, waveform in stems.items()}
    return {stem: waveform for stem, waveform in scaled.items() if np.abs(waveform).max() > SILENT_PEAK}


def _sounding(waveform: NDArray[np.float32]) -> int:
    """Samples up to where the last tail has died away."""
    above = np.flatnonzero(np.abs(waveform).max(0) > SILENT_PEAK * np.abs(waveform).max(initial=0.0))
    return int(above[-1]) + 1 if above.size else 0


def _write(folder: Path, stems: Stems, provenance: Mapping[str, object], settings: RenderSettings, seed: int) -> None:
    for stem, waveform in stems.items():
        path, length = folder / f"{stem}.{settings.file_format}", waveform.shape[1]
        with AudioWriter(path, settings.sample_rate, 2, subtype="int16", frames=length, seed=seed % 2**32) as file:
            file.write(waveform)
    with output_errors(folder / PROVENANCE):
        text = json.dumps(provenance, indent=1, ensure_ascii=False)
        (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")


def _key(job: Job, settings: RenderSettings) -> str:
    """What must be equal for a song not to be rendered again; where its files lie does not count."""
    fonts = [font.sha256 for font in settings.soundfonts]
    voices = [recording.sha256 for recording in settings.recordings]
    rest = asdict(replace(settings, soundfonts=(), recordings=(), kits=()))
    if settings.kits:
        rest["kits"] = [kit.sha256 for kit in settings.kits]
    else:
        del rest["kits"]  # songs without kits are what they were before there were any
    parts = json.dumps([__version__, job.name, job.variant, sha256_of(job.path), fonts, voices, rest], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _provenance(
    job: Job,
    settings: RenderSettings,
    synthesiser: Synthesiser,
    soundfont: SoundFont,
    performance: Performance,
    score: midi.Score,
    played: Mapping[str, mido.MidiFile],
    stems: Stems,
    phrases: Sequence[Placed],
) -> dict[str, object]:
    levels = {
        stem: {
            "peak": round(float(np.abs(waveform).max()), 4),
            "rms_db": round(float(10 * np.log10(np.square(waveform, dtype=np.float64).mean())), 2),
        }
        for stem, waveform in stems.items()
    }
    changed = {str(program): other for program, other in enumerate(performance.programs) if program != other}
    return {
        "key": _key(job, settings),
        "song": job.name,
        "take": job.variant + 1,
        "midi": {"file": job.path.name, "sha256": sha256_of(job.path)},
        "licence": settings.licence,
        "soundfont": {"file": soundfont.path.name, "sha256": soundfont.sha256},
        "vocals": [_describe(phrase) for phrase in phrases],
        "seed": settings.seed,
        "stems": levels,
        "sample_rate": settings.sample_rate,
        "samples": next(iter(stems.values())).shape[1],
        "tags": {"tempo_bpm": midi.tempo_bpm(score, performance), "key": name_of_key(midi.key_of(played))},
        "performance": asdict(performance) | {"programs": changed},
        "made_by": {"sepgan": __version__, "fluidsynth": synthesiser.version},
    }


def _describe(phrase: Placed) -> dict[str, object]:
    return {
        "file": phrase.recording.path.name,
        "sha256": phrase.recording.sha256,
        "from_s": [round(phrase.start_s, 3), round(phrase.end_s, 3)],
        "at_s": round(phrase.at_s, 3),
        "semitones": phrase.semitones,
    }
