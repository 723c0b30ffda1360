"""Run a separator over audio of any length in bounded memory: segments that overlap, joined where they agree.

Segment k covers the samples from k * hop to k * hop + segment, with hop = segment - overlap; the last one ends with the
song and is as long as is left. Because the overlap is at most half a segment, a sample lies in one segment or in two.

A network hears too little at the ends of a segment: `context` says how many samples there are not those of the whole
song. Where the overlap is longer than the context of both sides, these samples are left out and neighbours are joined
in what is left of the overlap, where they are equal. Where it is shorter, neighbours are cross-faded over all of it.
Joints are `earlier + fade * (later - earlier)`, fade rising from 0 to 1: the weights sum to one by construction, and
where both segments agree the result is theirs to the last bit. A cross-fade is linear, so stems still sum to the
mixture.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Separate = Callable[[Tensor, Sequence[slice]], Tensor]
"""Mixtures `[B, ..., T]` and what is wanted of each in, stems `[B, S, ..., n]` out: from where the first that is wanted
begins to where the last ends."""

Context = tuple[int, int]
"""Samples at the begin and at the end of a segment that are not those of the whole song."""
NO_CONTEXT: Context = (0, 0)

_NETWORK = 2  # channels that take as much memory as the network, about; it has one group of channels at a time
_LEAST_SHARE = 0.6  # so that the overlap still fits twice
PIECE = 1 << 17  # samples given out at once: what comes after need not be made for whole segments


@dataclass(frozen=True)
class Cut:
    """How something long is cut into segments.

    Attributes:
        segment: samples of one.
        overlap: samples that neighbours share.
    """

    segment: int
    overlap: int


@dataclass(frozen=True)
class Pool:
    """Threads that separate segments side by side.

    Attributes:
        executor: has them.
        threads: how many, and how many segments are in work or wait for the ones before them.
    """

    executor: ThreadPoolExecutor
    threads: int


def span(wanted: Sequence[slice]) -> slice:
    """From where the first begins to where the last ends."""
    return slice(min(each.start for each in wanted), max(each.stop for each in wanted))


def whole(function: Callable[[Tensor], Tensor]) -> Separate:
    """Make one that gives what is wanted out of a function that gives all of its segments."""
    return lambda mixtures, wanted: function(mixtures)[..., span(wanted)]


@dataclass(frozen=True)
class Segmenting:
    """How segments of a network are best cut.

    Attributes:
        sample_rate: in Hz.
        hop_length: samples from frame to frame.
        grid: frames of a cell: a network that halves its axes hears the same music a little differently where it lies
            between two of its cells, so segments begin on its grid and fill it.
        context: samples at the begin and at the end of a segment, cut so, that are not those of the whole song; None
            where all of them depend on all of it.
    """

    sample_rate: int
    hop_length: int
    grid: int
    context: Context | None

    LONGEST_S = 52.0  # with which a process stays below 1.5 GB
    SHORT_S = 10.0  # where segments cannot be equal to the whole song: enough context, little memory
    SHORT_OVERLAP_S = 1.0
    SHARE = 0.12  # of a segment that is computed twice, unless segments would become longer than the longest
    FADE_S = 0.02  # at least; with less precision than float32 neighbours are not equal to the last bit

    @property
    def segment(self) -> int:
        """Samples separated at once by default."""
        if self.context is None:
            return self.excerpt_samples(self.SHORT_S)
        seconds = self._exact() / self.SHARE / self.sample_rate
        return self.excerpt_samples(min(self.LONGEST_S, max(self.SHORT_S, seconds)))

    def excerpt_samples(self, seconds: float) -> int:
        """Return a length near `seconds` whose frames fill the grid exactly."""
        frames = max(1, round((seconds * self.sample_rate / self.hop_length + 1) / self.grid)) * self.grid
        return max(1, (frames - 1) * self.hop_length)

    def cut_for(self, channels: int) -> Cut:
        """How songs of some channels are best cut: more wait for their stems, so segments are shorter."""
        segment = min(self.segment, self.excerpt_samples(share_for(channels) * self.segment / self.sample_rate))
        return Cut(segment, self.overlap_for(segment))

    def in_frames(self, cut: Cut) -> Cut:
        """The same in frames of the network."""
        segment = max(1, cut.segment // self.hop_length + 1)
        return Cut(segment, min(segment // 2, max(0, segment - (cut.segment - cut.overlap) // self.hop_length)))

    def overlap_for(self, segment: int, wanted: int | None = None) -> int:
        """Return how many samples neighbouring segments should share, so that each begins on the grid.

        Args:
            segment: samples of one.
            wanted: at least so many; None for what makes the result that of the whole song, or for a quarter of the
                segment where that would be more than half of it.
        """
        most = segment // 2
        if wanted is None:
            short = min(most, round(self.SHORT_OVERLAP_S * self.sample_rate))
            wanted = short if self.context is None else max(short, segment // 4)
            if self.context is not None and self._aligned(segment, self._exact()) <= most:
                wanted = self._exact()
        step = self.grid * self.hop_length
        aligned = self._aligned(segment, wanted)
        aligned -= max(0, -(-(aligned - most) // step)) * step
        return aligned if aligned > 0 else min(wanted, most)  # a segment may be too short for the grid

    def _aligned(self, segment: int, least: int) -> int:
        step = self.grid * self.hop_length
        return segment - (segment - least) // step * step

    def _exact(self) -> int:
        assert self.context is not None
        return sum(self.context) + max(1, round(self.FADE_S * self.sample_rate))


def share_for(channels: int) -> float:
    """How long segments of some channels should be, of those of two: the more channels, the more wait for their stems.

    >>> share_for(1), share_for(2), share_for(3), share_for(100)
    (1.0, 1.0, 0.8, 0.6)
    """
    return max(_LEAST_SHARE, (2 + _NETWORK) / (max(channels, 2) + _NETWORK))


def joint(overlap: int, context: Context) -> tuple[int, int]:
    """Return where in an overlap the cross-fade begins and ends.

    >>> joint(1000, (500, 400)), joint(800, (500, 400))
    ((500, 600), (0, 800))
    """
    begin, end = context[0], overlap - context[1]
    return (begin, end) if begin < end else (0, overlap)


def separate_stream(
    function: Separate,
    blocks: Iterable[npt.NDArray[np.generic]],
    *,
    segment: int,
    overlap: int,
    context: Context = NO_CONTEXT,
    batch: int = 1,
    pool: Pool | None = None,
) -> Iterator[Tensor]:
    """Separate a stream of blocks and give the stems as they are ready.

    Blocks are taken only as they are needed, so that never more segments than are separated at once and two blocks are
    held.

    Args:
        function: separates a batch of segments of one length; see `whole` for one that knows nothing of what is wanted.
        blocks: waveforms `[C, n]`, n >= 1, of any lengths; or what else is cut along its last axis.
        segment: samples that the function is given, but for the last segment, which is as long as is left.
        overlap: samples that neighbouring segments share; at most half a segment.
        context: samples at the ends of a segment that are left out where the overlap is longer than both: not wanted.
        batch: segments that the function is given at once, the last times perhaps fewer.
        pool: threads that call the function; None to call it in this one.

    Yields:
        Stems `[S, C, n]`, n at most `PIECE`; together they are as long as the blocks.

    Raises:
        ValueError: the overlap is negative or longer than half a segment, or the batch is empty.
    """
    if batch < 1:
        raise ValueError(f"a batch needs at least one segment, got {batch}")
    if not 0 <= overlap <= segment // 2:
        raise ValueError(
            f"an overlap of {overlap} samples needs segments of at least {2 * overlap}; they have {segment}"
        )
    hop = segment - overlap
    fade_begin, fade_end = joint(overlap, context)
    fade = crossfade(fade_end - fade_begin)
    earlier: Tensor | None = None  # what the last segment has for the cross-fade
    batches = _batches(_segments(blocks, segment, hop, (fade_begin, fade_end)), batch)
    for stems, is_last in _separated(function, batches, pool):
        begin = 0
        if earlier is not None and len(fade):
            with torch.inference_mode():
                later = stems[..., : len(fade)]
                faded = torch.lerp(earlier, later, fade.to(later))
            yield from torch.split(faded, PIECE, dim=-1)
            begin = len(fade)
        # The last one has more than `overlap` samples, or the segment before would have been the last.
        end = stems.shape[-1] if is_last else stems.shape[-1] - len(fade)
        if end > begin:  # at an overlap of half a segment the cross-fades touch
            yield from torch.split(stems[..., begin:end], PIECE, dim=-1)
        if not is_last:
            earlier = stems[..., end:].clone()  # not a view: the rest is not needed any more
        del stems


@dataclass(frozen=True)
class _Segment:
    samples: npt.NDArray[np.generic]
    wanted: slice
    is_last: bool


def _batches(segments: Iterable[_Segment], batch: int) -> Iterator[list[_Segment]]:
    """Some segments of one length at a time."""
    held: list[_Segment] = []
    for segment in segments:
        if held and segment.samples.shape != held[0].samples.shape:
            yield held
            held = []
        held.append(segment)
        is_last = segment.is_last
        del segment
        if len(held) == batch or is_last:
            ready, held = held, []
            yield ready
            del ready


def _separated(
    function: Separate, batches: Iterable[list[_Segment]], pool: Pool | None
) -> Iterator[tuple[Tensor, bool]]:
    """What is wanted of the stems of each segment, and whether it is the last, in their order."""
    if pool is None:
        for held in batches:
            yield from _together(function, held)
        return
    waiting: deque[Future[list[tuple[Tensor, bool]]]] = deque()
    try:
        for held in batches:
            waiting.append(pool.executor.submit(_together, function, held))
            del held
            if len(waiting) == pool.threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _together(function: Separate, held: list[_Segment]) -> list[tuple[Tensor, bool]]:
    wanted = [segment.wanted for segment in held]
    is_last = [segment.is_last for segment in held]
    one = held[0].samples[None]  # not a copy
    mixtures = torch.from_numpy(one if len(held) == 1 else np.stack([segment.samples for segment in held]))
    held.clear()
    with torch.inference_mode():
        stems = function(mixtures, wanted).unbind()
    first = span(wanted).start
    parts = [slice(part.start - first, part.stop - first) for part in wanted]
    return [(stem[..., part], last) for stem, part, last in zip(stems, parts, is_last, strict=True)]


def separate_array(
    function: Separate, waveform: Tensor, *, segment: int, overlap: int, context: Context = NO_CONTEXT
) -> Tensor:
    """Separate a whole waveform segment by segment.

    Args:
        function: separates one segment.
        waveform: `[C, T]`, T >= 1, or what else is cut along its last axis.
        segment: samples that the function is given at once.
        overlap: samples that neighbouring segments share; at most half a segment.
        context: samples at the ends of a segment that are left out where the overlap is longer than both.

    Returns:
        Stems `[S, C, T]`.

    >>> def halve(mixture):
    ...     return torch.stack((mixture, mixture), dim=1) / 2
    >>> halves = separate_array(whole(halve), torch.ones(2, 7), segment=4, overlap=1)
    >>> halves.shape, halves.unique().tolist()
    (torch.Size([2, 2, 7]), [0.5])
    """
    blocks = [waveform.detach().cpu().numpy()]
    return torch.cat(list(separate_stream(function, blocks, segment=segment, overlap=overlap, context=context)), dim=-1)


def crossfade(overlap: int) -> Tensor:
    """Weights `[overlap]` with which the later of two segments fades in; those of the earlier one are 1 minus these.

    A raised cosine, its own complement in reverse: networks know least at the edges of a segment, where it is flat.

    >>> crossfade(3)
    tensor([0.1464, 0.5000, 0.8536])
    """
    return torch.sin((torch.arange(overlap, dtype=torch.float64) + 1) / (overlap + 1) * (torch.pi / 2)).square().float()


def _segments(
    blocks: Iterable[npt.NDArray[np.generic]], segment: int, hop: int, fade: tuple[int, int]
) -> Iterator[_Segment]:
    """Cut a stream into segments `[..., segment]` every `hop` samples; the last may be shorter.

    Of each is wanted what lies between the begin of the cross-fade with the one before, which its end has as well, and
    the end of that with the next.
    """
    held: list[npt.NDArray[np.generic]] = []
    count, begin = 0, 0
    for block in blocks:
        held.append(block)
        count += block.shape[-1]
        # One sample more than a segment: only then it is known not to be the last.
        if count <= segment:
            continue
        joined = np.concatenate(held, axis=-1)
        while joined.shape[-1] > segment:
            yield _Segment(joined[..., :segment], slice(begin, hop + fade[1]), False)
            begin = fade[0]
            joined = joined[..., hop:]
        held, count = [joined], joined.shape[-1]
    if held:
        samples = np.concatenate(held, axis=-1)
        yield _Segment(samples, slice(begin, samples.shape[-1]), True)
