"""Measurements on disk: equal to what was measured, keyed by content, and whole or not there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sepgan.data.feature_store import KINDS, FeatureStore
from sepgan.data.track import AudioSource
from sepgan.errors import AudioError, OutputError, UsageError
from sepgan.features import FeatureMatrix
from sepgan.recipe import FeatureRecipe, FramingRecipe
from tests import synth

CONFIG = FeatureRecipe(framing=FramingRecipe(frame_length=512, hop_length=128))


def _source(path: Path, channels: int = 2, seconds: float = 0.5, seed: int = 0) -> AudioSource:
    return AudioSource(synth.write(path, synth.noise(seconds, channels=channels, seed=seed), subtype="FLOAT"))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_is_stored_is_what_is_measured(tmp_path: Path, channels: int) -> None:
    source = _source(tmp_path / "sound.wav", channels)
    waveform = torch.from_numpy(synth.noise(0.5, channels=channels))
    stored = FeatureStore(tmp_path / "store", CONFIG, KINDS).open(source)
    matrix = FeatureMatrix(CONFIG)
    spectra = matrix.framing.spectra(waveform)
    frames = spectra.shape[-2]
    assert frames == 174
    assert isinstance(stored.arrays["complex"], np.memmap)
    assert torch.allclose(stored.window("complex", 0, frames), spectra, atol=1e-5)
    assert torch.allclose(stored.window("magnitude", 0, frames), spectra.abs(), atol=1e-5)
    assert torch.allclose(stored.window("features", 0, frames), matrix(waveform), atol=1e-3)
    assert torch.equal(stored.window("magnitude", 3, 5), stored.window("magnitude", 0, 9)[:, 3:8])
    assert stored.names == matrix.names
    # From the stored spectra the sound comes back.
    back = matrix.framing.join_spectra(stored.window("complex", 0, frames), waveform.shape[-1])
    assert torch.allclose(back, waveform, atol=1e-5)


def test_measurements_are_found_by_content_and_recipe(tmp_path: Path) -> None:
    source = _source(tmp_path / "one.wav")
    store = FeatureStore(tmp_path / "store", CONFIG, KINDS)
    store.open(source)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    assert len(written) == 3
    (tmp_path / "copy").mkdir()
    copied = AudioSource(tmp_path / "copy/renamed.wav")
    copied.path.write_bytes(source.path.read_bytes())
    FeatureStore(tmp_path / "store", CONFIG, KINDS).open(copied)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()} == written
    # Other features share the spectra; other frames and another sound share nothing.
    FeatureStore(tmp_path / "store", CONFIG.model_copy(update={"mfcc": 7}), KINDS).open(source)
    assert len(list((tmp_path / "store").iterdir())) == 4
    FeatureStore(tmp_path / "store", FeatureRecipe(), KINDS).open(source)
    store.open(_source(tmp_path / "two.wav", seed=1))
    assert len(list((tmp_path / "store").iterdir())) == 10


def test_sounds_are_resampled_to_the_recipe(tmp_path: Path) -> None:
    path = synth.write(tmp_path / "low.wav", synth.tone(1000.0, 0.5, sample_rate=22050), sample_rate=22050)
    magnitude = FeatureStore(tmp_path / "store", CONFIG).open(AudioSource(path)).arrays["magnitude"]
    assert np.argmax(magnitude[80, 0]) == round(1000 * 512 / 44100)


def test_a_damaged_file_is_measured_again(tmp_path: Path) -> None:
    source = _source(tmp_path / "sound.wav")
    store = FeatureStore(tmp_path / "store", CONFIG)
    expected = np.array(store.open(source).arrays["magnitude"])
    (path,) = (tmp_path / "store").iterdir()
    for damage in (path.read_bytes()[:1000], b"", b"noise" * 100):
        path.write_bytes(damage)
        assert np.array_equal(store.open(source).arrays["magnitude"], expected)


_SLOW = """
import sys, time
from pathlib import Path
from sepgan.data import feature_store
from sepgan.data.track import AudioSource
from sepgan.recipe import FeatureRecipe, FramingRecipe

feature_store._FRAMES = 8
blocks = feature_store.FeatureStore._blocks
def slow(self, kind, waveform, frames):
    for number, block in enumerate(blocks(self, kind, waveform, frames)):
        yield block
        if kind == "complex":
            if number == 10:
                print("half", flush=True)
            time.sleep(0.05 if number < 10 else 60)
feature_store.FeatureStore._blocks = slow
config = FeatureRecipe(framing=FramingRecipe(frame_length=512, hop_length=128))
store = feature_store.FeatureStore(Path(sys.argv[2]), config, ("magnitude", "complex"))
store.open(AudioSource(Path(sys.argv[1])))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_store_survives_a_kill_half_way(tmp_path: Path) -> None:
    source = _source(tmp_path / "sound.wav")
    folder = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(source.path), str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    files = sorted(path.name for path in folder.iterdir())
    assert [name.endswith(".tmp") for name in files] == [True, False]  # the complex spectra were on their way
    whole = folder / files[1]
    written = whole.stat().st_mtime_ns
    time.sleep(0.02)
    stored = FeatureStore(folder, CONFIG, ("magnitude", "complex")).open(source)
    assert sorted(path.suffix for path in folder.iterdir()) == [".npy", ".npy"]
    assert whole.stat().st_mtime_ns == written
    expected = FeatureMatrix(CONFIG).framing.spectra(torch.from_numpy(synth.noise(0.5)))
    assert torch.allclose(stored.window("complex", 0, 1000), expected, atol=1e-5)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="magnitude, complex, features"):
        FeatureStore(tmp_path, CONFIG, ("phase",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="none"):
        FeatureStore(tmp_path, CONFIG, ())
    with pytest.raises(AudioError):
        FeatureStore(tmp_path / "store", CONFIG).open(AudioSource(tmp_path / "absent.wav"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        FeatureStore(tmp_path / "file", CONFIG).open(_source(tmp_path / "sound.wav"))


class _Windows(Dataset[tuple[torch.Tensor, int]]):
    """Excerpts of 16 frames of several sounds, and which sound each is from."""

    def __init__(self, store: FeatureStore, sources: list[AudioSource]) -> None:
        self.sounds = [store.open(source) for source in sources]
        self.per_sound = len(self.sounds[0].arrays["features"]) // 16

    def __len__(self) -> int:
        return self.per_sound * len(self.sounds)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sound, window = divmod(index, self.per_sound)
        return self.sounds[sound].window("features", 16 * window, 16), sound


def test_a_network_learns_from_a_store(tmp_path: Path) -> None:
    """Drums against bass, told apart by MFCC: chance is 0.5."""
    stems = synth.song(1.5)
    sources = [AudioSource(synth.write(tmp_path / f"{stem}.wav", stems[stem])) for stem in ("drums", "bass")]
    config = CONFIG.model_copy(update={"log_mel": False})
    windows = _Windows(FeatureStore(tmp_path / "store", config, ("features",)), sources)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2 * 16 * 39), nn.Linear(2 * 16 * 39, 2))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    loader = DataLoader(windows, batch_size=8, shuffle=True, drop_last=True)
    for _ in range(3):
        for features, label in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(features), label).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
    with torch.no_grad():
        right = [int(network(features[None]).argmax()) == label for features, label in (windows[i] for i in range(60))]
    assert np.mean(right) > 0.95
