"""Stems that are written as if nothing clipped, and again where something does."""

from pathlib import Path

import numpy as np
import pytest

from sepgan.stem_writer import StemWriter
from tests.synth import noise

RATE = 44100
BLOCKS = 5
STEMS, OTHERS = ["vocals", "other"], ["vocals"]


def _write(
    folder: Path, peak_of_last: float, known: bool, subtype: str, file_format: str
) -> tuple[dict[str, bytes], StemWriter]:
    folder.mkdir()
    mixture = noise(1.0, seed=3)
    mixture *= 0.4 / np.abs(mixture).max()
    mixture[:, -10] = peak_of_last
    frames = mixture.shape[1] if known else None
    with StemWriter(
        folder, STEMS, OTHERS, "other", RATE, 2, subtype=subtype, file_format=file_format, frames=frames
    ) as writer:
        for block in np.array_split(mixture, BLOCKS, axis=1):
            writer.write(block, 0.3 * block[None])
        writer.finish()
    assert not (folder / "spool").exists()
    return {stem: path.read_bytes() for stem, path in writer.paths.items()}, writer


@pytest.mark.parametrize(("subtype", "file_format"), [("int16", "wav"), ("int24", "flac"), ("int16", "mp3")])
@pytest.mark.parametrize("peak", [0.5, 1.9])
def test_the_bytes_do_not_depend_on_when_they_are_written(
    tmp_path: Path, peak: float, subtype: str, file_format: str
) -> None:
    """Of unknown length, all is written at the end."""
    at_once, writer = _write(tmp_path / "at once", peak, True, subtype, file_format)
    at_the_end, late = _write(tmp_path / "at the end", peak, False, subtype, file_format)
    assert at_once == at_the_end
    assert writer.gain == late.gain
    assert writer.null == late.null
    assert (writer.gain < 1) == (peak > 1)


def test_files_grow_while_stems_come(tmp_path: Path) -> None:
    with StemWriter(tmp_path, STEMS, OTHERS, "other", RATE, 2, frames=4 * RATE) as writer:
        sizes = []
        for _ in range(4):
            block = 0.1 * noise(1.0)
            writer.write(block, 0.3 * block[None])
            sizes.append(sum(path.stat().st_size for path in tmp_path.glob("*.wav*")))
        writer.finish()
    assert sizes[-1] > 2 * sizes[0] > 0
