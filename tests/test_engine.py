"""The engine: the separator's own numbers with less work, options that do what they say, and several models as one."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan.engine import Engine, EngineOptions
from sepgan.ensemble import Ensemble
from sepgan.errors import OutOfMemoryError, UsageError
from sepgan.models.graph import Graph
from sepgan.recipe import from_dict
from sepgan.separator import Separator
from sepgan.streaming import Cut

SAME_DB = -100.0  # one computation in another order
TIES_DB = -50.0  # in noise, frames are as much alike as others up to rounding, which then decides
NULL_DB = -100.0  # energy of (sum of stems - mixture), relative to the mixture

LINEAR = {"n_fft": 512, "hop_length": 128, "bins": 100}
MEL = {"n_fft": 1024, "hop_length": 256, "mel_bands": 48}
RAGGED = {"n_fft": 512, "hop_length": 150}  # the window is no multiple of the hop


def make(seed: int = 0, **keys: Any) -> Separator:
    torch.manual_seed(seed)
    small = {"name": "tiny", "frontend": LINEAR, "generator": {"widths": [8, 12], "head_width": 8}}
    return Separator(from_dict({**small, **keys})).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error_db(wanted: Tensor, got: Tensor) -> float:
    ratio = (wanted - got).double().square().sum() / wanted.double().square().sum()
    return float(10 * torch.log10(ratio.clamp_min(1e-30)))


def exact(separator: Separator, mixture: Tensor) -> Tensor:
    with torch.no_grad():
        stems: Tensor = separator(mixture)
        return stems


@pytest.mark.parametrize("frontend", [LINEAR, MEL, RAGGED], ids=["linear", "mel", "ragged"])
@pytest.mark.parametrize("width", [1, 2])
def test_it_gives_what_the_separator_gives(frontend: dict[str, int], width: int) -> None:
    separator = make(frontend=frontend, generator={"widths": [8, 12], "head_width": 8, "channels": width})
    engine = Engine(separator)
    for channels in (1, 2, 3):
        for samples in (1, 127, 4097, 20000):
            mixture = noise(2, channels, samples)
            stems = engine(mixture)
            assert stems.shape == (2, 4, channels, samples)
            assert error_db(exact(separator, mixture), stems) <= SAME_DB
            assert error_db(mixture, stems.sum(1)) <= NULL_DB


def test_it_says_of_itself_what_the_separator_says() -> None:
    separator = make()
    engine = Engine(separator)
    for name in ("stems", "sample_rate", "residual_stem", "segment", "context", "header"):
        assert getattr(engine, name) == getattr(separator, name)
    assert engine.excerpt_samples(3.0) == separator.excerpt_samples(3.0)
    assert engine.overlap_for(engine.segment) == separator.overlap
    assert engine.headers == ()
    assert engine.batch_for(engine.segment, 2) == 1
    assert Engine(separator, EngineOptions(batch=3)).batch_for(engine.segment, 2) == 3


def test_outputs_are_sums_of_stems() -> None:
    separator, mixture = make(), noise(1, 2, 5000)
    stems = exact(separator, mixture)
    both = Engine(separator).separate(mixture, [("vocals",), ("drums", "bass")])
    wanted = torch.stack((stems[:, 3], stems[:, 0] + stems[:, 1]), dim=1)
    assert error_db(wanted, both) <= SAME_DB


@pytest.mark.parametrize("options", [EngineOptions(), EngineOptions(shifts=2), EngineOptions(repetition=0, batch=2)])
@pytest.mark.parametrize("channels", [2, 3])
def test_what_is_kept_is_a_part_of_all(options: EngineOptions, channels: int) -> None:
    engine, mixture = Engine(make(), options), noise(3, channels, 9001)
    stems = engine(mixture)
    for begin, end in ((0, 9001), (0, 1), (3000, 3001), (2047, 6150), (9000, 9001)):
        kept = engine.separate(mixture, kept=[slice(begin, end)] * 3)
        assert kept.shape[-1] == end - begin
        assert error_db(stems[..., begin:end], kept) <= SAME_DB
    kept = engine.separate(mixture, [("bass",)], kept=[slice(500, 700), slice(900, 2000), slice(600, 1000)])
    assert kept.shape[-1] == 1500
    for item, (begin, end) in enumerate(((500, 700), (900, 2000), (600, 1000))):
        assert error_db(stems[item, 1, :, begin:end], kept[item, 0, :, begin - 500 : end - 500]) <= SAME_DB


def test_shifted_copies_are_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are longer than what the network is to be given at once, and that would be no reason to cut them."""
    separator, mixture, seen = make(), noise(1, 2, 9000), []
    forward = separator.generator.forward

    def counted(magnitudes: Tensor) -> Tensor:
        seen.append(magnitudes.shape[-1])
        masks: Tensor = forward(magnitudes)
        return masks

    monkeypatch.setattr(separator.generator, "forward", counted)
    engine = Engine(separator, EngineOptions(shifts=3, repetition=1))
    engine.separate(mixture, cut=Cut(9000, 1000))
    assert len(seen) == 3
    seen.clear()
    engine.separate(mixture, cut=Cut(5000, 1000))
    assert len(seen) > 3


