"""A separator made ready to run: what precision, how many segments at once, and what refines the stems.

The separator defines the result; the engine reaches the same numbers, up to rounding, with less work. All that is
computed lives for one call, so threads may share an engine.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import OutOfMemoryError, UsageError
from sepgan.inference import Pass
from sepgan.masking import PRECISIONS, Masking, Task
from sepgan.models.graph import Graph
from sepgan.separator import Separator
from sepgan.streaming import NO_CONTEXT, Context, Cut, Segmenting, span

MAX_SHIFT_S = 0.5
COMPARED_S = 10.0  # of the first segment, with float32 and with less

Groups = Sequence[Sequence[str]]
"""Outputs as sums of stems, by name."""
Layout = Sequence[Sequence[int]]
"""Channels that a network sees together; each channel is in one group."""

_log = logging.getLogger(__name__)
_MEMORY_SHARE = 0.7  # of a GPU's free memory that a batch may take
_MAX_BATCH = 32


@dataclass(frozen=True)
class EngineOptions:
    """How a separator is run.

    Attributes:
        precision: of the network: "fp32", "bf16" or "fp16"; transforms and masks stay in float32.
        batch: segments at once; None for one on a CPU, and what fits the memory of a GPU (not measured on a GPU yet).
        shifts: how many randomly shifted copies of the mixture are separated and averaged; 0 for the mixture as it is.
        wiener: iterations of the multichannel Wiener filter.
        repetition: passes that average all stems but vocals over similar moments of a segment, and divide it anew; with
            any, patterns that the stems are sums of do so once more, and without the filter strokes of drums and notes
            of a bass are averaged wave by wave. None for what the model's recipe says.
        networks: that threads which share the engine run at once, for these take most memory; None for any number.
        seed: of the shifts.

    Raises:
        UsageError: a value is out of range.
    """

    precision: str = "fp32"
    batch: int | None = None
    shifts: int = 0
    wiener: int = 0
    repetition: int | None = None
    networks: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:  # noqa: D105
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision '{self.precision}' is unknown: choose one of {', '.join(PRECISIONS)}")
        for name, least in (("batch", 1), ("networks", 1), ("shifts", 0), ("wiener", 0), ("repetition", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}")

    def changed(self) -> dict[str, str | int | None]:
        """What is not as it is by default, by name."""
        return {name: value for name, value in vars(self).items() if value != getattr(EngineOptions, name)}


DEFAULTS = EngineOptions()


class Engine:
    """Runs a separator.

    Args:
        separator: In evaluation mode, on the device that is to be used; left as it is.
        options: How.

    Attributes:
        repetition: Passes over similar moments, as asked for or as the model says.
        precision_error_db: With less than float32, the energy of the error against float32 relative to the stems,
            measured on the first seconds; None before, and with float32.

    Raises:
        UsageError: The model was exported, and less precision is asked for.
    """

    def __init__(self, separator: Separator, options: EngineOptions = DEFAULTS) -> None:
        if options.precision != "fp32" and isinstance(separator.generator, Graph):
            raise UsageError(f"an exported model keeps its own precision: leave out {options.precision}")
        self.options = options
        own = separator.recipe.separation.repetition
        self.repetition = own if options.repetition is None else options.repetition
        self.separator = separator
        self.stems = separator.stems
        self.sample_rate = separator.sample_rate
        self.residual_stem = separator.residual_stem
        self.precision_error_db: float | None = None
        self._comparing = threading.Lock()
        self.device = separator.stft.window.device
        turns = contextlib.nullcontext() if options.networks is None else threading.Semaphore(options.networks)
        self._pass = Pass(separator, options.wiener, self.repetition, Masking(separator, bool(self.repetition), turns))
        self._most: int | None = None  # items at once, once memory has run out
        draws = torch.Generator().manual_seed(options.seed)
        self._longest_shift = round(MAX_SHIFT_S * self.sample_rate)
        self._shifts = torch.randint(self._longest_shift + 1, (options.shifts,), generator=draws).tolist()
        self.segmenting = self._segmenting()

    @property
    def header(self) -> CheckpointHeader | None:
        """What the model's file says of it."""
        return self.separator.header

    @property
    def headers(self) -> tuple[CheckpointHeader, ...]:
        """The header, where there is one."""
        return () if self.header is None else (self.header,)

    @property
    def segment(self) -> int:
        """Samples separated at once by default."""
        return self.segmenting.segment

    @property
    def context(self) -> Context:
        """Samples at the ends of a segment that are not those of the whole song; none where all of them are not.

        With repetitions this is of what the network gives: what is alike is found in a segment.
        """
        return self.segmenting.context or NO_CONTEXT

    def excerpt_samples(self, seconds: float) -> int:
        """Return a length near `seconds` whose frames fill the network's grid exactly."""
        return self.segmenting.excerpt_samples(seconds)

    def overlap_for(self, segment: int, wanted: int | None = None) -> int:
        """Return how many samples neighbouring segments should share; see `Segmenting.overlap_for`."""
        return self.segmenting.overlap_for(segment, wanted)

    def batch_for(self, segment: int, channels: int) -> int:
        """Return how many segments to separate at once: what was asked for, or what the memory of a GPU holds.

        Args:
            segment: Samples of one.
            channels: Of the mixture.
        """
        if self.options.batch is not None:
            return self.options.batch
        if self.device.type != "cuda":
            return 1  # more do not make a CPU faster
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self.separate(torch.zeros(1, channels, segment))
        one = max(1, torch.cuda.max_memory_allocated(self.device) - before)
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(min(_MAX_BATCH, max(1, _MEMORY_SHARE * free // one)))

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """Separate `[B, C, T]` into all stems `[B, S, C, T]`."""
        return self.separate(mixture)

    def cut_for(self, channels: int) -> Cut:
        """What is best given to the network at once of a song of so many channels."""
        return self.segmenting.cut_for(channels)

    def window(self, cut: Cut, channels: int) -> Cut:
        """How a stream is cut whose network is fed as `cut` says.

        Where repetitions are averaged it is always cut alike, so that what is alike is looked for among the same frames
        however the network is fed; else the network has what the stream has.

        Args:
            cut: What the network is given at once.
            channels: Of the mixture.
        """
        if not self.repetition or self.segmenting.context is None:
            return cut
        return self.segmenting.cut_for(channels)

    @torch.inference_mode()
    def separate(
        self,
        mixture: Tensor,
        groups: Groups | None = None,
        layout: Layout | None = None,
        *,
        kept: Sequence[slice] | None = None,
        cut: Cut | None = None,
    ) -> Tensor:
        """Separate a mixture into sums of stems.

        Args:
            mixture: `[B, C, T]`, anywhere.
            groups: The stems that each output is the sum of; None for every stem alone.
            layout: Which channels the network sees together; None for the pair of a stereo mixture and a stereo
                network, else each channel alone. The Wiener filter sees all channels, and so do repetitions.
            kept: Samples of each item whose stems are wanted, among which repetitions are found; None for all.
            cut: What the network is given at once; None for all.

        Returns:
            `[B, len(groups), C, n]`, float32, in the memory of the CPU; n samples from where the first that is kept
            begins to where the last ends.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        outputs = [[self.stems.index(stem) for stem in group] for group in groups or [(stem,) for stem in self.stems]]
        kept = [slice(0, mixture.shape[-1])] * len(mixture) if kept is None else kept
        if cut is not None and cut.segment >= mixture.shape[-1]:
            cut = None  # shifted copies are longer, and heard as they are
        task = Task(outputs, self._layout(mixture.shape[1], layout), self.options.precision, kept, cut)
        if self.options.precision != "fp32":
            with self._comparing:  # one segment is enough
                if self.precision_error_db is None:
                    self._compare(mixture[:1, :, : self.excerpt_samples(COMPARED_S)], task)
        whole = span(kept)
        shape = (len(mixture), len(outputs), mixture.shape[1], whole.stop - whole.start)
        stems = torch.empty(shape, pin_memory=self.device.type == "cuda")
        done, most = 0, self._most or len(mixture)
        while done < len(mixture):
            some = slice(done, done + most)
            part = mixture[some]
            here = span(kept[some])
            try:
                found = self._shifted(part, replace(task, kept=kept[some]))
                if len(part) == len(mixture) and found.device.type == "cpu":
                    return found  # a copy of it would cost memory
                stems[some, ..., here.start - whole.start : here.stop - whole.start] = found
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise OutOfMemoryError(
                        f"out of memory with a segment of {mixture.shape[-1]} samples: use a shorter --segment"
                    ) from error
                most = self._most = len(part) // 2
                _log.warning("out of memory with %d segments at once: going on with %d", len(part), most)
            else:
                done += len(part)
        return stems

    def _segmenting(self) -> Segmenting:
        if self.options.wiener:  # its covariances are of the segment, so no two segments agree
            return replace(self.separator.segmenting, context=None)
        if self.options.shifts:
            return self.separator.segmenting_after(self._longest_shift)
        return self.separator.segmenting

    def _layout(self, channels: int, layout: Layout | None) -> list[list[int]]:
        if layout is not None:
            return [list(group) for group in layout]
        if channels == self.separator.recipe.generator.channels:
            return [list(range(channels))]
        return [[channel] for channel in range(channels)]

    def _compare(self, mixture: Tensor, task: Task) -> None:
        task = replace(task, kept=[slice(0, mixture.shape[-1])])
        exact = self._pass.run(mixture, replace(task, precision="fp32"))
        error = self._pass.run(mixture, task) - exact
        energy = exact.square().sum()
        if float(energy) > 0:  # silence tells nothing: the next segment may
            ratio = (error.square().sum() / energy).clamp_min(1e-20)
            self.precision_error_db = float(10 * torch.log10(ratio))
            _log.info("%s costs an error of %.1f dB", self.options.precision, self.precision_error_db)

    def _shifted(self, mixture: Tensor, task: Task) -> Tensor:
        """Separate copies that begin later by the drawn shifts, and average them where they belong."""
        if not self._shifts:
            return self._pass.run(mixture, task)
        total: Tensor | None = None
        for shift in self._shifts:
            moved = torch.nn.functional.pad(mixture, (shift, self._longest_shift - shift))
            stems = self._pass.run(moved, task.later(shift))
            total = stems if total is None else total + stems
        assert total is not None
        return total / len(self._shifts)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a CPU, torch raises a plain RuntimeError that tells only in its text."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
