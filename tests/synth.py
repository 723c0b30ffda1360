"""Synthetic songs for tests: seeded, short, and with four stems one can tell apart.

drums are decaying noise bursts, bass a low saw, other a chord of plain tones, vocals a gliding harmonic voice.
Every maker of a dataset tree writes the layout of the real dataset and returns its root.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
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