def test_channels_are_seen_together_as_the_layout_says() -> None:
    separator, mixture = make(), noise(2, 5, 3000)
    stems = Engine(separator).separate(mixture, layout=((0, 3), (2,), (4, 1)))
    assert error_db(exact(separator, mixture[:, [0, 3]]), stems[:, :, [0, 3]]) <= SAME_DB
    assert error_db(exact(separator, mixture[:, [4, 1]]), stems[:, :, [4, 1]]) <= SAME_DB
    assert error_db(exact(separator, mixture[:, [2]]), stems[:, :, [2]]) <= SAME_DB


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_costs_what_it_says(precision: str, caplog: pytest.LogCaptureFixture) -> None:
    separator, mixture = make(), noise(1, 2, 5000)
    engine = Engine(separator, EngineOptions(precision=precision))
    assert engine.precision_error_db is None
    with caplog.at_level(logging.INFO):
        stems = engine(mixture)
    found = error_db(exact(separator, mixture), stems)
    assert engine.precision_error_db == pytest.approx(found, abs=0.1)
    assert -90.0 < found < -30.0, "neither the same numbers nor others altogether"
    assert error_db(mixture, stems.sum(1)) <= -60.0
    assert f"{precision} costs an error of {found:.1f} dB" in caplog.text


def test_shifts_are_averaged_and_drawn_from_the_seed() -> None:
    separator, mixture = make(), noise(1, 2, 30000)
    plain = exact(separator, mixture)
    shifted = Engine(separator, EngineOptions(shifts=3, seed=5))(mixture)
    assert SAME_DB < error_db(plain, shifted) < 0.0
    assert error_db(mixture, shifted.sum(1)) <= NULL_DB
    assert torch.equal(shifted, Engine(separator, EngineOptions(shifts=3, seed=5))(mixture))
    assert not torch.equal(shifted, Engine(separator, EngineOptions(shifts=3, seed=6))(mixture))
    # By hand: one shift is the separation of a mixture that begins later.
    engine = Engine(separator, EngineOptions(shifts=1, seed=5))
    (shift,) = engine._shifts
    moved = torch.nn.functional.pad(mixture, (shift, 22050 - shift))
    assert error_db(exact(separator, moved)[..., shift : shift + 30000], engine(mixture)) <= SAME_DB


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_wiener_filtered_stems_sum_to_the_mixture(channels: int) -> None:
    separator, mixture = make(), noise(1, channels, 5000)
    engine = Engine(separator, EngineOptions(wiener=2))
    stems = engine(mixture)
    assert error_db(mixture, stems.sum(1)) <= NULL_DB
    assert error_db(exact(separator, mixture), stems) > -60.0
    pair = engine.separate(mixture, [("bass", "vocals")])
    assert error_db(stems[:, [1]] + stems[:, [3]], pair) <= SAME_DB


@pytest.mark.parametrize("frontend", [LINEAR, MEL], ids=["linear", "mel"])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_stems_that_are_averaged_over_repetitions_sum_to_the_mixture(frontend: dict[str, int], channels: int) -> None:
    separator = make(frontend=frontend, generator={"widths": [8, 12], "head_width": 8, "channels": 1})
    mixture = noise(2, channels, 20000)
    plain, engine = exact(separator, mixture), Engine(separator, EngineOptions(repetition=2))
    stems = engine(mixture)
    assert error_db(mixture, stems.sum(1)) <= NULL_DB
    assert error_db(plain, stems) > -60.0
    pair = engine.separate(mixture, [("bass", "vocals")])
    assert error_db(stems[:, [1]] + stems[:, [3]], pair) <= SAME_DB
    assert error_db(stems.flip(2), engine(mixture.flip(1))) <= TIES_DB
    assert error_db(stems, torch.cat([engine(item[None]) for item in mixture])) <= TIES_DB


