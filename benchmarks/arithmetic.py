"""How much arithmetic a model's network does, how fast, and how fast convolutions can be on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sepgan.masking import Masking, Task
from sepgan.separation.cores import segment_pool, share
from sepgan.separation.freed_memory import keep_freed_memory
from sepgan.separator import Separator

# 3 x 3 convolutions that fill a CPU best: channels, height and width.
CEILING_SHAPES = ((64, 128, 128), (128, 64, 64), (256, 32, 32))


@dataclass(frozen=True)
class Arithmetic:
    """Of a network, on this machine, in this process.

    Attributes:
        gflop_per_s: billions of floating-point operations for a second of audio.
        reached: of them a second of computing, at best.
        ceiling: what the best 3 x 3 convolution reaches.
        threads: of both: as many as the network of a segment has.
    """

    gflop_per_s: float
    reached: float
    ceiling: float
    threads: int

    @property
    def share(self) -> float:
        """Of the ceiling that is reached."""
        return self.reached / self.ceiling


@torch.inference_mode()
def of_model(model: str, repeats: int = 5) -> Arithmetic:
    """Count and time the network of a model as `sepgan separate` runs it: one at a time, beside other work.

    Here nothing is beside it. Freed memory is kept, and the network has the threads of one segment.
    """
    keep_freed_memory()
    separator = Separator.load(model)
    seconds = separator.segment / separator.sample_rate
    mixture = torch.randn(1, separator.recipe.generator.channels, separator.segment)
    seen = separator.bands(separator.stft(mixture).abs()).contiguous()
    masking = Masking(separator, False, contextlib.nullcontext())
    task = Task([], [range(mixture.shape[1])], "fp32", [], None)

    def run(seen: Tensor = seen) -> None:
        masking.masks(seen, slice(0, seen.shape[-1]), task)

    # Counted the plain way, in which hardly anything is computed twice or with zeros.
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(seen.clone())
    gflop = counter.get_total_flops() / 1e9
    _, each = share(torch.get_num_threads(), separator.recipe.generator.channels)

    def timed() -> None:
        with torch.inference_mode():
            run()

    with segment_pool(1, each) as pool:
        best_s = pool.executor.submit(best_of, timed, repeats).result()
        highest = pool.executor.submit(ceiling, repeats).result()
    return Arithmetic(gflop / seconds, gflop / best_s, highest, each)


@torch.inference_mode()
def ceiling(repeats: int = 5) -> float:
    """Best GFLOP/s of plain 3 x 3 convolutions in float32, channels first or last."""
    best = 0.0
    for channels, height, width in CEILING_SHAPES:
        for order in (torch.contiguous_format, torch.channels_last):
            network = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=order)  # type: ignore[call-overload]
            image = torch.randn(4, channels, height, width).to(memory_format=order)
            gflop = 2 * 9 * channels**2 * image.shape[0] * height * width / 1e9
            best = max(best, gflop / best_of(lambda run=network, seen=image: run(seen), repeats))  # type: ignore[misc]
    return best


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Shortest time of several calls in seconds: what others do on the machine only ever adds."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)
