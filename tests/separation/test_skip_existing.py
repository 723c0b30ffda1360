"""A song is finished when its manifest says so and its files still agree: by content, model and options."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepgan.audio_loudness import LoudnessMeter
from sepgan.errors import AudioError, UsageError
from sepgan.separation import MANIFEST, SeparationOptions, Song, SongSeparator, read_manifest, separate_files
from tests.separation.fake import Shares, never, noise, write

AGAIN = SeparationOptions(skip_existing=True)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = write(tmp_path / "song.wav", noise())
    separate_files(Shares(), [path], tmp_path / "out")
    return path


def test_the_same_again_is_skipped_without_computing(song: Path, tmp_path: Path) -> None:
    summary = separate_files(Shares(never), [song], tmp_path / "out", options=AGAIN)
    assert (summary.skipped, summary.results, summary.exit_code) == ((song,), (), 0)


def test_a_moved_song_is_still_the_same_song(song: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "song.wav"
    moved.parent.mkdir()
    song.rename(moved)
    assert separate_files(Shares(never), [moved], tmp_path / "out", options=AGAIN).skipped == (moved,)


def _other_model() -> Shares:
    model = Shares()
    assert model.header is not None
    model.header = model.header.model_copy(update={"sha256": "1" * 64})
    return model


def _nameless_model() -> Shares:
    model = Shares()
    model.header = None
    return model


@pytest.mark.parametrize(
    "change",
    [
        {"model": _other_model()},
        {"model": _nameless_model()},
        {"options": {"subtype": "int16"}},
        {"options": {"segment": 2000}},
        {"options": {"start_s": 0.1}},
        {"options": {"seed": 1}},
        {"options": {"channel_layout": "mono"}},
        {"content": 1},
        {"stem": b"cut"},
        {"stem": None},
        {"manifest": "{}"},
        {"manifest": "not json"},
        {"manifest": None},
    ],
    ids=str,
)
def test_anything_else_is_not_skipped(song: Path, tmp_path: Path, change: dict[str, object]) -> None:
    """Without --overwrite that is refused before anything is computed; with it, done again."""
    folder = tmp_path / "out" / "song"
    model = change.get("model", Shares())
    assert isinstance(model, Shares)
    options = replace(AGAIN, **change.get("options", {}))  # type: ignore[arg-type]
    if "content" in change:
        write(song, noise() * np.float32(0.5))
    if "stem" in change:
        (folder / "bass.wav").unlink()
        if isinstance(change["stem"], bytes):
            (folder / "bass.wav").write_bytes(change["stem"])
    if "manifest" in change:
        (folder / MANIFEST).unlink()
        if isinstance(change["manifest"], str):
            (folder / MANIFEST).write_text(change["manifest"])
    with pytest.raises(UsageError, match="as the work of another song, model or option; pass --overwrite"):
        separate_files(model, [song], tmp_path / "out", options=options)
    summary = separate_files(model, [song], tmp_path / "out", options=replace(options, overwrite=True))
    assert len(summary.results) == 1


def test_one_flipped_sample_is_seen(song: Path, tmp_path: Path) -> None:
    stem = tmp_path / "out" / "song" / "vocals.wav"
    content = bytearray(stem.read_bytes())
    content[-100] ^= 1
    stem.write_bytes(content)
    with pytest.raises(UsageError, match="exists already"):
        separate_files(Shares(), [song], tmp_path / "out", options=AGAIN)


def test_only_what_is_missing_is_done_and_the_bytes_are_the_same(song: Path, tmp_path: Path) -> None:
    songs = [song, write(tmp_path / "two.wav", noise(0.5))]
    summary = separate_files(Shares(), songs, tmp_path / "out", options=AGAIN)
    assert (summary.skipped, [result.track for result in summary.results]) == ((song,), ["two"])
    whole = separate_files(Shares(), songs, tmp_path / "whole")
    for result in whole.results:
        for stem, path in result.paths.items():
            assert path.read_bytes() == (tmp_path / "out" / result.track / f"{stem}.wav").read_bytes()


def test_the_manifest_tells_all_but_the_time_alike_in_two_runs(song: Path, tmp_path: Path) -> None:
    separate_files(Shares(), [song], tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "song" / MANIFEST).read_text()) for name in ("out", "two"))
    assert one.pop("run") != {}
    assert two.pop("run") != {}
    assert one == two


def test_what_a_manifest_says(song: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tmp_path / "out" / "song" / MANIFEST)
    assert manifest.schema_version == 2
    assert (tmp_path / "out" / "song" / manifest.input.path).resolve() == song.resolve()
    assert (manifest.input.sample_rate, manifest.input.channels, manifest.input.codec) == (16000, 2, "float")
    assert [(model.name, model.licence) for model in manifest.models] == [("shares", "CC0 1.0")]
    assert list(manifest.stems) == ["drums", "bass", "other", "vocals"]
    vocals = manifest.stems["vocals"]
    samples, _ = soundfile.read(tmp_path / "out" / "song" / vocals.file)
    assert vocals.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.01)
    assert vocals.presence == (1.0,)
    meter = LoudnessMeter(16000, 2)
    meter.push(np.ascontiguousarray(samples.T.astype(np.float32)))
    assert vocals.loudness_lufs == pytest.approx(meter.integrated_lufs(), abs=0.02)
    assert manifest.run.real_time_factor > 0


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, AudioError, "cannot be read"),
        ("[]", UsageError, "is not a manifest of version 2"),
        ('{"schema_version": 1}', UsageError, "schema_version"),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, content: str | None, error: type[Exception], message: str) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_songs_that_share_a_folder_have_manifests_of_their_own(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{name}.wav", noise()) for name in ("one", "two")]
    options = SeparationOptions(filename="{track} - {stem}.{ext}", stems=("vocals",))
    separate_files(Shares(), songs, tmp_path / "out", options=options)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["one - vocals.wav", "one.manifest.json", "two - vocals.wav", "two.manifest.json"]
    again = separate_files(Shares(never), songs, tmp_path / "out", options=replace(options, skip_existing=True))
    assert again.skipped == tuple(songs)


def test_is_done_asks_the_song_too(song: Path, tmp_path: Path) -> None:
    separator = SongSeparator(Shares(), tmp_path / "out")
    job = separator.job(Song(song))
    assert separator.is_done(job)
    song.unlink()
    assert not separator.is_done(job)
