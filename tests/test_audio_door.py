"""The door: whatever is handed in ends in the right samples or in one line that says what is wrong with it."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepgan import audio
from sepgan.audio_formats import FORMATS
from sepgan.audio_writer import AudioWriter
from sepgan.errors import AudioError, OutputError
from tests import synth

FRAMES = 22050
BLOCK = 1000
STEP = 2.0**-15


def ways_in(path: Path) -> list[Callable[[], int | None]]:
    """Everything that opens a file: each gives the length it found."""
    return [
        lambda: audio.probe(path).frames,
        lambda: audio.read(path)[0].shape[1],
        lambda: sum(block.shape[1] for block in audio.read_blocks(path, BLOCK)),
    ]


def refused(path: Path, message: str, *, at_once: bool = True) -> int:
    """Assert one line, from all ways in, or from those that decode; return how many ways there are."""
    ways = ways_in(path) if at_once else ways_in(path)[1:]
    for way in ways:
        with pytest.raises(AudioError, match=message) as caught:
            way()
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)
    return len(ways)


def wav(path: Path, change: Callable[[bytearray], bytes] = bytes) -> Path:
    """A 16-bit stereo WAV file of half a second, 44 bytes of head and no tail, changed."""
    soundfile.write(path, synth.noise(FRAMES / 44100).T, 44100, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    assert content.index(b"data") == 36
    path.write_bytes(change(content))
    return path


def number(offset: int, value: int, size: int = 4) -> Callable[[bytearray], bytes]:
    """Put a number into a head."""

    def change(content: bytearray) -> bytes:
        content[offset : offset + size] = value.to_bytes(size, "little")
        return bytes(content)

    return change


@pytest.mark.parametrize("value", [0, 100, 10**6, 0xFFFFFFFF])
def test_the_size_of_a_riff_file_does_not_matter(tmp_path: Path, value: int) -> None:
    expected, _ = audio.read(wav(tmp_path / "a.wav"))
    path = wav(tmp_path / "b.wav", number(4, value))
    assert [way() for way in ways_in(path)] == [FRAMES] * 3
    assert np.array_equal(audio.read(path)[0], expected)


@pytest.mark.parametrize("value", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_samples_of_unknown_number_go_to_the_end(tmp_path: Path, value: int, caplog: pytest.LogCaptureFixture) -> None:
    """Pipes leave the largest size in the head, and recorders that are killed zero."""
    expected, _ = audio.read(wav(tmp_path / "a.wav"))
    path = wav(tmp_path / "b.wav", number(40, value))
    with caplog.at_level(logging.WARNING):
        assert [way() for way in ways_in(path)][1:] == [FRAMES] * 2
    assert audio.probe(path).frames in (FRAMES, None)
    assert np.array_equal(audio.read(path)[0], expected)
    assert ("88200 bytes behind its samples that its header does not count" in caplog.text) == (value == 0)


def test_a_head_that_counts_too_few_samples_is_believed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = wav(tmp_path / "a.wav", number(40, 4000))
    with caplog.at_level(logging.WARNING):
        assert [way() for way in ways_in(path)] == [1000] * 3
    assert "84200 bytes behind its samples" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (number(40, 100_000), "is cut off: 11800 bytes of its samples are missing; fetch it again"),
        (lambda content: bytes(content[:-1]), "is cut off: 1 bytes of its samples are missing"),
        (lambda content: bytes(content[:44]), "holds 0 samples; at least 2 are needed|is cut off"),
        (lambda content: bytes(content[:30]), "is not audio that can be decoded"),
        (number(22, 0, 2), "holds audio that cannot be decoded"),
        (number(22, 0xFFFF, 2), "holds audio that cannot be decoded"),
        (number(24, 0), "is not audio that can be decoded"),
        (number(24, 7), "declares 7 Hz, and sound has 1000 to 1000000 Hz"),
        (number(24, 0x7FFFFFFF), "declares 2147483647 Hz, and sound has 1000 to 1000000 Hz"),
    ],
)
def test_heads_that_lie(tmp_path: Path, change: Callable[[bytearray], bytes], message: str) -> None:
    assert refused(wav(tmp_path / "a.wav", change), message) == 3


def test_a_tail_that_is_no_chunk_is_no_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = wav(tmp_path / "a.wav", lambda content: bytes(content) + b"\x01\x02\x03garbage" * 50)
    with caplog.at_level(logging.WARNING):
        assert [way() for way in ways_in(path)] == [FRAMES] * 3
    assert "500 bytes behind its samples" in caplog.text
    caplog.clear()
    path = wav(tmp_path / "b.wav", lambda content: bytes(content) + b"LIST\x04\0\0\0INFO" + bytes(100))
    assert audio.probe(path).frames == FRAMES
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("RF64", "PCM_16"), ("W64", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("CAF", "PCM_16"), ("AU", "PCM_16")],
)
@pytest.mark.parametrize("kept", [30, 0.5, 0.99])
def test_cut_off_uncompressed_files(tmp_path: Path, container: str, subtype: str, kept: float) -> None:
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, synth.noise(0.5).T, 48000, format=container, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    assert refused(path, "is cut off|is not audio that can be decoded|holds 1 samples") == 3


def test_flac_files_that_do_not_know_their_length(tmp_path: Path) -> None:
    """FFmpeg leaves zero when it writes into a pipe; a number far beyond the file's size is damage."""
    samples = synth.noise(0.5)
    path = tmp_path / "a.flac"
    soundfile.write(path, samples.T, 44100, subtype="PCM_24")
    expected, _ = audio.read(path)
    content = bytearray(path.read_bytes())
    assert int.from_bytes(content[22:26], "big") == FRAMES
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert [way() for way in ways_in(path)] == [None, FRAMES, FRAMES]
    assert np.array_equal(audio.read(path)[0], expected)
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    refused(path, "declares 4294967295 samples, more than its size can hold; its header is damaged")


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", depth) for depth in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *(("AIFF", depth) for depth in ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *(("FLAC", depth) for depth in ("PCM_S8", "PCM_16", "PCM_24")),
        *(("CAF", depth) for depth in ("PCM_24", "ALAC_16", "ALAC_24")),
        *(("W64", "PCM_32"), ("RF64", "DOUBLE"), ("AU", "PCM_24"), ("WAVEX", "PCM_24")),
    ],
)
def test_every_depth(tmp_path: Path, container: str, subtype: str) -> None:
    samples = synth.noise(0.1)
    path = tmp_path / "a.sound"  # the content tells what it is, not the name
    soundfile.write(path, samples.T, 44100, format=container, subtype=subtype)
    decoded, _ = audio.read(path)
    bits = int(re.sub(r"\D", "", subtype) or 24)
    np.testing.assert_allclose(decoded, samples, rtol=0, atol=max(1.01 * 2.0 ** -(bits - 1), 2.0**-24))
    if subtype.startswith("PCM"):
        assert audio.probe(path).bits == bits


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 32000, 37800, 44100, 48000, 88200, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 12])
def test_rates_and_channels(tmp_path: Path, sample_rate: int, channels: int) -> None:
    samples = synth.noise(0.02, sample_rate=sample_rate, channels=channels)
    soundfile.write(tmp_path / "a.wav", samples.T, sample_rate, subtype="FLOAT")
    decoded, rate = audio.read(tmp_path / "a.wav")
    assert rate == sample_rate
    assert np.array_equal(decoded, samples)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_the_shortest_sounds(tmp_path: Path, suffix: str) -> None:
    for frames in (0, 1, 2, 3):
        path = tmp_path / f"{frames}.{suffix}"
        soundfile.write(path, np.zeros((frames, 2)), 44100, format=suffix.upper())
        if frames < 2:
            refused(path, rf"is empty|holds {frames} samples; at least 2 are needed")
        else:
            assert audio.read(path)[0].shape == (2, frames)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 100)), np.full((2, 100), 0.5), np.full((2, 100), 7.5), np.tile([1.0, -1.0], (2, 50))],
    ids=["silence", "DC", "over full scale", "clipped"],
)
def test_odd_sound_is_sound(tmp_path: Path, samples: synth.Audio) -> None:
    soundfile.write(tmp_path / "a.wav", samples.T, 44100, subtype="FLOAT")
    assert np.array_equal(audio.read(tmp_path / "a.wav")[0], samples.astype(np.float32))