def test_all_but_vocals_are_averaged() -> None:
    """A model of vocals has nothing that is, and one of vocals and the rest has: more than a change of names."""
    changed = {}
    for names in (["vocals", "accompaniment"], ["voice", "accompaniment"]):
        separator, mixture = make(stems=names), noise(1, 2, 9000)
        changed[names[0]] = Engine(separator, EngineOptions(repetition=1))(mixture)
        assert error_db(exact(separator, mixture), changed[names[0]]) > -60.0
    assert error_db(changed["vocals"], changed["voice"]) > -60.0


def test_memory_that_runs_out_makes_batches_smaller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    separator, mixture = make(), noise(5, 2, 3000)
    engine, seen = Engine(separator), []
    forward = separator.generator.forward

    def small(magnitudes: Tensor) -> Tensor:
        seen.append(magnitudes.shape[0])
        if magnitudes.shape[0] > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        masks: Tensor = forward(magnitudes)
        return masks

    monkeypatch.setattr(separator.generator, "forward", small)
    stems = engine(mixture)
    assert seen == [5, 2, 2, 1]
    assert "going on with 2" in caplog.text
    engine(mixture)
    assert seen[4:] == [2, 2, 1], "it remembers"
    monkeypatch.undo()
    assert error_db(exact(separator, mixture), stems) <= SAME_DB


def test_memory_that_does_not_hold_one_segment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = make()

    def fail(_: Tensor) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(separator.generator, "forward", fail)
    with pytest.raises(OutOfMemoryError, match="a segment of 3000 samples: use a shorter --segment"):
        Engine(separator)(noise(2, 2, 3000))


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = make()

    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(separator.generator, "forward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        Engine(separator)(noise(1, 2, 3000))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"precision": "fp8"}, "precision 'fp8' is unknown: choose one of fp32, bf16, fp16"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"shifts": -1}, "shifts must be at least 0, got -1"),
        ({"wiener": -2}, "wiener must be at least 0, got -2"),
        ({"repetition": -1}, "repetition must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EngineOptions(**keys)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_an_exported_model_keeps_its_precision(tmp_path: Path) -> None:
    separator, mixture = make(), noise(1, 2, 3000)
    wanted = exact(separator, mixture)
    spectrum = separator.stft(mixture)
    traced: Any = torch.jit.trace(separator.generator, separator.bands(spectrum.abs()))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "tiny.torchscript"))
    separator.generator = Graph(tmp_path / "tiny.torchscript", 4)
    assert error_db(wanted, Engine(separator)(mixture)) <= SAME_DB
    with pytest.raises(UsageError, match="keeps its own precision: leave out bf16"):
        Engine(separator, EngineOptions(precision="bf16"))


BLOCKS: dict[str, Any] = {
    "frontend": {"n_fft": 510, "hop_length": 102},  # 256 bins
    "generator": {"kind": "branched", "widths": [6, 8, 8], "bottleneck": 8, "full_resolution": True, "head_width": 4},
    "separation": {"fine_bands": 32},
}


def make_in_blocks() -> tuple[Separator, int]:
    """A separator whose masks above the fine bands are those of blocks, and samples that fill its grid."""
    separator = make(**BLOCKS)
    with torch.no_grad():
        for weights in separator.generator.parameters():
            weights.mul_(2.0)  # untrained networks hardly tell one cell from another
    return separator, Engine(separator).excerpt_samples(1.0)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_masks_above_the_fine_bands_are_those_of_blocks(channels: int) -> None:
    separator, samples = make_in_blocks()
    mixture = noise(1, channels, samples)
    spectrum = separator.stft(mixture)
    masks = separator.masks(spectrum).detach().clone()
    for band in range(32, 256, 2):
        for frame in range(0, masks.shape[-1], 2):
            masks[..., band : band + 2, frame : frame + 2] = masks[..., band + 1, frame + 1, None, None]
    wanted = separator.stft.inverse(masks * spectrum.unsqueeze(1), samples)
    assert error_db(exact(separator, mixture), wanted) > SAME_DB + 20, "blocks matter here"
    assert error_db(wanted, Engine(separator)(mixture)) <= SAME_DB


