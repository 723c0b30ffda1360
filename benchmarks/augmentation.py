"""What each effect of `data.augmentation` does, as pictures, and what it costs.

    python -m benchmarks.augmentation --out docs/augmentation.png
    python -m benchmarks.augmentation song.flac --device cuda --json

Each picture is the spectrogram of one excerpt, whole or after one effect at an audible strength. Times are processor or
device time for a batch of stereo excerpts of six seconds, the median of several runs.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from sepgan.audio import Waveform, read
from sepgan.data.augment import Augmenter, Drawn, Warp
from sepgan.data.augment.distortion import Distortion
from sepgan.data.augment.filters import Band, Room
from sepgan.recipe import AugmentationRecipe

SAMPLE_RATE = 44100
EXCERPT_S, SHOWN_S = 6.0, 3.0
RANGE_DB = 80.0
SONG = Path(__file__).parent.parent / "examples" / "everything_is_free_caesium.flac"
EFFECTS = {
    "as it is": Drawn(),
    "speed +12 %": Drawn(warp=Warp(1.12, 1.12)),
    "pitch +4 semitones": Drawn(warp=Warp(pitch=2 ** (4 / 12))),
    "tempo +25 %": Drawn(warp=Warp(tempo=1.25)),
    "amplifier, 24 dB": Drawn(distortion=Distortion(drive_db=24.0, speaker_hz=5000.0)),
    "equaliser": Drawn(bands=(Band("low", 150.0, -18.0), Band("peak", 1500.0, 15.0, 1.5), Band("high", 6000.0, -15.0))),
    "room of 1.2 s": Drawn(room=Room(decay_s=1.2, level_db=-3.0, damp_hz=5000.0, delay_s=0.02, seed=0)),
    "low-pass at 6 kHz": Drawn(lowpass_hz=6000.0),
    "MP3 at 48 kbit/s": Drawn(codec=("mp3", 48)),
    "AAC at 48 kbit/s": Drawn(codec=("aac", 48)),
    "6 bits": Drawn(bits=6),
}


def excerpt(path: Path, start_s: float) -> Waveform:
    """Read a stereo excerpt of a song."""
    waveform, _ = read(path, sample_rate=SAMPLE_RATE)
    begin = round(start_s * SAMPLE_RATE)
    piece = waveform[:, begin : begin + round(EXCERPT_S * SAMPLE_RATE)]
    return np.ascontiguousarray(np.repeat(piece, 2, 0) if len(piece) == 1 else piece[:2])


def measure(piece: Waveform, device: str, batch: int, runs: int) -> dict[str, float]:
    """Return the milliseconds that each effect takes for one excerpt of a batch."""
    augmenter = Augmenter(AugmentationRecipe(), SAMPLE_RATE)
    waveforms = torch.from_numpy(piece).repeat(batch, 1, 1).to(device)
    times_ms = {}
    for name, drawn in EFFECTS.items():
        seconds = []
        for _ in range(runs + 1):  # the first warms up
            began = _clock(device)
            augmenter.apply(waveforms, [drawn] * batch)
            seconds.append(_clock(device) - began)
        times_ms[name] = round(1000 * statistics.median(seconds[1:]) / batch, 2)
    return times_ms


def draw(piece: Waveform, path: Path) -> None:
    """Write a picture of all effects on the same excerpt."""
    augmenter = Augmenter(AugmentationRecipe(), SAMPLE_RATE)
    columns = 6
    figure = Figure(figsize=(19, 3.3 * -(-len(EFFECTS) // columns)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(EFFECTS) // columns), columns, sharex=True, sharey=True)
    for panel in panels.flat[len(EFFECTS) :]:
        panel.axis("off")
    for panel, (name, drawn) in zip(panels.flat, EFFECTS.items(), strict=False):
        changed = augmenter.apply(torch.from_numpy(piece)[None], [drawn])[0].mean(0)
        power = torch.stft(
            changed[: round(SHOWN_S * SAMPLE_RATE)], 2048, 256, window=torch.hann_window(2048), return_complex=True
        ).abs().square()  # fmt: skip
        levels_db = 10 * torch.log10(power.clamp_min(1e-10)).numpy()
        panel.imshow(
            levels_db[:, ::2], origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
            vmin=30 - RANGE_DB, vmax=30, extent=(0, SHOWN_S, 0, SAMPLE_RATE / 2000),
        )  # fmt: skip
        panel.set_title(name)
    for panel in panels[-1]:
        panel.set_xlabel("time (s)")
    for panel in panels[:, 0]:
        panel.set_ylabel("frequency (kHz)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    # Two hundred colours are as good to the eye, and a third of the size.
    Image.open(picture).convert("RGB").quantize(200).save(path, "PNG", optimize=True)


def main(arguments: list[str] | None = None) -> Mapping[str, float]:
    """Draw and measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", nargs="?", type=Path, default=SONG)
    parser.add_argument("--start", type=float, default=20.0, help="of the excerpt, seconds")
    parser.add_argument("--out", type=Path, help="picture to write")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    piece = excerpt(options.song, options.start)
    if options.out:
        draw(piece, options.out)
    times_ms = measure(piece, options.device, options.batch, options.runs) if options.runs else {}
    if options.json:
        print(json.dumps({"device": options.device, "ms_per_excerpt": times_ms}))
    else:
        for name, spent_ms in times_ms.items():
            print(f"{name:<20} {spent_ms:8.2f} ms for {EXCERPT_S:.0f} s")
    return times_ms


def _clock(device: str) -> float:
    """Processor time, or wall time once a device has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
