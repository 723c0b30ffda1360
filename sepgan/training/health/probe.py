"""Look at both networks on held-out batches: scores of real and generated examples, and the examples themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sepgan.training.adversary import Evidence, Judged
from sepgan.training.health.measures import Values, verdict

PARTS = ("low", "middle", "high")  # thirds of the bands a network sees
FLOOR = 1e-3  # mean magnitudes below this are silence: -60 dB below a full-scale partial of a normalised transform
WHINE_FROM = 0.5  # of the bands; below, tones are music


class Rater(Protocol):
    """Of an adversary, what the probe needs."""

    def rate(self, evidence: Evidence) -> dict[str, tuple[Tensor, Tensor]]:
        """Scores `[P]` of real and generated examples by discriminator."""


@dataclass
class Snapshot:
    """What was seen at one step."""

    step: int
    values: dict[str, float] = field(default_factory=dict)  # by name, as they are logged
    scores: dict[str, tuple[Values, Values]] = field(default_factory=dict)  # real and generated, by discriminator


class Probe:
    """Looks at a generator and its adversary.

    Args:
        rater: The adversary.
        labels: Names of the stems, in the order of their labels.
        boundary: Above which a score is judged real; None: half way between real and generated.
    """

    def __init__(self, rater: Rater, labels: Sequence[str], boundary: float | None) -> None:
        self.rater = rater
        self.labels = labels
        self.boundary = boundary
        self._weights: Tensor | None = None
        self._step = 0

    def look(
        self, step: int, generator: nn.Module, evidence: Callable[[], Iterator[Evidence | None]], rate: float
    ) -> Snapshot:
        """Measure everything once.

        Args:
            step: Now.
            generator: Its weights, compared with those of the last look.
            evidence: Gives what the adversary looks at, batch by batch; called with nothing learning.
            rate: The generator's learning rate.
        """
        snapshot = Snapshot(step)
        found: dict[str, list[tuple[Tensor, Tensor, Tensor | None]]] = {}
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {part: [] for part in PARTS}
        shown: list[Judged] = []
        was_training = generator.training
        generator.eval()
        with torch.no_grad():
            for views in evidence():
                for view, judged in (views or {}).items():
                    for name, (real, fake) in self.rater.rate({view: judged}).items():
                        label = None if judged.label is None else judged.label.cpu()
                        found.setdefault(name, []).append((real.cpu(), fake.cpu(), label))
                    if view == "bands":
                        shown.append(_cpu_judged(judged))
                        for part, hybrid in _hybrids(judged):
                            for real, fake in self.rater.rate({view: hybrid}).values():
                                parts[part].append((real.cpu(), fake.cpu()))
        generator.train(was_training)
        for name, rows in found.items():
            self._judge(snapshot, name, rows)
        for part, pairs in parts.items():
            if pairs:
                sides = [_values([pair[side] for pair in pairs]) for side in (0, 1)]
                snapshot.values[f"health/auc/{part} bands"] = verdict(sides[0], sides[1], self.boundary).auc
        if shown:
            snapshot.values |= examine(shown, self.labels)
        snapshot.values |= self._movement(step, generator, rate)
        return snapshot

    def _judge(self, snapshot: Snapshot, name: str, rows: list[tuple[Tensor, Tensor, Tensor | None]]) -> None:
        real, fake = _values([row[0] for row in rows]), _values([row[1] for row in rows])
        snapshot.scores[name] = (real, fake)
        suffix = name.removeprefix("discriminator")
        measured = verdict(real, fake, self.boundary)
        snapshot.values |= {f"health/{key}{suffix}": value for key, value in measured._asdict().items()}
        if rows[0][2] is None or suffix:
            return
        label = torch.cat([row[2] for row in rows if row[2] is not None]).numpy()
        for index, stem in enumerate(self.labels):
            mine = verdict(real[label == index], fake[label == index], self.boundary)
            if not math.isnan(mine.auc):
                snapshot.values[f"health/auc/{stem}"] = mine.auc
                snapshot.values[f"health/false_positive_rate/{stem}"] = mine.false_positive_rate

    def _movement(self, step: int, generator: nn.Module, rate: float) -> dict[str, float]:
        """How far each weight went since the last look, in steps of the learning rate: about 0 if nothing moves."""
        weights = torch.cat([weight.detach().flatten().float().cpu() for weight in generator.parameters()])
        before, steps = self._weights, step - self._step
        self._weights, self._step = weights, step
        if before is None or steps <= 0 or rate <= 0:
            return {}
        return {"health/movement": float((weights - before).abs().mean()) / (rate * steps)}


def examine(shown: Sequence[Judged], labels: Sequence[str]) -> dict[str, float]:
    """What the generated examples themselves tell, on magnitudes `[P, C, F, N]`.

    Returns:
        `diversity`: how much generated examples of a stem differ from each other, relative to real ones (1: as much);
        `level_db`: their level relative to that of the real ones, of the stem where it is lowest;
        `whine_db`: the most by which they exceed the mixture and the real stem in one band of the upper half;
        `high_db`: their level in the upper half, relative to real ones.
    """
    mixture = _profiles([judged.mixture for judged in shown if judged.mixture is not None])
    real, fake = _profiles([judged.real for judged in shown]), _profiles([judged.fake for judged in shown])
    label = torch.cat([judged.label for judged in shown if judged.label is not None])
    start = int(WHINE_FROM * real.shape[1])
    diversity, level_db = [], []
    for index in range(len(labels)):
        mine = label == index
        if int(mine.sum()) < 2 or float(real[mine].mean()) < FLOOR:
            continue
        spread = [float(torch.log(side[mine] + FLOOR).std(0).mean()) for side in (fake, real)]
        diversity.append(spread[0] / max(spread[1], 1e-9))
        level_db.append(_decibels(float(fake[mine].mean()), float(real[mine].mean())))
    values = {
        "health/high_db": _decibels(float(fake[:, start:].mean()), float(real[:, start:].mean())),
        "health/diversity": min(diversity, default=math.nan),
        "health/level_db": min(level_db, default=math.nan),
    }
    if len(mixture) == len(fake):
        allowed = torch.maximum(mixture.mean(0), real.mean(0))[start:]
        excess = (fake.mean(0)[start:] + FLOOR) / (allowed + FLOOR)
        values["health/whine_db"] = 20 * math.log10(float(excess.max()))
    return values


def _hybrids(judged: Judged) -> Iterator[tuple[str, Judged]]:
    """Real examples of which only some bands are generated: what tells them apart must lie in these."""
    size = judged.real.shape[-2]
    for index, part in enumerate(PARTS):
        window = slice(size * index // len(PARTS), size * (index + 1) // len(PARTS))
        mixed = judged.real.clone()
        mixed[..., window, :] = judged.fake[..., window, :]
        yield part, judged._replace(fake=mixed)


def _profiles(items: Sequence[Tensor]) -> Tensor:
    """Mean magnitude of each band over channels and time, `[P, F]`."""
    return torch.cat([item.mean((1, 3)) for item in items]) if items else torch.zeros(0, 1)


def _decibels(value: float, other: float) -> float:
    return 20 * math.log10((value + FLOOR) / (other + FLOOR))


def _values(rows: Sequence[Tensor]) -> Values:
    return torch.cat(list(rows)).double().numpy()


def _cpu_judged(judged: Judged) -> Judged:
    mixture, label = (None if item is None else item.detach().cpu() for item in (judged.mixture, judged.label))
    return Judged(mixture, judged.real.detach().cpu(), judged.fake.detach().cpu(), label, judged.paired)


def as_plain(scores: Mapping[str, tuple[Values, Values]]) -> dict[str, list[list[float]]]:
    """Scores as JSON-able data."""
    return {name: [np.round(side, 5).tolist() for side in pair] for name, pair in scores.items()}
