"""A page is one file that asks for nothing, and shows what it was given."""

import io
import math
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from sepgan.report import page, plots, sound, spectrograms
from sepgan.report.blocks import Column, Definitions, Figures, Fold, Interval, Page, Section, Table, Text
from tests import synth

RATE = 44100  # Hz
CODEC_SNR_DB = 15.0  # of Vorbis on the synthetic voice; an offset of one sample would leave about 10


def test_a_page_holds_all_blocks_and_asks_for_nothing() -> None:
    html = page.render(_page())
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r'\b(src|href)="(?!data:|#)', html)
    assert "default-src 'none'" in html
    assert html.count("<section") == 2
    assert "7.10 <span" in html
    assert "[6.00, 8.25]" in html
    assert "uSDR, dB" in html


def test_small_numbers_are_not_called_zero() -> None:
    table = Table(
        "p", [Column("stem"), Column("p", digits=3, least=0.001)], [["a", 1e-9], ["b", 0.02], ["c", math.nan]]
    )
    html = page.render(Page("p", [Section("p", [table])]))
    assert re.findall(r'data-value="([^"]*)">([^<]*)</td>', html) == [
        ("1e-09", "&lt; 0.001"),
        ("0.02", "0.020"),
        ("", page.DASH),
    ]


def test_text_cannot_become_markup() -> None:
    name = "</script><b>&\"'"
    group = sound.player_group(name, [(name, synth.tone(440, 0.1), RATE)], note=name)
    table = Table(name, [Column(name)], [[name]])
    html = page.render(Page(name, [Section(name, [Text(name), table, group, Definitions([(name, name)])])]))
    assert "<b>" not in html


def test_figures_follow_the_theme_and_share_no_names() -> None:
    first = plots.distributions("uSDR", {"a": {"vocals": [1.0, 2.0, 3.0]}}, ylabel="uSDR, dB")
    second = plots.distributions("cSDR", {"a": {"vocals": [1.0, 2.0, 3.0]}}, ylabel="cSDR, dB")
    names = [set(re.findall(r'\sid="([^"]+)"', figure.svg)) for figure in (first, second)]
    assert names[0]
    assert not names[0] & names[1]
    assert "var(--series-0)" in first.svg
    assert not re.search(r"#0[0-9a-f]{5}\b(?!\")", re.sub(r'href="#\w+"|url\(#\w+\)', "", first.svg))


def test_the_same_page_is_the_same_file() -> None:
    figure = {"a": {"vocals": [1.0, 2.0], "drums": [math.nan]}}
    assert plots.distributions("t", figure, ylabel="y") == plots.distributions("t", figure, ylabel="y")


def test_figures_without_a_defined_value_are_empty_axes() -> None:
    empty = plots.distributions("t", {"a": {"vocals": [math.nan, math.inf]}}, ylabel="y", marks={"floor": {}})
    assert "vocals" in empty.svg
    assert "<svg" in plots.curves("t", {"a": ([], [])}, xlabel="step", ylabel="y").svg


def test_small_values_keep_the_digits_of_their_labels() -> None:
    """Coordinates are cut to two digits; a learning rate must not become a column of zeros."""
    svg = plots.curves("t", {"a": ([0, 1], [0.001, 0.005])}, xlabel="step", ylabel="rate").svg
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"0.001", "0.002", "0.003", "0.004", "0.005"} <= set(labels)
    assert not re.search(r"\d\.\d{3}", re.sub(r">[^<]*<", "><", svg)), "coordinates are short"


