"""Overlap-add: windows that sum to one, exact lengths, bounded memory."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sepgan.streaming import PIECE, Pool, Segmenting, crossfade, joint, separate_array, separate_stream, whole

SUM_TOLERANCE = 1e-6  # full scale is 1: a few roundings of float32, -120 dBFS

FIRST, LAST = 5.0, 7.0  # samples that only the ends of a song have

Geometry = tuple[int, int]


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    segment = draw(st.integers(1, 64))
    return segment, draw(st.integers(0, segment // 2))


def identity(mixture: Tensor) -> Tensor:
    return mixture.unsqueeze(1)


def position_dependent(mixture: Tensor) -> Tensor:
    """Three stems that sum to the mixture; shares change along the segment, so that neighbouring segments disagree."""
    along = torch.linspace(0, 1, mixture.shape[-1])
    first, second = mixture * along, mixture * (1 - along) * 0.3
    return torch.stack((first, second, mixture - first - second), dim=1)


def waveform(length: int, channels: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(length).uniform(-1, 1, (channels, length)).astype(np.float32))


@settings(deadline=None)
@given(geometries(), st.integers(1, 400), st.integers(1, 6))
def test_identity_gives_the_input_back_bit_for_bit(geometry: Geometry, length: int, channels: int) -> None:
    segment, overlap = geometry
    mixture = waveform(length, channels)
    stems = separate_array(whole(identity), mixture, segment=segment, overlap=overlap)
    assert torch.equal(stems[0], mixture)


@settings(deadline=None)
@given(geometries(), st.integers(1, 400))
def test_the_sum_of_the_stems_is_kept_where_segments_disagree(geometry: Geometry, length: int) -> None:
    segment, overlap = geometry
    mixture = waveform(length)
    stems = separate_array(whole(position_dependent), mixture, segment=segment, overlap=overlap)
    assert stems.shape == (3, 2, length)
    torch.testing.assert_close(stems.sum(0), mixture, rtol=0, atol=SUM_TOLERANCE)


@settings(deadline=None)
@given(geometries(), st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_how_the_input_is_cut_into_blocks_changes_nothing(geometry: Geometry, lengths: list[int]) -> None:
    segment, overlap = geometry
    mixture = waveform(sum(lengths))
    blocks = np.split(mixture.numpy(), np.cumsum(lengths)[:-1], axis=1)
    stems = torch.cat(
        list(separate_stream(whole(position_dependent), blocks, segment=segment, overlap=overlap)), dim=-1
    )
    assert torch.equal(stems, separate_array(whole(position_dependent), mixture, segment=segment, overlap=overlap))


@pytest.mark.parametrize("overlap", [0, 1, 13, 50])
def test_one_segment_equals_the_plain_call(overlap: int) -> None:
    mixture = waveform(100)
    stems = separate_array(whole(position_dependent), mixture, segment=100, overlap=overlap)
    assert torch.equal(stems, position_dependent(mixture.unsqueeze(0))[0])


def test_an_input_shorter_than_a_segment_is_separated_as_it_is() -> None:
    mixture = waveform(37)
    stems = separate_array(whole(position_dependent), mixture, segment=100, overlap=25)
    assert torch.equal(stems, position_dependent(mixture.unsqueeze(0))[0])


def test_the_function_sees_segments_as_long_as_the_song_goes_on_in_inference_mode() -> None:
    seen: list[tuple[int, ...]] = []

    def watch(mixture: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        seen.append(tuple(mixture.shape))
        return identity(mixture)

    separate_array(whole(watch), waveform(1001), segment=100, overlap=25)
    # 1 + ceil((1001 - 100) / 75) segments
    assert seen == [(1, 2, 100)] * 13 + [(1, 2, 1001 - 13 * 75)]


def test_inference_mode_does_not_leak_to_the_caller_between_blocks() -> None:
    for _ in separate_stream(whole(identity), [waveform(300).numpy()], segment=100, overlap=25):
        assert not torch.is_inference_mode_enabled()


def test_memory_is_bounded_because_blocks_are_taken_only_when_needed() -> None:
    """Before stems up to sample t are given out, no block beyond t + segment + one block has been asked for."""
    taken = 0

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        nonlocal taken
        for _ in range(100):
            taken += 10
            yield np.ones((2, 10), np.float32)

    given_out = 0
    for stems in separate_stream(whole(identity), blocks(), segment=40, overlap=10):
        assert taken <= given_out + 40 + 10
        given_out += stems.shape[-1]
    assert given_out == taken == 1000


def test_segments_of_the_input_are_not_changed() -> None:
    block = waveform(300).numpy()
    before = block.copy()
    list(separate_stream(whole(lambda mixture: mixture.mul_(0).unsqueeze(1)), [block], segment=100, overlap=25))
    assert np.array_equal(block, before)


def test_no_blocks_give_no_stems() -> None:
    assert list(separate_stream(whole(identity), [], segment=100, overlap=25)) == []


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(0, 60), st.integers(1, 500))
def test_samples_within_the_context_are_left_out(begin: int, end: int, fade: int, more: int, length: int) -> None:
    """A function that is right but for the first and last samples of a segment is right everywhere."""
    overlap = begin + end + fade

    def right_inside(mixture: Tensor) -> Tensor:
        stems = mixture.clone()
        is_first = bool(mixture[0, 0, 0] == FIRST)
        is_last = bool(mixture[0, 0, -1] == LAST)
        if not is_first:
            stems[..., :begin] = torch.nan
        if end and not is_last:
            stems[..., -end:] = torch.nan
        return stems.unsqueeze(1)

    mixture = waveform(length)
    mixture[..., 0], mixture[..., -1] = FIRST, LAST
    joined = separate_array(
        whole(right_inside), mixture, segment=2 * overlap + more, overlap=overlap, context=(begin, end)
    )
    assert length == 1 or torch.equal(joined[0], mixture)


def test_an_overlap_no_longer_than_the_context_is_cross_faded_over_all_of_it() -> None:
    mixture = waveform(1000)
    plain = separate_array(whole(position_dependent), mixture, segment=100, overlap=25)
    assert torch.equal(
        separate_array(whole(position_dependent), mixture, segment=100, overlap=25, context=(15, 10)), plain
    )
    less = separate_array(whole(position_dependent), mixture, segment=100, overlap=25, context=(10, 10))
    assert not torch.equal(less, plain)


def test_stems_are_given_out_in_pieces() -> None:
    length = PIECE + 1000
    pieces = list(separate_stream(whole(identity), [waveform(length).numpy()], segment=length, overlap=10))
    assert [piece.shape[-1] for piece in pieces] == [PIECE, 1000]


CONTEXT = (3000, 2000)
EXACT = sum(CONTEXT) + 20  # and a cross-fade of 20 ms at 1 kHz


@pytest.mark.parametrize("grid", [1, 4, 16])
def test_segments_begin_on_the_grid_and_share_what_the_network_cannot_hear(grid: int) -> None:
    cut = Segmenting(1000, 100, grid, CONTEXT)
    assert cut.segment % (grid * 100) == grid * 100 - 100
    assert EXACT / cut.segment <= cut.SHARE * 1.05
    for segment in (cut.segment, cut.excerpt_samples(15.0)):
        overlap = cut.overlap_for(segment)
        assert (segment - overlap) % (grid * 100) == 0
        assert EXACT <= overlap < EXACT + grid * 100
        begin, end = joint(overlap, CONTEXT)
        assert (begin, end) == (CONTEXT[0], overlap - CONTEXT[1])


def test_short_segments_share_a_quarter_and_those_of_networks_without_an_end_a_second() -> None:
    cut = Segmenting(1000, 100, 1, CONTEXT)
    assert cut.overlap_for(8000) == 2000
    assert cut.overlap_for(1400) == 700  # half, on the grid
    assert cut.overlap_for(8000, 1001) == 1100
    assert cut.overlap_for(8000, 4000) == 4000
    endless = Segmenting(1000, 100, 1, None)
    assert endless.segment == 9900 + 100
    assert endless.overlap_for(endless.segment) == 1000


def test_segments_have_a_longest_length() -> None:
    cut = Segmenting(1000, 100, 1, (10_000, 10_000))
    assert cut.segment == 1000 * cut.LONGEST_S


@pytest.mark.parametrize("overlap", [-1, 51])
def test_an_overlap_beyond_half_a_segment_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap of"):
        separate_array(whole(identity), waveform(300), segment=100, overlap=overlap)


@pytest.mark.parametrize("overlap", [1, 2, 25, 44100])
def test_the_crossfade_rises_and_complements_itself_in_reverse(overlap: int) -> None:
    fade = crossfade(overlap)
    assert fade.shape == (overlap,)
    assert bool((fade.diff() >= 0).all())
    torch.testing.assert_close(fade + fade.flip(0), torch.ones(overlap), rtol=0, atol=SUM_TOLERANCE)


def test_neighbours_meet_without_a_step() -> None:
    """A function whose level changes from segment to segment must not click at the joins."""
    calls = 0

    def louder_each_time(mixture: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return mixture.unsqueeze(1) * calls

    stems = separate_array(whole(louder_each_time), torch.ones(1, 2000), segment=500, overlap=125)
    largest_step = float(stems.diff(dim=-1).abs().max())
    assert largest_step < 1.6 / 125  # the steepest point of a raised cosine: pi / 2 over the overlap


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 99, 100, 101, 475, 700])
def test_batches_of_segments_change_nothing(batch: int, length: int) -> None:
    seen: list[int] = []

    def counting(mixture: Tensor) -> Tensor:
        seen.append(mixture.shape[0])
        return position_dependent(mixture)

    blocks = np.array_split(waveform(length).numpy(), min(length, 7), axis=1)
    alone = torch.cat(list(separate_stream(whole(position_dependent), blocks, segment=100, overlap=25)), dim=-1)
    together = torch.cat(list(separate_stream(whole(counting), blocks, segment=100, overlap=25, batch=batch)), dim=-1)
    assert torch.equal(together, alone)
    assert max(seen) <= batch
    # Segments are as many as they were; the last one goes alone where it is shorter.
    segments = 1 + max(0, -(-(length - 100) // 75))
    is_short = length != 100 + (segments - 1) * 75
    assert sum(seen) == segments
    assert len(seen) == -(-(segments - is_short) // batch) + is_short


@pytest.fixture(params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with ThreadPoolExecutor(request.param) as executor:
        yield Pool(executor, request.param)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("length", [1, 100, 101, 700])
def test_segments_side_by_side_come_in_their_order(pool: Pool, batch: int, length: int) -> None:
    blocks = np.array_split(waveform(length).numpy(), min(length, 7), axis=1)
    alone = torch.cat(list(separate_stream(whole(position_dependent), blocks, segment=100, overlap=25)), dim=-1)
    pieces = separate_stream(whole(position_dependent), blocks, segment=100, overlap=25, batch=batch, pool=pool)
    assert torch.equal(torch.cat(list(pieces), dim=-1), alone)


def test_as_many_segments_are_in_work_as_there_are_threads() -> None:
    """Two segments meet, in which neither goes on without the other; what comes behind them is not taken meanwhile."""
    both = threading.Barrier(2, timeout=60)
    taken = 0
    failed: list[str] = []

    def meeting(mixture: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        both.wait()
        if taken > (begin := int(mixture[0, 0, 0])) + 2 * 100 + 1:
            failed.append(f"{taken} blocks were taken before the segment at {begin} was done")
        both.wait()
        return identity(mixture)

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        nonlocal taken
        for number in range(600):
            taken += 1
            yield np.full((2, 1), number, np.float32)

    with ThreadPoolExecutor(2) as executor:
        pieces = separate_stream(whole(meeting), blocks(), segment=100, overlap=0, pool=Pool(executor, 2))
        assert torch.cat(list(pieces), dim=-1)[0, 0].tolist() == list(range(600))
    assert not failed


def test_a_segment_that_fails_ends_the_stream(pool: Pool) -> None:
    def failing(mixture: Tensor) -> Tensor:
        if float(mixture[0, 0, 0]) == 3.0:
            raise ZeroDivisionError
        return identity(mixture)

    given = np.repeat(np.arange(8, dtype=np.float32), 100)[None]
    pieces = separate_stream(whole(failing), [given], segment=100, overlap=0, pool=pool)
    assert [float(next(pieces)[0, 0, 0]) for _ in range(3)] == [0.0, 1.0, 2.0]
    with pytest.raises(ZeroDivisionError):
        next(pieces)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch needs at least one segment, got 0"):
        list(separate_stream(whole(identity), [waveform(5).numpy()], segment=4, overlap=1, batch=0))
