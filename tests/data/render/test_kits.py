"""Drum kits and one-shots: what is read from names and tables, and that samples sound where and as they should."""

from pathlib import Path

import mido
import numpy as np
import pytest
from numpy.typing import NDArray

from sepgan.data.render.band import Band, draw_band
from sepgan.data.render.drums import OF_NOTE, STAND_INS
from sepgan.data.render.kits import (
    HYDROGEN,
    SOUNDFONT,
    BassSound,
    Instrument,
    Kit,
    Layer,
    assign,
    read_kit,
)
from sepgan.data.render.performance import PLAIN, Ranges
from sepgan.data.render.pitch import fundamental_hz
from sepgan.data.render.sampler import Hit, KitRoom, Looseness, add_room, hits_of, play_bass
from sepgan.errors import AudioError, DatasetError
from tests import synth
from tests.data.render.instruments import midi_file
from tests.data.render.kit_makers import click, hits, hydrogen, one_shots, play

RATE = 44100


def test_every_class_that_stands_in_is_one_of_a_note() -> None:
    classes = set(OF_NOTE.values())
    assert set(STAND_INS) <= classes
    assert {other for others in STAND_INS.values() for other in others} <= classes


def test_a_kick_sounds_at_the_time_of_its_note(tmp_path: Path) -> None:
    kit = read_kit(one_shots(tmp_path))
    sound = play(hits((0.25, 36), (1.0, 36)), assign(kit, np.random.default_rng(0)))
    for at_s in (0.25, 1.0):
        begin = round(at_s * RATE)
        assert int(np.abs(sound[:, begin : begin + 4000]).max(0).argmax()) == 10
    assert not sound[:, : round(0.25 * RATE)].any()


def test_samples_of_another_rate_keep_their_place_and_pitch(tmp_path: Path) -> None:
    tone = synth.tone(440.0, 1.0, sample_rate=48000, channels=1)
    layer = Layer(synth.write(tmp_path / "tone.wav", tone, sample_rate=48000), semitones=12)
    sound = play(hits((0.0, 36)), {36: Instrument("kick", (layer,))})
    spectrum = np.abs(np.fft.rfft(sound[0][:22050]))
    assert np.argmax(spectrum) * 2 == pytest.approx(880, abs=4)
    assert np.flatnonzero(np.abs(sound[0]) > 0.01)[-1] == pytest.approx(22050, abs=50)


def test_velocity_chooses_the_layer_and_the_level(tmp_path: Path) -> None:
    click(tmp_path / "soft.wav", 0.5, at=100)
    click(tmp_path / "hard.wav", 0.5, at=900)
    layers = "".join(
        f"<layer><filename>{name}.wav</filename><min>{low}</min><max>{high}</max><gain>{gain}</gain></layer>"
        for name, low, high, gain in (("soft", 0, 0.5, 1), ("hard", 0.5, 1, 0.5))
    )
    one = "<filename>soft.wav</filename>"  # as in old kits, without layers
    mixed = "<volume>0.5</volume><pan_L>1</pan_L><pan_R>0.5</pan_R>"
    tables = {
        "Kick": f"<instrumentComponent>{layers}</instrumentComponent>{mixed}",
        "Snare": one,
        "Closed HH": one,
    }
    struck = assign(read_kit(hydrogen(tmp_path, tables)), np.random.default_rng(0))
    hard = play(hits((0.0, 36)), struck)
    assert int(np.abs(hard[0]).argmax()) == 900
    assert np.abs(hard[0]).max() == pytest.approx(0.5 * 0.5 * 0.5, rel=0.01)
    assert np.abs(hard[1]).max() == pytest.approx(0.5 * 0.5 * 0.5 * 0.5, rel=0.01)
    soft = play(hits((0.0, 36), velocity=0.3), struck)
    assert int(np.abs(soft[0]).argmax()) == 100
    assert np.abs(soft[0]).max() == pytest.approx(0.5 * 0.5 * 0.3, rel=0.01)
    # A single layer has no dynamics of its own, so it gets those of General MIDI.
    assert np.abs(play(hits((0.0, 38), velocity=0.5), struck)).max() == pytest.approx(0.5 * 0.25, rel=0.01)


def test_closed_hi_hats_choke_open_ones(tmp_path: Path) -> None:
    for name in ("bd", "sn", "hat_closed", "drum_cymbal_open"):
        click(tmp_path / f"{name}.wav", samples=RATE)
    struck = assign(read_kit(tmp_path), np.random.default_rng(0))
    assert struck[46].drum == "hat_open"

    def level_at(sound: NDArray[np.float32], at_s: float) -> float:
        return float(np.abs(sound[:, round(at_s * RATE) : round((at_s + 0.1) * RATE)]).mean())

    alone = play(hits((0.0, 46)), struck)
    choked = play(hits((0.0, 46), (0.3, 42)), struck)
    closed = play(hits((0.3, 42)), struck)
    kicked = play(hits((0.0, 46), (0.3, 36)), struck)
    assert level_at(alone, 0.5) > 0.01
    np.testing.assert_array_equal(choked[:, round(0.32 * RATE) :], closed[:, round(0.32 * RATE) :])
    assert level_at(kicked, 0.5) > level_at(choked, 0.5)


