"""Splitting MIDI files into stems."""

from dataclasses import replace
from pathlib import Path

import mido
import pytest

from sepgan.data.render import midi
from sepgan.data.render.performance import PLAIN, VOICES, Performance, Ranges, draw, seed_of
from sepgan.errors import DatasetError
from tests.data.render.instruments import midi_file

TICK_S = 0.5 / 480


def _performance(ranges: Ranges = PLAIN, song: str = "song", variant: int = 0, soundfonts: int = 1) -> Performance:
    return draw(song, variant, 0, soundfonts, midi.STEMS, ranges)


def _notes(file: mido.MidiFile) -> list[tuple[float, float, int, int]]:
    """Start, end, note and channel."""
    return [(round(start, 3), round(end, 3), note, channel) for start, end, note, _, channel in midi.note_bars(file)]


def test_each_note_goes_to_one_stem_with_its_own_time(tmp_path: Path) -> None:
    score = midi.read(midi_file(tmp_path / "song.mid"))
    stems = midi.split(score, _performance())
    assert {stem: _notes(file) for stem, file in stems.items()} == {
        "drums": [(0.5, 1.0, 38, 9)],
        "bass": [(0.0, 2.0, 45, 0)],
        "other": [(0.0, 1.0, 64, 1)],
    }


def test_a_channel_that_changes_its_program_is_split_in_time(tmp_path: Path) -> None:
    change = mido.Message("program_change", channel=0, program=0)
    path = midi_file(tmp_path / "song.mid", [(0, 40, 0, 3), (0, 52, 2, 1)], programs=[(0, 33)], extra=[(2, change)])
    stems = midi.split(midi.read(path), _performance())
    assert {stem: _notes(file) for stem, file in stems.items()} == {
        "bass": [(0.0, 1.5, 40, 0)],  # held over the change: it began as a bass and ends as one
        "other": [(1.0, 1.5, 52, 0)],
    }


def test_controllers_reach_all_stems_but_bank_select(tmp_path: Path) -> None:
    extra = [
        (0.5, mido.Message("pitchwheel", channel=1, pitch=500)),
        (0.5, mido.Message("control_change", channel=1, control=0, value=8)),
    ]
    stems = midi.split(midi.read(midi_file(tmp_path / "song.mid", extra=extra)), _performance())
    for file in stems.values():
        messages = [message for message in file.tracks[0] if not message.is_meta]
        assert [message.pitch for message in messages if message.type == "pitchwheel"] == [500]
        assert not any(message.type == "control_change" and message.control == 0 for message in messages)


def test_stems_are_equally_long_and_tempo_changes_hold(tmp_path: Path) -> None:
    """The last note ends after 1 s at 120 and 4 beats at 60; then the tail follows."""
    path = midi_file(
        tmp_path / "song.mid", [(0, 45, 0, 1), (1, 64, 2, 4)], extra=[(2, mido.MetaMessage("set_tempo", tempo=10**6))]
    )
    score = midi.read(path)
    stems = midi.split(score, _performance())
    assert score.duration_s == pytest.approx(5.0, abs=TICK_S)
    for file in stems.values():
        assert file.length == pytest.approx(5.0 + midi.TAIL_S, abs=2 * TICK_S)
    faster = midi.split(score, replace(_performance(), tempo=1.25))
    assert faster["other"].length == pytest.approx(4.0 + midi.TAIL_S, abs=4 * TICK_S)
    assert _notes(faster["other"]) == [(0.8, 4.0, 64, 1)]


def test_forgotten_notes_end(tmp_path: Path) -> None:
    extra = [(1, mido.Message("note_on", channel=1, note=60, velocity=90))]
    stems = midi.split(midi.read(midi_file(tmp_path / "song.mid", extra=extra)), _performance())
    offs = [m for m in stems["other"].tracks[0] if m.type == "control_change" and m.control == 123]
    assert {message.channel for message in offs} == set(range(16))


def test_transposition_moves_melodies_and_not_drums(tmp_path: Path) -> None:
    notes = [(0, 1, 0, 1), (1, 127, 0, 1), (9, 38, 0, 1)]
    stems = midi.split(midi.read(midi_file(tmp_path / "song.mid", notes)), replace(_performance(), transpose=-2))
    assert [stems[stem].tracks and _notes(stems[stem])[0][2] for stem in midi.STEMS] == [38, 11, 125]


