"""What discriminators cost: counted multiplications and measured time of a step of both networks.

    python -m benchmarks.discriminators

The generator is that of the recipe `musdb_unet_gan`; a step judges all four stems of an excerpt of about 1.5 s.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sepgan import recipe
from sepgan.models import build_generator
from sepgan.models.judgement import Surroundings
from sepgan.recipe import AdversaryRecipe
from sepgan.training.adversary import Adversary, Evidence, Judged

FRAMES = 64
STEMS = 4
NETWORKS: dict[str, dict[str, Any]] = {
    "none": {},
    "patch 64,128,256,512, the last flat (70 x 70)": {"widths": [64, 128, 256, 512], "flat_levels": 1},
    "patch 32,64,128": {"widths": [32, 64, 128]},
    "patch 16,32,64,128": {"widths": [16, 32, 64, 128]},
    "patch 16,32,64": {"widths": [16, 32, 64]},
    "patch 8,16,32,64": {"widths": [8, 16, 32, 64]},
    "context 16,32,64,128": {"kind": "context", "widths": [16, 32, 64, 128]},
    "stft 8": {"kind": "stft", "widths": [8]},
    "stft 16": {"kind": "stft", "widths": [16]},
}


def reach(widths: list[int], flat_levels: int = 0) -> int:
    """Bins and frames that one judgement of a patch network sees, along each axis."""
    seen, stride = 1, 1
    for level in range(len(widths)):
        seen += 3 * stride
        stride *= 1 if level >= len(widths) - flat_levels else 2
    return seen + 2 * stride


class Game:
    """A generator, a mixture, and perhaps an adversary.

    Args:
        settings: Of the adversary; empty for none.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        base = recipe.load("musdb_unet_gan")
        bands, self.hop = base.frontend.bins or 0, base.frontend.hop_length
        self.seconds = FRAMES * self.hop / base.frontend.sample_rate
        self.generator: nn.Module = build_generator(base.generator, STEMS, bands)
        self.optimiser = torch.optim.AdamW(self.generator.parameters())
        self.mixture = torch.rand(1, 2, bands, FRAMES)
        self.wave = torch.randn(1, 2, FRAMES * self.hop)
        self.adversary: Adversary | None = None
        if settings:
            config = AdversaryRecipe.model_validate({"weight": 1.0} | settings)
            around = Surroundings(STEMS, 2, bands, base.generator)
            self.adversary = Adversary(config, around, Fabric(accelerator="cpu", devices=1))

    def evidence(self, estimates: Tensor) -> Evidence:
        """All four stems in the view that the discriminator asks for."""
        assert self.adversary is not None
        (view,) = self.adversary.views
        label = torch.arange(STEMS)
        if view == "context":
            return {view: Judged(self.mixture, estimates.detach(), estimates, None)}
        if view == "waveform":  # stands for the inverse transform, which is not counted here
            waves = self.wave.expand(STEMS, -1, -1) * estimates.mean()
            return {view: Judged(self.wave.expand(STEMS, -1, -1), waves.detach(), waves, label)}
        mixture = self.mixture.expand(STEMS, -1, -1, -1)
        return {view: Judged(mixture, estimates[0].detach(), estimates[0], label)}

    def step(self) -> None:
        """One step of both networks."""
        estimates = self.generator(self.mixture) * self.mixture.unsqueeze(1)
        loss = (estimates - 0.25 * self.mixture.unsqueeze(1)).abs().mean()
        if self.adversary is not None:
            evidence = self.evidence(estimates)
            self.adversary.begin()
            self.adversary.learn(evidence, 1.0)
            self.adversary.apply()
            loss = self.adversary.objective(loss, evidence, estimates, 1.0, 0)[0]
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()


def measure(settings: dict[str, Any], repeats: int) -> tuple[float, float, int]:
    """Counted 10^9 multiplications and CPU seconds of a step, for a second of audio, and weights of the adversary."""
    torch.manual_seed(0)
    game = Game(settings)
    with FlopCounterMode(display=False) as counter:
        game.step()
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        game.step()
        spent.append(time.process_time() - started)
    networks = game.adversary.modules.values() if game.adversary else ()
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    return counter.get_total_flops() / 2e9 / game.seconds, min(spent) / game.seconds, weights


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="steps of which the fastest counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| discriminator | weights | sees | GMAC per s of audio | share of the step | CPU s per s of audio |")
    print("| --- | --- | --- | --- | --- | --- |")
    base = 0.0
    for name, settings in NETWORKS.items():
        counted, spent, weights = measure(settings, arguments.repeats)
        base = base or counted
        patches = settings.get("kind", "patch") != "stft" and settings
        sees = f"{reach(settings['widths'], settings.get('flat_levels', 0))}" if patches else ""
        print(f"| {name} | {weights:,} | {sees} | {counted:.2f} | {1 - base / counted:.0%} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
