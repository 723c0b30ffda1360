"""Files in, stems out: they null at the input's own rate, and appear together or not at all."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from torch import Tensor, nn

from sepgan import audio
from sepgan.errors import AudioError, CheckpointError, OutOfMemoryError, OutputError, SepganError, UsageError
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
from sepgan.separation import (
    MANIFEST,
    SeparationFailure,
    SeparationOptions,
    SeparationResult,
    separate_file,
    separate_files,
    track_name,
)
from sepgan.separator import Separator
from tests import synth

STEMS = ("drums", "bass", "other", "vocals")
NULL_DBFS = -90.0  # the promise for float32 and int24
LSB_16 = 2.0**-15
NULL_INT16 = 1.5 * LSB_16  # half a step of rounding and one of dither, for the whole sum
SAME_SOUND_DBFS = -80.0  # resampled twice, what lies in the model's band comes back

Audio = npt.NDArray[np.float32]


class Shares(Separator):
    """Four stems that are shares of the mixture, changing along each segment; `inspect` sees every segment."""

    def __init__(self, inspect: Callable[[Tensor], None] = lambda mixture: None, sample_rate: int = 16000) -> None:
        nn.Module.__init__(self)
        self.stems = STEMS
        self.sample_rate = sample_rate
        self.header = None
        self.inspect = inspect

    @property
    def segment(self) -> int:
        return 4000

    @property
    def overlap(self) -> int:
        return 1000

    def forward(self, mixture: Tensor) -> Tensor:
        self.inspect(mixture)
        along = torch.linspace(0, 1, mixture.shape[-1])
        drums, bass, vocals = mixture * along * 0.5, mixture * (1 - along) * 0.3, mixture * 0.4
        return torch.stack((drums, bass, mixture - drums - bass - vocals, vocals), dim=1)


def write(path: Path, samples: Audio, sample_rate: int = 16000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples.T, sample_rate, subtype=subtype)
    return path


def noise(duration_s: float = 0.7, sample_rate: int = 16000, channels: int = 2) -> Audio:
    return synth.noise(duration_s, sample_rate=sample_rate, channels=channels)


def sum_of(result: SeparationResult) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = np.sum(
        [audio.read(path)[0] for path in result.paths.values()], axis=0, dtype=np.float64
    )
    return total


def dbfs(samples: npt.NDArray[np.floating]) -> float:
    return 20 * math.log10(max(float(np.abs(samples).max()), 1e-20))


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("subtype", ["float32", "int24", "int16"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_stems_sum_to_the_input_at_its_own_rate(tmp_path: Path, sample_rate: int, channels: int, subtype: str) -> None:
    mixture = noise(0.7, sample_rate, channels)
    song = write(tmp_path / "song.wav", mixture, sample_rate)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype=subtype))
    assert tuple(result.paths) == STEMS
    for path in result.paths.values():
        info = audio.probe(path)
        assert (info.sample_rate, info.channels, info.frames) == (sample_rate, channels, mixture.shape[1])
        assert info.codec == {"float32": "float", "int24": "pcm_24", "int16": "pcm_16"}[subtype]
    error = sum_of(result) - mixture
    limit_dbfs = dbfs(np.array([NULL_INT16])) if subtype == "int16" else NULL_DBFS
    assert dbfs(error) <= limit_dbfs
    assert result.null_dbfs == pytest.approx(dbfs(error), abs=0.5)


@pytest.mark.parametrize(("depth", "subtype"), [("PCM_16", "int16"), ("PCM_16", "int24"), ("PCM_24", "int24")])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_integers_come_back_bit_for_bit(tmp_path: Path, depth: str, subtype: str, sample_rate: int) -> None:
    song = write(tmp_path / "song.wav", noise(0.7, sample_rate), sample_rate, depth)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype=subtype))
    assert np.array_equal(sum_of(result), audio.read(song)[0])
    assert result.null_dbfs == -math.inf
    assert json.loads((result.folder / MANIFEST).read_text())["null_exact"] is True


def test_stems_are_what_the_model_gives(tmp_path: Path) -> None:
    """One segment long, at the model's rate: no overlap, no resampling, only rounding to 24 bits."""
    mixture = noise(0.25)
    song = write(tmp_path / "song.wav", mixture)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype="float32"))
    expected = Shares()(torch.from_numpy(mixture).unsqueeze(0))[0]
    for stem, samples in zip(STEMS, expected.numpy(), strict=True):
        np.testing.assert_allclose(audio.read(result.paths[stem])[0], samples, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8000, 44100, 48000])
