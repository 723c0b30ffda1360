"""What discriminators look at."""

import torch
from torch import Tensor

from sepgan.training.adversary import (
    Material,
    collect,
    select_contexts,
    select_single_stems,
    select_unpaired,
    select_waveforms,
)

SINGLES = torch.eye(4)[torch.tensor([2, 0, 3, 1])]  # four groups of one stem, in another order than the stems
TOGETHER = torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])  # accompaniment, vocals


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_only_groups_of_one_stem_are_judged() -> None:
    mixture, targets, estimates = random(2, 1, 6, 5), random(2, 4, 1, 6, 5, seed=1), random(2, 4, 1, 6, 5, seed=2)
    groups = torch.stack([torch.zeros(4, 4), torch.eye(4)])
    groups[0, 0, [0, 1, 2]] = 1  # accompaniment
    groups[0, 1, 3] = 1  # vocals, in the second slot
    band_mask = torch.ones(2, 6)
    band_mask[0, 4:] = 0
    judged = select_single_stems(mixture, targets, estimates, groups, band_mask)
    assert judged is not None
    assert judged.mixture is not None
    assert judged.label is not None
    assert judged.label.tolist() == [3, 0, 1, 2, 3]
    assert torch.equal(judged.real[0, :, :4], targets[0, 1, :, :4])
    assert torch.equal(judged.fake[0, :, :4], estimates[0, 3, :, :4])
    for seen in (judged.mixture, judged.real, judged.fake):
        assert float(seen[0, :, 4:].abs().max()) == 0.0
    assert torch.equal(judged.fake[1:], estimates[1])
    assert torch.equal(judged.mixture[4], mixture[1])


def test_waveforms_follow_the_same_rule() -> None:
    groups = torch.stack([TOGETHER, SINGLES])
    mixture, targets, estimates = random(2, 1, 9), random(2, 4, 1, 9, seed=1), random(2, 4, 1, 9, seed=2)
    judged = select_waveforms(mixture, targets, estimates, groups)
    assert judged is not None
    assert judged.label is not None
    assert judged.label.tolist() == [3, 2, 0, 3, 1]
    assert torch.equal(judged.real, torch.cat([targets[0, 1:2], targets[1]]))
    assert torch.equal(judged.fake, torch.cat([estimates[0, 3:4], estimates[1, [2, 0, 3, 1]]]))


def test_a_context_needs_every_stem_and_holds_some_real_ones() -> None:
    """Of 400 contexts each holds from none to three real stems, in the order of the stems, and all numbers occur."""
    items = 400
    groups = SINGLES.expand(items, 4, 4).clone()
    groups[0] = TOGETHER
    mixture, targets, estimates = (
        random(items, 1, 2, 3),
        random(items, 4, 1, 2, 3, seed=1),
        random(items, 4, 1, 2, 3, seed=2),
    )
    draw = torch.Generator().manual_seed(0)
    judged = select_contexts(mixture, targets, estimates, groups, torch.ones(items, 2), draw)
    assert judged is not None
    assert judged.real.shape == (items - 1, 4, 1, 2, 3)
    in_order = targets[1:, torch.tensor([1, 3, 0, 2])]  # the group of stem 0 is the second one, and so on
    assert torch.equal(judged.real, in_order)
    is_real = (judged.fake == in_order).all(-1).all(-1)[..., 0]
    is_generated = (judged.fake == estimates[1:]).all(-1).all(-1)[..., 0]
    assert bool((is_real ^ is_generated).all())
    counts = is_real.sum(1).bincount(minlength=5).tolist()
    assert counts[4] == 0
    assert min(counts[:4]) > 60
    assert min(is_real.float().mean(0).tolist()) > 0.25


def test_unpaired_stems_come_from_any_item_and_keep_their_kind() -> None:
    """The second item has no known stems at all, as a song without stems has, and still is judged."""
    groups = torch.stack([SINGLES, torch.zeros(4, 4)])
    targets, estimates = random(2, 4, 1, 6, 5, seed=1), random(2, 4, 1, 6, 5, seed=2)
    band_mask = torch.ones(2, 6)
    band_mask[1, 3:] = 0
    sources = set()
    for seed in range(8):
        judged = select_unpaired(targets, estimates, groups, band_mask, torch.Generator().manual_seed(seed))
        assert judged is not None
        assert judged.mixture is None
        assert not judged.paired
        assert judged.label is not None
        assert judged.label.tolist() == [2, 0, 3, 1]
        for index, stem in enumerate(judged.label.tolist()):
            source = [bool(torch.equal(judged.fake[index, :, :3], estimates[item, stem, :, :3])) for item in (0, 1)]
            assert sum(source) == 1
            sources.add(source.index(True))
            top = (judged.real[index, :, 3:], judged.fake[index, :, 3:])
            assert all(bool((part == 0).all()) == source[1] for part in top), "both sides lose the unknown band"
    assert sources == {0, 1}


def test_what_nobody_asks_for_is_not_laid_out() -> None:
    bands = Material(random(2, 1, 6, 5), random(2, 4, 1, 6, 5), random(2, 4, 1, 6, 5))
    waves = Material(random(2, 1, 9), random(2, 4, 1, 9), random(2, 4, 1, 9))
    groups, known = SINGLES.expand(2, 4, 4), torch.ones(2, 6)
    for views in ({"bands"}, {"bands", "waveform"}, {"context"}, {"unpaired", "context"}):
        found = collect(frozenset(views), bands, groups, known, waves)
        assert found is not None
        assert found.keys() == views


def test_a_batch_without_single_stems_has_nothing_to_judge() -> None:
    groups = torch.zeros(1, 2, 2)
    groups[0, 0] = 1
    bands = Material(random(1, 1, 6, 5), random(1, 2, 1, 6, 5), random(1, 2, 1, 6, 5))
    waves = Material(random(1, 1, 9), random(1, 2, 1, 9), random(1, 2, 1, 9))
    views = frozenset({"bands", "unpaired", "context", "waveform"})
    assert collect(views, bands, groups, torch.ones(1, 6), waves) is None
