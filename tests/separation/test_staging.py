"""Files that appear together, and what killed runs leave."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sepgan.errors import OutputError
from sepgan.separation.staging import Staging, remove_abandoned

SONGS_AT_ONCE, TURNS = 4, 100

_HOLD = """
import sys, time
from pathlib import Path
from sepgan.separation.staging import Staging
staging = Staging({"a.wav": Path(sys.argv[1]) / "song" / "a.wav"}, None).__enter__()
(staging.path / "a.wav").write_bytes(b"half")
print("ready", flush=True)
time.sleep(60)
"""


def _targets(folder: Path, *names: str) -> dict[str, Path]:
    return {name: folder / name for name in names}


def test_files_appear_together_and_nothing_else_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "song"
    with Staging(_targets(folder, "a.wav", "b.wav"), folder / "m.json") as staged:
        for name in ("a.wav", "b.wav", "m.json"):
            (staged.path / name).write_text(name)
        assert not folder.exists()
        staged.commit()
    assert sorted(path.name for path in folder.iterdir()) == ["a.wav", "b.wav", "m.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["song"]


def test_without_a_commit_nothing_stays_and_made_folders_go(tmp_path: Path) -> None:
    with Staging(_targets(tmp_path / "new" / "song", "a.wav"), None) as staged:
        (staged.path / "a.wav").write_text("half")
    assert list(tmp_path.iterdir()) == []


def test_in_a_folder_that_exists_the_old_manifest_goes_first_and_the_new_one_comes_last(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text("old")
    with Staging(_targets(tmp_path, "a.wav", "b.wav"), manifest) as staged:
        for name in ("a.wav", "b.wav", "m.json"):
            (staged.path / name).write_text("new")
        (tmp_path / "b.wav").mkdir()  # in the way, so that the second move fails
        (tmp_path / "b.wav" / "full").write_text("")
        with pytest.raises(OutputError, match="cannot be written"):
            staged.commit()
    assert (tmp_path / "a.wav").read_text() == "new"
    assert not manifest.exists()


def test_a_killed_run_is_cleaned_up_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = sorted(path.suffix for path in tmp_path.iterdir())
        assert before == [".lock", ".partial"]
        assert remove_abandoned(tmp_path) == 0
        assert sorted(path.suffix for path in tmp_path.iterdir()) == before
        process.kill()
        process.wait()
    with Staging(_targets(tmp_path / "song", "a.wav"), None) as staged:
        (staged.path / "a.wav").write_text("whole")
        staged.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["song"]


def test_two_of_this_process_do_not_take_each_other_for_dead(tmp_path: Path) -> None:
    with Staging(_targets(tmp_path / "one", "a.wav"), None) as one:
        with Staging(_targets(tmp_path / "two", "a.wav"), None) as two:
            (two.path / "a.wav").write_text("two")
            two.commit()
        (one.path / "a.wav").write_text("one")
        one.commit()
    assert (tmp_path / "one" / "a.wav").read_text() == "one"


def test_songs_that_begin_and_end_at_once_do_not_take_each_other_for_dead(tmp_path: Path) -> None:
    """Each is given up, so that the folder they share comes and goes under those that begin."""
    failures: list[BaseException] = []
    start = threading.Barrier(SONGS_AT_ONCE)

    def begin_and_end(number: int) -> None:
        start.wait()
        for turn in range(TURNS):
            try:
                with Staging(_targets(tmp_path / "out" / f"{number} {turn}", "a.wav"), None) as staged:
                    (staged.path / "a.wav").write_bytes(b"half")
            except BaseException as error:
                failures.append(error)

    songs = [threading.Thread(target=begin_and_end, args=[number]) for number in range(SONGS_AT_ONCE)]
    for song in songs:
        song.start()
    for song in songs:
        song.join()
    assert not failures
    assert not list((tmp_path / "out").rglob("*"))
