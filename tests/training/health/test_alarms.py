"""Alarms on runs of tiny networks: seeded failures raise theirs, healthy runs of ten seeds raise none."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from sepgan.models.judgement import Surroundings
from sepgan.recipe import AdversaryRecipe, GeneratorRecipe
from sepgan.training.adversary import Adversary, Evidence, Judged
from sepgan.training.devices import start
from sepgan.training.health.alarms import Health, raised
from sepgan.training.health.probe import Probe

BANDS, FRAMES, STEMS = 24, 8, 2
RATE = 1e-2
WHINE_BAND = 20
JUDGE = AdversaryRecipe(weight=0.1, widths=(8,), learning_rate=1e-3)
TYRANT = AdversaryRecipe(weight=0.1, widths=(8,), learning_rate=5e-3, updates=6, spectral_norm=False)


class Masks(nn.Module):
    """Two masks from a look at neighbouring bands, and a whine for those who ask for it."""

    def __init__(self, whine: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, STEMS, 3, padding=1))
        self.whine = whine
        self.register_buffer("ramp", torch.linspace(-1, 1, BANDS).view(1, 1, BANDS, 1))

    def forward(self, mixture: Tensor) -> Tensor:
        ramp = self.get_buffer("ramp").expand(len(mixture), 1, BANDS, FRAMES)
        logits: Tensor = self.net(torch.cat([mixture.clamp_min(1e-3).log(), ramp], 1))
        stems = logits.softmax(1).unsqueeze(2) * mixture.unsqueeze(1)
        if self.whine:
            stems = stems + self.whine * (torch.arange(BANDS) == WHINE_BAND).view(1, 1, 1, BANDS, 1)
        return stems


def examples(generator: Masks, random: torch.Generator, items: int = 6) -> tuple[Evidence, Tensor, Tensor]:
    """Low bands are one stem, high ones the other, with a level for each item."""
    mixture = torch.rand(items, 1, BANDS, FRAMES, generator=random) * (
        0.3 + torch.rand(items, 1, 1, 1, generator=random)
    )
    share = torch.sigmoid(torch.linspace(4, -4, BANDS)).view(1, 1, 1, BANDS, 1)
    truth = torch.cat([share, 1 - share], 1) * mixture.unsqueeze(1)
    stems = generator(mixture)
    item = torch.arange(items).repeat_interleave(STEMS)
    label = torch.arange(STEMS).repeat(items)
    return {"bands": Judged(mixture[item], truth[item, label], stems[item, label], label)}, stems, truth


def run(
    seed: int,
    *,
    frozen: bool = False,
    whine: float = 0.0,
    judge: AdversaryRecipe = JUDGE,
    generator_rate: float = RATE,
    steps: int = 40,
) -> tuple[set[str], list[Health]]:
    """Steps with a look at every eighth; which alarms were raised at any of them."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    generator = Masks()
    fabric = start("cpu", "32-true")
    adversary = Adversary(judge, Surroundings(STEMS, 1, BANDS, GeneratorRecipe()), fabric)
    optimiser = torch.optim.Adam(generator.parameters(), lr=generator_rate)
    probe = Probe(adversary, ["low", "high"], 0.5)
    history: list[Health] = []
    names: set[str] = set()
    for step in range(1, steps + 1):
        evidence, stems, truth = examples(generator, random)
        for _ in range(judge.updates):
            adversary.begin()
            adversary.learn(evidence, 1.0)
            adversary.apply()
        loss, _ = adversary.objective((stems - truth).abs().mean(), evidence, stems, 1.0, step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not frozen:
            optimiser.step()
        if step == 24:
            generator.whine = whine
        if step % 8 == 0:

            def held_out() -> Iterator[Evidence]:
                unseen = torch.Generator().manual_seed(10**6)
                for _ in range(3):
                    yield examples(generator, unseen)[0]

            snapshot = probe.look(step, generator, held_out, generator_rate)
            history.append((step, snapshot.values))
            names |= {alarm.name for alarm in raised(history)}
    return names, history


@pytest.mark.parametrize("seed", range(10))
def test_healthy_runs_raise_no_alarm(seed: int) -> None:
    names, history = run(seed)
    assert names == set()
    last = history[-1][1]
    assert 0.01 < last["health/movement"] < 10, "it did train"
    assert {"health/auc/low", "health/auc/high", "health/auc/low bands", "health/auc/high bands"} <= last.keys()


@pytest.mark.parametrize("seed", range(3))
def test_a_discriminator_far_too_strong_is_told(seed: int) -> None:
    """Unbounded, and thirty times as fast, against a generator that learns a thousand times as slowly."""
    names, history = run(seed, judge=TYRANT, generator_rate=1e-5, steps=64)
    assert "discriminator ahead" in names
    assert "generator frozen" not in names
    assert history[-1][1]["health/auc"] > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_frozen_generator_is_told(seed: int) -> None:
    assert "generator frozen" in run(seed, frozen=True)[0]


@pytest.mark.parametrize("seed", range(3))
def test_an_added_whine_is_told(seed: int) -> None:
    names, history = run(seed, whine=1.5)
    assert names == {"high-frequency noise"}
    assert history[1][1]["health/whine_db"] < 3
    assert history[-1][1]["health/whine_db"] > 6


def test_collapse_is_told() -> None:
    """All examples of a stem alike, or none of it left."""
    healthy = {"health/diversity": 0.8, "health/level_db": -1.0}
    assert raised([(1, healthy)]) == []
    for bad in ({"health/diversity": 0.01}, {"health/level_db": -50.0}):
        assert [alarm.name for alarm in raised([(1, healthy | bad)])] == ["collapse"]
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    evidence, _, _ = examples(Masks(), random)
    judged = evidence["bands"]
    alike = judged._replace(fake=judged.real.mean(0, keepdim=True).expand_as(judged.real))
    silent = judged._replace(fake=0 * judged.fake)

    class Nobody:
        def rate(self, evidence: Evidence) -> dict[str, tuple[Tensor, Tensor]]:
            return {}

    for shown in (alike, silent):
        probe = Probe(Nobody(), ["low", "high"], 0.5)
        held_out: list[Evidence | None] = [{"bands": shown}]
        values = probe.look(1, nn.Linear(1, 1), held_out.__iter__, RATE).values
        assert [alarm.name for alarm in raised([(1, values)])] == ["collapse"]


def test_an_alarm_says_what_to_do() -> None:
    history = [(step, {"health/auc": 1.0, "health/false_positive_rate": 0.0}) for step in (1, 2, 3)]
    alarm = raised(history)[0]
    assert alarm.step == 3
    assert "lower adversary.learning_rate" in alarm.text
    assert "\n" not in alarm.text
    assert raised(history[:2]) == [], "three in a row, not one bad moment"
    assert raised([]) == []