def test_hydrogen_kits_without_notes_are_matched_by_name(tmp_path: Path) -> None:
    names = [
        "Tom Hi",
        "Ride Jazz",
        "BassDrum",
        "Snare Rock",
        "c#3 - stick",
        "Closed HH",
        "Pedal HH",
        "Open HH",
        "Zap 1",
    ]
    for index, name in enumerate(names):
        click(tmp_path / f"{index}.wav")
        names[index] = name
    unset = "<midiOutNote>60</midiOutNote>"
    kit = read_kit(
        hydrogen(
            tmp_path,
            {name: f"{unset}<layer><filename>{index}.wav</filename></layer>" for index, name in enumerate(names)},
        )
    )
    assert kit.kind == HYDROGEN
    struck = assign(kit, np.random.default_rng(0))
    files = {note: int(one.layers[0].path.stem) for note, one in struck.items()}
    expected = {36: 2, 38: 3, 37: 4, 42: 5, 44: 6, 46: 7, 50: 0, 51: 1}
    assert {note: files[note] for note in expected} == expected
    assert files[53] == 1  # a ride for its bell
    assert files[49] == 1  # and for a crash
    assert 54 in files  # a tambourine is a hi-hat
    assert 71 not in files  # nothing stands in for a whistle
    assert 8 not in files.values()


