"""What the front end needs of a model, and how its stems come back at the song's own rate and channels."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol, cast

import numpy as np
from torch import Tensor

from sepgan.audio import Resampler, Waveform
from sepgan.engine import Engine
from sepgan.separation.channels import Layout
from sepgan.separation.freed_memory import give_back_freed_memory
from sepgan.separation.stems import StemPlan
from sepgan.separator import Separator
from sepgan.streaming import Cut, Pool, separate_stream


class Model(Protocol):
    """A separator: the bundled kind, an adapter of a foreign one, or several together."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of what it gives, in its order."""

    @property
    def sample_rate(self) -> int:
        """The only rate it works at, in Hz."""

    @property
    def residual_stem(self) -> str:
        """The stem that takes what the model cannot see."""

    @property
    def segment(self) -> int:
        """Samples separated at once by default."""

    @property
    def context(self) -> tuple[int, int]:
        """Samples at the begin and end of a segment that are not those of the whole song; 0 where all are not."""

    @property
    def header(self) -> Any:
        """What its file says of it: `name`, `sha256`, `licence`; None where it does not come from a file."""

    def excerpt_samples(self, seconds: float) -> int:
        """A length near `seconds` that fills the network's grid."""

    def overlap_for(self, segment: int, wanted: int | None = None) -> int:
        """Samples that neighbouring segments should share: about `wanted`, or what is best."""

    def batch_for(self, segment: int, channels: int) -> int:
        """How many segments to separate at once."""

    def cut_for(self, channels: int) -> Cut:
        """What the network is best given at once of a song of so many channels."""

    def window(self, cut: Cut, channels: int) -> Cut:
        """How a stream of so many channels is cut whose network is fed as `cut` says."""

    def separate(
        self,
        mixture: Tensor,
        groups: Sequence[Sequence[str]] | None = None,
        layout: Layout | None = None,
        *,
        kept: Sequence[slice] | None = None,
        cut: Cut | None = None,
    ) -> Tensor:
        """Separate what is kept of `[B, C, T]` into sums of stems `[B, len(groups), C, n]`, in any thread."""


def ready(model: Model | Separator) -> Model:
    """Give a model as it is, and a bare separator an engine to run it."""
    if isinstance(model, Separator) and not hasattr(model, "separate"):
        return Engine(model)
    return cast(Model, model)


def engine_options(model: Model) -> dict[str, Any]:
    """How the model is run, as far as it decides what a stem holds, as plain JSON values."""
    options = getattr(model, "options", None)
    plain = {} if options is None else asdict(options)
    for of_the_machine in ("batch", "networks"):  # how much at once changes no more than rounding
        plain.pop(of_the_machine, None)
    plain = {name: value for name, value in plain.items() if value is not None}  # None is what the model's file says
    weights = getattr(model, "weights", None)
    return plain if weights is None else {**plain, "weights": list(weights)}


def separate_blocks(
    model: Model,
    blocks: Iterable[Waveform],
    sample_rate: int,
    channels: int,
    plan: StemPlan,
    *,
    cut: Cut,
    layout: Layout,
    watch: Callable[[Waveform], None] | None = None,
    pool: Pool | None = None,
) -> Generator[tuple[Waveform, Waveform], None, None]:
    """Separate a stream of any rate and channels and give it back in step with its stems.

    Args:
        model: gives the stems.
        blocks: the song, `[C, n]`.
        sample_rate: of the song, in Hz.
        channels: of the song.
        plan: which outputs the model has to give.
        cut: what the network is given at once, at the model's rate.
        layout: which channels the model sees together.
        watch: sees the outputs `[K, C, n]` at the model's rate.
        pool: threads that separate segments; None to do it in this one.

    Yields:
        The song `[C, n]` and the outputs `plan.others` as `[K, C, n]`; together they are as long as the blocks.
    """
    if not plan.others:  # a model of one stem
        yield from ((block, np.zeros((0, *block.shape), np.float32)) for block in blocks)
        return
    waiting = _Queue()
    count = len(plan.others)
    groups = [plan.parts[name] for name in plan.others]
    window = model.window(cut, channels)

    def separate(mixture: Tensor, kept: Sequence[slice]) -> Tensor:
        give_back_freed_memory()
        return model.separate(mixture, groups, layout, kept=kept, cut=cut)

    estimates = separate_stream(
        separate,
        _resampled(waiting.watch(blocks), sample_rate, model.sample_rate, channels),
        segment=window.segment,
        overlap=window.overlap,
        context=model.context,
        batch=model.batch_for(window.segment, channels),
        pool=pool,
    )

    def grouped() -> Iterator[Waveform]:
        for stems in estimates:  # [K, C, n]
            outputs = stems.numpy()
            if watch is not None:
                watch(outputs)
            yield outputs.reshape(count * channels, -1)

    for block in _resampled(grouped(), model.sample_rate, sample_rate, count * channels):
        # Rounded up twice, the stems may be a sample longer than the song.
        frames = min(block.shape[1], waiting.count)
        if frames:
            yield waiting.take(frames), block[:, :frames].reshape(count, channels, frames)


class _Queue:
    """Samples that have been read and wait for their stems."""

    def __init__(self) -> None:
        self.count = 0
        self._blocks: deque[Waveform] = deque()

    def watch(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """Pass blocks on and keep them."""
        for block in blocks:
            self._blocks.append(block)
            self.count += block.shape[1]
            yield block

    def take(self, frames: int) -> Waveform:
        """Give the next `frames` samples, as many as wait at most."""
        taken = []
        self.count -= frames
        while frames:
            block = self._blocks.popleft()
            taken.append(block[:, :frames])
            if block.shape[1] > frames:
                self._blocks.appendleft(block[:, frames:])
            frames -= taken[-1].shape[1]
        return np.concatenate(taken, axis=1)


def _resampled(blocks: Iterable[Waveform], from_hz: int, to_hz: int, channels: int) -> Iterator[Waveform]:
    """Resample a stream; blocks pass as they are where the rates are equal."""
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = Resampler(from_hz, to_hz, channels)
    for block in blocks:
        if (resampled := resampler.push(block)).shape[1]:
            yield resampled
    if (rest := resampler.flush()).shape[1]:
        yield rest
