"""Memory does not grow with the length of a song, and where segments are cut cannot be told."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import audio
from sepgan.engine import Engine
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
from sepgan.separation import SeparationOptions, separate_file
from sepgan.separation.api import Separator as Facade
from sepgan.separator import Separator
from tests.separation.fake import noise, write

GROWTH = 1.05

_PEAKS = """
import json, resource, sys
from pathlib import Path
import soundfile
import torch
from sepgan.separation import SeparationOptions, separate_file
from tests.separation.fake import Shares, noise
torch.set_num_threads(1)

class Long(Shares):
    segment = 44100

peaks = []
block = noise(5.0, 44100)
for blocks in (1, 2, 7):
    song = Path(sys.argv[1]) / f"{blocks}.wav"
    with soundfile.SoundFile(song, "w", 44100, 2, "FLOAT") as file:
        for _ in range(blocks):
            file.write(block.T)
    separate_file(Long(sample_rate=44100), song, sys.argv[1], options=SeparationOptions(subtype="int24"))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no ru_maxrss")
def test_a_longer_song_takes_no_more_memory(tmp_path: Path) -> None:
    """35 s of five stereo signals in float32 are 62 MB: held, they would show."""
    command = [sys.executable, "-W", "ignore", "-c", _PEAKS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    _, short, long = json.loads(done.stdout)
    assert long <= GROWTH * short


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An untrained network that sees about 0.1 s around each frame."""
    recipe = Recipe(
        name="tiny",
        frontend=FrontendRecipe(n_fft=256, hop_length=64),
        generator=GeneratorRecipe(widths=(4, 4), head_width=4),
    )
    torch.manual_seed(0)
    return Engine(Separator(recipe).eval())


def test_a_song_of_one_segment_is_the_segment(engine: Engine, tmp_path: Path) -> None:
    mixture = noise(0.4, 44100)
    options = SeparationOptions(subtype="float32", segment=engine.excerpt_samples(0.5), overlap=2000)
    result = separate_file(engine, write(tmp_path / "song.wav", mixture, 44100), tmp_path / "out", options=options)
    alone = Facade(engine, segment_s=0.5).separate(mixture, 44100)
    for stem, path in result.paths.items():
        assert np.array_equal(audio.read(path)[0], alone[stem])
