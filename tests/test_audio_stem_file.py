"""`.stem.mp4` files: what is written is what FFmpeg, players and we ourselves read."""

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest

from sepgan import audio
from sepgan.audio_formats import plan_output
from sepgan.audio_stem_file import StemFileWriter, read_stem_names
from sepgan.audio_tags import Cover, Tags, read_tags
from sepgan.errors import OutputError, UsageError
from sepgan.stem_writer import StemWriter
from tests import synth
from tests.test_audio_tags import PNG

ORDER = ("drums", "bass", "other", "vocals")
STEP = 2.0**-23
SAME_COURSE = 0.98  # correlation of a coded stem with itself; other stems have about 0


def separated(folder: Path, name: str, *, block: int = 5000, **options: object) -> tuple[Path, dict[str, synth.Audio]]:
    """Write a song's stems, in the wrong order and block by block."""
    stems = synth.song(0.8)
    mixture = synth.mixture(stems)
    others = np.stack([stems[stem] for stem in ("vocals", "bass", "drums")])
    shape = (("vocals", "other", "bass", "drums"), ("vocals", "bass", "drums"), "other", 44100, 2)
    with StemWriter(folder, *shape, file_format=name, name="song", **options) as writer:  # type: ignore[arg-type]
        for begin in range(0, mixture.shape[1], block):
            writer.write(mixture[:, begin : begin + block], others[..., begin : begin + block])
        writer.finish()
    path = folder / "song.stem.mp4"
    assert writer.paths == dict.fromkeys(ORDER, path)
    assert [file.name for file in folder.iterdir()] == ["song.stem.mp4"]
    return path, stems


def test_streams_are_the_mixture_and_the_stems_in_order(tmp_path: Path) -> None:
    path, stems = separated(tmp_path, "stem.mp4", bitrate=256)
    streams, rate = audio.read_streams(path)
    assert (rate, len(streams)) == (44100, 5)
    for stream, expected in zip(streams, [synth.mixture(stems), *(stems[stem] for stem in ORDER)], strict=True):
        assert stream.shape == expected.shape
        if expected is not stems["drums"]:  # coded noise has the level of noise and not its course
            assert np.corrcoef(stream[0], expected[0])[0, 1] > SAME_COURSE
    assert read_stem_names(path) == ORDER


def test_lossless_streams_null(tmp_path: Path) -> None:
    path, stems = separated(tmp_path, "stem.alac", subtype="int24")
    streams, _ = audio.read_streams(path)
    for stream, expected in zip(streams, [synth.mixture(stems), *(stems[stem] for stem in ORDER)], strict=True):
        np.testing.assert_allclose(stream, expected, rtol=0, atol=3 * STEP)
    total = np.sum(streams[1:], axis=0, dtype=np.float64)
    assert np.array_equal(total.astype(np.float32), streams[0])


def test_ffmpeg_reads_the_same(tmp_path: Path) -> None:
    """As stempeg and musdb do: each audio stream by its number, and what is left of the last frame with it."""
    path, _ = separated(tmp_path, "stem.mp4")
    ours, _ = audio.read_streams(path)
    for number, stream in enumerate(ours):
        with av.open(str(path)) as container:
            theirs = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=number)], axis=1)
        assert 0 <= theirs.shape[1] - stream.shape[1] < 1024
        assert np.array_equal(theirs[:, : stream.shape[1]], stream)


def test_players_are_told_names_colours_and_what_to_play(tmp_path: Path) -> None:
    path, _ = separated(tmp_path, "stem.mp4", tags=Tags({"title": "Falcon 69"}, Cover("image/png", PNG)))
    content = path.read_bytes()
    box = content.index(b"stem{") - 4
    size = int.from_bytes(content[box : box + 4], "big")
    told = json.loads(content[box + 8 : box + size])
    assert told["version"] == 1
    assert [stem["name"] for stem in told["stems"]] == list(ORDER)
    assert len({stem["color"] for stem in told["stems"]}) == 4
    assert not told["mastering_dsp"]["compressor"]["enabled"]
    # Track headers: enabled is bit 0 of the flags. Only the mixture is.
    heads = [index for index in range(len(content)) if content.startswith(b"tkhd", index)]
    assert [content[index + 7] & 1 for index in heads] == [1, 0, 0, 0, 0]
    tags = read_tags(path)
    assert tags.fields["title"] == "Falcon 69"
    assert tags.cover == Cover("image/png", PNG)


def test_the_boxes_still_fit_into_each_other(tmp_path: Path) -> None:
    path, _ = separated(tmp_path, "stem.mp4", tags=Tags({"title": "x" * 300}, Cover("image/png", PNG)))
    content = path.read_bytes()

    def boxes(begin: int, end: int) -> dict[bytes, tuple[int, int]]:
        found = {}
        while begin < end:
            size = int.from_bytes(content[begin : begin + 4], "big")
            found[content[begin + 4 : begin + 8]] = (begin + 8, begin + size)
            assert 8 <= size <= end - begin
            begin += size
        return found

    whole = boxes(0, len(content))
    assert {b"ftyp", b"mdat", b"moov"} <= set(whole)
    movie = boxes(*whole[b"moov"])
    assert set(boxes(*movie[b"udta"])) == {b"meta", b"stem"}


def test_four_stems_and_no_other_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.stem\.mp4 files hold 4 stems; 2 are wanted"):
        StemWriter(tmp_path, ("vocals", "other"), ("vocals",), "other", 44100, 2, file_format="stem.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    plan = plan_output("stem.mp4", "int24", 44100, 2)

    def break_off() -> None:
        with StemFileWriter(tmp_path / "a.stem.mp4", plan, ORDER) as writer:
            writer.write(synth.noise(0.1), [synth.noise(0.1)] * 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="No such file or directory"):
        StemFileWriter(tmp_path / "missing" / "a.stem.mp4", plan, ORDER)


def test_names_of_foreign_files(tmp_path: Path) -> None:
    """Files without the box, and boxes that hold something else, have no names."""
    assert read_stem_names(synth.stem_mp4(tmp_path / "a.stem.mp4", synth.song(0.2))) == ()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)))
    assert read_stem_names(tmp_path / "noise.mp4") == ()
    with av.open(io.BytesIO((tmp_path / "a.stem.mp4").read_bytes())) as container:
        assert len(container.streams.audio) == 5


def test_a_real_stem_file_tells_its_names(shared_data: Path) -> None:
    (path,) = (shared_data / "fixtures" / "musdb18" / "test").glob("*.stem.mp4")
    assert read_stem_names(path) == ("Drums", "Bass", "Other", "Vox")
