"""Writing files: exact integers, dither, and files that appear whole or not at all."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sepgan import audio_writer
from sepgan.audio_writer import AudioWriter, StagedFolder, quantise
from sepgan.errors import OutputError, UsageError
from tests import synth

HALF_STEP = 0.5
DITHERED_STEPS = 1.5  # half a step of rounding and one of dither
FOUR_HOURS = 4 * 3600 * 44100  # samples; 24-bit stereo takes 3.8 GB
EIGHT_HOURS = 2 * FOUR_HOURS


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@settings(deadline=None)
@given(st.sampled_from([16, 24]), st.integers(0, 100))
def test_rounding_is_at_most_half_a_step(bits: int, seed: int) -> None:
    samples = synth.noise(0.01, seed=seed)
    error = quantise(samples, bits) - samples.astype(np.float64) * 2 ** (bits - 1)
    assert np.abs(error).max() <= HALF_STEP


def test_dither_makes_the_error_noise() -> None:
    """A tone of half a step would be cut to a square wave; dithered, it is still there, and the mean error is zero."""
    tone = synth.tone(1000.0, 10.0, channels=1) * np.float32(2.0**-15)
    steps = quantise(tone, 16, np.random.default_rng(0))
    in_steps = tone.astype(np.float64) * 2**15
    error = steps - in_steps
    assert np.abs(error).max() <= DITHERED_STEPS
    assert abs(error.mean()) < 0.01
    # Rounding and triangular dither together: variance 1/12 + 2/12, whatever the signal.
    assert error.var() == pytest.approx(0.25, rel=0.02)
    gain = float((steps * in_steps).sum() / (in_steps * in_steps).sum())
    assert gain == pytest.approx(1, abs=0.02)


def test_dither_leaves_samples_that_lie_on_a_step() -> None:
    on_steps = (np.arange(-100, 100) / 2**15).astype(np.float32)
    assert np.array_equal(quantise(on_steps, 16, np.random.default_rng(0)), np.arange(-100, 100))


@pytest.mark.parametrize(("subtype", "step"), [("float32", 0.0), ("int24", 2.0**-23), ("int16", 2.0**-15)])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_is_written_is_read(tmp_path: Path, subtype: str, step: float, suffix: str) -> None:
    if (suffix, subtype) == ("flac", "float32"):
        with pytest.raises(UsageError, match="flac files cannot hold float32 samples"):
            AudioWriter(tmp_path / "a.flac", 44100, 2, subtype=subtype)
        return
    samples = synth.noise(3.0)
    with AudioWriter(tmp_path / f"a.{suffix}", 44100, 2, subtype=subtype) as writer:
        for block in np.array_split(samples, 7, axis=1):
            writer.write(block)
    decoded, rate = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32")
    assert (rate, decoded.shape) == (44100, samples.T.shape)
    tolerance = step * (DITHERED_STEPS if subtype == "int16" else HALF_STEP)
    np.testing.assert_allclose(decoded.T, samples, rtol=0, atol=tolerance)
    assert contents(tmp_path) == [f"a.{suffix}"]


@pytest.mark.parametrize(("subtype", "top"), [("int24", 1 - 2.0**-23), ("int16", 1 - 2.0**-15)])
def test_integers_clip_and_never_wrap(tmp_path: Path, subtype: str, top: float) -> None:
    with AudioWriter(tmp_path / "a.wav", 8000, 1, subtype=subtype) as writer:
        writer.write(np.array([[2.0, 1.0, -1.0, -2.0]], np.float32))
    decoded, _ = soundfile.read(tmp_path / "a.wav")
    assert decoded.tolist() == [top, top, -1.0, -1.0]


def test_the_same_samples_give_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    """Float WAV files carry the second in which they were written, unless it is cleared."""
    for name in ("a", "b"):
        with AudioWriter(tmp_path / f"{name}.wav", 44100, 2, subtype="float32") as writer:
            writer.write(synth.noise(0.1))
        time.sleep(1.1 if name == "a" else 0)  # into the next second
    content = (tmp_path / "a.wav").read_bytes()
    assert b"PEAK" in content
    assert content == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize(("frames", "head"), [(None, b"RIFF"), (FOUR_HOURS, b"RIFF"), (EIGHT_HOURS, b"RF64")])
def test_wav_files_over_4_gb_are_rf64(tmp_path: Path, frames: int | None, head: bytes) -> None:
    with AudioWriter(tmp_path / "a.wav", 44100, 2, frames=frames) as writer:
        writer.write(synth.noise(0.1))
    assert (tmp_path / "a.wav").read_bytes()[:4] == head
    assert soundfile.info(tmp_path / "a.wav").frames == 4410


def test_nothing_has_the_name_before_commit(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", 44100, 2)
    writer.write(synth.noise(0.1))
    assert not (tmp_path / "a.wav").exists()
    writer.commit()
    assert contents(tmp_path) == ["a.wav"]
    writer.abort()
    assert contents(tmp_path) == ["a.wav"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("before")

    def break_off() -> None:
        with AudioWriter(tmp_path / "a.wav", 44100, 2) as writer:
            writer.write(synth.noise(0.1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert contents(tmp_path) == ["a.wav"]
    assert (tmp_path / "a.wav").read_text() == "before"


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for name, channels, subtype, message in [
        ("a.xyz", 2, "int24", "the format must be one of wav, w64, aiff, flac, m4a, mp3, ogg, opus, stem.mp4"),
        ("a.wav", 2, "int8", "subtype 'int8' is not one of"),
        ("a.flac", 9, "int24", "flac files cannot hold 9 channels, only up to 8; choose wav"),
    ]:
        with pytest.raises(UsageError, match=message):
            AudioWriter(tmp_path / name, 44100, channels, subtype=subtype)
    with pytest.raises(OutputError, match=r"a\.wav cannot be written: No such file or directory"):
        AudioWriter(tmp_path / "missing" / "a.wav", 44100, 2)
    assert contents(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="the system cannot be asked to write samples alone")
def test_the_disk_has_all_but_the_last_samples_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block, bring = synth.noise(0.1), os.fdatasync
    sizes: list[int] = []

    def fdatasync(file: int) -> None:
        sizes.append(os.fstat(file).st_size)
        bring(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(audio_writer, "_HELD_BYTES", 3 * block.nbytes // 2)
    with AudioWriter(tmp_path / "a.wav", 44100, 2) as writer:
        for _ in range(4):
            writer.write(block)
    assert len(sizes) == 2
    assert block.nbytes < sizes[0] < sizes[1] <= (tmp_path / "a.wav").stat().st_size
    assert contents(tmp_path) == ["a.wav"]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written: No space left on device") as caught,
        audio_writer.output_errors(tmp_path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)


def test_a_staged_folder_appears_at_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "song"
    with StagedFolder(target) as staged:
        (staged.path / "a").write_text("1")
        assert not target.exists()
        staged.commit()
    assert contents(tmp_path) == ["new", "new/song", "new/song/a"]


def test_a_staged_folder_leaves_nothing_without_commit(tmp_path: Path) -> None:
    with StagedFolder(tmp_path / "new" / "song") as staged:
        (staged.path / "a").write_text("1")
    assert contents(tmp_path) == []


def test_a_staged_folder_keeps_other_files_of_its_target(tmp_path: Path) -> None:
    target = tmp_path / "song"
    target.mkdir()
    (target / "a").write_text("old")
    (target / "mine").write_text("mine")
    with StagedFolder(target) as staged:
        (staged.path / "a").write_text("new")
        staged.commit()
    assert contents(tmp_path) == ["song", "song/a", "song/mine"]
    assert (target / "a").read_text() == "new"


def test_parents_that_others_use_by_now_stay(tmp_path: Path) -> None:
    with StagedFolder(tmp_path / "new" / "song"):
        (tmp_path / "new" / "theirs").write_text("x")
    assert contents(tmp_path) == ["new", "new/theirs"]
