"""A model that needs no training, and small helpers, for tests of separation."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor, nn

from sepgan import audio
from sepgan.checkpoint import CheckpointHeader
from sepgan.separation import SeparationResult
from sepgan.separation.channels import Layout
from sepgan.separator import Separator
from sepgan.streaming import Cut, share_for, span
from tests import synth

STEMS = ("drums", "bass", "other", "vocals")
NULL_DBFS = -90.0  # the promise for float32 and int24
LSB_16 = 2.0**-15
NULL_INT16 = 1.5 * LSB_16  # half a step of rounding and one of dither, for the whole sum
SAME_SOUND_DBFS = -80.0  # resampled twice, what lies in the model's band comes back

Audio = npt.NDArray[np.float32]


class Shares(Separator):
    """Four stems that are shares of the mixture, changing along each segment; `inspect` sees every segment."""

    def __init__(self, inspect: Callable[[Tensor], None] = lambda mixture: None, sample_rate: int = 16000) -> None:
        nn.Module.__init__(self)
        self.stems = STEMS
        self.sample_rate = sample_rate
        self.header = CheckpointHeader(
            name="shares", stems=STEMS, sample_rate=sample_rate, recipe={}, licence="CC0 1.0", sha256="0" * 64
        )
        self.inspect = inspect

    @property
    def segment(self) -> int:
        return 4000

    @property
    def context(self) -> tuple[int, int]:
        return (0, 0)

    def overlap_for(self, segment: int, wanted: int | None = None) -> int:
        return segment // 4 if wanted is None else min(wanted, segment // 2)

    def excerpt_samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate)

    def batch_for(self, segment: int, channels: int) -> int:
        return 1

    def cut_for(self, channels: int) -> Cut:
        segment = round(share_for(channels) * self.segment)
        return Cut(segment, self.overlap_for(segment))

    def window(self, cut: Cut, channels: int) -> Cut:
        return cut

    def separate(
        self,
        mixture: Tensor,
        groups: Sequence[Sequence[str]] | None = None,
        layout: Layout | None = None,
        *,
        kept: Sequence[slice] | None = None,
        cut: Cut | None = None,
    ) -> Tensor:
        assert layout is not None
        stems = torch.zeros(len(mixture), len(self.stems), *mixture.shape[1:])
        for group in map(list, layout):
            stems[:, :, group] = self(mixture[:, group])
        sums = [stems[:, [self.stems.index(stem) for stem in group]].sum(1) for group in groups or []]
        outputs = torch.stack(sums, dim=1)
        return outputs if kept is None else outputs[..., span(kept)]

    def forward(self, mixture: Tensor) -> Tensor:
        self.inspect(mixture)
        along = torch.linspace(0, 1, mixture.shape[-1])
        drums, bass, vocals = mixture * along * 0.5, mixture * (1 - along) * 0.3, mixture * 0.4
        return torch.stack((drums, bass, mixture - drums - bass - vocals, vocals), dim=1)


def never(mixture: Tensor) -> None:
    """An `inspect` that no segment may reach."""
    raise AssertionError("computed")


def write(path: Path, samples: Audio, sample_rate: int = 16000, subtype: str = "FLOAT") -> Path:
    """Write `[C, T]`; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, sample_rate, subtype=subtype)
    return path


def noise(duration_s: float = 0.7, sample_rate: int = 16000, channels: int = 2) -> Audio:
    """Noise of 0.1 RMS."""
    return synth.noise(duration_s, sample_rate=sample_rate, channels=channels)


def sum_of(result: SeparationResult) -> npt.NDArray[np.float64]:
    """The stems added up as they are in the files."""
    total: npt.NDArray[np.float64] = np.sum(
        [audio.read(path)[0] for path in result.paths.values()], axis=0, dtype=np.float64
    )
    return total


def dbfs(samples: npt.NDArray[np.floating]) -> float:
    """Peak level."""
    return 20 * math.log10(max(float(np.abs(samples).max(initial=0)), 1e-20))


def contents(folder: Path) -> list[str]:
    """All that lies below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
