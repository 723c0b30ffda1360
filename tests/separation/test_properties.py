"""Whatever the song's rate, channels, depth and length: the stems are it again. And bad songs do no harm."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepgan import audio
from sepgan.separation import SeparationOptions, separate_file, separate_files
from sepgan.separation.batch import Outcome
from sepgan.separator import Separator
from tests import synth
from tests.separation.fake import LSB_16, NULL_DBFS, STEMS, Shares, dbfs, noise, sum_of, write

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
DEPTHS = {"float32": "FLOAT", "int24": "PCM_24", "int16": "PCM_16"}
LSB_A_STEM = 1.5  # the promise for dithered 16 bit


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sample_rate=st.sampled_from(RATES_HZ),
    channels=st.integers(1, 8),
    source=st.sampled_from(sorted(DEPTHS)),
    depth=st.sampled_from(sorted(DEPTHS)),
    frames=st.integers(2, 9000),
    level=st.sampled_from([0.001, 0.1, 0.9]),
    seed=st.integers(0, 1000),
    two_stems=st.booleans(),
)
def test_written_stems_sum_to_the_song(
    tmp_path: Path,
    sample_rate: int,
    channels: int,
    source: str,
    depth: str,
    frames: int,
    level: float,
    seed: int,
    two_stems: bool,
) -> None:
    mixture = np.random.default_rng(seed).uniform(-level, level, (channels, frames)).astype(np.float32)
    song = write(tmp_path / "song.wav", mixture, sample_rate, DEPTHS[source])
    options = SeparationOptions(subtype=depth, overwrite=True, seed=seed, two_stems="vocals" if two_stems else None)
    result = separate_file(Shares(), song, tmp_path / "out", options=options)
    infos = {audio.probe(path) for path in result.paths.values()}
    assert {(info.sample_rate, info.channels, info.frames) for info in infos} == {(sample_rate, channels, frames)}
    error = sum_of(result) - result.gain * audio.read(song)[0]
    if depth == "int16":
        assert float(np.abs(error).max()) <= LSB_A_STEM * LSB_16 * len(result.paths)
    else:
        assert dbfs(error) <= NULL_DBFS
    assert result.null_dbfs is not None
    assert result.null_dbfs == pytest.approx(max(dbfs(error), -400), abs=1) or dbfs(error) < -130


@pytest.mark.parametrize(
    ("name", "mixture"),
    [
        ("silence", np.zeros((2, 20000))),
        ("dc", np.full((2, 20000), 0.7)),
        ("clipped", np.clip(30 * noise(1.25), -1, 1)),
        ("one-sided", noise(1.25) * np.array([[1], [0]])),
        ("out of phase", noise(1.25, channels=1) * np.array([[1], [-1]])),
        ("very quiet", noise(1.25) * 1e-6),
        ("very loud", noise(1.25) * 1e6),
        ("an impulse", np.eye(1, 20000, 10000).repeat(2, 0)),
    ],
)
def test_bad_songs_null_and_no_stem_blows_up(tmp_path: Path, name: str, mixture: npt.NDArray[np.float64]) -> None:
    song = write(tmp_path / "song.wav", mixture.astype(np.float32))
    for depth in DEPTHS:
        options = SeparationOptions(subtype=depth, overwrite=True)
        result = separate_file(Shares(), song, tmp_path / "out", options=options)
        peak = float(np.abs(mixture).max())
        error = float(np.abs(sum_of(result) - result.gain * mixture.astype(np.float32)).max())
        assert error <= max(1.0, peak * result.gain) * 10 ** (NULL_DBFS / 20) + (depth == "int16") * LSB_A_STEM * LSB_16
        for path in result.paths.values():
            samples = audio.read(path)[0]
            assert np.isfinite(samples).all()
            assert float(np.abs(samples).max()) <= 1.01 * peak * result.gain + 4 * LSB_A_STEM * LSB_16, name


def test_silence_holds_nothing(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", np.zeros((2, 40000), np.float32))
    stems = separate_file(Shares(), song, tmp_path / "out").manifest.stems
    for record in stems.values():
        assert (record.presence, record.peak_dbfs, record.loudness_lufs) == ((0, 0, 0), None, None)
        assert (record.bandwidth_hz, record.seam_db) == (0, None)


def test_several_songs_at_once_give_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{number}.wav", noise(0.3 + 0.2 * (number % 3))) for number in range(5)]
    songs.insert(2, tmp_path / "missing.wav")
    told: dict[int, list[str]] = {1: [], 3: []}
    results = {}
    for jobs, heard in told.items():

        def hear(outcome: Outcome, heard: list[str] = heard) -> None:
            heard.append(outcome.source.stem)

        summary = separate_files(Shares(), songs, tmp_path / f"{jobs}", jobs=jobs, finished=hear)
        assert (summary.exit_code, len(summary.results), len(summary.failures)) == (1, 5, 1)
        results[jobs] = summary.results
    assert told[1] == told[3] == ["0", "1", "missing", "2", "3", "4"]
    for one, other in zip(results[1], results[3], strict=True):
        assert all(one.paths[stem].read_bytes() == other.paths[stem].read_bytes() for stem in STEMS)


def test_stopping_stops_all_songs(tmp_path: Path) -> None:
    songs = [write(tmp_path / f"{number}.wav", noise(3.0)) for number in range(4)]

    def stop(song: Path, done_s: float, total_s: float | None) -> None:
        if song.stem == "1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separate_files(Shares(), songs, tmp_path / "out", jobs=2, progress=stop)
    left = list((tmp_path / "out").rglob("*")) if (tmp_path / "out").exists() else []
    assert not [path for path in left if path.name.startswith(".sepgan")]
    assert not [path for path in left if path.parent.name == "1"]


PRESENT, ABSENT = 0.9, 0.2


def test_presence_of_real_stems(tmp_path: Path, shared_data: Path) -> None:
    """The bundled model on solo singing and on the full song of a validation recording."""
    folder = shared_data / "stems" / "valid" / "MDBDrums - Rock"
    stems = {stem: audio.read(folder / f"{stem}.flac")[0][:, : 6 * 44100] for stem in STEMS}
    model = Separator.load("default")
    scores = {}
    for name, mixture in (("a cappella", stems["vocals"]), ("song", synth.mixture(stems))):
        path = write(tmp_path / f"{name}.wav", mixture, 44100)
        records = separate_file(model, path, tmp_path / "out").manifest.stems
        scores[name] = {stem: float(np.mean(record.presence)) for stem, record in records.items()}
    assert scores["a cappella"]["vocals"] > PRESENT
    assert max(scores["a cappella"][stem] for stem in ("drums", "bass", "other")) < ABSENT
    assert not math.isnan(scores["song"]["drums"])
    assert scores["song"]["drums"] > scores["a cappella"]["drums"] + 0.3