def test_other_rates_pass_through_the_model_without_delay(tmp_path: Path, sample_rate: int) -> None:
    """A tone within the band of both rates keeps its place and level: vocals are 0.4 of it."""
    tone = synth.tone(1000.0, 1.0, sample_rate=sample_rate)
    song = write(tmp_path / "song.wav", tone, sample_rate)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype="float32"))
    vocals, _ = audio.read(result.paths["vocals"])
    inner = slice(sample_rate // 10, -sample_rate // 10)  # the resampler rings where the tone starts and stops
    assert dbfs((vocals - 0.4 * tone)[:, inner]) <= SAME_SOUND_DBFS


def test_the_band_that_the_model_cannot_see_is_in_the_residual_stem(tmp_path: Path) -> None:
    tone = synth.tone(15000.0, 1.0)  # above the model's 8 kHz
    result = separate_file(Shares(), write(tmp_path / "song.wav", tone, 44100), tmp_path / "out")
    inner = slice(4410, -4410)
    for stem in ("drums", "bass", "vocals"):
        assert dbfs(audio.read(result.paths[stem])[0][:, inner]) <= SAME_SOUND_DBFS
    assert dbfs((audio.read(result.paths["other"])[0] - tone)[:, inner]) <= SAME_SOUND_DBFS
    manifest = json.loads((result.folder / MANIFEST).read_text())
    assert manifest["bandwidth_hz"] == 8000
    assert manifest["bandwidth"] == "separated up to 8000 Hz; what lies above is in other"


@pytest.mark.parametrize("frames", [2, 3, 999, 4000, 4001, 7000])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_any_length_is_kept(tmp_path: Path, frames: int, sample_rate: int) -> None:
    mixture = noise(1.0, sample_rate)[:, :frames]
    result = separate_file(Shares(), write(tmp_path / "song.wav", mixture, sample_rate), tmp_path / "out")
    assert result.frames == frames
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS


@pytest.mark.parametrize("subtype", ["float32", "int24", "int16"])
def test_silence_gives_silence(tmp_path: Path, subtype: str) -> None:
    song = write(tmp_path / "song.wav", np.zeros((2, 20000), np.float32))
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype=subtype))
    assert all(not audio.read(path)[0].any() for path in result.paths.values())
    assert set(result.peaks_dbfs.values()) == {-math.inf}
    assert json.loads((result.folder / MANIFEST).read_text())["stems"]["bass"]["peak_dbfs"] is None


@pytest.mark.parametrize("subtype", ["int24", "int16"])
def test_one_gain_for_all_stems_where_integers_would_clip(tmp_path: Path, subtype: str) -> None:
    mixture = 30 * noise()
    song = write(tmp_path / "song.wav", mixture)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype=subtype))
    assert 0 < result.gain < 1
    assert float(np.abs(sum_of(result) - result.gain * mixture).max()) <= NULL_INT16
    peaks = [np.abs(audio.read(path)[0]).max() for path in result.paths.values()]
    assert 0.999 < max(peaks) < 1
    assert json.loads((result.folder / MANIFEST).read_text())["gain"] == result.gain


def test_float_files_need_no_gain(tmp_path: Path) -> None:
    mixture = 30 * noise()
    song = write(tmp_path / "song.wav", mixture)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(subtype="float32"))
    assert result.gain == 1
    assert dbfs(sum_of(result) - mixture) - dbfs(mixture) <= NULL_DBFS


@pytest.mark.parametrize("subtype", ["float32", "int24", "int16"])
def test_the_same_call_gives_the_same_bytes(tmp_path: Path, subtype: str) -> None:
    song = write(tmp_path / "song.wav", noise())
    options = SeparationOptions(subtype=subtype)
    first, second = (separate_file(Shares(), song, tmp_path / name, options=options) for name in ("a", "b"))
    for stem in STEMS:
        assert first.paths[stem].read_bytes() == second.paths[stem].read_bytes()


