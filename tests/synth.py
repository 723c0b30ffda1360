"""Synthetic songs for tests: seeded, short, and with four stems one can tell apart.

drums are decaying noise bursts, bass a low saw, other a chord of plain tones, vocals a gliding harmonic voice.
Every maker of a dataset tree writes the layout of the real dataset and returns its root.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import mido
import numpy as np
import numpy.typing as npt
import soundfile

Audio = npt.NDArray[np.float32]

STEMS = ("drums", "bass", "other", "vocals")  # the order of MUSDB18
SAMPLE_RATE = 44100  # Hz


def tone(frequency_hz: float, duration_s: float = 1.0, *, sample_rate: int = SAMPLE_RATE, channels: int = 2) -> Audio:
    """A sine of amplitude 0.5 as [C, T]."""
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    return np.tile(0.5 * np.sin(2 * np.pi * frequency_hz * time_s), (channels, 1)).astype(np.float32)


def noise(duration_s: float = 1.0, *, seed: int = 0, sample_rate: int = SAMPLE_RATE, channels: int = 2) -> Audio:
    """Gaussian noise with a standard deviation of 0.1, independent per channel, as [C, T]."""
    shape = (channels, round(duration_s * sample_rate))
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def song(
    duration_s: float = 2.0, *, seed: int = 0, sample_rate: int = SAMPLE_RATE, channels: int = 2
) -> dict[str, Audio]:
    """Four stems [C, T] in MUSDB18 order; each is active throughout and their sum stays below 1."""
    random = np.random.default_rng(seed)
    samples = round(duration_s * sample_rate)
    time_s = np.arange(samples) / sample_rate
    stems = {
        "drums": _drums(time_s, random),
        "bass": _saw(time_s, float(random.uniform(45, 90)), harmonics=6),
        "other": sum((np.sin(2 * np.pi * random.uniform(300, 900) * time_s) for _ in range(3)), np.zeros(samples)),
        "vocals": _voice(time_s, random),
    }
    pans = {name: random.uniform(0.6, 1.0, (channels, 1)) for name in STEMS}
    # A quarter each, so that no sum of the four can clip.
    return {
        name: (0.24 * pans[name] * wave / max(float(np.abs(wave).max()), 1e-9)).astype(np.float32)
        for name, wave in stems.items()
    }


def mixture(stems: Mapping[str, Audio]) -> Audio:
    """The sum of stems."""
    total: Audio = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    return total


def write(path: Path, waveform: Audio, *, sample_rate: int = SAMPLE_RATE, subtype: str | None = None) -> Path:
    """Write [C, T] to a file whose suffix names the format; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, sample_rate, subtype=subtype)
    return path


def musdb18hq_tree(
    root: Path,
    *,
    train: Sequence[str] = ("A - One", "B - Two"),
    test: Sequence[str] = ("C - Three",),
    duration_s: float = 2.0,
) -> Path:
    """A MUSDB18-HQ tree: <root>/{train,test}/<track>/{mixture,drums,bass,other,vocals}.wav."""
    for split, name, seed in _songs(train, test):
        stems = song(duration_s, seed=seed)
        for stem, waveform in {"mixture": mixture(stems), **stems}.items():
            write(root / split / name / f"{stem}.wav", waveform, subtype="PCM_16")
    return root


def musdb18_tree(
    root: Path,
    *,
    train: Sequence[str] = ("A - One", "B - Two"),
    test: Sequence[str] = ("C - Three",),
    duration_s: float = 2.0,
) -> Path:
    """A MUSDB18 tree: <root>/{train,test}/<track>.stem.mp4."""
    for split, name, seed in _songs(train, test):
        stem_mp4(root / split / f"{name}.stem.mp4", song(duration_s, seed=seed))
    return root


