"""How fast BSSEval v4 is here and in museval, and how much memory it takes: same signals, one run, side by side.

    python -m benchmarks.evaluate --minutes 3
    python -m benchmarks.evaluate --minutes 1 --device cuda --json

Four stereo stems at 44.1 kHz, windows and hops of 1 s. Times are of the computation alone, without start-up; memory is
the largest resident set of the whole process, each in its own. museval is skipped with --skip-museval.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.separate import MAX_MINUTES, machine, measure
from sepgan.evaluation.bss_eval import BssEval
from sepgan.evaluation.metrics import framewise_sdr

SAMPLE_RATE = 44100
RATIOS = ("sdr", "isr", "sir", "sar")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code of the first process that fails."""
    options = _parse(arguments)
    if options.worker:
        work(options.worker, options.minutes, options.device, Path(options.result))
        return 0
    systems = ["bss_v4", "csdr"] if options.skip_museval else ["museval", "bss_v4", "csdr"]
    # As the command line does, and for all systems: threads that wait by spinning spoil every number on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            best: dict[str, float] = {}
            for _ in range(1 if system == "museval" else options.runs):
                result = Path(folder) / system
                command = [sys.executable, "-m", "benchmarks.evaluate", "--worker", system, "--result", str(result)]
                command += ["--minutes", str(options.minutes)]
                command += ["--device", "cpu" if system == "museval" else options.device]
                measurement, code = measure(command)
                if code:
                    return code
                seconds = torch.load(result, weights_only=True)["seconds"]
                if not best or seconds < best["seconds"]:
                    best = {"seconds": seconds, "peak_mb": measurement.peak_mb}
            rows[system] = best
        scores = {system: torch.load(Path(folder) / system, weights_only=True)["scores"] for system in systems}
    if "museval" in rows:
        for system in systems[1:]:
            rows[system]["times_as_fast"] = rows["museval"]["seconds"] / rows[system]["seconds"]
            rows[system]["largest_difference_db"] = largest_difference(scores["museval"], scores[system])
    found = machine(options.device)
    if options.json:
        print(json.dumps({"minutes": options.minutes, "systems": rows, "machine": asdict(found)}, indent=2))
        return 0
    print(f"{found.cpu}, {found.cores} cores, {found.threads} threads, device {found.device}, torch {found.torch}")
    print(f"4 stereo stems of {options.minutes:g} min")
    for system, row in rows.items():
        line = f"  {system:8} {row['seconds']:8.2f} s  {row['peak_mb']:7.0f} MB"
        if "times_as_fast" in row:
            line += f"  {row['times_as_fast']:6.1f}x museval, within {row['largest_difference_db']:.1e} dB of it"
        print(line)
    return 0


def work(system: str, minutes: float, device: str, result: Path) -> None:
    """Score once and save the time and the scores; what `main` runs in a process of its own.

    Args:
        system: Key of `SYSTEMS`.
        minutes: Length of the track.
        device: To compute on.
        result: File to write.
    """
    references, estimates = (signal.to(device) for signal in signals(minutes))
    if device != "cpu":  # the first kernels of a process are compiled or loaded
        SYSTEMS[system](references[..., : 2 * SAMPLE_RATE], estimates[..., : 2 * SAMPLE_RATE])
        torch.cuda.synchronize()
    began = time.perf_counter()
    scores = {name: values.cpu() for name, values in SYSTEMS[system](references, estimates).items()}
    seconds = time.perf_counter() - began
    torch.save({"seconds": seconds, "scores": scores}, result)


def signals(minutes: float) -> tuple[Tensor, Tensor]:
    """Seeded references and estimates [4, 2, T] with errors of every kind."""
    generator = torch.Generator().manual_seed(0)
    samples = round(60 * minutes * SAMPLE_RATE)
    references = 0.1 * torch.randn(4, 2, samples, generator=generator)
    references *= torch.tensor([1.0, 0.5, 2.0, 1.0])[:, None, None]
    estimates = 0.9 * references + 0.1 * references.roll(7, -1)
    estimates += 0.05 * references.sum(0) + 0.01 * torch.randn(4, 2, samples, generator=generator)
    return references, estimates


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The largest difference of the ratios that both have, in dB.

    >>> largest_difference({"sdr": torch.tensor([1.0]), "sir": torch.tensor([9.0])}, {"sdr": torch.tensor([1.5])})
    0.5
    """
    return max(float((first[name] - second[name]).abs().max()) for name in first if name in second)


def _museval(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    from museval.metrics import bss_eval

    arrays = [signal.double().transpose(1, 2).numpy() for signal in (references, estimates)]
    scores = bss_eval(*arrays, window=SAMPLE_RATE, hop=SAMPLE_RATE)
    return {name: torch.from_numpy(values) for name, values in zip(RATIOS, scores, strict=False)}


def _bss_v4(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    scores = BssEval(references, SAMPLE_RATE).score(estimates)
    return {name: getattr(scores, name) for name in RATIOS}


def _csdr(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    return {"sdr": framewise_sdr(references, estimates, SAMPLE_RATE)}


SYSTEMS: dict[str, Callable[[Tensor, Tensor], dict[str, Tensor]]] = {
    "museval": _museval,
    "bss_v4": _bss_v4,
    "csdr": _csdr,
}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure BSSEval v4 and framewise SDR against museval.")
    parser.add_argument("--minutes", type=float, default=3.0, help=f"length of the track, at most {MAX_MINUTES:g}")
    parser.add_argument("--runs", type=int, default=3, help="of ours, the fastest counts; museval runs once")
    parser.add_argument("--device", default="cpu", help="of ours; museval has only the CPU")
    parser.add_argument("--skip-museval", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= MAX_MINUTES:
        parser.error(f"--minutes must lie above 0 and be at most {MAX_MINUTES:g}")
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
