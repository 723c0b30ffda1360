"""Doing a separation again shows whether its files are what they were."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sepgan.errors import AudioError, CheckpointError, UsageError
from sepgan.separation import MANIFEST, SeparationOptions, separate_file
from sepgan.separation.verify import verify
from tests.separation.fake import Shares, noise, write


@pytest.fixture(params=["int16", "float32", "flac", "subset"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    options = {
        "int16": SeparationOptions(subtype="int16"),
        "float32": SeparationOptions(subtype="float32", filename="{track}-{stem}.{ext}", manifest="{track}.json"),
        "flac": SeparationOptions(file_format="flac", two_stems="vocals", start_s=0.1, duration_s=0.4),
        "subset": SeparationOptions(aggregate=(("rhythm", ("drums", "bass")),), stems=("rhythm",), seed=3),
    }[request.param]
    song = write(tmp_path / "song.wav", 3 * noise(0.7, 22050), 22050)
    result = separate_file(Shares(), song, tmp_path / "out", options=options)
    return next(path for path in result.folder.iterdir() if path.suffix == ".json")


def test_the_same_run_gives_the_same_bytes(manifest: Path) -> None:
    found = verify(manifest, Shares())
    assert (found.ok, dict(found.differences), found.elsewhere) == (True, {}, "")


def test_one_flipped_sample_is_found(manifest: Path) -> None:
    record = json.loads(manifest.read_text())
    stem, entry = next(iter(record["stems"].items()))
    path = manifest.parent / entry["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = verify(manifest, Shares())
    assert list(found.differences) == [stem]
    assert f"was changed since it was written, first at byte {len(content) // 2}" in found.differences[stem]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    result = separate_file(Shares(), write(tmp_path / "song.wav", noise()), tmp_path / "out")
    return result.folder / MANIFEST


def test_another_machine_is_named_when_bytes_differ(plain: Path) -> None:
    """The record is of other software here, and its files were written by something that rounds otherwise."""
    record = json.loads(plain.read_text())
    record["run"]["torch"] = "1.0.0"
    record["engine"]["segment"] = 3000
    plain.write_text(json.dumps(record))
    found = verify(plain, Shares())
    assert "but this run gives other bytes" in found.differences["drums"]
    assert found.elsewhere.startswith("torch was 1.0.0, is ")


def test_a_missing_file_is_a_difference(plain: Path) -> None:
    (plain.parent / "bass.wav").unlink()
    assert list(verify(plain, Shares()).differences) == ["bass"]


def test_another_song_or_model_or_engine_is_told(plain: Path, tmp_path: Path) -> None:
    model = Shares()
    assert model.header is not None
    model.header = model.header.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(CheckpointError, match="name that model with --model"):
        verify(plain, model)
    record = json.loads(plain.read_text())
    record["options"]["engine"] = {"precision": "bf16"}
    changed = plain.with_name("changed.json")
    changed.write_text(json.dumps(record))
    with pytest.raises(UsageError, match="another engine"):
        verify(changed, Shares())
    record["options"]["loudness"] = 3
    record["options"]["engine"] = {}
    changed.write_text(json.dumps(record))
    with pytest.raises(UsageError, match="'loudness' is unknown"):
        verify(changed, Shares())
    write(tmp_path / "song.wav", noise(0.8))
    with pytest.raises(AudioError, match="its sha256 has changed"):
        verify(plain, Shares())
    (tmp_path / "song.wav").unlink()
    with pytest.raises(AudioError, match="not there"):
        verify(plain, Shares())


def test_a_run_with_less_memory_is_repeated_with_its_segments(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    short = replace(SeparationOptions(), segment=1000, overlap=250)
    result = separate_file(Shares(), song, tmp_path / "out", options=short)
    assert verify(result.folder / MANIFEST, Shares()).ok
