"""Every format that can be written: what it holds comes back, and what it cannot is refused with what can."""

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sepgan import audio
from sepgan.audio_formats import FORMATS, bitrate_range, plan_output
from sepgan.audio_writer import AudioWriter
from sepgan.errors import OutputError, UsageError
from tests import synth

LOSSLESS = [name for name, form in FORMATS.items() if not form.lossy and not form.one_file]
LOSSY = [name for name, form in FORMATS.items() if form.lossy and not form.one_file]
STEP = {"float32": 0.0, "int24": 2.0**-24, "int16": 1.5 * 2.0**-15}  # half a step of 24 bits; one and a half dithered
CODING_ERROR = 0.1  # RMS of the error over RMS of a tone, at the encoders' defaults
BITRATE_ERROR = 0.25  # of the size, for encoders that hold a rate only on average
LAYOUTS = {3: "3.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def write(path: Path, samples: npt.NDArray[np.float32], sample_rate: int, name: str, **options: object) -> Path:
    with AudioWriter(path, sample_rate, samples.shape[0], file_format=name, **options) as writer:  # type: ignore[arg-type]
        for block in np.array_split(samples, 3, axis=1):
            writer.write(block)
    return path


def tones(channels: int, sample_rate: int = 48000, duration_s: float = 0.6) -> npt.NDArray[np.float32]:
    """A tone of its own for each channel, all low enough for an LFE."""
    parts = [
        synth.tone(20.0 * (channel + 2), duration_s, sample_rate=sample_rate, channels=1) for channel in range(channels)
    ]
    joined: npt.NDArray[np.float32] = np.concatenate(parts) * np.float32(0.5)
    return joined


def order(decoded: npt.NDArray[np.float32], sample_rate: int = 48000) -> list[int]:
    """Which of the tones each channel holds."""
    half = decoded[:, : sample_rate // 2]  # bins of 2 Hz
    return [int(np.argmax(np.abs(np.fft.rfft(channel)))) // 10 - 2 for channel in half]


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("sample_rate", [8000, 44100, 192000])
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_samples_back(tmp_path: Path, name: str, sample_rate: int, channels: int) -> None:
    form = FORMATS[name]
    samples = synth.noise(0.1, sample_rate=sample_rate, channels=channels)
    for subtype in form.subtypes:
        path = write(tmp_path / f"a{form.suffix}", samples, sample_rate, name, subtype=subtype)
        decoded, rate = audio.read(path)
        assert (rate, decoded.shape) == (sample_rate, samples.shape)
        np.testing.assert_allclose(decoded, samples, rtol=0, atol=STEP[subtype])
        assert audio.probe(path).frames == samples.shape[1]
    assert [path.name for path in tmp_path.iterdir()] == [f"a{form.suffix}"]


@pytest.mark.parametrize("frames", [2, 1024, 44117])
@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_keep_length_and_sound(tmp_path: Path, name: str, frames: int) -> None:
    """Opus is always at 48 kHz inside; the rest come back as long as they went in, to the sample."""
    samples = synth.tone(440.0, 1.1)[:, :frames]
    path = write(tmp_path / f"a{FORMATS[name].suffix}", samples, 44100, name)
    decoded, rate = audio.read(path)
    expected = audio.resample(samples, 44100, rate)
    assert rate == (48000 if name == "opus" else 44100)
    assert decoded.shape == expected.shape
    if frames > 44100:
        error = decoded[:, 4000:-4000] - expected[:, 4000:-4000]
        assert float(np.sqrt(np.mean(error**2) / np.mean(expected**2))) < CODING_ERROR


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("name", [name for name in FORMATS if not FORMATS[name].one_file])
def test_channels_keep_their_order(tmp_path: Path, name: str, channels: int) -> None:
    """Ogg files have an order of their own, which libsndfile does not know and FFmpeg does: both must see the same."""
    if channels > FORMATS[name].max_channels:
        with pytest.raises(UsageError, match="only up to 2; choose m4a"):
            plan_output(name, "int24", 48000, channels)
        return
    path = write(tmp_path / f"a{FORMATS[name].suffix}", tones(channels), 48000, name)
    assert order(audio.read(path)[0]) == list(range(channels))
    if channels > 7:
        return  # PyAV 18 cannot hand out so many planes
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        planar = container.streams.audio[0].codec_context.format.is_planar
    parts = frames if planar else [frame.reshape(-1, channels).T for frame in frames]
    assert order(np.concatenate(parts, axis=1).astype(np.float32)) == list(range(channels))


@pytest.mark.parametrize("layout", ["3.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1", "FL+FR+TC"])
@pytest.mark.parametrize("name", ["wav", "rf64", "flac", "ogg", "opus", "m4a", "alac"])
def test_layouts_come_back_where_the_format_can_tell(tmp_path: Path, name: str, layout: str) -> None:
    channels = len(av.AudioLayout(layout).channels)
    retold: dict[str, dict[str, str | None]] = {
        "flac": {"5.0": "5.0(side)", "5.1": "5.1(side)", "FL+FR+TC": "3.0"},
        "ogg": {"5.1(side)": "5.1", "FL+FR+TC": "3.0"},
        "opus": {"5.1(side)": "5.1", "FL+FR+TC": "3.0"},
        "m4a": {"5.1(side)": "5.1", "6.1": None},
        "alac": {"5.1(side)": "5.1"},
    }
    told = retold.get(name, {})
    refused = {"alac": ("quad", "6.1", "7.1", "FL+FR+TC"), "m4a": ("FL+FR+TC",)}.get(name, ())
    if layout in refused:
        with pytest.raises(UsageError, match=re.escape(f"{name} files cannot hold {channels} channels ({layout})")):
            plan_output(name, "int24", 48000, channels, layout=layout)
        return
    path = write(tmp_path / f"a{FORMATS[name].suffix}", tones(channels, duration_s=0.1), 48000, name, layout=layout)
    assert audio.probe(path).layout == told.get(layout, layout)


def test_the_masks_are_those_that_ffprobe_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tones(6, duration_s=0.1), 48000, "wav", layout="5.1(side)", subtype="float32")
    assert soundfile.info(path).format == "WAVEX"
    content = path.read_bytes()
    form = content.index(b"fmt ") + 8
    assert int.from_bytes(content[form + 20 : form + 24], "little") == 0x60F


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.bitrates_kbps and not form.one_file])
@pytest.mark.parametrize("kbps", [64, 128, 256])
def test_bit_rates_are_kept(tmp_path: Path, name: str, kbps: int) -> None:
    samples = np.concatenate([synth.mixture(synth.song(2.0)), synth.noise(2.0)], axis=1)
    path = write(tmp_path / f"a{FORMATS[name].suffix}", samples, 44100, name, bitrate=kbps)
    measured = path.stat().st_size * 8 / 4.0 / 1000
    # Vorbis and AAC choose by quality, and take more for noise and less for tones.
    assert measured == pytest.approx(kbps, rel=BITRATE_ERROR if name in ("mp3", "opus") else 0.6)
    smaller = write(tmp_path / f"b{FORMATS[name].suffix}", samples, 44100, name, bitrate=kbps // 2 + 32)
    if kbps > 64:
        assert smaller.stat().st_size < path.stat().st_size


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    """In two processes, so that no clock and no random number can agree by chance."""
    code = (
        "import sys; from pathlib import Path; from tests import synth;"
        "from tests.test_audio_formats import FORMATS, write;"
        "[write(Path(sys.argv[1]) / (n + f.suffix), synth.noise(0.5), 44100, n, subtype=f.subtypes[0] if f.subtypes"
        " else 'int24') for n, f in FORMATS.items() if not f.one_file]"
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        subprocess.run([sys.executable, "-c", code, str(tmp_path / folder)], check=True)
    paths = sorted((tmp_path / "a").iterdir())
    assert len(paths) == len(LOSSLESS) + len(LOSSY)
    for path in paths:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xyz", "int24", 44100, 2), "'xyz' is no format that can be written; choose one of wav, rf64, w64"),
        (("flac", "float32", 44100, 2), "flac files cannot hold float32 samples; choose int24, or wav"),
        (
            ("mp3", "int24", 96000, 2),
            r"mp3 files cannot hold a rate of 96000 Hz \(the nearest is 48000 Hz\); choose m4a",
        ),
        (("m4a", "int24", 192000, 2), r"m4a files .* \(the nearest is 96000 Hz\); choose ogg"),
        (("mp3", "int24", 44100, 6), "mp3 files cannot hold 6 channels, only up to 2; choose m4a"),
        (("flac", "int16", 44100, 9), "flac files cannot hold 9 channels, only up to 8; choose wav"),
        (("wav", "int8", 44100, 2), "subtype 'int8' is not one of float32, int24, int16"),
    ],
)
def test_what_a_format_cannot_hold(arguments: tuple[str, str, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        plan_output(*arguments)
    assert "\n" not in str(caught.value)


def test_advice_can_be_followed() -> None:
    """Whatever is refused, what the line tells to choose is accepted."""
    refused = 0
    for name in FORMATS:
        for subtype in ("float32", "int16"):
            for sample_rate in (37800, 192000):
                for channels in (2, 5, 9):
                    try:
                        plan_output(name, subtype, sample_rate, channels)
                    except UsageError as error:
                        refused += 1
                        advice = str(error).rpartition("choose ")[2].partition(",")[0]
                        form, depth = (advice, subtype) if advice in FORMATS else (name, advice)
                        plan_output(form, depth, sample_rate, channels)
    assert refused > 20


def test_bit_rates_that_a_format_does_not_have() -> None:
    with pytest.raises(UsageError, match="mp3 files cannot have 999 kbit/s here; the nearest is 320"):
        plan_output("mp3", "int24", 44100, 2, bitrate=999)
    with pytest.raises(UsageError, match="mp3 files cannot have 320 kbit/s here; the nearest is 160"):
        plan_output("mp3", "int24", 22050, 2, bitrate=320)
    with pytest.raises(UsageError, match="wav files have no bit rate to choose"):
        plan_output("wav", "int24", 44100, 2, bitrate=128)
    for form in FORMATS.values():
        if form.bitrates_kbps is not None:
            assert bitrate_range(form, 44100, 2) == form.bitrates_kbps


def test_wrong_layouts_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the layout 5\.1 has 6 channels; the song has 2"):
        plan_output("wav", "int24", 44100, 2, layout="5.1")
    with pytest.raises(UsageError, match=r"'4 corners' is no channel layout"):
        plan_output("wav", "int24", 44100, 2, layout="4 corners")


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: both end a write in the middle."""
    code = """
import json, resource, shutil, signal, sys
from pathlib import Path
import numpy as np
from sepgan.audio_formats import FORMATS
from sepgan.errors import OutputError
from sepgan.stem_writer import StemWriter
from tests import synth

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
whole = resource.getrlimit(resource.RLIMIT_FSIZE)
samples = synth.noise(0.7)
stems = ("drums", "bass", "other", "vocals")
said = {}
for name in FORMATS:
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    said[name] = "nothing"
    try:
        with StemWriter(folder, stems, stems[1:], "drums", 44100, 2, file_format=name) as writer:
            writer.write(samples, np.stack([samples / 8] * 3))
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, whole[1]))
            writer.finish()
    except OutputError as error:
        said[name] = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, whole)
print(json.dumps(said))
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, stdout=subprocess.PIPE, text=True)
    for name, said in json.loads(result.stdout).items():
        reason = r"(File too large|is the disk full)"
        assert re.search(f"cannot be written: .*{reason}", said), (name, said)
        assert "\n" not in said
        assert {path.name for path in (tmp_path / name).iterdir()} <= {"spool"}  # which is the caller's to remove


def test_a_closed_file_that_is_too_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries may close a file on a full disk without a word; then its length tells."""
    writer = AudioWriter(tmp_path / "a.wav", 44100, 2)
    writer.write(synth.noise(0.1))
    writer._frames += 1
    with pytest.raises(OutputError, match="4410 of 4411 samples arrived; is the disk full"):
        writer.commit()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_rf64_and_w64_are_chosen_by_name(tmp_path: Path) -> None:
    for name, head in (("rf64", b"RF64"), ("w64", b"riff"), ("wav", b"RIFF")):
        path = write(tmp_path / f"{name}{FORMATS[name].suffix}", synth.noise(0.1), 44100, name)
        assert path.read_bytes()[:4] == head
