"""Standard input and output: the same samples as through files, in bounded memory, and one line for what cannot be."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from sepgan import audio
from sepgan.audio_formats import FORMATS
from sepgan.audio_pipe import PipeReader, PipeWriter
from sepgan.audio_tags import Tags
from sepgan.audio_writer import AudioWriter
from sepgan.errors import AudioError, OutputError, UsageError
from sepgan.stem_writer import StemWriter
from tests import synth
from tests.test_audio import encode

MP3_DECODERS = 2.0**-14  # libsndfile's and FFmpeg's round differently
BLOCK = 4096


class Forward(io.RawIOBase):
    """What a pipe is: bytes that come in pieces, once."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        data = self._file.read(min(len(buffer), 777))
        buffer[: len(data)] = data
        return len(data)


def pipe(content: bytes) -> BinaryIO:
    return io.BufferedReader(Forward(content))


def write(path: Path, samples: synth.Audio, name: str, **options: object) -> Path:
    with AudioWriter(path, 44100, samples.shape[0], file_format=name, **options) as writer:  # type: ignore[arg-type]
        for block in np.array_split(samples, 5, axis=1):
            writer.write(block)
    return path


def heard(content: bytes, **span: int) -> synth.Audio:
    return np.concatenate(list(PipeReader(pipe(content)).blocks(BLOCK, **span)), axis=1)


@pytest.mark.parametrize("name", ["wav", "rf64", "w64", "aiff", "flac", "mp3", "ogg", "opus"])
def test_a_pipe_gives_what_the_file_gives(tmp_path: Path, name: str) -> None:
    samples = synth.tone(440.0, 1.5)
    path = write(tmp_path / f"a{FORMATS[name].suffix}", samples, name)
    expected, rate = audio.read(path)
    reader = PipeReader(pipe(path.read_bytes()))
    assert reader.info.sample_rate == rate
    assert reader.info.channels == 2
    assert reader.info.frames in (None, expected.shape[1])
    if name in ("wav", "flac", "aiff"):
        assert reader.info.frames == expected.shape[1]
    blocks = list(reader.blocks(BLOCK))
    decoded = np.concatenate(blocks, axis=1)
    assert all(block.shape[1] == BLOCK for block in blocks[:-1])
    if FORMATS[name].lossy:
        count = min(expected.shape[1], decoded.shape[1])
        assert abs(expected.shape[1] - decoded.shape[1]) < 2048
        np.testing.assert_allclose(decoded[:, 2048:count], expected[:, 2048:count], rtol=0, atol=0.02)
    else:
        assert np.array_equal(decoded, expected)


def test_mp3_keeps_its_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", synth.tone(440.0, 1.5), "mp3")
    decoded, expected = heard(path.read_bytes()), audio.read(path)[0]
    assert decoded.shape == expected.shape
    np.testing.assert_allclose(decoded, expected, rtol=0, atol=MP3_DECODERS)


