"""How to score, whatever is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sepgan.evaluation.frechet import Embedder
from sepgan.evaluation.material import MIXTURE_TOLERANCE_DB
from sepgan.evaluation.measures import DEFAULT_MEASURES
from sepgan.evaluation.metrics import SilenceRule
from sepgan.evaluation.museval_json import MusevalTrack
from sepgan.evaluation.sisec import Table
from sepgan.evaluation.statistics import Method


@dataclass(frozen=True)
class Options:
    """Metrics, conventions, what to compare with and what to write."""

    metrics: Sequence[str] = DEFAULT_MEASURES  # keys of MEASURES and EMBEDDERS
    silence: SilenceRule = SilenceRule.REFERENCE
    oracle: bool = True  # score the oracles too
    page: bool = True  # write report.html
    others: Mapping[str, Mapping[str, MusevalTrack]] = field(default_factory=dict)  # systems that museval scored
    anchor: str | None = None  # compare the other systems with this one alone, not every pair
    published: Table | None = None  # SiSEC 2018, to find the systems' places in
    device: str | torch.device = "cpu"  # of the metrics
    mixture_tolerance_db: float = MIXTURE_TOLERANCE_DB  # by which references may miss the mixture, relative to it
    embedding: Embedder | None = None  # one more Fréchet distance, over points of the user's own
    interval: Method = "percentile"  # bootstrap of all intervals
