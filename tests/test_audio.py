"""Reading files: exact samples and lengths from every container, and one-line refusals of what is not whole."""

import logging
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.ogg import OggPage

from sepgan import audio
from sepgan.errors import AudioError
from tests import synth

Audio = npt.NDArray[np.float32]

PCM_STEP = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 2.0**-23}  # full scale is 1
LOSSY_ERROR = 0.1  # RMS of the coding error over RMS of the signal, of tones at the encoders' defaults
SAME_COURSE = 0.6  # correlation; the wrong stream has about 0
ONE_STEP = 1.01 * 2.0**-15  # an integer fixture may have been rounded either way


def encode(path: Path, samples: Audio, sample_rate: int, codec: str, container: str, **options: str) -> Path:
    """Write with PyAV what soundfile cannot write."""
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=sample_rate, layout="stereo" if samples.shape[0] == 2 else "mono")
        frame_size = 1024
        for begin in range(0, samples.shape[1], frame_size):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, begin : begin + frame_size]), "fltp", stream.layout.name
            )
            frame.sample_rate = sample_rate
            frame.pts = begin
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def relative_error(decoded: Audio, original: Audio) -> float:
    return float(np.sqrt(np.mean((decoded - original) ** 2) / np.mean(original**2)))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sample_rate", [8000, 44100, 96000])
def test_wav_gives_the_samples_back(tmp_path: Path, sample_rate: int, channels: int, subtype: str) -> None:
    samples = synth.noise(0.3, sample_rate=sample_rate, channels=channels)
    soundfile.write(tmp_path / "a.wav", samples.T, sample_rate, subtype=subtype)
    decoded, rate = audio.read(tmp_path / "a.wav")
    assert (rate, decoded.dtype.name, decoded.flags["C_CONTIGUOUS"]) == (sample_rate, "float32", True)
    np.testing.assert_allclose(decoded, samples, rtol=0, atol=PCM_STEP[subtype])
    info = audio.probe(tmp_path / "a.wav")
    bits = {"PCM_16": 16, "PCM_24": 24, "FLOAT": None}[subtype]
    layout = {1: "mono", 2: "stereo"}.get(channels)
    assert info == audio.AudioInfo(sample_rate, channels, samples.shape[1], subtype.lower(), bits, layout)
    assert info.duration_s == pytest.approx(0.3, abs=1 / sample_rate)


@pytest.mark.parametrize(
    ("suffix", "codec", "bits"), [(".flac", "flac", 16), (".ogg", "vorbis", None), (".mp3", "mp3", None)]
)
def test_coded_files_keep_their_length(tmp_path: Path, suffix: str, codec: str, bits: int | None) -> None:
    samples = synth.tone(440.0, 1.234)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, samples.T, 44100)
    decoded, _ = audio.read(path)
    assert decoded.shape == samples.shape
    assert relative_error(decoded, samples) < LOSSY_ERROR
    assert audio.probe(path) == audio.AudioInfo(44100, 2, samples.shape[1], codec, bits, "stereo")


@pytest.mark.parametrize(
    ("codec", "container"), [("aac", "mp4"), ("alac", "mp4"), ("aac", "matroska"), ("flac", "matroska")]
)
def test_containers_are_read_by_pyav(tmp_path: Path, codec: str, container: str) -> None:
    samples = synth.tone(440.0, 2.0)
    path = tmp_path / "a.video"
    if codec in ("alac", "flac"):
        soundfile.write(tmp_path / "a.wav", samples.T, 44100)
        remux(tmp_path / "a.wav", path, codec, container)
    else:
        encode(path, samples, 44100, codec, container)
    decoded, rate = audio.read(path)
    assert rate == 44100
    # In Matroska AAC ends on a whole frame of 1024 samples; MP4 files say how much of the last one counts.
    surplus = 1024 if (codec, container) == ("aac", "matroska") else 1
    assert samples.shape[1] <= decoded.shape[1] < samples.shape[1] + surplus
    assert relative_error(decoded[:, 4096:80000], samples[:, 4096:80000]) < LOSSY_ERROR
    assert audio.probe(path).codec == codec


