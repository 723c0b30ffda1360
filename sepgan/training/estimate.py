"""What a run would cost: weights, arithmetic, time, memory and disk, from a few steps on noise that are then forgotten.

Time is measured here and now, so it holds for this machine and whatever else it does. The largest batch that a CPU is
asked to take is small; larger ones count in proportion. Of memory, only what grows with the recipe is counted.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sepgan import audio
from sepgan.data import scan
from sepgan.data.excerpts import Batch
from sepgan.data.opening import covers_of
from sepgan.data.prepare import needed_bytes
from sepgan.data.store import SampleStore, sources_of
from sepgan.data.track import AudioSource, Source, Track
from sepgan.errors import AudioError
from sepgan.recipe import Recipe, SourceRecipe
from sepgan.training.devices import start
from sepgan.training.kept import Kept
from sepgan.training.loop import Loop
from sepgan.training.separation import SeparationTask
from sepgan.training.task import Part, Task
from sepgan.training.toys import ToyTask

logger = logging.getLogger(__name__)

CPU_S = 12.0  # of audio in the largest batch that is tried on a processor
LEAST = 2  # examples in it
LEVEL = 0.1  # of the noise that stands for stems
PHASES = ("generator alone", "adversary warms up", "both networks")


@dataclass(frozen=True)
class Phase:
    """Steps that do the same work."""

    name: str
    first_step: int
    steps: int
    macs_per_step: int  # multiply-accumulates of convolutions and matrix products, forward and backward
    seconds_per_step: float


@dataclass(frozen=True)
class Estimate:
    """What a run would cost."""

    weights: dict[str, int]  # numbers that are learnt, by network
    phases: tuple[Phase, ...]
    seconds: float  # of all steps; decoding and validation come on top
    excerpts_per_second: float  # in the last phase
    device: str
    threads: int
    batch_size: int
    measured_excerpts: int  # in a batch that was tried; costs of `batch_size` follow in proportion
    memory_bytes: dict[str, int]  # networks (with optimisers and gradients), batch, backward (its need), teacher, all
    disk_bytes: dict[str, int]  # checkpoints, decoded, and what is free where each of them goes
    folders: dict[str, str]  # where they go

    def to_dict(self) -> dict[str, Any]:
        """Plain data for programs."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for people."""
        found = [", ".join(f"{name} {count:,} weights" for name, count in self.weights.items())]
        for phase in self.phases:
            last = phase.first_step + phase.steps - 1
            found.append(
                f"steps {phase.first_step} to {last}, {phase.name}: {phase.macs_per_step / 1e9:.3g} GMAC, "
                f"{phase.seconds_per_step:.3g} s a step"
            )
        tried = f"measured with {self.measured_excerpts} of {self.batch_size} examples a batch"
        found.append(
            f"all steps: {_duration(self.seconds)} on {self.device}, threads: {self.threads} ({tried}), "
            f"{self.excerpts_per_second:.3g} examples a second; decoding and validation come on top"
        )
        parts = ", ".join(f"{name} {_size(count)}" for name, count in self.memory_bytes.items() if name != "all")
        found.append(f"memory: at least {_size(self.memory_bytes['all'])} ({parts})")
        for name, folder in self.folders.items():
            needed, free = self.disk_bytes[name], self.disk_bytes[f"{name}_free"]
            short = "; NOT ENOUGH" if needed > free else ""
            found.append(f"disk: {name} {_size(needed)} at most in '{folder}', where {_size(free)} are free{short}")
        return found


