"""Whether memory grows with the length of a song: `sepgan separate` on songs of several lengths, made on the fly.

    python -m benchmarks.memory --minutes 10 120 --runs 3

Each run is a whole process that writes float stems (a song of two hours takes 12 GB of disk for the time of its run).
Peaks of one length differ from run to run with the turns that threads take; the table says by how much, and each
length is held against the first one's mean.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.separate import demo_song, machine, measure, write_looped


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code of the first run that fails."""
    options = _parse(arguments)
    song = Path(options.song) if options.song else demo_song()
    peaks: dict[float, list[float]] = {minutes: [] for minutes in options.minutes}
    for minutes in options.minutes:
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
                made = write_looped(song, Path(folder) / "song.flac", 60 * minutes)
                measurement, code = measure(_command(made, Path(folder) / "stems", options.model))
            if code:
                print(f"{minutes:g} minutes ended with code {code}", file=sys.stderr)
                return code
            peaks[minutes].append(measurement.peak_mb)
    found = machine("cpu")
    print(f"{found.cpu}, {found.cores} cores, {found.threads} threads, torch {found.torch}")
    print(table(peaks))
    return 0


def table(peaks: Mapping[float, Sequence[float]]) -> str:
    """Lay out peaks in MB (10^6 bytes) by length in minutes.

    >>> print(table({10: [1300, 1310], 120: [1344]}))
    | minutes | runs | peak MB, mean | lowest | highest | of the first |
    | ---: | ---: | ---: | ---: | ---: | ---: |
    | 10 | 2 | 1305 | 1300 | 1310 | 1.000 |
    | 120 | 1 | 1344 | 1344 | 1344 | 1.030 |
    """
    first = statistics.fmean(next(iter(peaks.values())))
    lines = ["| minutes | runs | peak MB, mean | lowest | highest | of the first |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for minutes, runs in peaks.items():
        mean = statistics.fmean(runs)
        lines.append(
            f"| {minutes:g} | {len(runs)} | {mean:.0f} | {min(runs):.0f} | {max(runs):.0f} | {mean / first:.3f} |"
        )
    return "\n".join(lines)


def _command(song: Path, out: Path, model: str | None) -> list[str]:
    command = [sys.executable, "-m", "sepgan", "separate", str(song), "--out", str(out), "--float32"]
    command += ["--progress", "none", "--device", "cpu"]
    return [*command, "--model", model] if model else command


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", nargs="?", help="default: the demo song; repeated or cut to each length")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 120.0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--model", help="name or file; default: the bundled one")
    parser.add_argument("--scratch", type=Path, help="folder for songs and stems; default: the system's")
    options = parser.parse_args(arguments)
    if min(options.minutes) <= 0 or options.runs < 1:
        parser.error("--minutes must lie above 0, --runs be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