def folder_tree(
    root: Path,
    songs: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    *,
    duration_s: float = 2.0,
    sample_rate: int = SAMPLE_RATE,
    channels: int = 2,
    suffix: str = ".wav",
) -> Path:
    """A folder of stems: <root>/<split>/<song>/<stem><suffix>.

    Args:
        root: Folder to fill.
        songs: split -> song -> stems to write; absent stems are absent. Default: a full and a partial song to train
            on and a full one to validate.
        duration_s: Length of every song.
        sample_rate: In Hz.
        channels: Of every file.
        suffix: File format.
    """
    songs = songs or {"train": {"full": STEMS, "no bass": ("drums", "other", "vocals")}, "valid": {"held out": STEMS}}
    names = [(split, name, stems) for split, tracks in songs.items() for name, stems in tracks.items()]
    for seed, (split, name, stems) in enumerate(names):
        waveforms = song(duration_s, seed=seed, sample_rate=sample_rate, channels=channels)
        for stem in stems:
            write(root / split / name / f"{stem}{suffix}", waveforms[stem], sample_rate=sample_rate)
    return root


def pairs_tree(
    root: Path,
    *,
    train: Sequence[str] = ("amy_1_01", "bob_1_01"),
    valid: Sequence[str] = ("cat_1_01",),
    duration_s: float = 2.0,
    sample_rate: int = 16000,
    suffix: str = ".wav",
) -> Path:
    """Pairs as in MIR-1K: <root>/{train,valid}/<clip>/{vocals,accompaniment}<suffix>, mono, 16 kHz."""
    for split, name, seed in _songs(train, valid, second="valid"):
        stems = song(duration_s, seed=seed, sample_rate=sample_rate, channels=1)
        vocals = stems.pop("vocals")
        write(root / split / name / f"vocals{suffix}", vocals, sample_rate=sample_rate)
        write(root / split / name / f"accompaniment{suffix}", mixture(stems), sample_rate=sample_rate)
    return root


def singles_tree(root: Path, *, count: int = 2, duration_s: float = 2.0, suffix: str = ".wav") -> Path:
    """One folder of solo voice recordings: <root>/train/<name><suffix>."""
    for seed in range(count):
        write(root / "train" / f"take {seed}{suffix}", song(duration_s, seed=seed, channels=1)["vocals"])
    return root


def stem_folders_tree(root: Path, *, songs: Sequence[str] = ("one", "two"), duration_s: float = 2.0) -> Path:
    """One folder a stem: <root>/train/<stem>/<song>.wav."""
    for seed, name in enumerate(songs):
        for stem, waveform in song(duration_s, seed=seed).items():
            write(root / "train" / stem / f"{name}.wav", waveform)
    return root


def gtzan_tree(
    root: Path,
    *,
    clips: Sequence[str] = ("blues.00029", "jazz.00000", "rock.00038", "rock.00010"),
    duration_s: float = 2.0,
    suffix: str = ".wav",
) -> Path:
    """Clips of GTZAN: <root>/genres/<genre>/<clip>, mono, 22.05 kHz; two of its training list, one of each other."""
    for seed, name in enumerate(clips):
        path = root / "genres" / name.partition(".")[0] / f"{name}{suffix}"
        write(path, mixture(song(duration_s, seed=seed, sample_rate=22050, channels=1)), sample_rate=22050)
    return root


def maps_tree(
    root: Path,
    *,
    recordings: Sequence[str] = (
        "MAPS_MUS-bach_846_AkPnBcht",
        "MAPS_MUS-chpn_op10_AkPnStgb",
        "MAPS_MUS-schub_d760_StbgTGd2",
        "MAPS_MUS-liz_et1_ENSTDkCl",
    ),
    duration_s: float = 2.0,
) -> Path:
    """Recordings of MAPS with their notes: <root>/<piano>/<category>/<name>.{wav,txt,mid}.

    Isolated notes (`MAPS_ISOL_NO_..._M60_...`) sound the pitch of their name, the rest a short tune.
    """
    for seed, name in enumerate(recordings):
        category = name.split("_")[1].partition("-")[0]
        folder = root / name.rpartition("_")[2] / category / ("NO" if category == "ISOL" else "")
        pitch = next((int(field[1:]) for field in name.split("_") if field[0] == "M" and field[1:].isdigit()), 0)
        tune = [pitch] if pitch else [int(p) for p in np.random.default_rng(seed).integers(48, 84, 4)]
        step_s = duration_s / len(tune)
        notes = [(index * step_s, (index + 0.9) * step_s, note) for index, note in enumerate(tune)]
        piano_notes(folder / name, notes, duration_s)
    return root


