"""Adversaries on made-up evidence, and what they are asked to do."""

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from sepgan.models.judgement import Surroundings
from sepgan.recipe import AdversaryRecipe, GeneratorRecipe
from sepgan.training.adversary import Adversary, Evidence, Judged

GENERATOR = GeneratorRecipe(widths=(4, 6), channels=1, head_width=4, dropout=0.0)
AROUND = Surroundings(stems=2, channels=1, bands=16, generator=GENERATOR)
STRICT: dict[str, dict[str, Any]] = {  # what a loss cannot do without
    "wasserstein": {"clip_weights": 0.1, "spectral_norm": False},
    "wasserstein_gp": {"gradient_penalty": 10.0, "spectral_norm": False},
    "margin": {"activation": "energy"},
}


def make(around: Surroundings = AROUND, **keys: object) -> Adversary:
    torch.manual_seed(0)
    config = AdversaryRecipe.model_validate({"weight": 1.0, "widths": [16]} | keys)
    return Adversary(config, around, Fabric(accelerator="cpu", devices=1))


def update(adversary: Adversary, evidence: Evidence | Judged) -> dict[str, float]:
    adversary.begin()
    measured = adversary.learn(evidence, 1.0)
    return {name: float(value) for name, value in (measured | adversary.apply()).items()}


def score(adversary: Adversary, judged: Evidence | Judged, step: int = 0) -> Tensor:
    fake = judged.fake if isinstance(judged, Judged) else next(iter(judged.values())).fake
    return adversary.objective(None, judged, fake, 1.0, step)[0]


TRUTH = torch.tensor([0.8, 0.3])


def examples(scales: Tensor, truth: Tensor, generator: torch.Generator, items: int = 8) -> Judged:
    """Stems that are scaled copies of their mixture: the real ones by `truth`, the generated ones by `scales`."""
    mixture = 0.5 + torch.rand(items, 1, 16, 8, generator=generator)
    label = torch.arange(items) % len(truth)
    real, fake = (factors[label][:, None, None, None] * mixture for factors in (truth, scales))
    return Judged(mixture, real, fake, label)


def evidence_of(view: str, seed: int = 0, items: int = 6) -> Evidence:
    """Real and generated examples of a view that differ in kind: noise against noise with a hum."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "bands": (1, 16, 8),
        "unpaired": (1, 16, 8),
        "context": (2, 1, 16, 8),
        "waveform": (1, 512),
        "vector": (3,),
    }
    shape = shapes[view]
    real, noise = (torch.randn(items, *shape, generator=generator) for _ in range(2))
    if view not in ("waveform", "vector"):
        real, noise = real.abs(), noise.abs()
    mixture = (real.sum(1) if view == "context" else real) + 0.5
    label = torch.arange(items) % 2
    paired = view not in ("vector", "unpaired")
    return {view: Judged(mixture if paired else None, real, 0.3 * noise + 0.7, label, paired)}


NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "patch": ("bands", {"kind": "patch"}),
    "patch, unconditional": ("bands", {"kind": "patch", "conditional": False, "labels": "none"}),
    "patch, one per stem": ("bands", {"kind": "patch", "labels": "separate"}),
    "patch, unpaired": ("unpaired", {"kind": "patch", "conditional": False, "unpaired": True}),
    "context": ("context", {"kind": "context"}),
    "stft": ("waveform", {"kind": "stft", "widths": [4], "n_ffts": [64, 32]}),
    "stft, unconditional": ("waveform", {"kind": "stft", "widths": [4], "n_ffts": [64, 32], "conditional": False}),
    "stft, one per stem": ("waveform", {"kind": "stft", "widths": [4], "n_ffts": [64], "labels": "separate"}),
    "encoder": ("bands", {"kind": "encoder"}),
    "mlp": ("vector", {"kind": "mlp"}),
}


def build(network: str, loss: str, **keys: object) -> tuple[Adversary, Evidence]:
    view, settings = NETWORKS[network]
    around = AROUND._replace(dimensions=3) if view == "vector" else AROUND
    return make(around, **({"loss": loss} | STRICT.get(loss, {}) | settings | keys)), evidence_of(view)
