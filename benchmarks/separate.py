"""How fast separators are and how much memory they take, as a user sees it: a fresh process, from start to stems.

    python -m benchmarks.separate --minutes 3 --runs 3
    python -m benchmarks.separate song.flac --systems sepgan,spleeter,openunmix,demucs --json

All systems run in one go, on the same song and threads, in turns, each as a whole process with start-up, decoding and
writing. The real-time factor is wall time over the length of the song: 0.1 is ten times as fast as playing. Processor
time is what to trust on a machine that others use too. The peak of memory is the largest resident set of a process.
Peers have random weights: see `benchmarks.peers`. `--arithmetic` adds how fast the network computes, beside plain
convolutions.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.arithmetic import of_model
from sepgan.audio import probe, read
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
OURS = "sepgan"
SYSTEMS = (OURS, f"{OURS}-bf16", f"{OURS}-fp16", *peers.SYSTEMS)


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
        song = Path(options.song) if options.song else demo_song()
        if options.minutes or not options.song:
            song = write_looped(song, Path(folder) / "song.flac", 60 * (options.minutes or 3.0))
        info = probe(song)
        seconds = info.frames / info.sample_rate if info.frames else read(song)[0].shape[1] / info.sample_rate
        runs: dict[str, list[Measurement]] = {system: [] for system in options.systems}
        for _ in range(options.runs):
            for system in options.systems:  # in turns, so that a busy minute of the machine hits all of them
                measurement, code = measure(_command(system, song, Path(folder) / system, options))
                if code:
                    print(f"{system} ended with code {code}", file=sys.stderr)
                    return code
                runs[system].append(measurement)
    reports = {system: summarise(found, seconds) for system, found in runs.items()}
    arithmetic = of_model(options.model or "default") if options.arithmetic else None
    found = machine(options.device)
    if options.json:
        plain: dict[str, object] = {"machine": asdict(found), "systems": reports}
        plain["runs"] = {system: [asdict(run) for run in each] for system, each in runs.items()}
        plain["arithmetic"] = arithmetic and {**asdict(arithmetic), "share": arithmetic.share}
        print(json.dumps(plain, indent=2))
        return 0
    print(f"{found.cpu}, {found.cores} cores, {found.threads} threads, device {found.device}")
    print(f"{found.system}, Python {found.python}, torch {found.torch}")
    print(f"{seconds:.0f} s of audio, median of {options.runs} whole processes:")
    print(table(reports))
    if arithmetic is not None:
        print(
            f"network: {arithmetic.gflop_per_s:.2f} GFLOP for a second of audio, at {arithmetic.reached:.0f} GFLOP/s: "
            f"{arithmetic.share:.0%} of the {arithmetic.ceiling:.0f} GFLOP/s of 3 x 3 convolutions "
            f"(threads: {arithmetic.threads}, as for one segment)"
        )
    return 0


def table(reports: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out what was measured; the last columns say how many times as much as the first system a peer takes."""
    first = next(iter(reports.values()))
    lines = ["| system | real-time factor | CPU s | peak MB | wall, of the first | CPU, of the first |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for system, report in reports.items():
        wall, cpu = report["wall_s"] / first["wall_s"], report["cpu_s"] / first["cpu_s"]
        lines.append(
            f"| {system} | {report['real_time_factor']:.4f} | {report['cpu_s']:.1f} | {report['peak_mb']:.0f} "
            f"| {wall:.2f} | {cpu:.2f} |"
        )
    return "\n".join(lines)


def _command(system: str, song: Path, out: Path, options: argparse.Namespace) -> list[str]:
    if system in peers.SYSTEMS:
        return [sys.executable, "-m", "benchmarks.peers", system, str(song), str(out)]
    command = [sys.executable, "-m", "sepgan", "separate", str(song), "--out", str(out), "--overwrite"]
    command += ["--progress", "none", "--device", options.device]
    if options.model:
        command += ["--model", options.model]
    if system != OURS:
        command += ["--precision", system.removeprefix(f"{OURS}-")]
    return command


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


def write_looped(song: Path, path: Path, seconds: float) -> Path:
    """Write a song as 16-bit FLAC, repeated or cut to a length in seconds."""
    waveform, rate = read(song)
    left = round(seconds * rate)
    with AudioWriter(path, rate, waveform.shape[0], subtype="int16") as writer:
        while left > 0:
            writer.write(waveform[:, :left])
            left -= waveform.shape[1]
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


def demo_song() -> Path:
    """Find the song that examples/ brings."""
    songs = sorted(EXAMPLES.glob("*.flac"))
    if not songs:
        sys.exit(f"no demo song in {EXAMPLES}; give a song")
    return songs[0]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure separators: real-time factor and peak memory.")
    parser.add_argument("song", nargs="?", help="default: the demo song, looped")
    parser.add_argument("--minutes", type=float, help=f"loop or cut the song to this, at most {MAX_MINUTES:g}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", help="name or file; default: the bundled one")
    parser.add_argument("--device", default="cpu", help="of sepgan; peers run on the CPU")
    parser.add_argument("--systems", default=OURS, help=f"some of {','.join(SYSTEMS)}; the first is what others are of")
    parser.add_argument("--arithmetic", action="store_true", help="also how fast the network computes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.minutes is not None and not 0 < options.minutes <= MAX_MINUTES:
        parser.error(f"--minutes must lie above 0 and be at most {MAX_MINUTES:g}")
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    options.systems = list(dict.fromkeys(name.strip() for name in options.systems.split(",") if name.strip()))
    if not options.systems or (unknown := [name for name in options.systems if name not in SYSTEMS]):
        parser.error(f"--systems: {unknown[0] if options.systems else 'none'} must be some of {', '.join(SYSTEMS)}")
    for system in options.systems:
        if system in peers.SYSTEMS and (missing := peers.missing(system)):
            parser.error(f"--systems: {system} must have the package {missing[0]}: {peers.INSTALL}")
    return options


if __name__ == "__main__":
    sys.exit(main())
