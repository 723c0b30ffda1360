"""Separation from Python: arrays and streams in, stems out, at their own rate and channels.

    import sepgan

    separator = sepgan.Separator.load("default")
    stems = separator.separate(waveform, 48000)         # {"drums": array, ...}, each as long as the waveform [C, T]

Nothing here keeps state between calls or sets anything global, so one separator may be used by several threads. What
`torch` does with its threads is the caller's choice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sepgan.engine import Engine, EngineOptions
from sepgan.errors import AudioError, UsageError
from sepgan.separation.batch import separate_file
from sepgan.separation.blocks import Model, ready, separate_blocks
from sepgan.separation.channels import parse_layout
from sepgan.separation.options import DEFAULTS, SeparationOptions
from sepgan.separation.results import SeparationResult
from sepgan.separation.stems import StemPlan, plan_stems
from sepgan.separator import Separator as Network
from sepgan.streaming import Cut

Samples = npt.NDArray[np.float32]

_BLOCK_FRAMES = 65536


class CancelledError(Exception):
    """The work was cancelled; files of it have been removed."""


class Cancellation:
    """Ends a separation from another thread: pass it to a call, and call `cancel` when it is to stop.

    The call raises `CancelledError` before its next segment.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` once `cancel` was called."""
        if self._event.is_set():
            raise CancelledError("cancelled")


@dataclass(frozen=True)
class Advance:
    """How far a separation is.

    Attributes:
        done_s: seconds of audio done.
        total_s: seconds there are; None where nobody knows.
        fraction: share that is done, from 0 to 1; None as above.
        eta_s: seconds of waiting left, by the pace so far; None as above.
    """

    done_s: float
    total_s: float | None
    fraction: float | None
    eta_s: float | None


OnAdvance = Callable[[Advance], None]


class Separator:
    """Splits music into stems that sum to it.

    Args:
        model: a network as it is, or an `Engine` or `Ensemble` that was set up.
        segment_s: seconds separated at once; None for the model's own choice. Shorter ones take less memory and give a
            stream less latency, and cost quality where they leave no room for an overlap of twice the model's reach.
        overlap: share of a segment that neighbours have in common, up to 0.5, rounded up to the model's grid; None for
            what makes the result that of the whole song.
        channel_layout: which channels belong together; see `sepgan.separation.channels`.
    """

    def __init__(
        self,
        model: Model | Network,
        *,
        segment_s: float | None = None,
        overlap: float | None = None,
        channel_layout: str = "auto",
    ) -> None:
        if segment_s is not None and segment_s <= 0:
            raise UsageError(f"segment_s must be more than 0, got {segment_s}")
        if overlap is not None and not 0 <= overlap <= 0.5:
            raise UsageError(f"overlap must lie from 0 to 0.5, got {overlap}")
        model = ready(model)
        self.model = model
        self._is_chosen = segment_s is not None or overlap is not None
        # A length that fills the network's grid, near what is wanted.
        segment = model.segment if segment_s is None else max(2, model.excerpt_samples(segment_s))
        self._cut = Cut(segment, model.overlap_for(segment, None if overlap is None else round(overlap * segment)))
        self._channel_layout = channel_layout

    @classmethod
    def load(
        cls,
        model: str | Path = "default",
        device: str | torch.device = "cpu",
        *,
        segment_s: float | None = None,
        overlap: float | None = None,
        channel_layout: str = "auto",
        repetition: int | None = None,
    ) -> Separator:
        """Load a model by name or from a file.

        Args:
            model: its name or path.
            device: to run it on.
            segment_s: as for `Separator`.
            overlap: as for `Separator`.
            channel_layout: as for `Separator`.
            repetition: passes over similar moments, as for `EngineOptions`; None for what the model says, but for none
                with a `segment_s`, for what is alike is looked for in longer windows, for which a stream would wait.

        Raises:
            CheckpointError: it is missing, damaged, altered, or of another version.
            UsageError: the segment or overlap makes no sense.
        """
        if repetition is None and segment_s is not None:
            repetition = 0
        engine = Engine(Network.load(model, device), EngineOptions(repetition=repetition))
        return cls(engine, segment_s=segment_s, overlap=overlap, channel_layout=channel_layout)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the model's stems."""
        return self.model.stems

    @property
    def latency_s(self) -> float:
        """How long `stream` waits for samples at most before it gives the stems of one.

        That is one segment, at the model's own rate, or the default one where repetitions are averaged; other rates add
        the resampler's delay, below 0.1 s. The time of computing comes on top.
        """
        return (self.model.window(self._cut, 2).segment + 1) / self.model.sample_rate

    def separate(
        self,
        waveform: npt.ArrayLike,
        sample_rate: int,
        *,
        stems: Sequence[str] | None = None,
        progress: OnAdvance | None = None,
        cancellation: Cancellation | None = None,
    ) -> dict[str, Samples]:
        """Separate a whole waveform.

        Args:
            waveform: `[C, T]` or `[T]`, full scale at 1; taken as float32.
            sample_rate: in Hz.
            stems: which to give; None for all, which then sum to the waveform.
            progress: called after each segment.
            cancellation: ends the work.

        Returns:
            The stems by name, each of the shape of the waveform.

        Raises:
            AudioError: the waveform is empty, has NaN or infinity in it, or another number of axes.
            UsageError: there is no such stem.
            CancelledError: the work was cancelled.

        >>> from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
        >>> tiny = Recipe(name="tiny", frontend=FrontendRecipe(n_fft=256, hop_length=64),
        ...               generator=GeneratorRecipe(widths=(4, 4), head_width=4))
        >>> separator = Separator(Network(tiny).eval())
        >>> noise = np.random.default_rng(0).standard_normal((2, 48000), np.float32)
        >>> stems = separator.separate(noise, 48000)
        >>> sorted(stems), stems["vocals"].shape
        (['bass', 'drums', 'other', 'vocals'], (2, 48000))
        >>> bool(np.abs(sum(stems.values()) - noise).max() < 1e-5)
        True
        """
        samples = _checked(waveform)
        whole = np.atleast_2d(samples)
        blocks = (whole[:, begin : begin + _BLOCK_FRAMES] for begin in range(0, whole.shape[1], _BLOCK_FRAMES))
        watch = _Watch(sample_rate, whole.shape[1], progress, cancellation)
        plan = plan_stems(self.model.stems, self.model.residual_stem, replace(DEFAULTS, stems=_tuple(stems)))
        found: dict[str, Samples] = {name: np.empty(whole.shape, np.float32) for name in plan.outputs}
        begin = 0
        for outputs in self._stream(blocks, sample_rate, whole.shape[0], plan, watch):
            frames = 0
            for name, block in outputs.items():
                frames = block.shape[1]
                found[name][:, begin : begin + frames] = block
            begin += frames
        return {name: stem.reshape(samples.shape) for name, stem in found.items()}

    def stream(
        self,
        blocks: Iterable[npt.ArrayLike],
        sample_rate: int,
        *,
        stems: Sequence[str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Iterator[dict[str, Samples]]:
        """Separate blocks as they come; stems follow after `latency_s` of samples.

        Args:
            blocks: waveforms `[C, n]`, n >= 1, of any lengths, all of the same number of channels.
            sample_rate: in Hz.
            stems: which to give; None for all, which then sum to the blocks.
            cancellation: ends the work.

        Yields:
            The stems by name, `[C, n]` each; together they are as long as the blocks.

        Raises:
            AudioError: a block is empty, has NaN or infinity in it, or another number of channels.
            UsageError: there is no such stem.
            CancelledError: the work was cancelled.
        """
        plan = plan_stems(self.model.stems, self.model.residual_stem, replace(DEFAULTS, stems=_tuple(stems)))
        return self._stream_all(iter(blocks), sample_rate, plan, cancellation)

    def separate_file(
        self,
        path: str | Path,
        out: str | Path,
        *,
        options: SeparationOptions = DEFAULTS,
        progress: OnAdvance | None = None,
        cancellation: Cancellation | None = None,
    ) -> SeparationResult:
        """Separate a file into files, block by block; all appear, or none.

        Args:
            path: the song.
            out: the output folder; the stems go to `<out>/<song>/`.
            options: what is wanted; segment, overlap and channel layout are this separator's unless they are named.
            progress: called after each segment, from another thread.
            cancellation: ends the work and removes what was written.

        Raises:
            SepganError: as `sepgan.separation.separate_file`.
            CancelledError: the work was cancelled.
        """
        watch = _Watch(1, None, progress, cancellation)
        if self._is_chosen and options.segment is None:
            options = replace(options, segment=self._cut.segment)
            if options.overlap is None:
                options = replace(options, overlap=self._cut.overlap)
        if options.channel_layout == "auto":
            options = replace(options, channel_layout=self._channel_layout)
        return separate_file(self.model, path, out, options=options, progress=watch.tell)

    def _stream_all(
        self, blocks: Iterator[npt.ArrayLike], sample_rate: int, plan: StemPlan, cancellation: Cancellation | None
    ) -> Iterator[dict[str, Samples]]:
        first = next(blocks, None)
        if first is None:
            return
        head = np.atleast_2d(_checked(first))

        def all_blocks() -> Iterator[Samples]:
            yield head
            for block in blocks:
                samples = np.atleast_2d(_checked(block))
                if samples.shape[0] != head.shape[0]:
                    raise AudioError(f"a block has {samples.shape[0]} channels, the first one had {head.shape[0]}")
                yield samples

        watch = _Watch(sample_rate, None, None, cancellation)
        yield from self._stream(all_blocks(), sample_rate, head.shape[0], plan, watch)

    def _stream(
        self, blocks: Iterable[Samples], sample_rate: int, channels: int, plan: StemPlan, watch: _Watch
    ) -> Iterator[dict[str, Samples]]:
        done = 0
        watch.check()
        for mixture, others in separate_blocks(
            self.model,
            blocks,
            sample_rate,
            channels,
            plan,
            cut=self._cut,
            layout=parse_layout(self._channel_layout, channels),
        ):
            given: Mapping[str, Samples] = dict(zip(plan.others, others, strict=True))
            rest = mixture - others.sum(0)
            yield {name: rest if name == plan.residual else given[name] for name in plan.outputs}
            done += mixture.shape[1]
            watch.tell(done / sample_rate, None)


class _Watch:
    """Passes progress on with a fraction and a guess of the time left, and stops the work where that is asked."""

    def __init__(
        self, sample_rate: int, frames: int | None, progress: OnAdvance | None, cancellation: Cancellation | None
    ) -> None:
        self._total_s = None if frames is None else frames / sample_rate
        self._progress = progress
        self._cancellation = cancellation
        self._began = time.monotonic()

    def check(self) -> None:
        if self._cancellation is not None:
            self._cancellation.raise_if_cancelled()

    def tell(self, done_s: float, total_s: float | None) -> None:
        self.check()
        if self._progress is None:
            return
        total_s = self._total_s if total_s is None else total_s
        fraction = None if not total_s else min(1.0, done_s / total_s)
        elapsed_s = time.monotonic() - self._began
        eta_s = None if not fraction else elapsed_s * (1 - fraction) / fraction
        self._progress(Advance(done_s, total_s, fraction, eta_s))


def _checked(waveform: npt.ArrayLike) -> Samples:
    samples = np.asarray(waveform, np.float32)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(f"a waveform must be [C, T] or [T] and not empty; this one is {list(samples.shape)}")
    if not np.isfinite(samples).all():
        raise AudioError("the waveform holds NaN or infinity; repair it first")
    return samples


def _tuple(stems: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if stems is None else tuple(stems)