@pytest.mark.parametrize(("file_format", "codec"), [("flac", "flac"), ("ogg", "vorbis"), ("mp3", "mp3")])
def test_other_formats(tmp_path: Path, file_format: str, codec: str) -> None:
    mixture = noise(1.0, 44100)
    song = write(tmp_path / "song.wav", mixture, 44100)
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(file_format=file_format))
    assert {audio.probe(path).codec for path in result.paths.values()} == {codec}
    if file_format == "flac":
        assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    else:
        assert result.null_dbfs is None
        assert {audio.probe(path).frames for path in result.paths.values()} == {mixture.shape[1]}


def test_a_format_that_cannot_hold_the_input_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    def never(mixture: Tensor) -> None:
        raise AssertionError("computed")

    song = write(tmp_path / "song.wav", noise(channels=6))
    with pytest.raises(UsageError, match="mp3 files cannot hold 6 channels at 16000 Hz"):
        separate_file(Shares(never), song, tmp_path / "out", options=SeparationOptions(file_format="mp3"))
    options = SeparationOptions(file_format="flac", subtype="float32")
    with pytest.raises(UsageError, match="flac files cannot hold float32"):
        separate_file(Shares(never), song, tmp_path / "out", options=options)
    assert contents(tmp_path) == ["song.wav"]


@pytest.mark.parametrize("stems", [("vocals",), ("other", "drums"), ("other",)])
def test_only_wanted_stems_are_written_and_they_are_the_same(tmp_path: Path, stems: tuple[str, ...]) -> None:
    song = write(tmp_path / "song.wav", noise(0.7, 44100), 44100)
    everything = separate_file(Shares(), song, tmp_path / "all")
    result = separate_file(Shares(), song, tmp_path / "some", options=SeparationOptions(stems=stems))
    assert contents(result.folder) == sorted([MANIFEST, *(f"{stem}.wav" for stem in stems)])
    assert result.null_dbfs is None
    for stem in stems:
        assert result.paths[stem].read_bytes() == everything.paths[stem].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SeparationOptions(stems=("piano",)), "no stem 'piano'; it has drums, bass, other, vocals"),
        (SeparationOptions(stems=()), "no stems are wanted"),
        (SeparationOptions(subtype="int8"), "subtype 'int8' is not one of"),
        (SeparationOptions(file_format="m4a"), "file format 'm4a' is not one of wav, flac"),
        (SeparationOptions(segment=100, overlap=51), "at most half a segment"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: SeparationOptions, message: str) -> None:
    song = write(tmp_path / "song.wav", noise())
    with pytest.raises(UsageError, match=message):
        separate_file(Shares(), song, tmp_path / "out", options=options)
    assert contents(tmp_path) == ["song.wav"]


def test_a_model_cannot_write_outside_the_folder(tmp_path: Path) -> None:
    model = Shares()
    model.stems = ("drums", "bass", "../../other", "vocals")
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        separate_file(model, write(tmp_path / "song.wav", noise()), tmp_path / "out")


def test_memory_is_bounded(tmp_path: Path) -> None:
    """The model sees one segment at a time, and the song is decoded only as far as it is needed: progress follows."""
    seen: list[int] = []
    done_s: list[float] = []
    song = write(tmp_path / "song.wav", noise(20.0, 44100), 44100)
    separate_file(
        Shares(lambda mixture: seen.append(mixture.shape[-1])),
        song,
        tmp_path / "out",
        progress=lambda done, total: done_s.append(done),
    )
    assert set(seen) == {4000}
    assert len(seen) == 1 + math.ceil((20 * 16000 - 4000) / 3000)
    assert done_s == sorted(done_s)
    assert max(np.diff(done_s)) < 2 * 4000 / 16000  # one segment at a time
    assert done_s[-1] == 20.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("subtype", ["float32", "int24"])