def remux(source: Path, path: Path, codec: str, container: str) -> None:
    """Code a WAV file without loss."""
    with av.open(str(source)) as wav, av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=44100)
        resampler = av.AudioResampler(
            format=stream.codec_context.codec.audio_formats[0].name, layout="stereo", rate=44100, frame_size=4096
        )
        for frame in wav.decode(audio=0):
            for part in resampler.resample(frame):
                file.mux(stream.encode(part))
        for part in resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def test_all_streams_of_a_stem_file_in_one_pass(tmp_path: Path) -> None:
    stems = synth.song(1.5)
    path = synth.stem_mp4(tmp_path / "song.stem.mp4", stems)
    streams, rate = audio.read_streams(path)
    assert (rate, len(streams)) == (44100, 5)
    assert len({stream.shape for stream in streams}) == 1
    for number, (stream, expected) in enumerate(zip(streams, [synth.mixture(stems), *stems.values()], strict=True)):
        # Coded drums are noise of the same level, so only their course is compared.
        assert np.corrcoef(stream[0, : expected.shape[1]], expected[0])[0, 1] > SAME_COURSE
        assert np.array_equal(audio.read(path, stream=number)[0], stream)
    with pytest.raises(AudioError, match="has 5 audio streams; there is no stream 5"):
        audio.read(path, stream=5)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.stem.mp4"])
@pytest.mark.parametrize(("start", "frames"), [(0, None), (1, 100), (50001, 30000), (87000, None), (60000, 10**9)])
def test_blocks_together_are_the_whole(tmp_path: Path, name: str, start: int, frames: int | None) -> None:
    path = tmp_path / name
    if name.endswith("mp4"):
        synth.stem_mp4(path, synth.song(2.0))
    else:
        soundfile.write(path, synth.song(2.0)["vocals"].T, 44100)
    whole, _ = audio.read(path)
    blocks = list(audio.read_blocks(path, 1000, start=start, frames=frames))
    assert all(block.shape[1] == 1000 for block in blocks[:-1])
    end = None if frames is None else start + frames
    assert np.array_equal(np.concatenate(blocks, axis=1), whole[:, start:end])


@pytest.mark.parametrize("start", [0, 5444, 100_000])
def test_an_mp3_read_in_blocks_has_no_gaps(tmp_path: Path, start: int) -> None:
    """Frames of a tone borrow bits from those before; libsndfile loses them where soundfile seeks."""
    soundfile.write(tmp_path / "a.mp3", synth.tone(440.0, 3.0).T, 44100)
    whole, _ = audio.read(tmp_path / "a.mp3")
    assert relative_error(whole, synth.tone(440.0, 3.0)) < LOSSY_ERROR
    for block in (1000, 65536):
        blocks = list(audio.read_blocks(tmp_path / "a.mp3", block, start=start))
        assert np.array_equal(np.concatenate(blocks, axis=1), whole[:, start:])


def test_a_start_behind_the_end_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 1)), 8000)
    with pytest.raises(AudioError, match="holds no audio after sample 100"):
        list(audio.read_blocks(tmp_path / "a.wav", 10, start=100))


def test_blocks_are_decoded_only_when_asked_for(tmp_path: Path) -> None:
    """A file that is damaged further on gives its first block all the same."""
    samples = synth.noise(10.0)
    samples[:, -1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples.T, 44100, subtype="FLOAT")
    blocks = audio.read_blocks(tmp_path / "a.wav", 1000)
    assert np.array_equal(next(blocks), samples[:, :1000])
    with pytest.raises(AudioError, match=r"NaN or infinity at 10\.000 s"):
        list(blocks)


