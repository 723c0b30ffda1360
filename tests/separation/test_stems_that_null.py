"""One song in, stems out: they null at the input's own rate, and are what the model gives."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sepgan import audio
from sepgan.errors import UsageError
from sepgan.separation import MANIFEST, SeparationOptions, separate_file
from tests import synth
from tests.separation.fake import (
    NULL_DBFS,
    NULL_INT16,
    SAME_SOUND_DBFS,
    STEMS,
    Shares,
    contents,
    dbfs,
    never,
    noise,
    sum_of,
    write,
)


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
    assert json.loads((result.folder / MANIFEST).read_text())["null"]["exact"] is True


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
    assert manifest["engine"]["separated_up_to_hz"] == 8000
    assert manifest["residual"] == "other"
    assert manifest["stems"]["other"]["bandwidth_hz"] == pytest.approx(15000, abs=100)


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
    song = write(tmp_path / "song.wav", noise(channels=6))
    with pytest.raises(UsageError, match="mp3 files cannot hold 6 channels"):
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
        (SeparationOptions(file_format="xyz"), "file format 'xyz' is not one of wav"),
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


@pytest.mark.parametrize(("channels", "longest"), [(1, 4000), (2, 4000), (6, 2400), (30, 2400)])
def test_more_channels_make_shorter_segments_unless_these_were_chosen(
    tmp_path: Path, channels: int, longest: int
) -> None:
    seen: list[int] = []
    song = write(tmp_path / "song.wav", noise(0.5, channels=channels))
    model = Shares(lambda mixture: seen.append(mixture.shape[-1]))
    separate_file(model, song, tmp_path / "out")
    assert max(seen) == longest
    seen.clear()
    separate_file(model, song, tmp_path / "chosen", options=SeparationOptions(segment=3000))
    assert max(seen) == 3000


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
    assert set(seen[:-1]) == {4000}
    assert 1000 < seen[-1] <= 4000  # what is left of the song
    assert len(seen) == 1 + math.ceil((20 * 16000 - 4000) / 3000)
    assert done_s == sorted(done_s)
    assert max(np.diff(done_s)) < 2 * 4000 / 16000  # one segment at a time
    assert done_s[-1] == 20.0