def test_a_plain_performance_changes_nothing(tmp_path: Path) -> None:
    plain = _performance()
    assert [plain.programs[program] for program in range(128) if program not in VOICES] == [
        program for program in range(128) if program not in VOICES
    ]
    path = midi_file(tmp_path / "song.mid")
    assert {bar[3] for file in midi.split(midi.read(path), plain).values() for bar in midi.note_bars(file)} == {100}


def test_random_programs_stay_in_their_family_and_never_sing() -> None:
    played = {song: _performance(Ranges(), str(song)).programs for song in range(50)}
    for programs in played.values():
        assert [program // 8 for program in programs] == [program // 8 for program in range(128)]
        assert not VOICES.intersection(programs)
    assert len({programs[25] for programs in played.values()}) == 8
    # A bass stays a bass, or its stem would change.
    assert all(midi.stem_of(0, programs[33]) == "bass" for programs in played.values())


def test_performances_depend_on_song_take_and_seed_alone() -> None:
    ranges = Ranges()
    first = draw("song", 0, 7, 3, midi.STEMS, ranges)
    assert first == draw("song", 0, 7, 3, midi.STEMS, ranges)
    others = [draw("song", 1, 7, 3, midi.STEMS, ranges), draw("song", 0, 8, 3, midi.STEMS, ranges),
              draw("gnos", 0, 7, 3, midi.STEMS, ranges)]  # fmt: skip
    assert all(first.programs != other.programs for other in others)
    fonts = [draw("song", take, 7, 3, midi.STEMS, ranges).soundfont for take in range(4)]
    assert sorted(fonts[:3]) == [0, 1, 2]
    assert fonts[3] == fonts[0]
    assert seed_of(1, "a") != seed_of("1a")


def test_ranges_are_kept() -> None:
    ranges = Ranges(transpose=2, tempo=0.2, gain_db=6.0)
    drawn = [draw(str(song), 0, 0, 1, midi.STEMS, ranges) for song in range(60)]
    assert {performance.transpose for performance in drawn} == {-2, -1, 0, 1, 2}
    tempos = [performance.tempo for performance in drawn]
    assert 0.8 <= min(tempos) < 0.85 < 1.15 < max(tempos) <= 1.2
    gains = [gain for performance in drawn for gain in performance.gains_db.values()]
    assert -6 <= min(gains) < -5 < 5 < max(gains) <= 6


def test_velocities_are_played_alike_each_time_and_within_midi() -> None:
    performance = _performance(Ranges())
    runs = [[play("drums", velocity) for velocity in range(1, 128)] for play in (performance.velocities(),) * 1]
    again = performance.velocities()
    assert runs[0] == [again("drums", velocity) for velocity in range(1, 128)]
    assert min(runs[0]) >= 1
    assert max(runs[0]) <= 127


def test_copies_are_known_by_their_notes(tmp_path: Path) -> None:
    name = mido.MetaMessage("track_name", name="another title")
    one, two = midi_file(tmp_path / "a.mid"), midi_file(tmp_path / "b.mid", extra=[(0, name)])
    three = midi_file(tmp_path / "c.mid", [(0, 46, 0, 4)])
    assert one.read_bytes() != two.read_bytes()
    assert midi.read(one).digest == midi.read(two).digest != midi.read(three).digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as MIDI"),
        (b"RIFF....", "cannot be read as MIDI"),
        (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\x10\0\x90", "cannot be read as MIDI"),
        (b"MThd\0\0\0\6\0\2\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "type 2"),
        (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "has no notes"),
        (b"MThd\0\0\0\6\0\0\0\1\0\0MTrk\0\0\0\4\0\xff\x2f\0", "no common beat"),
        (b"MThd\0\0\0\6\0\0\0\1\xe7\x28MTrk\0\0\0\4\0\xff\x2f\0", "no common beat"),  # 25 frames a second
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        midi.read(path)


def test_folders_are_searched_for_midi_files(tmp_path: Path) -> None:
    names = ["b/two.MID", "a.mid", "b/one.midi", ".hidden.mid", "notes.txt"]
    for name in names:
        midi_file(tmp_path / name)
    assert [str(path.relative_to(tmp_path)) for path in midi.find(tmp_path)] == ["a.mid", "b/one.midi", "b/two.MID"]
    assert midi.find(tmp_path / "a.mid") == [tmp_path / "a.mid"]
    with pytest.raises(DatasetError, match="does not exist"):
        midi.find(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no MIDI file"):
        midi.find(tmp_path / "empty")
