"""A song in many segments is the song in one: every kind of network, and the bundled one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sepgan import audio
from sepgan.engine import Engine, EngineOptions
from sepgan.ensemble import Ensemble
from sepgan.models import GENERATORS
from sepgan.models.reach import edges
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
from sepgan.recipe.separation import SeparationRecipe
from sepgan.separation.api import Separator as Facade
from sepgan.separation.channels import parse_layout
from sepgan.separator import Separator
from sepgan.streaming import Cut, joint, separate_array, separate_stream, whole

DEMO_SONG = Path(__file__).parent.parent / "examples" / "everything_is_free_caesium.flac"
EQUAL_DB = -100.0  # of the difference against the stem: rounding of float32, which depends on how arrays are cut

FRONTEND: dict[str, Any] = {"sample_rate": 8000, "n_fft": 256, "hop_length": 64}
KINDS: dict[str, dict[str, Any]] = {
    "classic": {"widths": (3, 4, 5), "head_width": 4},
    "classic pooled": {"widths": (4, 4), "head_width": 4, "downsample": "pool", "kernel": 3},
    "branched": {"widths": (3, 4, 4), "bottleneck": 3, "branches": (3, 1)},
    "branched full": {"widths": (3, 4, 4), "bottleneck": 3, "full_resolution": True, "head_width": 4},
    "branched in blocks": {"widths": (3, 4, 4), "bottleneck": 3, "full_resolution": True, "head_width": 4},
    "branched nested": {"widths": (3, 4, 4), "bottleneck": 3, "branches": (3, 1), "nested": True},
    "spleeter": {"widths": (3, 4)},
    "bandsplit": {"widths": (4, 6), "strides": (2,), "dual_path": 1, "subbands": 2},
}


def make(kind: str, seed: int = 0, **frontend: int) -> Separator:
    torch.manual_seed(seed)
    recipe = Recipe(
        name="tiny",
        frontend=FrontendRecipe(**(FRONTEND | frontend)),
        generator=GeneratorRecipe(kind=kind.split()[0], **KINDS[kind]),
        separation=SeparationRecipe(fine_bands=32 if kind.endswith("blocks") else None),
    )
    separator = Separator(recipe).eval()
    with torch.no_grad():  # untrained networks hardly look around: larger weights do
        for weights in separator.generator.parameters():
            weights.mul_(2.0)
    return separator


def music(samples: int, channels: int = 2) -> Tensor:
    """Noise that swells and dies away, so that a network has something to notice."""
    random = torch.Generator().manual_seed(samples)
    slow = torch.nn.functional.interpolate(torch.rand(1, 1, 2 + samples // 500, generator=random), samples)[0]
    return torch.randn(channels, samples, generator=random) * slow


def worst_db(one: Tensor, many: Tensor) -> float:
    """Energy of the difference against that of the stem, of the worst stem."""
    error = (many - one).double().square().sum((-1, -2)) / one.double().square().sum((-1, -2))
    return float(10 * torch.log10(error.clamp_min(1e-30)).max())


def shortest(engine: Engine | Ensemble) -> tuple[int, int]:
    """The shortest segment with which the result is that of the whole song, and its overlap."""
    step = engine.segmenting.grid * engine.segmenting.hop_length
    segment = 2 * (sum(engine.context) + round(0.02 * engine.sample_rate)) + step
    segment += -segment % step + step - engine.segmenting.hop_length
    overlap = engine.overlap_for(segment)
    assert overlap > sum(engine.context), "the context of both sides fits"
    assert (segment - overlap) % step == 0
    return segment, overlap


def in_many(engine: Engine | Ensemble, mixture: Tensor) -> Tensor:
    segment, overlap = shortest(engine)
    batch = engine.batch_for(segment, len(mixture))
    pieces = separate_stream(
        whole(engine), [mixture.numpy()], segment=segment, overlap=overlap, context=engine.context, batch=batch
    )
    return torch.cat(list(pieces), dim=-1)


def test_every_kind_is_tested() -> None:
    assert {kind.split()[0] for kind in KINDS} == set(GENERATORS)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=4)
@given(more=st.integers(1, 15_000))
def test_many_segments_give_what_one_gives(kind: str, more: int) -> None:
    engine = Engine(make(kind))
    mixture = music(shortest(engine)[0] + more)
    one = engine(mixture[None])[0]
    assert worst_db(one, in_many(engine, mixture)) <= EQUAL_DB


@pytest.mark.parametrize("kind", KINDS)
def test_with_less_context_they_do_not(kind: str) -> None:
    """What is discarded is not more than it must be: with half the overlap, segments differ."""
    engine = Engine(make(kind))
    segment, overlap = shortest(engine)
    mixture = music(3 * segment)
    step = engine.segmenting.grid * engine.segmenting.hop_length
    half = segment - (segment - overlap // 2) // step * step
    many = separate_array(whole(engine), mixture, segment=segment, overlap=half)
    assert worst_db(engine(mixture[None])[0], many) > EQUAL_DB + 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_reach_is_that_of_the_network_itself(kind: str) -> None:
    """Frames that are not a number spoil just the masks that are said to depend on them."""
    separator = make(kind)
    generator, config = separator.generator, separator.recipe.generator
    grid = int(getattr(generator, "grid", 1))
    begin, end = edges(generator, config, 2, 3) or (0, 0)
    outside = 2 * grid
    frames = 2 * outside + -(-(begin + end) // grid) * grid + 4 * grid
    shape = (1, 2, separator.bands.bands, frames)
    magnitudes = torch.rand(shape, dtype=torch.complex64 if separator.complex_masks else torch.float32)
    magnitudes[..., : outside + 2] = torch.nan
    magnitudes[..., frames - outside - 3 :] = torch.nan
    with torch.no_grad():
        whole = torch.nonzero(~generator(magnitudes).isnan().flatten(0, -2).any(0)).flatten()
    found = int(whole[0]) - outside, frames - outside - 1 - int(whole[-1])
    assert found == (begin, end)


def test_finding_the_reach_draws_no_random_numbers() -> None:
    separator = make("classic")
    before = torch.get_rng_state()
    assert separator.context[0] > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_hears_the_whole_song_is_cross_faded() -> None:
    separator = make("classic")
    separator.generator.reach = None  # type: ignore[assignment]  # as a network with attention over time says
    engine = Engine(separator)
    assert engine.context == (0, 0)
    assert engine.overlap_for(engine.segment) >= separator.sample_rate


@pytest.mark.parametrize(
    ("channels", "options"), [(2, EngineOptions(shifts=1)), (3, EngineOptions(batch=3)), (1, EngineOptions())]
)
def test_also_with_shifts_batches_and_other_channels(channels: int, options: EngineOptions) -> None:
    engine = Engine(make("branched"), options)
    mixture = music(2 * shortest(engine)[0], channels)
    one = engine(mixture[None])[0]
    assert worst_db(one, in_many(engine, mixture)) <= EQUAL_DB


@pytest.mark.parametrize("hop_length", [64, 80])
def test_also_with_several_models(hop_length: int) -> None:
    """Whose segments begin on the grid of both."""
    ensemble = Ensemble([Engine(make("classic")), Engine(make("spleeter", seed=1, hop_length=hop_length))])
    segment, _ = shortest(ensemble)
    mixture = music(3 * segment)
    one = ensemble(mixture[None])[0]
    assert worst_db(one, in_many(ensemble, mixture)) <= EQUAL_DB


def test_models_whose_grids_never_meet_are_cross_faded() -> None:
    ensemble = Ensemble([Engine(make("classic")), Engine(make("spleeter", hop_length=79))])
    assert ensemble.context == (0, 0)


def test_the_wiener_filter_depends_on_the_segment() -> None:
    engine = Engine(make("classic"), EngineOptions(wiener=1))
    assert engine.context == (0, 0)
    assert engine.segment <= 10 * 8000


def test_segments_with_repetitions_are_as_long_as_without() -> None:
    """The more is heard at once, the more is alike; what the network gives is that of the whole song as before."""
    plain, engine = Engine(make("classic")), Engine(make("classic"), EngineOptions(repetition=1))
    assert (engine.segment, engine.context) == (plain.segment, plain.context)


@pytest.mark.parametrize(("kind", "channels"), [("branched nested", 2), ("classic", 2), ("branched", 3)])
def test_with_repetitions_it_does_not_matter_what_the_network_is_given_at_once(kind: str, channels: int) -> None:
    """What is alike is looked for in windows of their own, also in a song of several."""
    engine = Engine(make(kind), EngineOptions(repetition=2))
    segment, overlap = shortest(engine)
    window = engine.window(Cut(segment, overlap), channels)
    assert window.segment > segment
    mixture = music(window.segment + window.segment // 3, channels)

    def separated(cut: Cut) -> Tensor:
        stems = Facade(engine, segment_s=cut.segment / engine.sample_rate).separate(mixture.numpy(), engine.sample_rate)
        return torch.stack([torch.from_numpy(stems[stem]) for stem in engine.stems])

    one, many = separated(window), separated(Cut(segment, overlap))
    assert worst_db(one, many) <= EQUAL_DB
    plain = Engine(make(kind), EngineOptions(repetition=0))
    assert worst_db(plain(mixture[None])[0], one) > -60.0, "there are repetitions"
    hop, fade = window.segment - window.overlap, joint(window.overlap, engine.context)
    layout = parse_layout("auto", channels)
    by_hand = engine.separate(mixture[None, :, : window.segment], layout=layout, kept=[slice(0, hop + fade[1])])[0]
    assert worst_db(by_hand[..., : hop + fade[0]], one[..., : hop + fade[0]]) <= EQUAL_DB, "repetitions of a window"


def test_the_bundled_model_gives_the_same_whatever_it_is_given_at_once() -> None:
    """As musicians run it, with its averages over similar moments."""
    song, rate = audio.read(DEMO_SONG)
    mixture = np.concatenate([song, song[:, ::-1]], axis=1)  # longer than a window
    assert mixture.shape[1] > Facade.load("default").model.segment
    one = Facade.load("default").separate(mixture, rate)
    many = Facade.load("default", segment_s=24.0, repetition=2).separate(mixture, rate)
    for stem, waveform in one.items():
        assert worst_db(torch.from_numpy(waveform), torch.from_numpy(many[stem])) <= EQUAL_DB


def test_the_bundled_model_gives_the_same_in_many_segments() -> None:
    engine = Engine(Separator.load("default"), EngineOptions(repetition=0))
    segment, _ = shortest(engine)
    mixture = torch.from_numpy(audio.read(DEMO_SONG)[0])[:, : segment + 44100]
    one = engine(mixture[None])[0]
    assert worst_db(one, in_many(engine, mixture)) <= EQUAL_DB
