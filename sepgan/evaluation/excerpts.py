"""The excerpts worth hearing: for every stem and system the few seconds where it did worst and best.

An excerpt is ranked by its global SDR. Windows in which the reference is far quieter than where it is loudest are left
out: what they score says little, and there is little to hear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sepgan.evaluation.material import Material
from sepgan.evaluation.metrics import MAXIMUM_DB, MDX_EPSILON

SECONDS = 6.0
HOP_S = 1.0  # between the windows that are compared
ACTIVE_DB = -15.0  # relative to the stem's loudest window of the track
AUDIBLE_DB = -50.0  # mean power relative to full scale, below which a stem counts as absent

End = Literal["worst", "best"]
Pick = tuple[End, str]
"""Which end of the scale, and of which system."""
_Place = tuple[str, str, int]  # track, stem, first sample
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Excerpt:
    """A few seconds of one stem of one track: what is true and what every system made of it."""

    track: str
    stem: str
    start_s: float
    sample_rate: int  # Hz
    mixture: npt.NDArray[np.float32]  # [C, T]
    reference: npt.NDArray[np.float32]
    estimates: Mapping[str, npt.NDArray[np.float32]]  # system -> [C, T]
    usdr_db: Mapping[str, float]  # of the excerpt alone
    picks: tuple[Pick, ...] = ()  # why it was kept

    @property
    def duration_s(self) -> float:
        """Its length."""
        return float(self.mixture.shape[-1] / self.sample_rate)


class ExcerptKeeper:
    """Picks excerpts while tracks go by, and holds the audio of those alone."""

    def __init__(self, *, seconds: float = SECONDS, count: int = 1) -> None:
        """Keep excerpts of a length.

        Args:
            seconds: Length of an excerpt; tracks that are shorter are taken whole.
            count: How many to keep at either end, for each stem and system; at most one of a track.
        """
        self._seconds, self._count = seconds, count
        self._ranked: dict[tuple[str, Pick], list[tuple[float, _Place]]] = {}
        self._kept: dict[_Place, Excerpt] = {}

    def offer(self, track: str, material: Material) -> None:
        """Look at one track and keep what is worse or better than all before.

        Args:
            track: Its name.
            material: Its audio; only copies of excerpts are held.
        """
        hop = round(HOP_S * material.sample_rate)
        blocks = max(1, round(self._seconds / HOP_S))
        for stem, reference in material.references.items():
            estimates = {system: found[stem] for system, found in material.estimates.items() if stem in found}
            power = _windows(_block_energies(reference, None, hop), blocks)
            active = _active(power, reference.shape[0] * min(blocks * hop, reference.shape[-1]))
            if not estimates or not active.any():
                continue
            scores = {
                system: _usdr_db(power, _windows(_block_energies(reference, estimate, hop), blocks))
                for system, estimate in estimates.items()
            }
            for system, score in scores.items():
                costs: dict[End, _Values] = {"worst": score, "best": -score}
                for end, cost in costs.items():
                    index = int(np.where(active, cost, np.inf).argmin())
                    place = (track, stem, index * hop)
                    if self._enter((stem, (end, system)), float(cost[index]), place) and place not in self._kept:
                        here = {name: float(values[index]) for name, values in scores.items()}
                        self._kept[place] = _cut(place, blocks * hop, material, reference, estimates, here)
        wanted = {place for ranked in self._ranked.values() for _, place in ranked}
        self._kept = {place: excerpt for place, excerpt in self._kept.items() if place in wanted}

    def kept(self) -> tuple[Excerpt, ...]:
        """The excerpts, each once with all reasons it was kept for, stem by stem."""
        picks: dict[_Place, list[Pick]] = {}
        for (_, pick), ranked in self._ranked.items():
            for _, place in ranked:
                picks.setdefault(place, []).append(pick)
        return tuple(Excerpt(**{**vars(self._kept[place]), "picks": tuple(found)}) for place, found in picks.items())

    def _enter(self, key: tuple[str, Pick], cost: float, place: _Place) -> bool:
        """Whether a place is among those to keep; the lowest costs are."""
        ranked = sorted([*self._ranked.get(key, []), (cost, place)])[: self._count]
        self._ranked[key] = ranked
        return (cost, place) in ranked


def _block_energies(reference: Tensor, estimate: Tensor | None, hop: int) -> _Values:
    """Energy of a reference, or of an estimate's error, in whole blocks; a signal shorter than one is one block."""
    length = reference.shape[-1]
    energies = []
    for start in range(0, max(1, length // hop) * hop, hop):  # block by block, to spare memory
        block = reference[:, start : start + hop].double()
        if estimate is not None:
            block = block - estimate[:, start : start + hop].double()
        energies.append(float(block.square().sum()))
    return np.array(energies)


def _windows(energies: _Values, blocks: int) -> _Values:
    """Sums over windows of so many blocks, or over all there are."""
    windows = np.lib.stride_tricks.sliding_window_view(energies, min(blocks, len(energies)))
    return np.asarray(windows.sum(-1), np.float64)


def _active(power: _Values, samples: int) -> npt.NDArray[np.bool_]:
    least = max(float(power.max()) * 10 ** (ACTIVE_DB / 10), samples * 10 ** (AUDIBLE_DB / 10))
    return np.asarray(power >= least, np.bool_)


def _usdr_db(signal: _Values, distortion: _Values) -> _Values:
    ratio = 10 * np.log10((signal + MDX_EPSILON) / (distortion + MDX_EPSILON))
    return np.asarray(np.minimum(ratio, MAXIMUM_DB), np.float64)


def _cut(
    place: _Place,
    length: int,
    material: Material,
    reference: Tensor,
    estimates: Mapping[str, Tensor],
    usdr_db: Mapping[str, float],
) -> Excerpt:
    track, stem, start = place

    def cut(waveform: Tensor) -> npt.NDArray[np.float32]:
        return np.array(waveform[:, start : start + length].cpu().numpy(), np.float32)

    return Excerpt(
        track,
        stem,
        start / material.sample_rate,
        material.sample_rate,
        cut(material.mixture),
        cut(reference),
        {system: cut(estimate) for system, estimate in estimates.items()},
        usdr_db,
    )
