"""How fast `sepgan separate` is and how much memory it takes, as a user sees it: a fresh process, from start to stems.

    python -m benchmarks.separate --minutes 3 --runs 3
    python -m benchmarks.separate song.flac --json

The real-time factor is the wall time of the whole process, with start-up, decoding and writing, over the length of the
song: 0.1 is ten times as fast as playing. The peak of memory is the largest resident set of that process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from sepgan.audio import Waveform, probe, read
from sepgan.audio_writer import AudioWriter

_RELAY = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
wall_s = time.perf_counter() - began
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, process.returncode]))
"""

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MAX_MINUTES = 10.0


@dataclass(frozen=True)
class Measurement:
    """One process: its wall time, processor time, and largest resident set."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Machine:
    """What the numbers hold for."""

    cpu: str
    cores: int
    threads: int
    device: str
    system: str
    python: str
    torch: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code of the first run that fails."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        song = Path(options.song) if options.song else _demo_song()
        if options.minutes or not options.song:
            song = write_looped(song, Path(folder) / "song.flac", 60 * (options.minutes or 3.0))
        info = probe(song)
        seconds = info.frames / info.sample_rate if info.frames else read(song)[0].shape[1] / info.sample_rate
        command = [sys.executable, "-m", "sepgan", "separate", str(song), "--out", f"{folder}/stems", "--overwrite"]
        command += ["--progress", "none", "--device", options.device]
        if options.model:
            command += ["--model", options.model]
        runs = []
        for _ in range(options.runs):
            measurement, code = measure(command)
            if code:
                return code
            runs.append(measurement)
    found = machine(options.device)
    report = summarise(runs, seconds)
    if options.json:
        print(json.dumps({**report, "runs": [asdict(run) for run in runs], "machine": asdict(found)}, indent=2))
    else:
        print(f"{found.cpu}, {found.cores} cores, {found.threads} threads, device {found.device}")
        print(f"{found.system}, Python {found.python}, torch {found.torch}")
        print(f"{report['audio_s']:.0f} s of audio, median of {len(runs)} whole processes:")
        print(f"  real-time factor {report['real_time_factor']:.4f} ({report['wall_s']:.1f} s, {report['speed']:.1f}x)")
        print(f"  peak memory {report['peak_mb']:.0f} MB")
    return 0


def summarise(runs: Sequence[Measurement], seconds: float) -> dict[str, float]:
    """Give medians over the runs; the peak of memory is the largest of all.

    >>> report = summarise([Measurement(30, 60, 500), Measurement(10, 20, 510), Measurement(20, 40, 505)], 200)
    >>> report["real_time_factor"], report["speed"], report["peak_mb"]
    (0.1, 10.0, 510)
    """
    wall_s = statistics.median(run.wall_s for run in runs)
    return {
        "audio_s": seconds,
        "wall_s": wall_s,
        "cpu_s": statistics.median(run.cpu_s for run in runs),
        "real_time_factor": wall_s / seconds,
        "speed": seconds / wall_s,
        "peak_mb": max(run.peak_mb for run in runs),
    }


def measure(command: Sequence[str]) -> tuple[Measurement, int]:
    """Run a command and tell what it took, and its exit code; its output goes to stderr.

    A small process in between starts the command: Linux counts the memory of the starting process, which here has torch
    loaded, as the first of the started one.
    """
    done = subprocess.run([sys.executable, "-c", _RELAY, *command], stdout=subprocess.PIPE, check=True)
    wall_s, cpu_s, peak, code = json.loads(done.stdout)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return Measurement(wall_s, cpu_s, peak * unit / 1e6), code


def looped(waveform: Waveform, frames: int) -> Waveform:
    """Repeat or cut `[C, T]` to a length.

    >>> looped(np.array([[1, 2, 3]], np.float32), 7).tolist()
    [[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]]
    """
    return np.tile(waveform, -(-frames // waveform.shape[1]))[:, :frames]


def write_looped(song: Path, path: Path, seconds: float) -> Path:
    """Write a song as 16-bit FLAC, repeated or cut to a length in seconds."""
    waveform, rate = read(song)
    with AudioWriter(path, rate, waveform.shape[0], subtype="int16") as writer:
        writer.write(looped(waveform, round(seconds * rate)))
    return path


def machine(device: str) -> Machine:
    """Describe this machine."""
    threads = int(os.environ.get("SEPGAN_NUM_THREADS") or torch.get_num_threads())
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        device = f"{device} ({torch.cuda.get_device_name(device)})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=cpu_name(),
        cores=cores,
        threads=threads,
        device=device,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name the processor, from Linux's list where there is one."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _demo_song() -> Path:
    songs = sorted(EXAMPLES.glob("*.flac"))
    if not songs:
        sys.exit(f"no demo song in {EXAMPLES}; give a song")
    return songs[0]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure `sepgan separate`: real-time factor and peak memory.")
    parser.add_argument("song", nargs="?", help="default: the demo song, looped")
    parser.add_argument("--minutes", type=float, help=f"loop or cut the song to this, at most {MAX_MINUTES:g}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", help="name or file; default: the bundled one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.minutes is not None and not 0 < options.minutes <= MAX_MINUTES:
        parser.error(f"--minutes must lie above 0 and be at most {MAX_MINUTES:g}")
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