@pytest.mark.parametrize(("sample_rate", "labels"), [(44100, ["100", "1k", "10k"]), (22050, ["100", "1k"])])
def test_no_label_is_cut_off_at_the_top_of_a_spectrogram(sample_rate: int, labels: list[str]) -> None:
    (picture,) = spectrograms.strip({"a": np.zeros((1, sample_rate), np.float32)}, sample_rate)
    assert [label for label, _ in picture.ticks] == labels


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (16000, 1), (22050, 2)])
def test_sound_keeps_its_length_and_place(rate: int, channels: int) -> None:
    voice = synth.song(1.5, sample_rate=rate, channels=channels)["vocals"]
    decoded, found = soundfile.read(io.BytesIO(sound.encode(voice, rate)), dtype="float32", always_2d=True)
    assert found == rate
    assert decoded.T.shape == voice.shape
    inner = slice(rate // 10, -rate // 10)  # without the fades
    error = (decoded.T - voice)[:, inner]
    assert 10 * np.log10(np.square(voice[:, inner]).sum() / np.square(error).sum()) > CODEC_SNR_DB


def test_one_gain_keeps_a_group_from_clipping() -> None:
    loud, quiet = 4 * synth.tone(440), 2 * synth.tone(440)  # amplitudes 2 and 1
    group = sound.player_group("g", [("loud", loud, RATE), ("quiet", quiet, RATE)])
    peaks = [float(np.abs(soundfile.read(io.BytesIO(player.audio))[0]).max()) for player in group.players]
    assert peaks == pytest.approx([1.0, 0.5], abs=0.03)


def test_many_channels_become_one() -> None:
    group = sound.player_group("g", [("a", synth.noise(0.2, channels=6), RATE)])
    assert soundfile.info(io.BytesIO(group.players[0].audio)).channels == 1


@pytest.mark.parametrize(
    ("tracks", "compare", "message"),
    [
        ([], (), "different labels"),
        ([("a", 1.0), ("a", 1.0)], (), "different labels"),
        ([("a", 1.0), ("b", 1.1)], (), "one duration"),
        ([("a", 1.0), ("b", 1.0)], ("a",), "two or more"),
        ([("a", 1.0), ("b", 1.0)], ("a", "c"), "only tracks of the group"),
    ],
)
def test_groups_that_cannot_be_locked_are_refused(
    tracks: list[tuple[str, float]], compare: tuple[str, ...], message: str
) -> None:
    made = [(label, synth.tone(440, duration_s), RATE) for label, duration_s in tracks]
    with pytest.raises(ValueError, match=message):
        sound.player_group("g", made, compare=compare)


def test_a_tone_stands_at_its_height() -> None:
    levels = spectrograms.levels_db(synth.tone(1000.0, 2.0), RATE)
    heights = np.geomspace(spectrograms.LOWEST_HZ, spectrograms.HIGHEST_HZ, spectrograms.ROWS)
    loudest = int(levels[:, spectrograms.COLUMNS // 2].argmax())
    assert heights[loudest] == pytest.approx(1000, rel=0.03)
    assert levels.shape == (spectrograms.ROWS, spectrograms.COLUMNS)


def test_a_difference_shows_what_is_added_and_what_is_missing() -> None:
    low, high = synth.tone(200.0), synth.tone(4000.0)
    pictures = spectrograms.strip(
        {"reference": low, "estimate": high}, RATE, [("estimate - reference", "estimate", "reference")]
    )
    assert [picture.title for picture in pictures] == ["reference", "estimate", "estimate - reference"]
    image = np.asarray(Image.open(io.BytesIO(pictures[2].png)).convert("RGB"), np.int64)
    column = image[:, image.shape[1] // 2]
    row = {hz: round((1 - math.log(hz / 50) / math.log(16000 / 50)) * len(column)) for hz in (200, 900, 4000)}
    assert column[row[4000]][0] > column[row[4000]][2] + 50, "added is orange"
    assert column[row[200]][2] > column[row[200]][0] + 50, "missing is blue"
    assert column[row[900]].max() == 0, "equal is black"


def test_silence_and_a_few_samples_have_pictures_too() -> None:
    nothing = np.zeros((1, 10), np.float32)
    assert len(spectrograms.strip({"a": nothing}, 8000)) == 1


def _page() -> Page:
    figure = plots.distributions(
        "uSDR", {"ours": {"vocals": [1.0, 2.0, 4.0]}}, ylabel="uSDR, dB", marks={"floor": {"vocals": 0.0}}
    )
    table = Table("All", [Column("stem"), Column("ours")], [["vocals", Interval(7.1, 6.0, 8.25)], ["bass", math.nan]])
    song = synth.song(0.5)
    group = sound.player_group(
        "Vocals",
        [(stem, waveform, RATE) for stem, waveform in song.items()],
        compare=("drums", "bass"),
        spectrograms=spectrograms.strip({"vocals": song["vocals"]}, RATE),
    )
    return Page(
        "A page",
        [Section("Read", [Text("t"), table, Figures([figure])]), Section("Listen", [Fold("more", [group], True)])],
        subtitle="s",
        warning="w",
        footer="f",
    )
