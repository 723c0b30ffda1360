"""How near BSSEval v4 here is to museval, frame by frame, and how near museval is to itself.

    python -m benchmarks.accuracy STEMS              # folders of stems, <track>/<stem>.<ext>
    python -m benchmarks.accuracy --noise            # seeded signals with energy in the whole band

For every track one estimate of each stem is made from the true stems: 0.8 of the stem, 0.1 of the mixture and noise
30 dB below the mixture. All frames (1 s) count where museval defines SDR, ISR, SIR and SAR below 100 dB. museval runs
again on the same signals times 0.7, and on references and estimates with noise added 120 dB below each reference (24
dB below a bit of 16): what that changes is not a property of the music, and no other program can be expected to agree
better. Differences are the largest of all frames, in dB; `beyond` counts frames that differ by more than 0.05 dB and by
more than museval itself moves there.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sepgan import audio
from sepgan.evaluation.bss_eval import BssEval

RATIOS = ("sdr", "isr", "sir", "sar")
RATE = 44100  # Hz, of noise
HIGHEST_DB = 100.0
REGULAR_DB, SINGULAR_DB = 1e-3, 0.05  # tolerances, where the equations are regular and where not
NOISE_DB = -120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; 1 where a frame differs by more than it may."""
    options = _parse(arguments)
    beyond = 0
    for name, references, rate in _tracks(options.stems, options.seconds):
        beyond += report(name, references, estimates_of(references), rate)
    return 1 if beyond else 0


def report(name: str, references: Tensor, estimates: Tensor, rate: int) -> int:
    """Print one track's lines and return how many frames lie beyond what is allowed.

    Args:
        name: Of the track.
        references: [S, C, T].
        estimates: The same.
        rate: In Hz; a frame is one second.
    """
    evaluator = BssEval(references, rate)
    scores = evaluator.score(estimates)
    ours = torch.stack([getattr(scores, ratio) for ratio in RATIOS])
    theirs = museval(references, estimates, rate)
    defined = theirs.isfinite() & (theirs < HIGHEST_DB)
    difference = (ours - theirs).abs().where(defined, 0)
    print(f"{name}: {int(defined.sum())} values, diagonal load {evaluator.load:.0e}")
    print(f"  ours less museval        {_largest(difference)}", flush=True)
    if difference.max() <= REGULAR_DB:
        return 0
    moved = torch.zeros_like(theirs)
    for what, signals in perturbed(references, estimates).items():
        again = museval(*signals, rate)
        moves = (again - theirs).abs().where(defined & again.isfinite(), 0)
        print(f"  museval moves, {what:9} {_largest(moves)}", flush=True)
        moved = torch.maximum(moved, moves)
    beyond = int((difference > moved.clamp(min=SINGULAR_DB)).sum())
    print(f"  beyond: {beyond}", flush=True)
    return beyond


def perturbed(references: Tensor, estimates: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The same signals changed in ways that no listener and no ratio should notice.

    Args:
        references: [S, C, T].
        estimates: The same.
    """
    noise = torch.randn(references.shape, generator=torch.Generator().manual_seed(1), dtype=references.dtype)
    level = references.square().mean((-2, -1), keepdim=True).sqrt() * 10 ** (NOISE_DB / 20)
    return {
        "times 0.7": (0.7 * references, 0.7 * estimates),
        "-120 dB": (references + level * noise, estimates + level * noise),
    }


def estimates_of(references: Tensor) -> Tensor:
    """Estimates with errors of every kind, [S, C, T], from references of that shape."""
    mixture = references.sum(0)
    noise = torch.randn(references.shape, generator=torch.Generator().manual_seed(0), dtype=references.dtype)
    return 0.8 * references + 0.1 * mixture + 10 ** (-30 / 20) * mixture.square().mean().sqrt() * noise


def museval(references: Tensor, estimates: Tensor, rate: int) -> Tensor:
    """Its ratios [4, S, K] for windows and hops of one second.

    Args:
        references: [S, C, T].
        estimates: The same.
        rate: In Hz.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies use what newer versions deprecate
        from museval.metrics import bss_eval

        arrays = [signal.double().transpose(1, 2).numpy() for signal in (references, estimates)]
        return torch.stack([torch.from_numpy(values) for values in bss_eval(*arrays, window=rate, hop=rate)[:4]])


def _tracks(stems: Path | None, seconds: float) -> Iterator[tuple[str, Tensor, int]]:
    if stems is None:
        generator = torch.Generator().manual_seed(2)  # not that of the noise in estimates
        signals = torch.randn(2, 2, 5 * RATE, generator=generator, dtype=torch.float64)
        yield "noise, 2 stereo stems of 5 s", signals, RATE
        return
    for folder in sorted(path for path in stems.iterdir() if path.is_dir()):
        waves, rates = zip(*(audio.read(path) for path in sorted(folder.iterdir())), strict=True)
        length = min(round(seconds * rates[0]), waves[0].shape[-1])
        # From the middle, where all stems are most likely to sound.
        first = (waves[0].shape[-1] - length) // 2
        yield (
            folder.name,
            torch.stack([torch.from_numpy(wave)[:, first : first + length].double() for wave in waves]),
            rates[0],
        )


def _largest(differences: Tensor) -> str:
    largest = differences.amax((1, 2)).tolist()
    return "  ".join(f"{ratio} {value:.1e}" for ratio, value in zip(RATIOS, largest, strict=True))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare BSSEval v4 with museval, frame by frame.")
    parser.add_argument("stems", type=Path, nargs="?", help="folders of stems, <track>/<stem>.<ext>")
    parser.add_argument("--noise", action="store_true", help="seeded noise in place of a folder")
    parser.add_argument("--seconds", type=float, default=1e6, help="of the middle of every track; all by default")
    options = parser.parse_args(arguments)
    if (options.stems is None) != options.noise:
        parser.error("give either a folder or --noise")
    return options


if __name__ == "__main__":
    sys.exit(main())
