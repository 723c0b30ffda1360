"""What discriminators look at: stems for judgement, in the view that a discriminator asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Judged(NamedTuple):
    """Stems for judgement, P of them: real and generated ones, of the same mixture where there is one.

    `...` is `[C, F, N]` for magnitudes in bands, `[C, T]` for waveforms, `[S, C, F, N]` for all stems together, `[D]`
    for points of a toy.
    """

    mixture: Tensor | None  # [P, C, F, N] or [P, C, T]
    real: Tensor  # [P, ...]
    fake: Tensor  # [P, ...]
    label: Tensor | None  # [P], which stem
    paired: bool = True  # whether real and generated ones belong together, item by item


Evidence = Mapping[str, Judged]  # by view: bands, waveform, context, vector; a view with nothing to judge is left out


class Material(NamedTuple):
    """All that a batch offers in one representation."""

    mixture: Tensor  # [B, C, ...]
    targets: Tensor  # of the groups, [B, G, C, ...]
    estimates: Tensor  # of the stems, [B, S, C, ...]


def collect(
    views: frozenset[str], bands: Material, groups: Tensor, band_mask: Tensor, waveforms: Material | None = None
) -> dict[str, Judged] | None:
    """Lay out what discriminators ask for.

    Args:
        views: Theirs, `Adversary.views`.
        bands: Magnitudes in bands.
        groups: Which stems a group sums, `[B, G, S]`.
        band_mask: 1 where something is known of the frequency, `[B, F]`.
        waveforms: Asked for by the view `waveform`.

    Returns:
        Examples by view; a view with none in this batch is left out. None when all are.
    """
    found: dict[str, Judged | None] = {}
    if "bands" in views:
        found["bands"] = select_single_stems(*bands, groups, band_mask)
    if "unpaired" in views:
        found["unpaired"] = select_unpaired(bands.targets, bands.estimates, groups, band_mask)
    if "context" in views:
        found["context"] = select_contexts(*bands, groups, band_mask)
    if "waveform" in views:
        assert waveforms is not None, "the view asks for waveforms"
        found["waveform"] = select_waveforms(*waveforms, groups)
    evidence = {view: judged for view, judged in found.items() if judged is not None}
    return evidence or None


def _single_stems(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Item, group and stem of each of the groups `[B, G, S]` that hold exactly one stem."""
    item, group = torch.nonzero(groups.sum(2) == 1, as_tuple=True)
    return item, group, groups[item, group].argmax(1)


def select_single_stems(
    mixture: Tensor, targets: Tensor, estimates: Tensor, groups: Tensor, band_mask: Tensor
) -> Judged | None:
    """Pick the groups that hold exactly one stem: only of those is a real example known.

    Both sides are silenced above the known band, so that band limits tell the discriminator nothing.

    Args:
        mixture: Magnitudes `[B, C, F, N]`.
        targets: Magnitudes of the groups, `[B, G, C, F, N]`.
        estimates: Masked magnitudes of the stems, `[B, S, C, F, N]`.
        groups: `[B, G, S]`.
        band_mask: `[B, F]`.

    Returns:
        The examples, or None when there are none in this batch.
    """
    item, group, label = _single_stems(groups)
    if len(item) == 0:
        return None
    known = band_mask[item][:, None, :, None]
    return Judged(mixture[item] * known, targets[item, group] * known, estimates[item, label] * known, label)


def select_waveforms(mixture: Tensor, targets: Tensor, estimates: Tensor, groups: Tensor) -> Judged | None:
    """Pick the groups that hold exactly one stem, as waveforms.

    Args:
        mixture: `[B, C, T]`.
        targets: Of the groups, `[B, G, C, T]`.
        estimates: Of the stems, `[B, S, C, T]`.
        groups: `[B, G, S]`.

    Returns:
        The examples, or None when there are none in this batch.
    """
    item, group, label = _single_stems(groups)
    if len(item) == 0:
        return None
    return Judged(mixture[item], targets[item, group], estimates[item, label], label)


def select_unpaired(
    targets: Tensor, estimates: Tensor, groups: Tensor, band_mask: Tensor, generator: torch.Generator | None = None
) -> Judged | None:
    """Pick real stems that are known alone, and for each a generated one of the same kind out of any item of the batch.

    So songs whose stems nobody knows take part too. Bands above what either side knows are silenced in both.

    Args:
        targets: Magnitudes of the groups, `[B, G, C, F, N]`.
        estimates: Masked magnitudes of the stems, `[B, S, C, F, N]`.
        groups: `[B, G, S]`.
        band_mask: `[B, F]`.
        generator: Draws the items; the global one by default.

    Returns:
        The examples, or None when there are none in this batch.
    """
    item, group, label = _single_stems(groups)
    if len(item) == 0:
        return None
    other = torch.randint(len(estimates), (len(item),), generator=generator).to(item.device)
    known = (band_mask[item] * band_mask[other])[:, None, :, None]
    return Judged(None, targets[item, group] * known, estimates[other, label] * known, label, paired=False)


def select_contexts(
    mixture: Tensor,
    targets: Tensor,
    estimates: Tensor,
    groups: Tensor,
    band_mask: Tensor,
    generator: torch.Generator | None = None,
) -> Judged | None:
    """Pick the items of which every stem is known alone, all stems together, some of the generated ones replaced.

    Postolache et al., "Adversarial permutation invariant training for universal sound separation" (ICASSP 2023): of the
    generated stems a random number, from none to all but one, is replaced by real ones, so that the discriminator must
    judge how stems fit each other.

    Args:
        mixture: Magnitudes `[B, C, F, N]`.
        targets: Magnitudes of the groups, `[B, G, C, F, N]`.
        estimates: Masked magnitudes of the stems, `[B, S, C, F, N]`.
        groups: `[B, G, S]`.
        band_mask: `[B, F]`.
        generator: Draws the replaced stems; the global one by default.

    Returns:
        Examples `[P, S, C, F, N]`, or None when there are none in this batch.
    """
    alone = groups * (groups.sum(2, keepdim=True) == 1)  # [B, G, S]
    item = torch.nonzero((alone.sum(1) > 0).all(1))[:, 0]
    if len(item) == 0:
        return None
    known = band_mask[item][:, None, None, :, None]
    order = alone[item].argmax(1)  # [P, S]: the group of each stem
    rows = torch.arange(len(item), device=order.device)[:, None]
    real = targets[item][rows, order] * known
    fake = estimates[item] * known
    replaced = _some_but_not_all(len(item), estimates.shape[1], generator).to(fake.device)
    fake = torch.where(replaced[:, :, None, None, None], real, fake)
    return Judged(mixture[item] * known[:, 0], real, fake, None)


def _some_but_not_all(items: int, stems: int, generator: torch.Generator | None) -> Tensor:
    """Which stems are replaced, `[P, S]`: their number uniform from 0 to S - 1, then any of that number."""
    count = torch.randint(0, stems, (items, 1), generator=generator)
    rank = torch.rand(items, stems, generator=generator).argsort(1).argsort(1)
    return rank < count
