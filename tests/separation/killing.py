"""Kill separations at random moments, fill their disk, and say what was left. A process of its own, for it forks.

python -m tests.separation.killing FOLDER
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sepgan.errors import SepganError
from sepgan.separation import SeparationOptions, separate_files
from tests.separation.fake import Shares, noise, write

KILLS = 6
FLAT = "{track}-{stem}.{ext}"  # moved file by file, where the default is one rename of a folder


def main(root: Path) -> dict[str, object]:
    """Give what a test asserts on."""
    torch.set_num_threads(1)  # forks cannot share a pool of threads
    songs = [write(root / "in" / f"{name}.wav", noise(0.5 + 0.1 * number)) for number, name in enumerate("abc")]
    found: dict[str, object] = {}
    for name, template in (("folders", "{track}/{stem}.{ext}"), ("flat", FLAT)):
        options = SeparationOptions(filename=template, skip_existing=True, overwrite=True)
        began = time.perf_counter()
        separate_files(slow(), songs, root / name / "whole", options=options)
        found[name] = kill_at_random(root / name, partial(_run, songs, options), time.perf_counter() - began)
    found["full disk"] = fill_disk(root / "full", songs)
    return found


def slow() -> Shares:
    """A model that takes its time, so that kills hit it."""
    return Shares(lambda mixture: time.sleep(0.004))


def _run(songs: list[Path], options: SeparationOptions, out: Path) -> int:
    return separate_files(slow(), songs, out, options=options).exit_code


def kill_at_random(root: Path, run: Callable[[Path], int], whole_s: float) -> dict[str, object]:
    """Kill a run again and again, look after each kill, and let it finish at last."""
    draws = random.Random(0)
    killed, rounds, wrong = 0, 0, 0
    while killed < KILLS and rounds < 10 * KILLS:
        rounds += 1
        child = fork(lambda: run(root / "killed"))
        time.sleep(draws.uniform(0, 0.8 * whole_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        # A manifest stands for finished files.
        for manifest in (root / "killed").rglob("*manifest.json"):
            if manifest.parent.suffix == ".partial":
                continue
            stems = json.loads(manifest.read_text())["stems"].values()
            wrong += sum(not same(manifest.parent / stem["file"], root) for stem in stems)
        if not os.WIFSIGNALED(status):  # it was faster: begin anew
            shutil.rmtree(root / "killed", ignore_errors=True)
    code = run(root / "killed")
    names = [sorted(str(path.relative_to(base)) for path in base.rglob("*")) for base in _both(root)]
    written = list((root / "killed").rglob("*.wav"))
    return {
        "killed": killed,
        "wrong": wrong,
        "code": code,
        "same names": names[0] == names[1],
        "same bytes": bool(written) and all(same(path, root) for path in written),
    }


def _both(root: Path) -> tuple[Path, Path]:
    return root / "killed", root / "whole"


def same(path: Path, root: Path) -> bool:
    """Whether a file is what the run that was left alone wrote."""
    whole = root / "whole" / path.resolve().relative_to((root / "killed").resolve())
    return path.read_bytes() == whole.read_bytes()


def fill_disk(root: Path, songs: list[Path]) -> dict[str, object]:
    """Run where no file may grow over a limit, as on a disk that fills up at several moments."""
    codes = []
    for limit in (2_000, 20_000, 60_000):

        def run(limit: int = limit) -> int:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            summary = separate_files(Shares(), songs[:1], root)
            return summary.exit_code

        _, status = os.waitpid(fork(run), 0)
        codes.append(os.waitstatus_to_exitcode(status))
    return {"codes": codes, "left": [str(path) for path in root.rglob("*")] if root.exists() else []}


def fork(run: Callable[[], int]) -> int:
    """Run in a child; give its process number."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = run()
        except SepganError as error:
            code = error.exit_code
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