def test_an_exported_model_has_blocks_as_well() -> None:
    class Exported(torch.nn.Module):
        def __init__(self, generator: torch.nn.Module) -> None:
            super().__init__()
            self.grid, self.generator = 16, generator

        def forward(self, magnitudes: Tensor) -> Tensor:
            masks: Tensor = self.generator(magnitudes)
            return masks

    separator, samples = make_in_blocks()
    mixture = noise(1, 2, samples)
    wanted = Engine(separator)(mixture)
    separator.generator = Exported(separator.generator)
    assert error_db(wanted, Engine(separator)(mixture)) <= SAME_DB


def test_threads_may_share_an_engine() -> None:
    engine = Engine(make(), EngineOptions(wiener=1))
    mixtures = [noise(1, 2, 4000 + 500 * seed, seed=seed) for seed in range(4)]
    alone = [engine(mixture) for mixture in mixtures]
    together: dict[int, Tensor] = {}

    def work(number: int) -> None:
        for _ in range(2):
            together[number] = engine(mixtures[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, stems in enumerate(alone):
        assert error_db(stems, together[number]) <= SAME_DB


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_networks_run_at_once_than_asked_for(most: int) -> None:
    """Four threads come; as many as may are let in, and wait there for one another, the rest outside."""
    separator = make()
    engine = Engine(separator, EngineOptions(networks=most))
    mixture, inside, highest = noise(1, 2, 4000), 0, 0
    met, count = threading.Barrier(most, timeout=60), threading.Lock()

    def meet(*_: object) -> None:
        nonlocal inside, highest
        with count:
            inside += 1
            highest = max(highest, inside)
        met.wait()

    def leave(*_: object) -> None:
        nonlocal inside
        with count:
            inside -= 1

    separator.generator.register_forward_pre_hook(meet)
    separator.generator.register_forward_hook(leave)
    threads = [threading.Thread(target=engine, args=(mixture,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, highest) == (0, most)


def test_an_ensemble_of_one_kind_is_the_weighted_mean() -> None:
    models, mixture = [make(0), make(1)], noise(1, 2, 4000)
    wanted = (3 * exact(models[0], mixture) + exact(models[1], mixture)) / 4
    ensemble = Ensemble([Engine(model) for model in models], (3.0, 1.0))
    stems = ensemble(mixture)
    assert error_db(wanted, stems) <= -90.0
    assert error_db(mixture, stems.sum(1)) <= NULL_DB
    assert torch.equal(ensemble.separate(mixture, [("bass",)])[:, 0], stems[:, 1])


def test_an_ensemble_takes_from_another_kind_what_it_knows() -> None:
    four, two = make(0), make(1, stems=["vocals", "accompaniment"])
    mixture = noise(1, 2, 4000)
    ensemble = Ensemble([Engine(four), Engine(two)])
    stems = ensemble(mixture)
    assert ensemble.stems == ("drums", "bass", "other", "vocals")
    assert error_db(exact(four, mixture)[:, :2], stems[:, :2]) <= SAME_DB
    assert error_db((exact(four, mixture)[:, 3] + exact(two, mixture)[:, 0]) / 2, stems[:, 3]) <= SAME_DB
    assert error_db(mixture, stems.sum(1)) <= NULL_DB


@pytest.mark.parametrize(
    ("others", "weights", "message"),
    [
        ([{"frontend": {**LINEAR, "sample_rate": 16000}}], None, "one sample rate, got 44100 and 16000 Hz"),
        ([{"stems": ["speech", "music"]}], None, "a model with the stems speech, music adds nothing"),
        ([{}], (1.0,), "2 models need as many weights, got 1"),
        ([{}], (1.0, 0.0), "must be above 0, got 1.0, 0.0"),
    ],
)
def test_models_that_do_not_go_together_are_refused(
    others: list[dict[str, Any]], weights: tuple[float, ...] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Ensemble([Engine(make()), *(Engine(make(**keys)) for keys in others)], weights)