@pytest.mark.parametrize("loud_first", [True, False])
def test_mp3_without_a_length_header_is_read_to_its_end(tmp_path: Path, loud_first: bool) -> None:
    """Where it is estimated from the first frames, a file that starts loud ends after a quarter."""
    loud, quiet = synth.noise(3.0, channels=1), np.zeros((1, 6 * 44100), np.float32)
    samples = np.concatenate((loud, quiet) if loud_first else (quiet, loud), axis=1)
    whole = tmp_path / "whole.mp3"
    soundfile.write(whole, samples.T, 44100, bitrate_mode="VARIABLE", compression_level=0.0)
    coded = whole.read_bytes()
    first = coded.find(b"Xing")
    assert first > 0
    frame_start = coded.rfind(b"\xff\xfb", 0, first)
    next_frame = coded.find(b"\xff\xfb", first)
    path = tmp_path / "bare.mp3"
    path.write_bytes(coded[:frame_start] + coded[next_frame:])
    decoded, _ = audio.read(path)
    # Without the header nobody knows how much padding the encoder added: up to three frames.
    assert 0 <= decoded.shape[1] - samples.shape[1] <= 3 * 1152
    assert audio.probe(path).frames is None
    assert sum(block.shape[1] for block in audio.read_blocks(path, 4096)) == decoded.shape[1]


# what is refused


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not audio " * 100)
    soundfile.write(tmp_path / "one.wav", np.zeros((1, 2)), 44100)
    for name, message in {
        "missing.wav": "does not exist",
        ".": "is not a file",
        "empty.wav": "is empty",
        "text.wav": "is not audio that can be decoded",
        "one.wav": "holds 1 samples; at least 2 are needed",
    }.items():
        for refuse in (audio.probe, audio.read, audio.read_streams, lambda path: list(audio.read_blocks(path, 10))):
            if name == "text.wav" and refuse is audio.read_streams:
                continue
            with pytest.raises(AudioError, match=message) as caught:
                refuse(tmp_path / name)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".mp4"])
def test_cut_off_files(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".mp4":
        encode(whole, synth.noise(5.0), 44100, "aac", "mp4", movflags="faststart")
    else:
        soundfile.write(whole, synth.noise(5.0).T, 44100)
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"is cut off|is damaged") as caught:
        audio.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match=r"is cut off|is damaged"):
        list(audio.read_blocks(path, 4096))


def test_an_ogg_file_without_its_end_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Recordings of streams have no end mark either, so it cannot be an error."""
    soundfile.write(tmp_path / "whole.ogg", synth.noise(5.0).T, 44100)
    with caplog.at_level(logging.WARNING):
        audio.read(tmp_path / "whole.ogg")
    assert not caplog.records
    (tmp_path / "half.ogg").write_bytes((tmp_path / "whole.ogg").read_bytes()[:40000])
    with caplog.at_level(logging.WARNING):
        decoded, _ = audio.read(tmp_path / "half.ogg")
    assert 0 < decoded.shape[1] < 5 * 44100
    assert "half.ogg has no end mark" in caplog.text


@pytest.mark.parametrize(("surplus", "whole"), [(3000, True), (44100, False)])
def test_an_ogg_file_that_counts_more_than_it_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, surplus: int, whole: bool
) -> None:
    """Encoders do it: a few samples are told in a warning, a second is a file cut off."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, synth.noise(2.0).T, 44100)
    expected, _ = audio.read(path)
    with path.open("r+b") as file:
        begin, page = 0, OggPage(file)
        while not page.last:
            begin = file.tell()
            page = OggPage(file)
        page.position += surplus
        file.seek(begin)
        file.write(page.write())
    assert audio.probe(path).frames == expected.shape[1] + surplus
    with caplog.at_level(logging.WARNING):
        for way in (lambda: audio.read(path)[0], lambda: np.concatenate(list(audio.read_blocks(path, 1000)), axis=1)):
            if whole:
                # The last block of the coder may hold a few samples more than there were.
                decoded = way()
                assert expected.shape[1] <= decoded.shape[1] < expected.shape[1] + surplus
                assert np.array_equal(decoded[:, : expected.shape[1] - 1000], expected[:, :-1000])
                missing = expected.shape[1] + surplus - decoded.shape[1]
                assert (
                    f"ends {missing} samples before the {expected.shape[1] + surplus} that it declares" in caplog.text
                )
            else:
                with pytest.raises(AudioError, match="is cut off"):
                    way()


