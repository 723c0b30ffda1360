"""What a recipe may ask of an adversary."""

from typing import Any

import pytest

from sepgan import recipe
from sepgan.errors import RecipeError
from sepgan.recipe.adversary import GAN_LOSSES

PLAIN = {"spectral_norm": False}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss": "lsgan"}, "adversary.loss 'lsgan' is unknown: choose one of minimax, non_saturating, least_squares"),
        (
            {"loss": "wasserstein", "activation": "sigmoid", "clip_weights": 0.01, **PLAIN},
            "'sigmoid' does not fit adversary.loss 'wasserstein': a critic's scores are distances .* use none",
        ),
        ({"loss": "minimax", "activation": "sigmoid"}, "it takes the sigmoid itself"),
        ({"loss": "margin"}, "'none' does not fit adversary.loss 'margin': it judges energies.* use energy"),
        ({"loss": "hinge", "activation": "sigmoid"}, "its margins lie at -1 and 1; use none or tanh"),
        ({"also": [{"kind": "stft", "activation": "tanh"}]}, "'tanh' does not fit adversary.loss 'least_squares'"),
        ({"activation": "relu"}, "'adversary.activation' = 'relu'"),
        ({"loss": "wasserstein", **PLAIN}, "needs a bounded critic: set adversary.clip_weights"),
        ({"loss": "wasserstein_gp"}, "needs adversary.gradient_penalty"),
        ({"clip_weights": 0.01}, "bounds weights that adversary.spectral_norm scales again"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "set it to 0 or use minimax, non_saturating, least_squares"),
        ({"label_smoothing": 0.6}, "'adversary.label_smoothing' = 0.6"),
        ({"share_encoder": "tied"}, "add kind 'encoder'"),
        ({"feature_matching": 1.0}, "needs a discriminator that trains: set adversary.weight"),
        ({"unpaired": True}, "needs adversary.kind 'patch' and adversary.conditional false"),
        ({"flat_levels": 3}, "adversary.flat_levels must be below the number of widths, 3, got 3"),
        ({"n_ffts": [2047]}, "adversary.n_ffts must be multiples of 4"),
        ({"widths": [0]}, "adversary.widths must be at least 1 each"),
        ({"controller": {"low": 0.5, "high": 0.4}}, "low must be below adversary.controller.high, got 0.5 and 0.4"),
        ({"updates": 0}, "'adversary.updates' = 0"),
        ({"also": [{"kind": "stft", "weight": 2}]}, "unknown key 'adversary.also.0.weight'"),
    ],
)
def test_what_does_not_fit_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.from_dict({"name": "x", "adversary": keys})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_every_loss_can_be_had(loss: str) -> None:
    keys: dict[str, Any] = {"loss": loss, "activation": GAN_LOSSES[loss].activations[-1]}
    if loss.startswith("wasserstein"):
        keys |= {"gradient_penalty": 10, **PLAIN}
    built = recipe.from_dict({"name": "x", "adversary": keys})
    assert recipe.from_dict(recipe.to_dict(built)) == built


def test_a_spectrally_normed_critic_is_bounded_enough() -> None:
    assert recipe.from_dict({"name": "x", "adversary": {"loss": "wasserstein"}}).adversary.spectral_norm


def test_recipes_of_before_still_hold() -> None:
    """Models carry their recipe; those made when there was one discriminator and one loss must stay readable."""
    old = {"kind": "patch", "weight": 0.02, "start_step": 4, "warmup_steps": 2, "ramp_steps": 2, "widths": [8, 16]}
    adversary = recipe.from_dict({"name": "x", "adversary": old | {"power": 0.3, "betas": [0.5, 0.9]}}).adversary
    assert adversary.loss == "least_squares"
    assert adversary.discriminators == (adversary,)
