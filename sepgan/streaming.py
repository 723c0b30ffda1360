"""Run a separator over audio of any length in bounded memory: segments that overlap, cross-faded where they do.

Segment k covers the samples from k * hop to k * hop + segment, with hop = segment - overlap. Because the overlap is at
most half a segment, a sample lies in one segment or in two; in two, the earlier one fades out as the later one fades in
with `earlier + fade * (later - earlier)`, fade rising from 0 to 1. The weights sum to one by construction; where both
segments agree the result is theirs to the last bit. A cross-fade is linear, so stems still sum to the mixture.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Separate = Callable[[Tensor], Tensor]
"""Mixtures `[B, C, T]` in, stems `[B, S, C, T]` out."""


def separate_stream(
    function: Separate, blocks: Iterable[npt.NDArray[np.float32]], *, segment: int, overlap: int, batch: int = 1
) -> Iterator[Tensor]:
    """Separate a stream of blocks and give the stems as they are ready.

    The function always sees whole segments: the last one is padded with zeros and its result cut again. Blocks are
    taken only as they are needed, so that never more than a batch of segments and two blocks are held.

    Args:
        function: separates a batch of segments.
        blocks: waveforms `[C, n]`, n >= 1, of any lengths.
        segment: samples of what the function is given.
        overlap: samples that neighbouring segments share; at most half a segment.
        batch: segments that the function is given at once, the last time perhaps fewer.

    Yields:
        Stems `[S, C, n]`; together they are as long as the blocks.

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
    fade = crossfade(overlap)
    earlier: Tensor | None = None  # the end of the last segment, not given out yet
    for samples, stems, is_last in _separated(function, _segments(blocks, segment, hop), segment, batch):
        begin = 0
        if earlier is not None and overlap:
            with torch.inference_mode():
                later = stems[..., :overlap]
                faded = torch.lerp(earlier, later, fade.to(later))
            yield faded
            begin = overlap
        if is_last:
            # More than `overlap` samples are left here, or the segment before would have been the last.
            yield stems[..., begin:samples]
        else:
            if hop > begin:  # at an overlap of half a segment the cross-fades touch
                yield stems[..., begin:hop]
            earlier = stems[..., hop:]


def _separated(
    function: Separate, segments: Iterable[tuple[npt.NDArray[np.float32], bool]], segment: int, batch: int
) -> Iterator[tuple[int, Tensor, bool]]:
    """Separate some segments at a time; give the length of each, its stems, and whether it is the last."""
    held: list[tuple[npt.NDArray[np.float32], bool]] = []
    for samples, is_last in segments:
        held.append((samples, is_last))
        if len(held) < batch and not is_last:
            continue
        padded = np.zeros((len(held), samples.shape[0], segment), np.float32)
        for item, (part, _) in zip(padded, held, strict=True):
            item[:, : part.shape[1]] = part
        with torch.inference_mode():
            batched = function(torch.from_numpy(padded))
        yield from ((part.shape[1], stems, last) for (part, last), stems in zip(held, batched, strict=True))
        held = []


def separate_array(function: Separate, waveform: Tensor, *, segment: int, overlap: int) -> Tensor:
    """Separate a whole waveform segment by segment.

    Args:
        function: separates one segment.
        waveform: `[C, T]`, T >= 1.
        segment: samples that the function is given at once.
        overlap: samples that neighbouring segments share; at most half a segment.

    Returns:
        Stems `[S, C, T]`.

    >>> def halve(mixture):
    ...     return torch.stack((mixture, mixture), dim=1) / 2
    >>> halves = separate_array(halve, torch.ones(2, 7), segment=4, overlap=1)
    >>> halves.shape, halves.unique().tolist()
    (torch.Size([2, 2, 7]), [0.5])
    """
    blocks = [waveform.detach().cpu().numpy()]
    return torch.cat(list(separate_stream(function, blocks, segment=segment, overlap=overlap)), dim=-1)


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