def test_nothing_is_left_when_it_breaks_half_way(tmp_path: Path, error: type[BaseException], subtype: str) -> None:
    calls = 0

    def break_later(mixture: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error

    song = write(tmp_path / "song.wav", noise(3.0))
    with pytest.raises(error):
        separate_file(Shares(break_later), song, tmp_path / "a" / "b", options=SeparationOptions(subtype=subtype))
    assert contents(tmp_path) == ["song.wav"]


def test_a_callback_can_cancel(tmp_path: Path) -> None:
    def cancel(done_s: float, total_s: float | None) -> None:
        raise KeyboardInterrupt

    song = write(tmp_path / "song.wav", noise(3.0))
    with pytest.raises(KeyboardInterrupt):
        separate_file(Shares(), song, tmp_path / "out", progress=cancel)
    assert contents(tmp_path) == ["song.wav"]


def test_stems_that_exist_stay_when_the_new_ones_fail(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    before = separate_file(Shares(), song, tmp_path / "out").paths["bass"].read_bytes()

    def fail(mixture: Tensor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        separate_file(Shares(fail), song, tmp_path / "out", options=SeparationOptions(overwrite=True))
    assert (tmp_path / "out" / "song" / "bass.wav").read_bytes() == before
    assert len(contents(tmp_path / "out")) == 1 + len(STEMS) + 1


def test_files_that_exist_are_replaced_only_when_asked(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", noise())
    folder = separate_file(Shares(), song, tmp_path / "out").folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"drums\.wav exists already; pass --overwrite"):
        separate_file(Shares(), song, tmp_path / "out")
    (folder / "drums.wav").write_bytes(b"")
    result = separate_file(Shares(), song, tmp_path / "out", options=SeparationOptions(overwrite=True))
    assert audio.probe(result.paths["drums"]).frames == result.frames
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_song_itself_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "vocals"
    folder.mkdir()
    song = write(folder / "vocals.wav", noise())
    with pytest.raises(UsageError, match="is the song itself"):
        separate_file(Shares(), song, tmp_path, options=SeparationOptions(overwrite=True))


def test_an_output_folder_that_is_a_file_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    def never(mixture: Tensor) -> None:
        raise AssertionError("computed")

    song = write(tmp_path / "song.wav", noise())
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        separate_file(Shares(never), song, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "song").write_text("a file")
    with pytest.raises(OutputError, match="a file has this name"):
        separate_file(Shares(never), song, tmp_path / "other")
    assert contents(tmp_path) == ["other", "other/song", "out", "song.wav"]


def test_a_disk_with_too_little_room_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(mixture: Tensor) -> None:
        raise AssertionError("computed")

    song = write(tmp_path / "song.wav", noise())
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(OutputError, match=r"needs 0\.00 GB; the disk has 0\.00 GB left"):
        separate_file(Shares(never), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_nan_in_the_input_is_told_with_its_time(tmp_path: Path) -> None:
    mixture = noise(2.0)
    mixture[1, 24000] = np.nan
    song = write(tmp_path / "song.wav", mixture)
    with pytest.raises(AudioError, match=r"song\.wav holds NaN or infinity at 1\.500 s"):
        separate_file(Shares(), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    def spoil(mixture: Tensor) -> None:
        mixture[:] = torch.nan

    with pytest.raises(CheckpointError, match="the model gives NaN or infinity"):
        separate_file(Shares(spoil), write(tmp_path / "song.wav", noise()), tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_a_cut_off_input_leaves_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, noise(20.0, 44100).T, 44100)
    song = tmp_path / "song.flac"
    song.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match="is damaged after"):
        separate_file(Shares(), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.flac", "whole.flac"]


def test_segments_shrink_when_memory_runs_out(tmp_path: Path) -> None:
    seen: list[int] = []

    def little_memory(mixture: Tensor) -> None:
        seen.append(mixture.shape[-1])
        if mixture.shape[-1] > 1000:
            raise torch.cuda.OutOfMemoryError

    mixture = noise()
    result = separate_file(Shares(little_memory), write(tmp_path / "song.wav", mixture), tmp_path / "out")
    assert seen[:3] == [4000, 2000, 1000]
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    assert json.loads((result.folder / MANIFEST).read_text())["options"]["segment"] == 1000


def test_no_memory_at_all_has_its_own_error(tmp_path: Path) -> None:
    def no_memory(mixture: Tensor) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemoryError, match="even with segments of 250 samples"):
        separate_file(Shares(no_memory), write(tmp_path / "song.wav", noise()), tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    def broken(mixture: Tensor) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        separate_file(Shares(broken), write(tmp_path / "song.wav", noise()), tmp_path / "out")


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
    with pytest.raises(UsageError, match="would be written to the same folder"):
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