def test_parts_of_a_pipe(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", synth.noise(1.0), "flac")
    whole, _ = audio.read(path)
    assert np.array_equal(heard(path.read_bytes(), start=12345, frames=20000), whole[:, 12345:32345])
    assert np.array_equal(heard(path.read_bytes(), start=40000), whole[:, 40000:])
    with pytest.raises(AudioError, match="standard input holds no audio after sample 44100"):
        heard(path.read_bytes(), start=44100)


def test_tags_come_along(tmp_path: Path) -> None:
    tags = Tags({"title": "Song", "artist": "Band"})
    for name in ("flac", "ogg", "mp3", "wav"):
        path = write(tmp_path / f"a{FORMATS[name].suffix}", synth.noise(0.3), name, tags=tags)
        assert PipeReader(pipe(path.read_bytes())).tags == tags


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    reader = PipeReader(pipe(write(tmp_path / "a.wav", synth.noise(0.1), "wav").read_bytes()))
    list(reader.blocks(BLOCK))
    with pytest.raises(AudioError, match="a pipe can be read once"):
        list(reader.blocks(BLOCK))


def test_an_mp4_with_its_index_first(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    samples = synth.tone(440.0, 1.0)
    encode(path, samples, 44100, "aac", "mp4", movflags="faststart")
    assert np.array_equal(heard(path.read_bytes()), audio.read(path)[0])


def test_what_a_pipe_cannot_give(tmp_path: Path) -> None:
    wav = write(tmp_path / "a.wav", synth.noise(2.0), "wav").read_bytes()
    with pytest.raises(AudioError, match="standard input is empty"):
        PipeReader(pipe(b""))
    with pytest.raises(AudioError, match="standard input is not audio that can be decoded"):
        PipeReader(pipe(b"no audio at all " * 1000))
    with pytest.raises(AudioError, match="standard input is cut off: it declares 88200 samples and holds"):
        heard(wav[:100000])
    flac = write(tmp_path / "a.flac", synth.noise(2.0), "flac").read_bytes()
    with pytest.raises(AudioError, match=r"is cut off|is damaged"):
        heard(flac[: len(flac) // 2])
    m4a = write(tmp_path / "a.m4a", synth.noise(2.0), "m4a").read_bytes()
    with pytest.raises(AudioError, match="standard input is an MP4 file with its index at the end; give its name"):
        heard(m4a)
    bad = synth.noise(1.0)
    bad[1, 22050] = np.nan
    with pytest.raises(AudioError, match=r"standard input holds NaN or infinity at 0\.500 s"):
        heard(write(tmp_path / "b.wav", bad, "wav", subtype="float32").read_bytes())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["float32", "int24", "int16"])
def test_what_is_sent_is_a_wav_file(tmp_path: Path, subtype: str, channels: int, known: bool) -> None:
    samples = synth.noise(0.5, channels=channels)
    sent = io.BytesIO()
    layout = "5.1" if channels == 6 else None
    frames = samples.shape[1] if known else None
    with PipeWriter(sent, 44100, channels, subtype=subtype, frames=frames, layout=layout) as writer:
        for block in np.array_split(samples, 5, axis=1):
            writer.write(block)
    expected = write(tmp_path / "a.wav", samples, "wav", subtype=subtype, layout=layout)
    (tmp_path / "pipe.wav").write_bytes(sent.getvalue())
    assert np.array_equal(audio.read(tmp_path / "pipe.wav")[0], audio.read(expected)[0])
    assert audio.probe(tmp_path / "pipe.wav") == audio.probe(expected)
    # And through another pipe.
    reader = PipeReader(pipe(sent.getvalue()))
    assert reader.info.frames == frames
    assert reader.info.layout == (layout or {1: "mono", 2: "stereo"}[channels])
    assert np.array_equal(np.concatenate(list(reader.blocks(BLOCK)), axis=1), audio.read(expected)[0])
    assert soundfile.info(tmp_path / "pipe.wav").frames == samples.shape[1]


def test_one_stem_goes_out_as_it_comes(tmp_path: Path) -> None:
    """Float stems pass at once; integers wait for the gain that all of the song needs."""
    stems = synth.song(1.0)
    mixture = synth.mixture(stems)
    others = np.stack([stems[stem] for stem in ("drums", "bass", "vocals")])
    for subtype in ("float32", "int24"):
        sent = io.BytesIO()
        names = ("drums", "bass", "vocals")
        with StemWriter(tmp_path, ["vocals"], names, "other", 44100, 2, subtype=subtype, pipe=sent) as writer:
            writer.write(mixture[:, :20000], others[..., :20000])
            assert (len(sent.getvalue()) > 20000 * 8) == (subtype == "float32")
            writer.write(mixture[:, 20000:], others[..., 20000:])
            writer.finish()
        assert writer.paths == {}
        np.testing.assert_allclose(heard(sent.getvalue()), stems["vocals"], rtol=0, atol=2.0**-23)
        assert list(tmp_path.iterdir()) == []


def test_several_stems_and_other_formats_are_refused(tmp_path: Path) -> None:
    for stems, name in ((["vocals", "other"], "wav"), (["vocals"], "flac")):
        with pytest.raises(UsageError, match="standard output takes one stem as wav"):
            StemWriter(tmp_path, stems, ["vocals"], "other", 44100, 2, file_format=name, pipe=io.BytesIO())
    with pytest.raises(UsageError, match="subtype 'int8' is not one of"):
        PipeWriter(io.BytesIO(), 44100, 2, subtype="int8")


def test_a_reader_that_goes_away() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as file:
        writer = PipeWriter(file, 44100, 2)
        with pytest.raises(OutputError, match="standard output was closed by the program that reads it"):
            writer.write(synth.noise(0.1))


def test_a_broken_promise_of_length() -> None:
    writer = PipeWriter(io.BytesIO(), 44100, 2, frames=100)
    writer.write(synth.noise(0.1))
    with pytest.raises(OutputError, match="standard output got 4410 samples; its header promised 100"):
        writer.commit()


def test_memory_does_not_grow_with_the_song() -> None:
    """An endless WAV stream through a real pipe, read in another process: a minute and ten need the same memory."""
    code = (
        "import resource, sys; from sepgan.audio_pipe import PipeReader;"
        "n = sum(b.shape[1] for b in PipeReader(sys.stdin.buffer).blocks(65536));"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    block = synth.noise(1.0, sample_rate=8000, channels=1)
    results = []
    for seconds in (60, 600):
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None

        def feed(seconds: int = seconds, file: BinaryIO = process.stdin) -> None:  # type: ignore[assignment]
            with PipeWriter(file, 8000, 1) as writer:
                for _ in range(seconds):
                    writer.write(block)
            file.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        assert process.stdout is not None
        count, peak_kb = map(int, process.stdout.read().split())
        feeder.join()
        process.wait()
        process.stdout.close()
        assert count == seconds * 8000
        results.append(peak_kb)
    assert results[1] < results[0] + 8_000  # the samples alone are 17 MB
