"""MAPS: names, notes, and a split that does not leak."""

from pathlib import Path

import pytest

from sepgan.data.maps import Note, compare_notes, maps, note_files, parse_name, read_midi, read_txt
from sepgan.errors import DatasetError
from tests import synth

DURATION_S = 0.5
ONSET_S = 2e-3  # ticks of a MIDI file are 1 ms


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("MAPS_MUS-alb_se3_AkPnBcht", {"category": "MUS", "piece": "alb_se3"}),
        (
            "MAPS_ISOL_NO_P_S0_M60_AkPnBcht",
            {"category": "ISOL", "style": "NO", "loudness": "piano", "sustain": "0", "pitch": "60"},
        ),
        ("MAPS_ISOL_CH0.1_F_S1_AkPnBcht", {"category": "ISOL", "style": "CH0.1", "loudness": "forte", "sustain": "1"}),
        (
            "MAPS_RAND_P3_M36-95_I32-96_S1_n7_AkPnBcht",
            {
                "category": "RAND",
                "polyphony": "3",
                "range": "36-95",
                "intensity": "32-96",
                "sustain": "1",
                "number": "7",
            },
        ),
        (
            "MAPS_UCHO_C0-4-7_I60-68_S0_n2_AkPnBcht",
            {"category": "UCHO", "chord": "0-4-7", "intensity": "60-68", "sustain": "0", "number": "2"},
        ),
    ],
)
def test_names_are_parsed(name: str, fields: dict[str, str]) -> None:
    assert parse_name(name) == {"configuration": "AkPnBcht"} | fields


@pytest.mark.parametrize("name", ["piano", "MAPS_MUS-alb_se3_Bechstein", "MAPS_RAND_X9_AkPnBcht"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=f"'{name}'"):
        parse_name(name)


def test_the_real_piano_is_the_test_set_and_no_piece_is_in_two_splits(tmp_path: Path) -> None:
    root = synth.maps_tree(
        tmp_path,
        recordings=(
            "MAPS_MUS-a_AkPnBcht",
            "MAPS_MUS-b_AkPnBcht",
            "MAPS_MUS-c_AkPnBsdf",
            "MAPS_MUS-b_StbgTGd2",
            "MAPS_MUS-c_ENSTDkAm",
            "MAPS_MUS-d_ENSTDkCl",
            "MAPS_ISOL_NO_F_S0_M60_AkPnBsdf",
        ),
        duration_s=0.1,
    )
    pieces = {
        split: [track.labels.get("piece", "-") for track in maps(root, split)]
        for split in ("train", "valid", "train+valid", "test", "AkPnBsdf")
    }
    assert pieces == {
        "train": ["-", "a"],  # b is played by the held-out piano, c by the real one; isolated notes are no piece
        "valid": ["b"],
        "train+valid": ["-", "a", "b", "b"],
        "test": ["c", "d"],
        "AkPnBsdf": ["-", "c"],
    }


def test_notes_are_read_from_both_files(tmp_path: Path) -> None:
    root = synth.maps_tree(tmp_path, recordings=("MAPS_MUS-a_AkPnBcht",), duration_s=DURATION_S)
    txt, mid = note_files(maps(root, "train")[0])
    written, played = read_txt(txt), read_midi(mid)
    assert len(written) == len(played) == 4
    for one, other in zip(written, played, strict=True):
        assert one.pitch == other.pitch
        assert abs(one.onset_s - other.onset_s) <= ONSET_S
        assert abs(one.offset_s - other.offset_s) <= ONSET_S
    assert compare_notes(written, played) == 0
    assert compare_notes(written, played[1:]) == 1
    assert compare_notes(written, [Note(n.onset_s + 0.05, n.offset_s, n.pitch) for n in played]) == 8


def test_the_miniature(shared_data: Path) -> None:
    root = shared_data / "fixtures/maps"
    tracks = [track for split in ("train", "valid", "test") for track in maps(root, split)]
    assert len(tracks) == 9
    assert len({track.labels["configuration"] for track in tracks}) == 9
    for track in tracks:
        txt, mid = note_files(track)
        notes = read_txt(txt)
        assert len(notes) > 5
        assert compare_notes(notes, read_midi(mid)) == 0, track.name


def test_bad_input(tmp_path: Path) -> None:
    root = synth.maps_tree(tmp_path, duration_s=0.1)
    with pytest.raises(
        DatasetError, match=r"MAPS has no split 'dev': choose one of train, valid, train.valid, test, Ak"
    ):
        maps(root, "dev")
    with pytest.raises(DatasetError, match=r"no track in .* for split 'SptkBGAm'"):
        maps(root, "SptkBGAm")
    txt, mid = note_files(maps(root, "train")[0])
    txt.write_text("onset offset pitch\n1 2 60\n")
    with pytest.raises(DatasetError, match=r"note list '.*\.txt' cannot be read: the header is"):
        read_txt(txt)
    mid.write_bytes(mid.read_bytes()[:30])
    with pytest.raises(DatasetError, match=r"MIDI file '.*\.mid' cannot be read"):
        read_midi(mid)
