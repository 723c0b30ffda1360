"""How many 6 s stereo excerpts a second of processor time gives, from each kind of file, and what loading costs a step.

    python -m benchmarks.load --seconds 2
    python -m benchmarks.load --recipe musdb_mel_unet_gan --json

`prepared` reads a decoded stem from a `SampleStore`, as training does; WAV, FLAC, Ogg, MP3 and `.stem.mp4` are cut by
`DirectSamples`. Each excerpt is written as float32 into its place in a batch. What the `musdb` package does is
`stempeg`'s reading of all five streams from a random position, whichever of them are wanted; that counts as one
excerpt, and so does reading all four stems of a `.stem.mp4` here. Who wants all four stems of one song at one place
anyway may divide what the other lines say of stempeg by four.

Processor time, and not time on the clock, is what one core needs on a machine with other work; stempeg's ffmpeg runs in
processes of its own, whose time is added.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from benchmarks.separate import machine
from sepgan.data import DATASETS
from sepgan.data.direct import DirectSamples
from sepgan.data.excerpts import Excerpts, Song, Sound
from sepgan.data.store import Samples, SampleStore
from sepgan.data.track import AudioSource, Track
from sepgan.recipe import DataRecipe, Recipe, load

RATE = 44100  # Hz
EXCERPT_S = 6.0
SONG_S = 60.0
STEMS = ("drums", "bass", "other", "vocals")
GOALS = {"prepared": 1000.0, "stem.mp4, 4 stems": 8.0}  # times stempeg
STEP_SHARE = 0.05  # largest share of a training step that loading may take


@dataclass(frozen=True)
class Rate:
    """Excerpts of one source."""

    source: str
    per_cpu_s: float
    per_wall_s: float
    times_stempeg: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 where a goal is missed."""
    options = _parse(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        music = write_music(Path(folder))
        rates = measure_all(music, options.seconds)
        share = None if options.no_step else step_share(music, load(options.recipe), options.steps)
    missed = [name for name, goal in GOALS.items() if not meets(rates, name, goal)]
    if share is not None and share["share"] > STEP_SHARE:
        missed.append("share of a step")
    if options.json:
        print(
            json.dumps(
                {
                    "rates": [asdict(rate) for rate in rates],
                    "step": share,
                    "missed": missed,
                    "machine": asdict(machine("cpu")),
                },
                indent=2,
            )
        )
    else:
        print(f"{machine('cpu').cpu}; excerpts of {EXCERPT_S:g} s, stereo, {RATE} Hz")
        for rate in rates:
            times = "" if rate.times_stempeg is None else f"{rate.times_stempeg:10.1f} x stempeg"
            print(f"{rate.source:24s} {rate.per_cpu_s:10.1f} / CPU s {rate.per_wall_s:10.1f} / s {times}")
        if share is not None:
            print(
                f"loading a batch of {share['batch']:.0f} takes {share['load_s'] * 1e3:.2f} ms of processor time, "
                f"a step of {options.recipe} {share['step_s'] * 1e3:.0f} ms: {100 * share['share']:.2f} %"
            )
        print("goals missed: " + ", ".join(missed) if missed else "all goals met")
    return 1 if missed else 0


def write_music(folder: Path) -> dict[str, Path]:
    """Write four stems of noise and tones in each format; return a file or folder by format."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(SONG_S * RATE)) / RATE
    stems = {}
    for index, stem in enumerate(STEMS):
        tone = np.sin(2 * np.pi * 110 * (index + 1) * time_s + 3 * np.sin(2 * np.pi * 0.3 * time_s))
        stems[stem] = np.stack([0.1 * tone, 0.08 * tone]) + 0.01 * rng.standard_normal((2, len(time_s)))
    found = {}
    for suffix in ("wav", "flac", "ogg", "mp3"):
        for stem, waveform in stems.items():
            path = folder / "folder" / suffix / "song" / f"{stem}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(path, "w", RATE, 2) as file:
                for start in range(0, waveform.shape[1], RATE):  # libsndfile crashes on a minute of Vorbis at once
                    file.write(waveform[:, start : start + RATE].T)
        found[suffix] = folder / "folder" / suffix
    found["musdb18"] = folder / "musdb18"
    _write_stem_mp4(
        folder / "musdb18" / "train" / "A - Song.stem.mp4", [np.sum(list(stems.values()), axis=0), *stems.values()]
    )
    found["store"] = folder / "store"
    return found


def measure_all(music: dict[str, Path], seconds: float) -> list[Rate]:
    """Measure every source, stempeg last, and say how often faster than that each is."""
    rng = np.random.default_rng(1)
    room = round((SONG_S - EXCERPT_S) * RATE)
    found: list[Rate] = []
    track = _track(music["wav"])
    stored = list(SampleStore(music["store"], RATE).open(track).values())
    found.append(_into_batch("prepared", stored, seconds))
    for suffix in ("wav", "flac", "ogg", "mp3"):
        direct = [DirectSamples(source) for source in _sources(_track(music[suffix]))]
        found.append(_into_batch(suffix, direct, seconds))
    (song,) = DATASETS["musdb18"](music["musdb18"], "train")
    packed = [DirectSamples(source) for source in _sources(song)]
    found.append(_into_batch("stem.mp4, 1 stem", packed, seconds))

    def four_stems() -> None:
        start = int(rng.integers(room))
        for samples in packed:
            samples.window(start, start + round(EXCERPT_S * RATE))

    found.append(_rate("stem.mp4, 4 stems", four_stems, seconds))
    try:
        import stempeg  # type: ignore[import-untyped]
    except ImportError:
        return found
    path = str(_sources(song)[0].path)

    def reference() -> None:
        stempeg.read_stems(path, start=float(rng.uniform(0, SONG_S - EXCERPT_S)), duration=EXCERPT_S)

    slow = _rate("stempeg, all streams", reference, max(seconds, 5.0))
    return [
        Rate(rate.source, rate.per_cpu_s, rate.per_wall_s, rate.per_cpu_s / slow.per_cpu_s) for rate in [*found, slow]
    ]


def meets(rates: Sequence[Rate], source: str, goal: float) -> bool:
    """Whether a source is as often faster than stempeg as it should; true where stempeg was not there to measure.

    >>> meets([Rate("prepared", 2000.0, 2000.0, 900.0)], "prepared", 1000.0)
    False
    """
    times = next(rate.times_stempeg for rate in rates if rate.source == source)
    return times is None or times >= goal


def step_share(music: dict[str, Path], recipe: Recipe, steps: int) -> dict[str, float]:
    """Processor time that a batch of a recipe costs to load, beside that of the training step it feeds."""
    from sepgan.separator import Separator
    from sepgan.training.losses import grouped_l1
    from sepgan.training.spectra import analyse

    separator = Separator(recipe)
    samples = separator.excerpt_samples(recipe.data.excerpt_s)
    batch_size = 4  # of any recipe: a step takes time in proportion
    stored = SampleStore(music["store"], RATE).open(_track(music["wav"]))
    sounds = tuple(Sound(stored[stem], frozenset({index}), RATE / 2) for index, stem in enumerate(STEMS))
    excerpts = Excerpts(
        [[Song(sounds)]],
        [1.0],
        recipe.data.model_copy(update={"remix": 1.0}),
        stems=4,
        channels=recipe.generator.channels,
        samples=samples,
        seed=0,
        first=0,
        count=10**6,
    )
    excerpts.batch(range(batch_size))
    began = time.process_time()
    for index in range(10):
        batch = excerpts.batch(range(index * batch_size, (index + 1) * batch_size))
    load_s = (time.process_time() - began) / 10
    optimiser = torch.optim.AdamW(separator.parameters())
    separator.train()
    began = time.process_time()
    for _ in range(steps):
        spectra = analyse(separator, batch, recipe.train.reconstruction, False)
        estimates = separator.generator(spectra.mixture) * spectra.mixture.unsqueeze(1)
        loss = grouped_l1(estimates, spectra.targets, spectra.groups, spectra.mixture, spectra.band_mask)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    step_s = (time.process_time() - began) / steps
    return {"batch": batch_size, "load_s": load_s, "step_s": step_s, "share": load_s / (load_s + step_s)}


def _into_batch(name: str, sounds: Sequence[Samples], seconds: float) -> Rate:
    """Excerpts of random sounds, each written into its place in a batch as training does."""
    songs = [Song((Sound(samples, frozenset({0}), RATE / 2),)) for samples in sounds]
    excerpts = Excerpts(
        [songs],
        [1.0],
        DataRecipe(remix=1.0),
        stems=1,
        channels=2,
        samples=round(EXCERPT_S * RATE),
        seed=0,
        first=0,
        count=10**9,
    )
    targets = np.zeros((1, 2, excerpts.samples), dtype=np.float32)
    counter = iter(range(10**9))

    def one() -> None:
        plan = excerpts.planner.draw(np.random.default_rng((0, next(counter))))
        excerpts.cut(plan.placements[0], targets[0])

    return _rate(name, one, seconds)


def _rate(name: str, action: Callable[[], None], seconds: float) -> Rate:
    action()
    count, began, cpu = 0, time.perf_counter(), _cpu_s()
    while time.perf_counter() - began < seconds or count == 0:
        action()
        count += 1
    wall_s, cpu_s = time.perf_counter() - began, _cpu_s() - cpu
    return Rate(name, count / max(cpu_s, 1e-9), count / wall_s)


def _cpu_s() -> float:
    """Processor time of this process and of those it started and waited for."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _track(root: Path) -> Track:
    (track,) = DATASETS["folder"](root, "")
    return track


def _sources(track: Track) -> list[AudioSource]:
    return [source for stem in STEMS if isinstance(source := track.stems[stem], AudioSource)]


def _write_stem_mp4(path: Path, waveforms: Sequence[NDArray[np.floating]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = []
        for _ in waveforms:
            stream = container.add_stream("aac", rate=RATE)
            stream.bit_rate = 256_000  # that of MUSDB18
            stream.layout = "stereo"
            streams.append(stream)
        # Packets of all streams by turns, as players need them.
        for start in range(0, waveforms[0].shape[1], 1024):
            for stream, waveform in zip(streams, waveforms, strict=True):
                block = np.ascontiguousarray(waveform[:, start : start + 1024], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate = RATE
                frame.pts = start
                frame.time_base = Fraction(1, RATE)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure excerpts per second of each kind of file.")
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure each source for")
    parser.add_argument("--recipe", default="default", help="whose training step loading is compared with")
    parser.add_argument("--steps", type=int, default=2, help="training steps to measure")
    parser.add_argument("--no-step", action="store_true", help="measure files only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.steps < 1:
        parser.error("--seconds and --steps must be above 0")
    return options


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
