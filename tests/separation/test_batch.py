"""Many songs: failures, collisions, what is done already, and real ones."""

from pathlib import Path

import pytest
import soundfile

from sepgan import audio
from sepgan.errors import AudioError, SepganError, UsageError
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
from sepgan.separation import (
    SeparationFailure,
    SeparationOptions,
    SeparationResult,
    separate_file,
    separate_files,
    track_name,
)
from sepgan.separator import Separator
from tests import synth
from tests.separation.fake import NULL_DBFS, Shares, dbfs, noise, sum_of, write


def test_one_bad_song_does_not_stop_the_others(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{name}.wav", noise()) for name in ("one", "three")]
    songs.insert(1, tmp_path / "two.wav")
    songs[1].write_text("not audio")
    told: list[str] = []

    def tell(outcome: SeparationResult | SeparationFailure) -> None:
        told.append(f"{type(outcome).__name__} {outcome.source.stem}")

    summary = separate_files(Shares(), songs, tmp_path / "out", finished=tell)
    assert told == ["SeparationResult one", "SeparationFailure two", "SeparationResult three"]
    assert [result.track for result in summary.results] == ["one", "three"]
    assert [failure.source for failure in summary.failures] == [songs[1]]
    assert summary.exit_code == 1


@pytest.mark.parametrize(
    ("content", "error"), [(None, AudioError), (b"", AudioError), (b"not audio at all", AudioError)]
)
def test_a_single_song_gives_its_own_exit_code(tmp_path: Path, content: bytes | None, error: type[SepganError]) -> None:
    song = tmp_path / "song.wav"
    if content is not None:
        song.write_bytes(content)
    summary = separate_files(Shares(), [song], tmp_path / "out")
    assert isinstance(summary.failures[0].error, error)
    assert summary.exit_code == error.exit_code
    assert "\n" not in str(summary.failures[0].error)
    assert not (tmp_path / "out").exists()


def test_all_good_is_exit_code_zero(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{name}.wav", noise()) for name in ("one", "two")]
    progress: list[tuple[str, float, float | None]] = []
    summary = separate_files(
        Shares(), songs, tmp_path / "out", progress=lambda song, done, total: progress.append((song.stem, done, total))
    )
    assert summary.exit_code == 0
    assert progress[-1] == ("two", 0.7, 0.7)


@pytest.mark.parametrize("names", [("a/song.wav", "b/song.flac"), ("a/song.wav", "b/SONG.wav")])
def test_songs_that_would_share_a_folder_are_refused_first(tmp_path: Path, names: tuple[str, str]) -> None:
    songs = [tmp_path / name for name in names]
    for song in songs:
        song.parent.mkdir()
        soundfile.write(song, noise().T, 16000)
    with pytest.raises(UsageError, match="would both be written to"):
        separate_files(Shares(), songs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_finished_songs_can_be_skipped(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{name}.wav", noise()) for name in ("one", "two")]
    separate_file(Shares(), songs[0], tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        separate_files(Shares(), songs, tmp_path / "out")
    summary = separate_files(Shares(), songs, tmp_path / "out", options=SeparationOptions(skip_existing=True))
    assert summary.skipped == (songs[0],)
    assert [result.track for result in summary.results] == ["two"]
    assert summary.exit_code == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("song.wav", "song"),
        ("a/b.c.flac", "b.c"),
        ("x.stem.mp4", "x"),
        ("Ünï 日本.ogg", "Ünï 日本"),
        ("..wav", "__wav"),
    ],
)
def test_track_names(path: str, name: str) -> None:
    assert track_name(path) == name


def test_unicode_names_and_containers(tmp_path: Path) -> None:
    stems = synth.song(1.0)
    song = tmp_path / "Ünï 日本.stem.mp4"
    synth.stem_mp4(song, stems)
    result = separate_file(Shares(), song, tmp_path / "out")
    assert result.track == "Ünï 日本"
    mixture, _ = audio.read(song, stream=0)
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS


def test_a_real_separator(tmp_path: Path) -> None:
    """The object that the product is, small and untrained, on its own default segments."""
    recipe = Recipe(
        name="tiny",
        frontend=FrontendRecipe(n_fft=256, hop_length=64),
        generator=GeneratorRecipe(widths=(4, 4), head_width=4),
    )
    mixture = noise(12.0, 48000)
    result = separate_file(Separator(recipe).eval(), write(tmp_path / "song.wav", mixture, 48000), tmp_path / "out")
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    assert result.null_dbfs == pytest.approx(dbfs(sum_of(result) - mixture), abs=0.5)


def test_real_songs(tmp_path: Path, shared_data: Path) -> None:
    songs = sorted(path for path in (shared_data / "songs").iterdir() if path.suffix in (".ogg", ".flac", ".mp3"))
    summary = separate_files(Shares(sample_rate=44100), songs, tmp_path)
    assert summary.exit_code == 0
    assert len(summary.results) == len(songs) > 0
    for result in summary.results:
        mixture, rate = audio.read(result.source)
        assert (result.frames, result.sample_rate) == (mixture.shape[1], rate)
        assert dbfs(sum_of(result) - mixture * result.gain) <= NULL_DBFS