def test_wav_written_into_a_pipe_is_whole(tmp_path: Path) -> None:
    """Its header holds the largest size there is, because the writer could not go back."""
    soundfile.write(tmp_path / "a.wav", synth.noise(0.1).T, 44100, subtype="PCM_16")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    data = content.find(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "pipe.wav").write_bytes(content)
    assert np.array_equal(audio.read(tmp_path / "pipe.wav")[0], audio.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    samples = np.zeros((2, 44100), np.float32)
    samples[1, 22050] = value
    soundfile.write(tmp_path / "a.wav", samples.T, 44100, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav holds NaN or infinity at 0\.500 s"):
        audio.read(tmp_path / "a.wav")


# resampling


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_a_resampled_stream_equals_the_whole_resampled(
    from_hz: int, to_hz: int, lengths: list[int], channels: int
) -> None:
    samples = synth.noise(sum(lengths) / 1000, sample_rate=1000, channels=channels)
    resampler = audio.Resampler(from_hz, to_hz, channels)
    blocks = np.split(samples, np.cumsum(lengths)[:-1], axis=1)
    streamed = np.concatenate([*map(resampler.push, blocks), resampler.flush()], axis=1)
    assert streamed.shape == (channels, -(-samples.shape[1] * to_hz // from_hz))
    if from_hz != to_hz:
        assert np.array_equal(streamed, audio.resample(samples, from_hz, to_hz))


@pytest.mark.parametrize("to_hz", [8000, 22050, 48000, 96000])
def test_a_resampled_tone_is_the_tone_at_the_other_rate(to_hz: int) -> None:
    resampled = audio.resample(synth.tone(440.0, 1.0), 44100, to_hz)
    expected = synth.tone(440.0, 1.0, sample_rate=to_hz)
    inner = slice(to_hz // 10, -to_hz // 10)
    np.testing.assert_allclose(resampled[:, inner], expected[:, inner], rtol=0, atol=1e-5)  # -100 dBFS


def test_reading_at_another_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", synth.noise(0.5).T, 44100)
    decoded, rate = audio.read(tmp_path / "a.wav", sample_rate=16000)
    assert (decoded.shape, rate) == ((2, 8000), 16000)
    assert np.array_equal(decoded, audio.resample(audio.read(tmp_path / "a.wav")[0], 44100, 16000))
    assert audio.read(tmp_path / "a.wav", sample_rate=44100)[0].shape == (2, 22050)


def test_reading_needs_no_torch() -> None:
    code = "import sys, sepgan.audio, sepgan.audio_writer, sepgan.stem_writer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# real files


def test_real_stem_files_equal_their_decoded_twins(shared_data: Path) -> None:
    """MUSDB18 against MUSDB18-HQ: the same lengths, and the same samples but for rounding and clipping at 16 bits."""
    paths = sorted((shared_data / "fixtures" / "musdb18").rglob("*.stem.mp4"))
    assert paths
    for path in paths:
        folder = shared_data / "fixtures" / "musdb18hq" / path.parent.name / path.name.removesuffix(".stem.mp4")
        streams, rate = audio.read_streams(path)
        for stem, stream in zip(("mixture", "drums", "bass", "other", "vocals"), streams, strict=True):
            expected, expected_rate = audio.read(folder / f"{stem}.wav")
            assert rate == expected_rate
            np.testing.assert_allclose(np.clip(stream, -1, 1), expected, rtol=0, atol=ONE_STEP)


def test_real_blocks_equal_the_whole(shared_data: Path) -> None:
    for path in sorted((shared_data / "songs").iterdir()):
        if path.suffix == ".txt":
            continue
        whole, _ = audio.read(path)
        blocks = audio.read_blocks(path, 44100, start=123457, frames=500000)
        assert np.array_equal(np.concatenate(list(blocks), axis=1), whole[:, 123457:623457])


def test_real_broken_files(shared_data: Path) -> None:
    genres = shared_data / "fixtures" / "gtzan" / "genres"
    for name in ("jazz/jazz.00054.wav", "blues/._blues.00001.wav"):
        with pytest.raises(AudioError, match="is not audio"):
            audio.read(genres / name)
