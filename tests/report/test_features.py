"""Features in a report."""

import io

import numpy as np
import torch
from PIL import Image

from sepgan.features import FeatureMatrix, Features
from sepgan.recipe import FeatureRecipe
from sepgan.report import features, page
from sepgan.report.blocks import Page, Section
from sepgan.report.sound import player_group
from tests import synth


def test_a_sound_is_shown_with_its_features() -> None:
    sound = synth.mixture(synth.song(1.0))
    measured = FeatureMatrix(FeatureRecipe()).features(torch.from_numpy(sound))
    picture = features.feature_picture("Features", measured)
    assert [name for name, _ in picture.ticks] == ["log_mel", "mfcc", "delta_mfcc", "delta2_mfcc"]
    assert [height for _, height in picture.ticks] == [0, 0.4, 0.6, 0.8]  # 26, 13, 13 and 13 of 65
    group = player_group("A song", [("mixture", sound, synth.SAMPLE_RATE)], spectrograms=[picture])
    html = page.render(Page("Features", [Section("A song", [group])]))
    assert "delta2_mfcc" in html


def test_rows_stand_where_their_values_are() -> None:
    """The first feature rises and is drawn at the bottom, from blue to red; the second falls."""
    rising = torch.linspace(-1, 1, 1000)
    picture = features.feature_picture(
        "Two", Features(torch.stack([rising, -rising], -1)[None].repeat(2, 1, 1), ("up_0", "down_0"), 100.0)
    )
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), dtype=int)
    assert pixels.shape == (8, features.COLUMNS, 3)
    redness = pixels[..., 0] - pixels[..., 2]
    assert redness[-1, -1] > 50
    assert redness[-1, 0] < -50
    assert redness[0, -1] < -50
    assert redness[0, 0] > 50


def test_a_feature_that_never_changes_is_drawn_as_its_mean() -> None:
    picture = features.feature_picture("Flat", Features(torch.full((1, 10, 1), 3.0), ("flat_0",), 100.0))
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), dtype=int)
    assert np.ptp(pixels) < 10