def estimate(recipe: Recipe, out: Path, roots: Mapping[str, Path], *, device: str = "auto") -> Estimate:
    """Take a few steps of a recipe on noise and say what all of them would cost; nothing is written to `out`.

    Args:
        recipe: What would be trained.
        out: Folder of the run.
        roots: Dataset folders by the names that `--data NAME=PATH` gave them.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        CheckpointError: The model to start from does not fit.
        DatasetError: A dataset is absent or empty.
        RecipeError: The recipe contradicts itself or its data.
    """
    store = SampleStore(Path(recipe.data.cache) if recipe.data.cache else out / "cache", recipe.frontend.sample_rate)
    decoded = 0 if recipe.toy else decoded_bytes(recipe, roots, store.sample_rate)
    fabric = start(device, recipe.train.precision)
    torch.manual_seed(recipe.seed)
    task: Task = ToyTask(recipe, fabric) if recipe.toy else SeparationTask(recipe, fabric, out, None)
    size = recipe.train.batch_size
    tried = size if recipe.toy or fabric.device.type == "cuda" else _tried(recipe)
    batch = _noise(task, tried) if isinstance(task, SeparationTask) else next(task.batches(Part(0, tried)))
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(task, fabric, recipe.train, seed=recipe.seed, out=Path(folder))
        phases, backward = _rehearse(loop, batch, size / tried)
    held = {
        "networks": _state_bytes(loop) + sum(_bytes_of(weight) for weight in _trained(loop).values()),
        "batch": round(_bytes_of(batch) * size / tried) * loop.stepper.batches_at(recipe.train.steps - 1),
        "backward": round(backward * size / tried),
    }
    if isinstance(task, SeparationTask) and task.teacher is not None:
        held["teacher"] = _bytes_of(list(task.teacher.separator.generator.state_dict().values()))
    checkpoints = (recipe.train.keep_states + 1) * _state_bytes(loop) + 2 * _model_bytes(task, recipe)
    disk = {"checkpoints": checkpoints, "checkpoints_free": SampleStore(out, 1).free_bytes()}
    folders = {"checkpoints": str(out)}
    if not recipe.toy:
        disk |= {"decoded": decoded, "decoded_free": store.free_bytes()}
        folders["decoded"] = str(store.folder)
    networks = {"generator": task.generator, **(task.adversary.modules if task.adversary else {})}
    examples = size * loop.stepper.batches_at(recipe.train.steps - 1)
    return Estimate(
        weights={name: sum(weight.numel() for weight in network.parameters()) for name, network in networks.items()},
        phases=phases,
        seconds=sum(phase.steps * phase.seconds_per_step for phase in phases),
        excerpts_per_second=examples / phases[-1].seconds_per_step,
        device=str(fabric.device),
        threads=torch.get_num_threads(),
        batch_size=size,
        measured_excerpts=tried,
        memory_bytes=held | {"all": sum(held.values())},
        disk_bytes=disk,
        folders=folders,
    )


def decoded_bytes(recipe: Recipe, roots: Mapping[str, Path], sample_rate: int) -> int:
    """Size of the decoded audio of a recipe by what the files declare; what cannot be read counts nothing.

    Raises:
        DatasetError: A dataset is absent or empty, or has a stem that the recipe does not know.
    """
    sizes: dict[Source, int] = {}  # a song may stand in several entries, and is decoded once
    for entry in (*recipe.data.train, *recipe.data.validation):
        direct = recipe.data.decode == "direct" and entry in recipe.data.train
        for track in scan(entry, roots):
            for source in _decoded_sources(track, entry, recipe):
                if source not in sizes:
                    sizes[source] = _decoded_size(Track(track.name, track.split, {"one": source}), sample_rate, direct)
    return sum(sizes.values())


def _decoded_sources(track: Track, entry: SourceRecipe, recipe: Recipe) -> list[Source]:
    if entry.unlabelled:
        return [track.mixture] if track.mixture else []
    if entry in recipe.data.train:
        return [track.stems[stem] for stem in covers_of(track, entry, recipe.stems)]
    return list(sources_of(track).values())


def _decoded_size(track: Track, sample_rate: int, direct: bool) -> int:
    (source,) = track.stems.values()
    try:
        if direct and isinstance(source, AudioSource):
            direct = audio.probe(source.path, source.stream).sample_rate == sample_rate
            return 0 if direct else needed_bytes(track, sample_rate)
        return needed_bytes(track, sample_rate)
    except AudioError as error:
        logger.warning("'%s' cannot be read: %s", track.name, error)
        return 0