def piano_notes(path: Path, notes: Sequence[tuple[float, float, int]], duration_s: float) -> None:
    """Write decaying tones as <path>.wav, and their onset, offset (s) and pitch (MIDI) as <path>.txt and <path>.mid."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros(len(time_s))
    track = mido.MidiTrack()
    events = []
    for onset_s, offset_s, pitch in notes:
        since = time_s - onset_s
        hz = 440.0 * 2 ** ((pitch - 69) / 12)
        sounding = (since >= 0) & (time_s < offset_s)
        wave += sounding * 0.2 * np.exp(-3 * np.abs(since)) * (np.sin(2 * np.pi * hz * since))
        events += [(onset_s, "note_on", pitch), (offset_s, "note_off", pitch)]
    ticks = 0
    for when_s, kind, pitch in sorted(events):
        now = round(when_s * 960)  # 480 ticks a beat of half a second, the default
        track.append(mido.Message(kind, note=pitch, velocity=64, time=now - ticks))
        ticks = now
    write(path.with_suffix(".wav"), np.stack([wave, 0.8 * wave]).astype(np.float32))
    rows = "".join(f"{onset:.6f}\t{offset:.6f}\t{pitch}\n" for onset, offset, pitch in notes)
    path.with_suffix(".txt").write_text(f"OnsetTime\tOffsetTime\tMidiPitch\n{rows}")
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(track)
    midi.save(str(path.with_suffix(".mid")))


def stem_mp4(path: Path, stems: Mapping[str, Audio], *, sample_rate: int = SAMPLE_RATE) -> Path:
    """A .stem.mp4 with five AAC streams in the order of MUSDB18: mixture, drums, bass, other, vocals (stereo)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waveforms = [mixture(stems), *(stems[stem] for stem in STEMS)]
    with av.open(str(path), "w", format="mp4") as container:
        streams = []
        for _ in waveforms:
            stream = container.add_stream("aac", rate=sample_rate)
            stream.layout = "stereo"
            streams.append(stream)
        for stream, waveform in zip(streams, waveforms, strict=True):
            for start in range(0, waveform.shape[1], 1024):  # an AAC frame
                block = np.ascontiguousarray(waveform[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate = sample_rate
                frame.pts = start
                frame.time_base = Fraction(1, sample_rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _songs(first: Sequence[str], others: Sequence[str], second: str = "test") -> Iterator[tuple[str, str, int]]:
    names = [("train", name) for name in first] + [(second, name) for name in others]
    for seed, (split, name) in enumerate(names):
        yield split, name, seed


def _drums(time_s: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """A noise burst every quarter second, decaying within 30 ms."""
    bursts: npt.NDArray[np.float64] = random.standard_normal(time_s.shape) * np.exp(-(time_s % 0.25) / 0.03)
    return bursts


def _saw(time_s: npt.NDArray[np.float64], frequency_hz: float, harmonics: int) -> npt.NDArray[np.float64]:
    waves = [np.sin(2 * np.pi * k * frequency_hz * time_s) / k for k in range(1, harmonics + 1)]
    total: npt.NDArray[np.float64] = np.sum(waves, axis=0)
    return total


def _voice(time_s: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Ten harmonics on a pitch with a slow glide and a vibrato of 6 Hz, 3 %."""
    base_hz = random.uniform(180, 320)
    pitch_hz = base_hz * (1 + 0.2 * np.sin(2 * np.pi * 0.4 * time_s)) * (1 + 0.03 * np.sin(2 * np.pi * 6 * time_s))
    step_s = time_s[1] - time_s[0] if time_s.size > 1 else 1.0
    phase = 2 * np.pi * np.cumsum(pitch_hz) * step_s
    waves = [np.sin(k * phase) / k for k in range(1, 11)]
    total: npt.NDArray[np.float64] = np.sum(waves, axis=0)
    return total
