"""Weights of an encoder that pass from the discriminator to the generator."""

import torch
from torch import nn

from sepgan.models.classic import ClassicUNet
from sepgan.training.adversary import Adversary, Evidence
from tests.training.adversary.boxes import GENERATOR, build, update


def sharing(mode: str) -> tuple[Adversary, nn.Module, Evidence]:
    adversary, evidence = build("encoder", "hinge", share_encoder=mode, share_every=3)
    generator = ClassicUNet(GENERATOR, stems=2, bands=16)
    adversary.bind(generator)
    return adversary, generator, evidence


def equal_encoders(adversary: Adversary, generator: nn.Module) -> bool:
    judge = adversary.judges[0].network.module
    assert isinstance(judge, nn.Module)
    own, given = (network.get_submodule("encoder").state_dict() for network in (generator, judge))
    return all(torch.equal(own[name], given[name]) for name in own)


def test_a_copied_encoder_arrives_every_so_many_steps() -> None:
    adversary, generator, evidence = sharing("copy")
    equal = []
    for step in range(6):
        update(adversary, evidence)
        adversary.after_step(step, generator)
        equal.append(equal_encoders(adversary, generator))
    assert equal == [False, False, True, False, False, True]
    assert all(weight.requires_grad for weight in generator.parameters())


def test_a_tied_encoder_is_the_discriminators_at_every_step() -> None:
    adversary, generator, evidence = sharing("tied")
    for step in range(3):
        update(adversary, evidence)
        adversary.after_step(step, generator)
        assert equal_encoders(adversary, generator)
    frozen = {name.split(".")[0] for name, weight in generator.named_parameters() if not weight.requires_grad}
    assert frozen == {"encoder"}


def test_an_encoder_that_is_not_shared_stays_its_own() -> None:
    adversary, generator, evidence = sharing("none")
    update(adversary, evidence)
    adversary.after_step(2, generator)
    assert not equal_encoders(adversary, generator)
