"""The adversary: losses, regularisers, what discriminators look at, and the box that trains them."""

from sepgan.training.adversary.box import Adversary
from sepgan.training.adversary.evidence import (
    Evidence,
    Judged,
    Material,
    collect,
    select_contexts,
    select_single_stems,
    select_unpaired,
    select_waveforms,
)

__all__ = [
    "Adversary",
    "Evidence",
    "Judged",
    "Material",
    "collect",
    "select_contexts",
    "select_single_stems",
    "select_unpaired",
    "select_waveforms",
]