@pytest.mark.parametrize("name", ["wav", "aiff", "w64", "rf64", "caf"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_numbers(tmp_path: Path, name: str, value: float) -> None:
    samples = np.zeros((FRAMES, 2), np.float32)
    samples[11025:, 1] = value
    path = tmp_path / f"a.{name}"
    soundfile.write(path, samples, 44100, format=name.upper(), subtype="FLOAT")
    assert refused(path, r"holds NaN or infinity at 0\.250 s; export it again", at_once=False) == 2


def test_wrong_suffixes(tmp_path: Path) -> None:
    """The content counts, not the name."""
    path = wav(tmp_path / "a.wav")
    expected, _ = audio.read(path)
    for name in ("a.mp3", "a.flac", "a.raw", "a.txt", "a", "a.stem.mp4", "a.wav.part"):
        path = path.rename(tmp_path / name)
        assert np.array_equal(audio.read(path)[0], expected)


@pytest.mark.parametrize(
    "name", ["Sigur Rós - ( ) 東京 🎸", "x" * 240, " leading and trailing ", "-", "100%d", "a:b", "a\tb"]
)
def test_names_of_all_kinds(tmp_path: Path, name: str) -> None:
    samples = synth.noise(0.1)
    for form in ("wav", "flac", "m4a", "mp3"):
        path = tmp_path / (name + FORMATS[form].suffix)
        with AudioWriter(path, 44100, 2, file_format=form) as writer:
            writer.write(samples)
        assert audio.read(path)[0].shape == samples.shape
    assert len(list(tmp_path.iterdir())) == 4


def test_names_that_look_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data:a.m4a", "concat:a.m4a", "pipe:1.m4a"):
        with AudioWriter(name, 44100, 2) as writer:
            writer.write(synth.noise(0.1))
        assert audio.read(name)[0].shape == (2, 4410)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        AudioWriter(tmp_path / ("x" * 300 + ".wav"), 44100, 2).commit()
    with pytest.raises(AudioError, match="cannot be read: File name too long"):
        audio.read(tmp_path / ("x" * 300 + ".wav"))
    assert list(tmp_path.iterdir()) == []


def test_folders_without_permission(tmp_path: Path) -> None:
    """The superuser may do everything; then only the errors of the system are looked at."""
    (tmp_path / "locked").mkdir()
    path = wav(tmp_path / "locked" / "a.wav")
    if os.geteuid() == 0:
        with pytest.raises(AudioError, match="does not exist"):
            audio.read(path / "a.wav")
        with pytest.raises(OutputError, match="cannot be written: Not a directory"):
            AudioWriter(path / "a.wav", 44100, 2)
        return
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written: Permission denied"):
            AudioWriter(path.parent / "b.wav", 44100, 2)
        path.parent.chmod(0o000)
        refused(path, "cannot be read: Permission denied")
    finally:
        path.parent.chmod(0o700)


def test_things_that_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, message in {
        "fifo.wav": "is not a file",
        "folder.wav": "is not a file",
        "gone.wav": "does not exist",
        "loop.wav": "cannot be read|does not exist",
    }.items():
        assert refused(tmp_path / name, message) == 3


def test_pictures_and_playlists_are_no_songs(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:10,\nhttp://localhost:9/a.ts\n")
    (tmp_path / "words.txt").write_text("la " * 1000)
    (tmp_path / "page.html").write_text("<html>" + "<p>not found</p>" * 100)
    for path in sorted(tmp_path.iterdir()):
        assert refused(path, "is not audio|holds no audio|holds 0 samples|cannot be decoded") == 3


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short file of every format."""
    folder = tmp_path_factory.mktemp("contents")
    found = {}
    for name, form in FORMATS.items():
        if not form.one_file:
            path = folder / f"{name}{form.suffix}"
            with AudioWriter(path, 44100, 2, file_format=name) as writer:
                writer.write(synth.tone(440.0, 0.2))
            found[name] = path
    return found


@settings(deadline=None, max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name, form in FORMATS.items() if not form.one_file]),
    cut=st.floats(0.0, 1.0),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=8),
    head_only=st.booleans(),
)
def test_damage_of_all_kinds(
    contents: dict[str, Path],
    tmp_path: Path,
    name: str,
    cut: float,
    flips: list[tuple[float, int]],
    head_only: bool,
) -> None:
    """Bytes flipped, and the end cut off: finite samples or one line; blocks and the whole agree which."""
    content = bytearray(contents[name].read_bytes())
    for place, mask in flips:
        index = int(place * ((min(200, len(content)) if head_only else len(content)) - 1))
        content[index] ^= mask
    if cut < 0.5:
        content = content[: int(cut * 2 * len(content))]
    path = tmp_path / f"a{FORMATS[name].suffix}"
    path.write_bytes(content)
    whole, blocks = (outcome(way) for way in ways_in(path)[1:])
    assert type(whole) is type(blocks), (whole, blocks)
    for said in (whole, blocks):
        if isinstance(said, AudioError):
            assert "\n" not in str(said)
            assert path.name in str(said)
        else:
            assert said == whole
            assert np.isfinite(audio.read(path)[0]).all()


def outcome(way: Callable[[], int | None]) -> int | AudioError | None:
    try:
        return way()
    except AudioError as error:
        return error


# parts


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.one_file])
@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 0.1), (0.1, 0.05), (0.12345, None), (0.19, 5.0)])
def test_parts_in_seconds_are_exact_to_the_sample(
    contents: dict[str, Path], tmp_path: Path, name: str, start_s: float, duration_s: float | None
) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    path.write_bytes(contents[name].read_bytes())
    whole, rate = audio.read(path)
    part = np.concatenate(list(audio.read_blocks(path, BLOCK, start_s=start_s, duration_s=duration_s)), axis=1)
    begin = round(start_s * rate)
    end = None if duration_s is None else round((start_s + duration_s) * rate)
    assert np.array_equal(part, whole[:, begin:end])


def test_neighbouring_parts_in_seconds_meet(tmp_path: Path) -> None:
    """Thirds of a second are no whole number of samples at 44.1 kHz... but parts leave no gap and share none."""
    path = wav(tmp_path / "a.wav")
    third = 0.1 / 3
    parts = [list(audio.read_blocks(path, BLOCK, start_s=i * third, duration_s=third)) for i in range(15)]
    joined = np.concatenate([block for part in parts for block in part], axis=1)
    assert np.array_equal(joined, audio.read(path)[0][:, : joined.shape[1]])
    assert joined.shape[1] == 22050
