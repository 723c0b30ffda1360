"""A separator made ready to run: what precision, how many segments at once, and what refines the stems.

The separator defines the result; the engine reaches the same numbers, up to rounding, with less work. Masks are spread,
applied and inverted some frames at a time, so that no spectrum of a stem is ever held, and only what is asked for is
inverted. All that is computed lives for one call, so threads may share an engine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import OutOfMemoryError, UsageError
from sepgan.frontend import FRAMES_AT_ONCE, OverlapAdd
from sepgan.models.graph import Graph
from sepgan.repetition import Grid, average_repetitions
from sepgan.separator import Separator
from sepgan.streaming import NO_CONTEXT, Context, Segmenting
from sepgan.wiener import wiener

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
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
        repetition: passes that average all stems but vocals over similar moments of a segment, and divide it anew.
        seed: of the shifts.

    Raises:
        UsageError: a value is out of range.
    """

    precision: str = "fp32"
    batch: int | None = None
    shifts: int = 0
    wiener: int = 0
    repetition: int = 0
    seed: int = 0

    def __post_init__(self) -> None:  # noqa: D105
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision '{self.precision}' is unknown: choose one of {', '.join(PRECISIONS)}")
        for name, least in (("batch", 1), ("shifts", 0), ("wiener", 0), ("repetition", 0)):
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
        precision_error_db: With less than float32, the energy of the error against float32 relative to the stems,
            measured on the first seconds; None before, and with float32.

    Raises:
        UsageError: The model was exported, and less precision is asked for.
    """

    def __init__(self, separator: Separator, options: EngineOptions = DEFAULTS) -> None:
        if options.precision != "fp32" and isinstance(separator.generator, Graph):
            raise UsageError(f"an exported model keeps its own precision: leave out {options.precision}")
        self.options = options
        self.separator = separator
        self.stems = separator.stems
        self.sample_rate = separator.sample_rate
        self.residual_stem = separator.residual_stem
        self.precision_error_db: float | None = None
        self.device = separator.stft.window.device
        self._repeating = [number for number, stem in enumerate(self.stems) if stem != "vocals"]  # these have new words
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

    @torch.inference_mode()
    def separate(self, mixture: Tensor, groups: Groups | None = None, layout: Layout | None = None) -> Tensor:
        """Separate a mixture into sums of stems.

        Args:
            mixture: `[B, C, T]`, anywhere.
            groups: The stems that each output is the sum of; None for every stem alone.
            layout: Which channels the network sees together; None for the pair of a stereo mixture and a stereo
                network, else each channel alone. The Wiener filter sees all channels, and so do repetitions.

        Returns:
            `[B, len(groups), C, T]`, float32, in the memory of the CPU.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        wanted = [[self.stems.index(stem) for stem in group] for group in groups or [(stem,) for stem in self.stems]]
        pairs = self._layout(mixture.shape[1], layout)
        if self.options.precision != "fp32" and self.precision_error_db is None:
            self._compare(mixture[:1, :, : self.excerpt_samples(COMPARED_S)], wanted, pairs)
        outputs = torch.empty(mixture.shape[0], len(wanted), *mixture.shape[1:], pin_memory=self.device.type == "cuda")
        done, most = 0, self._most or mixture.shape[0]
        while done < mixture.shape[0]:
            part = mixture[done : done + most]
            try:
                found = self._shifted(part, wanted, pairs, self.options.precision)
                if len(part) == mixture.shape[0] and found.device.type == "cpu":
                    return found  # a copy of it would cost memory
                outputs[done : done + most] = found
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
        return outputs

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

    def _compare(self, mixture: Tensor, wanted: list[list[int]], layout: list[list[int]]) -> None:
        exact = self._run(mixture, wanted, layout, "fp32")
        error = self._run(mixture, wanted, layout, self.options.precision) - exact
        energy = exact.square().sum()
        if float(energy) > 0:  # silence tells nothing: the next segment may
            ratio = (error.square().sum() / energy).clamp_min(1e-20)
            self.precision_error_db = float(10 * torch.log10(ratio))
            _log.info("%s costs an error of %.1f dB", self.options.precision, self.precision_error_db)

    def _shifted(self, mixture: Tensor, wanted: list[list[int]], layout: list[list[int]], precision: str) -> Tensor:
        """Separate copies that begin later by the drawn shifts, and average them where they belong."""
        if not self._shifts:
            return self._run(mixture, wanted, layout, precision)
        length = mixture.shape[-1]
        total: Tensor | None = None
        for shift in self._shifts:
            moved = torch.nn.functional.pad(mixture, (shift, self._longest_shift - shift))
            stems = self._run(moved, wanted, layout, precision)[..., shift : shift + length]
            total = stems if total is None else total + stems
        assert total is not None
        return total / len(self._shifts)

    def _run(self, mixture: Tensor, wanted: list[list[int]], layout: list[list[int]], precision: str) -> Tensor:
        """Separate `[B, C, T]` once."""
        if self.device.type == "cuda" and mixture.device.type == "cpu":
            mixture = mixture.pin_memory()
        channels = mixture.shape[1]
        outputs: Tensor | None = None
        for groups in self._at_once(layout):
            places = [place for group in groups for place in group]
            if sorted(places) == list(range(channels)):
                return self._separate_together(mixture, wanted, layout, precision)
            inside = {place: number for number, place in enumerate(places)}
            renumbered = [[inside[place] for place in group] for group in groups]
            found = self._separate_together(mixture[:, places], wanted, renumbered, precision)
            if outputs is None:
                outputs = found.new_empty(mixture.shape[0], len(wanted), *mixture.shape[1:])
            outputs[:, :, places] = found
            del found  # before the next group of channels needs room
        assert outputs is not None
        return outputs

    def _at_once(self, layout: list[list[int]]) -> list[list[list[int]]]:
        """Sort groups of channels into those that are separated at once: one on a CPU, to save memory."""
        if self.options.wiener or self.options.repetition or self.device.type != "cpu":
            return [layout]
        return [[group] for group in layout]

    def _separate_together(
        self, mixture: Tensor, wanted: list[list[int]], layout: list[list[int]], precision: str
    ) -> Tensor:
        stft = self.separator.stft
        spectrum = stft.frames(mixture.to(self.device, non_blocking=True))  # [B, C, N, F]
        seen = self.separator.seen(spectrum.mT)  # [B, C, bands, N]
        masks = self._masks(seen, layout, precision)
        if self.options.repetition:
            average_repetitions(masks, seen, self._repeating, self.options.repetition, self._grid())
        del seen
        batch, channels, frames = spectrum.shape[:3]
        canvas = OverlapAdd(stft, (batch, len(wanted), channels), frames)
        if self.options.wiener:
            self._refine(spectrum, masks, wanted, canvas)
            return canvas.waveform(mixture.shape[-1])
        for first in range(0, frames, FRAMES_AT_ONCE):
            part = slice(first, first + FRAMES_AT_ONCE)
            for output, stems in enumerate(wanted):
                seen = masks[:, stems[0], ..., part] if len(stems) == 1 else masks[:, stems][..., part].sum(1)
                masked = spectrum[..., part, :] * self.separator.bands.to_frames(seen)
                canvas.add(masked, first, (slice(None), output))
        return canvas.waveform(mixture.shape[-1])

    def _refine(self, spectrum: Tensor, masks: Tensor, wanted: list[list[int]], canvas: OverlapAdd) -> None:
        """Filter the stems, and give what the filter leaves over to the residual stem, so that they still sum."""
        masks = torch.stack([self.separator.bands.to_frames(masks[:, stem]) for stem in range(len(self.stems))], dim=1)
        stems = wiener((masks * spectrum.unsqueeze(1)).mT, spectrum.mT, self.options.wiener).mT  # [B, S, C, N, F]
        stems[:, self.stems.index(self.residual_stem)] += spectrum - stems.sum(1)
        for output, group in enumerate(wanted):
            canvas.add(stems[:, group].sum(1), 0, (slice(None), output))

    def _grid(self) -> Grid:
        bands = self.separator.bands.centres_hz(self.sample_rate)
        return Grid(bands, self.sample_rate / self.separator.stft.hop_length)

    def _masks(self, seen: Tensor, layout: list[list[int]], precision: str) -> Tensor:
        """Return masks `[B, S, C, bands, N]` for `[B, C, bands, N]`, each group of channels seen by itself."""
        width = self.separator.recipe.generator.channels
        if layout == [list(range(width))]:
            return self._network(seen, precision)
        batch, channels = seen.shape[:2]
        masks: Tensor = seen.new_empty(batch, len(self.stems), channels, *seen.shape[2:])
        for size in sorted({len(group) for group in layout}):
            groups = [group for group in layout if len(group) == size]
            if size == width:
                items = torch.stack([seen[:, group] for group in groups], dim=1)
            else:  # one by one, each repeated to the width of the network
                groups = [[channel] for group in groups for channel in group]
                items = torch.stack([seen[:, group].expand(-1, width, -1, -1) for group in groups], dim=1)
            found = self._network(items.flatten(0, 1), precision)
            found = found.reshape(batch, len(groups), *found.shape[1:])
            for number, group in enumerate(groups):
                masks[:, :, group] = found[:, number] if size == width else found[:, number].mean(2, keepdim=True)
        return masks

    def _network(self, seen: Tensor, precision: str) -> Tensor:
        if precision == "fp32":
            masks: Tensor = self.separator.generator(seen)
            return masks
        with torch.autocast(self.device.type, PRECISIONS[precision]):
            rough: Tensor = self.separator.generator(seen)
        return rough if rough.is_complex() else rough.float()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a CPU, torch raises a plain RuntimeError that tells only in its text."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
