"""`sepgan data check`: planted faults, and nothing else, are found; a clean tree has none."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from sepgan.cli import run
from sepgan.data import DATASETS
from sepgan.data.check import Finding, check
from sepgan.data.faults import clipped_share, explained_share, frames_of, residual_db
from sepgan.errors import DatasetError
from tests import synth
from tests.data.test_datasets import TREES

DURATION_S = 2.0


def write_song(folder: Path, stems: dict[str, synth.Audio], *, mixture: synth.Audio | None = None) -> None:
    for stem, waveform in stems.items():
        synth.write(folder / f"{stem}.wav", waveform, subtype="PCM_16")
    if mixture is not None:
        synth.write(folder / "mixture.wav", mixture, subtype="PCM_16")


def song(seed: int) -> dict[str, synth.Audio]:
    return synth.song(DURATION_S, seed=seed)


def found(findings: Iterable[Finding]) -> set[tuple[str, str, str, tuple[str, ...]]]:
    return {(item.fault, item.split, item.track, item.stems) for item in findings}


@pytest.mark.parametrize("kind", sorted(set(DATASETS) - {"list"}))
def test_clean_trees_have_no_faults(tmp_path: Path, kind: str) -> None:
    result = check(kind, TREES[kind](tmp_path))
    assert result.findings == ()
    assert sum(result.tracks.values()) >= 2


def test_planted_faults_are_the_list(tmp_path: Path) -> None:
    """One tree with every fault once, and a clean song in each split."""
    train, test = tmp_path / "train", tmp_path / "test"
    write_song(train / "clean", song(0), mixture=synth.mixture(song(0)))
    write_song(test / "clean too", song(1))

    (train / "empty").mkdir()

    write_song(train / "corrupt", song(2))
    (train / "corrupt" / "bass.wav").write_bytes((train / "corrupt" / "bass.wav").read_bytes()[:30])

    write_song(train / "silent", song(3) | {"other": np.zeros((2, round(44100 * DURATION_S)), np.float32)})

    write_song(train / "clipped", song(4) | {"vocals": np.clip(20 * song(4)["vocals"], -1, 1)})

    write_song(train / "twice", song(5))
    write_song(train / "twice again", {stem: 0.7 * waveform for stem, waveform in song(5).items()})

    write_song(train / "same stems", song(6) | {"other": song(6)["vocals"]})

    bleeding = song(7)
    write_song(train / "bleeding", bleeding | {"drums": bleeding["drums"] + 0.4 * bleeding["vocals"]})

    misnamed = song(8)
    write_song(train / "misnamed", {"vocal" if stem == "vocals" else stem: wave for stem, wave in misnamed.items()})

    exchanged = song(9)
    write_song(train / "exchanged", exchanged | {"bass": exchanged["other"], "other": exchanged["bass"]})

    write_song(train / "no sum", song(10), mixture=synth.mixture(song(10)) + synth.song(DURATION_S, seed=99)["vocals"])

    write_song(train / "leaking", song(11))
    later = {stem: np.pad(waveform, ((0, 0), (300, 0))) for stem, waveform in song(11).items()}
    write_song(test / "another name", later)

    write_song(train / "Both", song(12))
    write_song(test / "both", song(13))

    write_song(train / "uneven", song(14))
    synth.write(train / "uneven" / "bass.wav", synth.noise(0.5), subtype="PCM_16")

    result = check("folder", tmp_path)
    assert found(result.findings) == {
        ("missing", "train", "empty", ()),
        ("corrupt", "train", "corrupt", ("bass",)),
        ("silent", "train", "silent", ("other",)),
        ("clipped", "train", "clipped", ("vocals",)),
        ("duplicate", "train", "twice", ()),
        ("duplicate", "train", "same stems", ("other", "vocals")),
        ("bleeding", "train", "bleeding", ("drums", "vocals")),
        ("misnamed", "train", "misnamed", ("vocal",)),
        ("misnamed", "train", "exchanged", ("bass", "other")),
        ("not a sum", "train", "no sum", ("bass", "drums", "other", "vocals")),
        ("leakage", "test", "another name", ()),
        ("leakage", "test", "both", ()),
        ("mismatched", "train", "uneven", ()),
    }
    assert len(result.findings) == 13


def test_json_table_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = synth.folder_tree(tmp_path, duration_s=0.5)
    assert run(["data", "check", "folder", str(root), "--json", "--progress", "none"]) == 0
    clean = json.loads(capsys.readouterr().out)
    assert (clean["ok"], clean["findings"], clean["tracks"]) == (True, [], {"train": 2, "valid": 1})
    synth.write(root / "train" / "full" / "vocals.wav", np.zeros((2, 22050), np.float32))
    assert run(["data", "check", "folder", str(root), "--json", "--progress", "none"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["fault"] == "silent"
    assert (finding["split"], finding["track"], finding["stems"]) == ("train", "full", ["vocals"])
    assert run(["data", "check", "folder", str(root), "--progress", "none"]) == 1
    out = capsys.readouterr().out
    assert "silent      train/full: nothing is heard" in out
    assert "3 tracks: 1 silent" in out
    assert run(["data", "check", "folder", str(root), "--split", "dev"]) == 3
    assert run(["data", "check", "disk", str(root)]) == 3
    assert "dataset kind 'disk' is unknown" in capsys.readouterr().err


def test_stems_that_must_be_there(tmp_path: Path) -> None:
    root = synth.folder_tree(tmp_path, duration_s=0.5)
    assert check("folder", root).findings == (), "absent is allowed"
    findings = check("folder", root, stems=synth.STEMS).findings
    assert found(findings) == {("missing", "train", "no bass", ("bass",))}


def test_musdb18_gaps_and_errata(tmp_path: Path) -> None:
    root = synth.musdb18hq_tree(tmp_path, test=("PR - Oh No",), duration_s=0.5)
    (root / "train" / "A - One" / "bass.wav").unlink()
    result = check("musdb18hq", root)
    missing = {finding for finding in found(result.findings) if finding[0] == "missing"}
    assert missing == {("missing", "train", "A - One", ("bass",))}
    assert [note for note in result.notes if "PR - Oh No: erratum" in note]


def test_maps_notes_and_pieces(tmp_path: Path) -> None:
    root = synth.maps_tree(tmp_path, duration_s=0.5)
    tracks = [DATASETS["maps"](root, "train")[index] for index in range(2)]
    folder = root / "AkPnBcht" / "MUS"
    text = (folder / f"{tracks[0].name}.txt").read_text().splitlines()
    (folder / f"{tracks[0].name}.txt").write_text("\n".join(text[:-1]))
    (root / "AkPnStgb" / "MUS" / f"{tracks[1].name}.mid").unlink()
    (root / "ENSTDkCl" / "MUS" / "MAPS_MUS-liz_et1_ENSTDkCl.wav").rename(tmp_path / "elsewhere.wav")
    (root / "ENSTDkAm" / "MUS").mkdir(parents=True)
    for ending in ("wav", "txt", "mid"):
        shutil.copy(folder / f"{tracks[0].name}.{ending}", root / f"ENSTDkAm/MUS/MAPS_MUS-new_ENSTDkAm.{ending}")
    findings = found(check("maps", root).findings)
    assert findings == {
        ("notes", "train", tracks[0].name, ()),
        ("missing", "train", tracks[1].name, ()),
        ("missing", "test", "MAPS_MUS-liz_et1_ENSTDkCl", ()),
        ("leakage", "train", tracks[0].name, ()),
        ("notes", "test", "MAPS_MUS-new_ENSTDkAm", ()),
    }


def test_gtzan_artists_and_broken_clips(tmp_path: Path) -> None:
    root = synth.gtzan_tree(tmp_path, clips=("jazz.00054", "rock.00038", "rock.00010"), duration_s=0.5)
    broken = root / "genres/jazz/jazz.00054.wav"
    broken.write_bytes(broken.read_bytes()[:22])
    (root / "artists.csv").write_text("clip,artist\nrock.00010,Somebody\nrock.00038,Somebody\n")
    result = check("gtzan", root)
    assert found(result.findings) == {
        ("corrupt", "train", "jazz.00054", ("mixture",)),
        ("leakage", "valid", "rock.00038", ()),
    }
    assert "442 of the 443 clips of split train are not in this copy" in result.notes


def test_a_list_with_a_file_that_is_gone(tmp_path: Path) -> None:
    root = TREES["list"](tmp_path)
    (tmp_path / "music" / "train" / "full" / "bass.wav").unlink()
    assert found(check("list", root).findings) == {("missing", "train", "full", ())}


def test_miniatures(shared_data: Path) -> None:
    fixtures = shared_data / "fixtures"
    for kind in ("musdb18", "musdb18hq", "maps"):
        assert check(kind, fixtures / kind).findings == (), kind
    assert found(check("gtzan", fixtures / "gtzan").findings) == {("corrupt", "train", "jazz.00054", ("mixture",))}


def test_a_copy_is_known_by_its_sound(tmp_path: Path) -> None:
    """Recoded and turned down is the same recording; another song of the same kind is not."""
    for seed, name in enumerate(("a", "b")):
        synth.write(tmp_path / "train" / name / "vocals.wav", song(seed)["vocals"])
    synth.write(tmp_path / "train" / "c" / "vocals.mp3", 0.5 * song(0)["vocals"])
    assert found(check("folder", tmp_path).findings) == {("duplicate", "train", "a", ())}


def test_measures_have_known_values() -> None:
    noise, other = synth.noise(4.0, seed=1), synth.noise(4.0, seed=2)
    assert explained_share(frames_of(noise), frames_of(noise)) == pytest.approx(1.0, abs=1e-3)
    assert explained_share(frames_of(noise), frames_of(other)) < 0.02
    # A quarter of the energy is bleed: (0.5 / sqrt(0.75)) ** 2 : 1 is 1 : 3.
    mixed = noise + np.float32(np.sqrt(1 / 3)) * other
    assert explained_share(frames_of(mixed), frames_of(other)) == pytest.approx(0.25, abs=0.03)
    assert residual_db(0.9 * noise, noise) == pytest.approx(-20.0, abs=0.01)
    left_wrong = noise.copy()
    left_wrong[0] = 0.0
    assert residual_db(left_wrong, noise) == pytest.approx(0.0, abs=0.01), "the worst channel counts"
    assert clipped_share(synth.tone(100) * 2) == 0.0, "one sample at the top is no clipping"
    assert clipped_share(np.clip(synth.tone(100) * 4, -1, 1)) > 0.5


def test_bad_roots(tmp_path: Path) -> None:
    bad: list[tuple[str, Path, str]] = [
        ("folder", tmp_path / "none", "does not exist"),
        ("folder", tmp_path, "holds no splits"),
        ("list", tmp_path / "none.json", "does not exist"),
        ("musdb18", tmp_path, "does not exist"),
    ]
    for kind, root, message in bad:
        with pytest.raises(DatasetError, match=message):
            check(kind, root)
