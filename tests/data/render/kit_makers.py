"""Small kits for tests, and playing on them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepgan.data.render.kits import (
    Instrument,
)
from sepgan.data.render.sampler import Hit, Looseness, play_drums
from tests import synth

RATE = 44100


def click(path: Path, level: float = 0.5, *, at: int = 10, samples: int = 4410, sample_rate: int = RATE) -> Path:
    """A sample with one loud sample at `at`, over a constant floor that lasts to its end."""
    sound = np.full((1, samples), 0.1 * level, np.float32)
    sound[0, at] = level
    return synth.write(path, sound, sample_rate=sample_rate)


def one_shots(folder: Path, *names: str) -> Path:
    for name in names or ("bd_one", "sn_one", "hat_one"):
        click(folder / f"{name}.wav")
    return folder


def hydrogen(folder: Path, instruments: dict[str, str]) -> Path:
    """A kit of Hydrogen: instruments by name, each with what stands in its element beside the name."""
    body = "".join(
        f"<instrument><name>{name}</name>{inner}</instrument>" for name, inner in instruments.items()
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    table = f'<drumkit_info xmlns="http://www.hydrogen-music.org/drumkit">{body}</drumkit_info>'
    (folder / "drumkit.xml").write_text(table)
    return folder


def hits(*notes: tuple[float, int], velocity: float = 1.0) -> list[Hit]:
    return [Hit(start_s, start_s + 0.1, note, velocity, 1.0) for start_s, note in notes]


def play(hits: list[Hit], struck: dict[int, Instrument], seconds: float = 2.0) -> NDArray[np.float32]:
    return play_drums(hits, struck, round(seconds * RATE), RATE, np.random.default_rng(0), Looseness())
