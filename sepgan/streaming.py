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

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Separate = Callable[[Tensor], Tensor]
"""Mixtures `[B, C, T]` in, stems `[B, S, C, T]` out."""

Context = tuple[int, int]
"""Samples at the begin and at the end of a segment that are not those of the whole song."""
NO_CONTEXT: Context = (0, 0)

PIECE = 1 << 17  # samples given out at once: what comes after need not be made for whole segments


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

    LONGEST_S = 40.0  # with which a process stays below 1.5 GB
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


def joint(overlap: int, context: Context) -> tuple[int, int]:
    """Return where in an overlap the cross-fade begins and ends.

    >>> joint(1000, (500, 400)), joint(800, (500, 400))
    ((500, 600), (0, 800))
    """
    begin, end = context[0], overlap - context[1]
    return (begin, end) if begin < end else (0, overlap)


def separate_stream(
    function: Separate,
    blocks: Iterable[npt.NDArray[np.float32]],
    *,
    segment: int,
    overlap: int,
    context: Context = NO_CONTEXT,
    batch: int = 1,
) -> Iterator[Tensor]:
    """Separate a stream of blocks and give the stems as they are ready.

    Blocks are taken only as they are needed, so that never more than a batch of segments and two blocks are held.

    Args:
        function: separates a batch of segments of one length.
        blocks: waveforms `[C, n]`, n >= 1, of any lengths.
        segment: samples that the function is given, but for the last segment, which is as long as is left.
        overlap: samples that neighbouring segments share; at most half a segment.
        context: samples at the ends of a segment that are left out where the overlap is longer than both.
        batch: segments that the function is given at once, the last times perhaps fewer.

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
    for stems, is_last in _separated(function, _segments(blocks, segment, hop), batch):
        begin = 0
        if earlier is not None and overlap:
            with torch.inference_mode():
                later = stems[..., fade_begin:fade_end]
                faded = torch.lerp(earlier, later, fade.to(later))
            yield from torch.split(faded, PIECE, dim=-1)
            begin = fade_end
        # The last one has more than `overlap` samples, or the segment before would have been the last.
        end = stems.shape[-1] if is_last else hop + fade_begin
        if end > begin:  # at an overlap of half a segment the cross-fades touch
            yield from torch.split(stems[..., begin:end], PIECE, dim=-1)
        if not is_last:
            earlier = stems[..., end : hop + fade_end].clone()  # not a view: the rest is not needed any more
        del stems


def _separated(
    function: Separate, segments: Iterable[tuple[npt.NDArray[np.float32], bool]], batch: int
) -> Iterator[tuple[Tensor, bool]]:
    """Separate some segments at a time; give the stems of each, and whether it is the last."""
    held: list[npt.NDArray[np.float32]] = []
    for samples, is_last in segments:
        if held and samples.shape != held[0].shape:
            yield from _all_but_last(_together(function, held))
            held = []
        held.append(samples)
        del samples
        if len(held) < batch and not is_last:
            continue
        stems = _together(function, held)
        held = []
        while stems:
            yield stems.pop(0), is_last and not stems


def _all_but_last(stems: list[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    while stems:
        yield stems.pop(0), False


def _together(function: Separate, held: list[npt.NDArray[np.float32]]) -> list[Tensor]:
    mixtures = torch.from_numpy(np.stack(held))
    with torch.inference_mode():
        return list(function(mixtures).unbind())


def separate_array(
    function: Separate, waveform: Tensor, *, segment: int, overlap: int, context: Context = NO_CONTEXT
) -> Tensor:
    """Separate a whole waveform segment by segment.

    Args:
        function: separates one segment.
        waveform: `[C, T]`, T >= 1.
        segment: samples that the function is given at once.
        overlap: samples that neighbouring segments share; at most half a segment.
        context: samples at the ends of a segment that are left out where the overlap is longer than both.

    Returns:
        Stems `[S, C, T]`.

    >>> def halve(mixture):
    ...     return torch.stack((mixture, mixture), dim=1) / 2
    >>> halves = separate_array(halve, torch.ones(2, 7), segment=4, overlap=1)
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
    blocks: Iterable[npt.NDArray[np.float32]], segment: int, hop: int
) -> Iterator[tuple[npt.NDArray[np.float32], bool]]:
    """Cut a stream into segments `[C, segment]` every `hop` samples; the last, which may be shorter, says so."""
    held: list[npt.NDArray[np.float32]] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.shape[1]
        # One sample more than a segment: only then it is known not to be the last.
        if count <= segment:
            continue
        joined = np.concatenate(held, axis=1)
        while joined.shape[1] > segment:
            yield joined[:, :segment], False
            joined = joined[:, hop:]
        held, count = [joined], joined.shape[1]
    if held:
        yield np.concatenate(held, axis=1), True
