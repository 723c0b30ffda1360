"""Several models as one: each stem is the weighted mean of the estimates of the models that have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sepgan.checkpoint import CheckpointHeader
from sepgan.engine import Engine, Groups, Layout
from sepgan.errors import UsageError
from sepgan.streaming import NO_CONTEXT, Context, Cut, Segmenting, span

LONGEST_STEP_S = 5.0  # from one place where segments can begin to the next; longer ones are not worth being exact


class Ensemble:
    """Several engines that are used like one.

    It has the stems of the first model. The residual stem is what the means of all others leave of the mixture, so the
    stems sum to it also where the models have different ones: an added model of vocals and accompaniment improves the
    vocals of four stems, and its accompaniment is not used.

    Args:
        engines: One or more, of one sample rate.
        weights: Of each engine; None for equal ones.

    Raises:
        UsageError: The sample rates differ, the weights do not fit, or a model has no stem of the first one's.
    """

    def __init__(self, engines: Sequence[Engine], weights: Sequence[float] | None = None) -> None:
        if not engines:
            raise UsageError("an ensemble needs at least one model")
        first = engines[0]
        self.weights = tuple(1.0 for _ in engines) if weights is None else tuple(weights)
        if len(self.weights) != len(engines):
            raise UsageError(f"{len(engines)} models need as many weights, got {len(self.weights)}")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise UsageError(f"weights of an ensemble must be above 0, got {', '.join(map(str, self.weights))}")
        for engine in engines[1:]:
            if engine.sample_rate != first.sample_rate:
                raise UsageError(
                    f"an ensemble needs models of one sample rate, got {first.sample_rate} and {engine.sample_rate} Hz"
                )
            if not set(engine.stems) & (set(first.stems) - {first.residual_stem}):
                raise UsageError(
                    f"a model with the stems {', '.join(engine.stems)} adds nothing to {', '.join(first.stems)}"
                )
        self.engines = tuple(engines)
        self.options = first.options
        self.stems = first.stems
        self.sample_rate = first.sample_rate
        self.residual_stem = first.residual_stem
        self.segmenting = _joined([engine.segmenting for engine in engines])

    @property
    def header(self) -> CheckpointHeader | None:
        """What the file of the first model says of it."""
        return self.engines[0].header

    @property
    def headers(self) -> tuple[CheckpointHeader, ...]:
        """What the files of all models say of them."""
        return tuple(header for engine in self.engines for header in engine.headers)

    @property
    def precision_error_db(self) -> float | None:
        """The worst of all engines, where it is known of any."""
        return max((e.precision_error_db for e in self.engines if e.precision_error_db is not None), default=None)

    @property
    def device(self) -> torch.device:
        """Where the first model is."""
        return self.engines[0].device

    @property
    def segment(self) -> int:
        """Samples separated at once by default."""
        return self.segmenting.segment

    @property
    def context(self) -> Context:
        """Samples at the ends of a segment that are not those of the whole song, with any of the models."""
        return self.segmenting.context or NO_CONTEXT

    def excerpt_samples(self, seconds: float) -> int:
        """Return a length near `seconds` that suits all models."""
        return self.segmenting.excerpt_samples(seconds)

    def overlap_for(self, segment: int, wanted: int | None = None) -> int:
        """Return how many samples neighbouring segments should share; see `Segmenting.overlap_for`."""
        return self.segmenting.overlap_for(segment, wanted)

    def batch_for(self, segment: int, channels: int) -> int:
        """Return how many segments all engines can separate at once."""
        return min(engine.batch_for(segment, channels) for engine in self.engines)

    def cut_for(self, channels: int) -> Cut:
        """What is best given to the network at once of a song of so many channels."""
        return self.segmenting.cut_for(channels)

    def window(self, cut: Cut, channels: int) -> Cut:
        """How a stream is cut whose networks are fed as `cut` says; see `Engine.window`."""
        if self.segmenting.context is None or not any(engine.repetition for engine in self.engines):
            return cut
        return self.segmenting.cut_for(channels)

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """Separate `[B, C, T]` into all stems `[B, S, C, T]`."""
        return self.separate(mixture)

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
        """Separate a mixture into sums of stems, as `Engine.separate` does."""
        groups = [(stem,) for stem in self.stems] if groups is None else groups
        asked = {stem for group in groups for stem in group}
        needs_all = self.residual_stem in asked
        needed = [stem for stem in self.stems if stem != self.residual_stem and (needs_all or stem in asked)]
        means: dict[str, Tensor] = {}
        totals = dict.fromkeys(needed, 0.0)
        for engine, weight in zip(self.engines, self.weights, strict=True):
            shared = [stem for stem in needed if stem in engine.stems]
            if not shared:
                continue
            estimates = engine.separate(mixture, [(stem,) for stem in shared], layout, kept=kept, cut=cut)
            for stem, estimate in zip(shared, estimates.unbind(1), strict=True):
                totals[stem] += weight
                means[stem] = estimate * weight if stem not in means else means[stem] + estimate * weight
        means = {stem: mean / totals[stem] for stem, mean in means.items()}
        if needs_all:
            whole = mixture.cpu() if kept is None else mixture[..., span(kept)].cpu()
            means[self.residual_stem] = whole - sum(means.values(), torch.zeros(()))
        return torch.stack([torch.stack([means[stem] for stem in group]).sum(0) for group in groups], dim=1)


def _joined(found: Sequence[Segmenting]) -> Segmenting:
    """Segments that begin on the grid of every model, if the coarsest one's frames are not too many for that."""
    first = found[0]
    step = math.lcm(*(each.grid * each.hop_length for each in found))
    if step > first.sample_rate * LONGEST_STEP_S or step % first.hop_length:
        return replace(first, context=None)
    begin, end = 0, 0
    for each in found:
        if each.context is None:
            return replace(first, context=None)
        # A segment is a whole number of cells of the first model; that of another hop may end within a cell.
        more = 0 if each.hop_length == first.hop_length else first.hop_length + each.grid * each.hop_length
        begin, end = max(begin, each.context[0]), max(end, each.context[1] + more)
    return replace(first, grid=step // first.hop_length, context=(begin, end))
