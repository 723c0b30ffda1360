"""The picture of what each effect does is drawn and not empty, and its times are measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import augmentation
from tests import synth


def test_each_effect_is_drawn_and_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(augmentation, "EXCERPT_S", 0.5)
    monkeypatch.setattr(augmentation, "SHOWN_S", 0.5)
    song = synth.write(tmp_path / "song.wav", synth.mixture(synth.song(0.6)))
    out = tmp_path / "effects.png"
    augmentation.main([str(song), "--start", "0", "--out", str(out), "--runs", "1", "--batch", "1", "--json"])
    times_ms = json.loads(capsys.readouterr().out)["ms_per_excerpt"]
    assert set(times_ms) == set(augmentation.EFFECTS)
    assert all(spent_ms >= 0 for spent_ms in times_ms.values())
    assert times_ms["MP3 at 48 kbit/s"] > times_ms["as it is"]
    # Eleven panels in rows of six: the one after the low-pass is dark at the top, the one after the quantiser not.
    picture = np.asarray(Image.open(out).convert("L"), dtype=float)
    lower = picture[picture.shape[0] // 2 :]
    columns = np.array_split(lower[20 : lower.shape[0] // 3], 6, axis=1)
    assert np.median(columns[1]) + 20 < np.median(columns[4])