def test_notes_of_hydrogen_kits_tell_sounds_of_a_class_apart(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        click(tmp_path / f"{name}.wav")
    one = "<midiOutNote>{}</midiOutNote><layer><filename>{}.wav</filename></layer>"
    kit = read_kit(
        hydrogen(
            tmp_path,
            {"Snare 1": one.format(40, "a"), "Snare 2": one.format(38, "b"), "Kick": one.format(36, "c"),
             "Nameless": one.format(42, "d"), "Lost": one.format(46, "absent")},
        )
    )  # fmt: skip
    struck = assign(kit, np.random.default_rng(0))
    assert [struck[note].layers[0].path.stem for note in (38, 40, 36, 35, 42, 46)] == ["b", "a", "c", "c", "d", "d"]


def test_hydrogen_kits_without_any_name_follow_its_order(tmp_path: Path) -> None:
    for index in range(7):
        click(tmp_path / f"{index}.wav")
    kit = read_kit(hydrogen(tmp_path, {f"no. {k}": f"<filename>{k}.wav</filename>" for k in range(7)}))
    struck = assign(kit, np.random.default_rng(0))
    assert [struck[note].layers[0].path.stem for note in (36, 38, 42)] == ["0", "2", "6"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("<drumkit_info><instrument>", "cannot be read as XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><drumkit_info/>', "entities"),
        ("<drumkit_info/>", "no kick and no snare and no hi-hat"),
        (
            "<drumkit_info><instrument><name>Kick</name><filename>../bd_one.wav</filename></instrument></drumkit_info>",
            "no kick",
        ),
        (
            "<drumkit_info><instrument><name>Kick</name><filename>bd.wav</filename><volume>loud</volume></instrument>"
            "</drumkit_info>",
            "expected a number",
        ),
    ],
)
def test_damaged_hydrogen_kits_are_refused(tmp_path: Path, table: str, message: str) -> None:
    one_shots(tmp_path)
    click(tmp_path / "kit/bd.wav")
    (tmp_path / "kit/drumkit.xml").write_text(table)
    with pytest.raises(DatasetError, match=message):
        read_kit(tmp_path / "kit")


def test_what_is_no_kit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_kit(tmp_path / "none")
    (tmp_path / "kit.sf2").write_bytes(b"no SoundFont")
    with pytest.raises(DatasetError, match="no SoundFont"):
        read_kit(tmp_path / "kit.sf2")
    (tmp_path / "bd_bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="bd_bad"):
        read_kit(tmp_path)


def test_a_kit_is_known_by_the_content_of_its_files(tmp_path: Path) -> None:
    first, second = read_kit(one_shots(tmp_path / "a")), read_kit(one_shots(tmp_path / "b"))
    assert first.sha256 == second.sha256
    (tmp_path / "b/readme.txt").write_text("unknown files do not count")
    assert read_kit(tmp_path / "b").sha256 == first.sha256
    click(tmp_path / "b/bd_one.wav", 0.25)
    assert read_kit(tmp_path / "b").sha256 != first.sha256


def test_soft_and_hard_one_shots_are_layers_and_long_hi_hats_are_open(tmp_path: Path) -> None:
    one_shots(tmp_path, "bd", "drum_snare_soft", "drum_snare_hard", "hat_short", "drum_roll", "README")
    click(tmp_path / "hat_long.wav", samples=RATE)
    kit = read_kit(tmp_path)
    sounds = {one.drum: [layer.path.stem for layer in one.layers] for one in kit.instruments}
    assert sounds == {
        "kick": ["bd"], "snare": ["drum_snare_soft", "drum_snare_hard"], "hat_closed": ["hat_short"],
        "hat_open": ["hat_long"],
    }  # fmt: skip


@pytest.mark.parametrize(("pitch_hz", "note"), [(65.41, 36), (130.81, 48), (87.31, None)])
def test_the_octave_of_a_bass_is_heard(tmp_path: Path, pitch_hz: float, note: int | None) -> None:
    """The third is called C and sounds F: it is left out."""
    low, high = (synth.tone(k * pitch_hz, 1.0, sample_rate=RATE, channels=1) for k in (1, 2))
    synth.write(one_shots(tmp_path) / "bass_saw_c.wav", low + np.float32(0.5) * high, sample_rate=RATE)
    click(tmp_path / "bass_click_c.wav")
    assert [bass.note for bass in read_kit(tmp_path).basses] == ([note] if note else [])


@pytest.mark.parametrize(("note", "heard"), [(36, 36), (43, 43), (28, 28), (55, 43)])
def test_bass_notes_have_their_pitch_and_end(tmp_path: Path, note: int, heard: int) -> None:
    tone = synth.tone(65.406, 2.0, sample_rate=RATE, channels=1)
    bass = BassSound(synth.write(tmp_path / "bass_sine_c.wav", tone, sample_rate=RATE), 36)
    sound = play_bass([Hit(0.5, 1.2, note, 1.0, 1.0)], bass, 2 * RATE, RATE)
    expected_hz = 440 * 2 ** ((heard - 69) / 12)
    assert fundamental_hz(sound[0, RATE // 2 :], RATE) == pytest.approx(expected_hz, rel=0.01)
    assert not sound[:, round(1.24 * RATE) :].any()
    assert np.abs(sound[:, round(1.1 * RATE) : round(1.19 * RATE)]).max() > 0.1


def test_notes_come_with_velocity_and_the_volume_of_their_channel(tmp_path: Path) -> None:
    volume = mido.Message("control_change", channel=9, control=7, value=50)
    path = midi_file(tmp_path / "a.mid", [(9, 36, 0, 1), (9, 38, 2, 1)], programs=(), extra=[(1, volume)])
    first, second = hits_of(mido.MidiFile(path))
    assert (first.start_s, first.end_s, first.note) == (0.0, 0.5, 36)
    assert first.velocity == pytest.approx(100 / 127)
    assert (first.level, second.level) == (1.0, 0.25)


def test_the_room_is_as_loud_as_it_says() -> None:
    impulse = np.zeros((2, RATE), np.float32)
    impulse[:, 100] = 1
    wet = add_room(impulse, KitRoom(0.4, -12.0, 0.01, 5), RATE) - impulse
    assert not wet[:, : 100 + 441 - 1].any() or np.abs(wet[:, : 100 + 441 - 1]).max() < 1e-6
    assert 10 * np.log10(np.square(wet).sum(1)) == pytest.approx(-12.0, abs=0.1)
    early, late = np.square(wet[:, 600:4410]).sum(), np.square(wet[:, 13230:17640]).sum()
    assert early > 100 * late


def test_takes_follow_each_other_on_different_kits() -> None:
    kits = [Kit(Path(name), SOUNDFONT, name) for name in "abc"]
    drawn = {}
    for song in map(str, range(200)):
        takes = [draw_band(kits, song, take, 0, Ranges()).kit for take in range(4)]
        assert len({kit.name if kit else "" for kit in takes}) == 4
        drawn[song] = takes[0].name if takes[0] else ""
    counts = [list(drawn.values()).count(name) for name in ("", "a", "b", "c")]
    assert min(counts) > 30  # of 50 each
    assert draw_band([], "song", 0, 0, Ranges()) == Band()


def test_half_of_the_songs_on_one_shots_have_a_sampled_bass(tmp_path: Path) -> None:
    tone = synth.tone(65.406, 1.0, sample_rate=RATE, channels=1)
    synth.write(one_shots(tmp_path) / "bass_sine_c.wav", tone, sample_rate=RATE)
    kit = read_kit(tmp_path)
    bands = [draw_band([kit], str(song), 0, 0, Ranges()) for song in range(200)]
    on_kit = [band for band in bands if band.kit]
    assert 70 < len(on_kit) < 130
    assert 0.3 < sum(band.bass is not None for band in on_kit) / len(on_kit) < 0.7
    assert all(band.bass is None for band in bands if not band.kit)
    plain = [draw_band([kit], str(song), 0, 0, PLAIN) for song in range(50)]
    assert all(band.room is None and band.loose == Looseness() for band in plain)
