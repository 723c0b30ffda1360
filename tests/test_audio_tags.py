"""Tags and covers: from every format into every format, and read back by another library."""

import zlib
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import ID3

from sepgan import audio
from sepgan.audio_formats import FORMATS
from sepgan.audio_tags import Cover, Tags, read_tags, write_tags
from sepgan.audio_writer import AudioWriter
from tests import synth


def _png() -> bytes:
    """A red picture of 8 by 8."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = (8).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = (b"\0" + b"\xff\0\0" * 8) * 8
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = _png()
FULL = Tags(
    {
        "title": "Café ☃ 東京",
        "artist": "One; Two",
        "albumartist": "Various",
        "album": "An Album",
        "date": "2021",
        "tracknumber": "3/12",
        "discnumber": "1",
        "genre": "Post-Rock",
        "composer": "Somebody",
        "copyright": "(c) Nobody",
        "comment": "A comment",
        "bpm": "120",
        "isrc": "USRC17607839",
        "label": "A Label",
        "key": "Am",
    },
    Cover("image/png", PNG),
)
HOLDERS = [name for name, form in FORMATS.items() if form.holds_tags and name != "rf64" and not form.one_file]


def write(path: Path, name: str, tags: Tags | None) -> Path:
    with AudioWriter(path, 44100, 2, file_format=name, tags=tags, subtype="int16") as writer:
        writer.write(synth.tone(440.0, 0.3))
    return path


@pytest.mark.parametrize("name", HOLDERS)
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"a{FORMATS[name].suffix}", name, FULL)
    assert read_tags(path) == FULL
    # Tags touch no sample.
    bare = write(tmp_path / f"b{FORMATS[name].suffix}", name, None)
    assert np.array_equal(audio.read(path)[0], audio.read(bare)[0])
    assert not read_tags(bare)


@pytest.mark.parametrize("name", HOLDERS)
def test_another_library_reads_them(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"a{FORMATS[name].suffix}", name, FULL)
    file = mutagen.File(path)
    if isinstance(file.tags, ID3):
        assert str(file.tags["TIT2"]) == FULL.fields["title"]
        assert str(file.tags["TRCK"]) == "3/12"
        assert file.tags.getall("APIC")[0].data == PNG
        assert file.tags.version == (2, 3, 0)
    elif "covr" in file:
        assert file["\xa9nam"] == [FULL.fields["title"]]
        assert (file["trkn"], file["tmpo"]) == ([(3, 12)], [120])
        assert bytes(file["covr"][0]) == PNG
    else:
        assert file["title"] == [FULL.fields["title"]]
        assert file["tracknumber"] == ["3/12"]


@pytest.mark.parametrize("name", ["wav", "rf64"])
def test_wav_files_have_words_before_the_samples_too(tmp_path: Path, name: str) -> None:
    """Not all programs that read WAV files know ID3."""
    path = write(tmp_path / "a.wav", name, FULL)
    with soundfile.SoundFile(path) as file:
        words = file.copy_metadata()
    for key in ("title", "artist", "album", "date", "genre", "comment", "copyright", "tracknumber"):
        assert words[key] == FULL.fields[key]
    assert path.read_bytes().index(b"INFO") < path.read_bytes().index(b"data")


def test_w64_files_hold_none(tmp_path: Path) -> None:
    assert not read_tags(write(tmp_path / "a.w64", "w64", FULL))


def test_the_title_of_a_stem() -> None:
    song = Tags({"title": "Falcon 69", "artist": "The Easton Ellises"})
    assert song.for_stem("bass").fields == {"title": "Falcon 69 (bass)", "artist": "The Easton Ellises"}
    assert Tags().for_stem("bass", "falcon69").fields == {"title": "falcon69 (bass)"}
    assert Tags().for_stem("bass").fields == {"title": "bass"}
    assert song.fields["title"] == "Falcon 69"


def test_what_describes_the_song_alone_stays_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "flac", None)
    file = mutagen.File(path)
    file["title"] = ["Song"]
    file["replaygain_track_gain"] = ["-9.00 dB"]
    file["acoustid_fingerprint"] = ["AQAD"]
    file["lyrics"] = ["la " * 2000]
    file["comment"] = ["x" * 5000]  # a log, not a comment
    file.save()
    assert read_tags(path).fields == {"title": "Song"}


def test_tags_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        container.metadata.update({"title": "Film", "artist": "Band"})
        stream = container.add_stream("flac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.int16), "s16", "stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read_tags(path).fields == {"title": "Film", "artist": "Band"}


def test_damaged_and_absent_tags_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", "mp3", FULL)
    content = bytearray(path.read_bytes())
    content[10:200] = bytes(190)
    path.write_bytes(content)
    read_tags(path)  # whatever is left; it must not end in an exception
    (tmp_path / "text.wav").write_text("no audio")
    for name in ("text.wav", "missing.wav", "."):
        assert read_tags(tmp_path / name) == Tags()


def test_odd_numbers_and_controls(tmp_path: Path) -> None:
    """What an MP4 cannot count is left out; the rest of the tags stay."""
    odd = Tags({"title": "a\nb", "tracknumber": "A1", "bpm": "97.5", "discnumber": "1/2"})
    path = write(tmp_path / "a.m4a", "m4a", odd)
    read = read_tags(path).fields
    assert read == {"title": "a\nb", "bpm": "97.5", "discnumber": "1/2"}
    for name in HOLDERS:
        path = write(tmp_path / f"b{FORMATS[name].suffix}", name, odd)
        assert read_tags(path).fields["discnumber"] == "1/2"


def test_tags_replace_those_of_the_same_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "flac", Tags({"title": "old", "artist": "kept"}))
    write_tags(path, Tags({"title": "new"}), "flac")
    assert read_tags(path).fields == {"title": "new", "artist": "kept"}
