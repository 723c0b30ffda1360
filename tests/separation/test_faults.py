"""Kill -9 at random moments, a disk that fills up, a corrupted model: never a wrong file that counts as finished."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sepgan import checkpoint, cli
from sepgan.errors import OutputError
from sepgan.separation import separate_file
from tests.separation.fake import Shares, contents, noise, write
from tests.separation.killing import KILLS


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_kills_and_a_full_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.separation.killing", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ("folders", "flat"):
        assert found[kind]["killed"] >= KILLS // 2  # else this would show nothing
        rest = {key: value for key, value in found[kind].items() if key != "killed"}
        assert rest == {"wrong": 0, "code": 0, "same names": True, "same bytes": True}
    assert found["full disk"] == {"codes": [6, 6, 6], "left": []}


SMALL_DISK = """
out=$1; size_kb=$2; when=$3; shift 3
if mount -t tmpfs -o size="${size_kb}k" none "$out" 2> /dev/null; then
    if [ "$when" = during ]; then
        (until ls -a "$out" | grep -q partial; do sleep 0.01; done; exec cat /dev/zero > "$out/filler" 2> /dev/null) &
    fi
elif [ "$when" = never ]; then
    :
else
    ulimit -f 40  # of 512 bytes: where no disk may be mounted, files may not grow
fi
"$@"
code=$?
wait
rm -f "$out/filler"
ls -A "$out"
exit $code
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk in memory")
@pytest.mark.parametrize(
    ("size_kb", "when", "code", "left"),
    [(64, "before", 6, []), (60_000, "during", 6, []), (60_000, "never", 0, ["song"])],
)
def test_a_small_disk(tmp_path: Path, size_kb: int, when: str, code: int, left: list[str]) -> None:
    """The command: on a disk too small from the start, on one that another program fills, on one that is enough."""
    song, out = write(tmp_path / "song.wav", noise(5.0)), tmp_path / "out"
    out.mkdir()
    own = ["unshare", "--mount", *["--map-root-user"] * (os.geteuid() != 0)]  # the disk goes with the process
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        own = []
    command = [sys.executable, "-m", "sepgan", "separate", str(song), "-o", str(out), "--progress", "none"]
    done = subprocess.run(
        [*own, "sh", "-c", SMALL_DISK, "sh", str(out), str(size_kb), when, *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (code, left), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seed", range(4))
def test_a_corrupted_model_is_never_run(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One flipped bit anywhere in the file, in the header or in the weights."""
    model = bytearray(checkpoint.bundled()["default"].read_bytes())
    draws = random.Random(seed)
    place = draws.randrange(4000 if seed % 2 else len(model))
    model[place] ^= 1 << draws.randrange(8)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(model)
    song = write(tmp_path / "song.wav", noise())
    code = cli.run(["separate", str(song), "-o", str(tmp_path / "out"), "--model", str(broken), "--progress", "none"])
    assert code == 4, capsys.readouterr().err
    assert contents(tmp_path) == ["broken.safetensors", "song.wav"]


def test_a_disk_that_fills_up_while_files_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *arguments: object, **more: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    song = write(tmp_path / "song.wav", noise())
    with pytest.raises(OutputError, match="No space left on device"):
        separate_file(Shares(), song, tmp_path / "out")
    assert contents(tmp_path) == ["song.wav"]