def _tried(recipe: Recipe) -> int:
    return min(recipe.train.batch_size, max(LEAST, int(CPU_S / recipe.data.excerpt_s)))


def _noise(task: SeparationTask, size: int) -> Batch:
    """A batch of which all stems are known, but for the share of mixtures that a teacher looks at, rounded up."""
    config = task.config
    samples = task.separator.excerpt_samples(config.data.excerpt_s)
    stems = LEVEL * torch.randn(size, len(config.stems), config.generator.channels, samples)
    groups = torch.eye(len(config.stems)).expand(size, -1, -1)
    band_hz = torch.full((size,), task.separator.sample_rate / 2)
    known = torch.ones(size, dtype=torch.bool)
    if task.teacher is not None:
        sources = config.data.train
        share = sum(source.weight for source in sources if source.unlabelled) / sum(source.weight for source in sources)
        known[: math.ceil(share * size)] = False
    groups = groups * known[:, None, None]
    batch = (stems.sum(1), stems * known[:, None, None, None], groups, band_hz, known)
    return Batch(*(tensor.to(task.fabric.device) for tensor in batch))


def _rehearse(loop: Loop, batch: Any, scale: float) -> tuple[tuple[Phase, ...], int]:
    """Phases, and the largest number of bytes that the way back of the tried batch needed."""
    steps = loop.config.steps
    box = loop.task.adversary
    # Both begin at some step and never end.
    trains = bisect_left(range(steps), True, key=box.trains_at) if box else steps
    counts = bisect_left(range(steps), True, key=lambda step: box.weight_at(step) > 0) if box else steps
    firsts = (0, trains, max(trains, counts), steps)
    found, most = [], 0
    for name, first, end in zip(PHASES, firsts, firsts[1:], strict=False):
        if first == end:
            continue
        batches = [batch] * loop.stepper.batches_at(first)
        loop.step = first
        kept = Kept(weight for module in loop._modules.values() for weight in module.parameters())
        with FlopCounterMode(display=False) as counter, kept:
            loop.train_step(batches)
        most = max(most, kept.most_bytes)
        loop.step = first
        began = _now(loop.fabric)
        loop.train_step(batches)
        spent = _now(loop.fabric) - began
        macs = round(scale * counter.get_total_flops() / 2)
        found.append(Phase(name, first, end - first, macs, scale * spent))
    return tuple(found), most


def _now(fabric: Fabric) -> float:
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter()


def _trained(loop: Loop) -> dict[str, nn.Parameter]:
    """Weights that have gradients."""
    return {
        f"{name}/{key}": weight
        for name, module in loop._modules.items()
        if name != "average"
        for key, weight in module.named_parameters()
    }


def _state_bytes(loop: Loop) -> int:
    """Of a state of the run, which is what networks and optimisers take in memory too."""
    modules = sum(_bytes_of(list(module.state_dict().values())) for module in loop._modules.values())
    entries = [entry for optimiser in loop._optimisers.values() for entry in optimiser.state_dict()["state"].values()]
    return modules + sum(_bytes_of([torch.as_tensor(value) for value in entry.values()]) for entry in entries)


def _model_bytes(task: Task, recipe: Recipe) -> int:
    halved = recipe.train.weights_dtype == "float16"
    return sum(
        _bytes_of(value) // (2 if halved and value.ndim > 1 else 1) for value in task.average.state_dict().values()
    )


def _bytes_of(values: Any) -> int:
    """Of a tensor or several."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    return sum(_bytes_of(value) for value in values)


def _duration(seconds: float) -> str:
    """Seconds for people.

    >>> _duration(42.4), _duration(5400), _duration(300000)
    ('42 s', '1.5 h', '3.5 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(1_234_000), _size(17_000_000_000)
    ('1.2 MB', '17.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
