"""What tests of rendered songs share."""

import shutil

import pytest

from sepgan.data.render import fluidsynth


@pytest.fixture
def synthesiser() -> fluidsynth.Synthesiser:
    if shutil.which(fluidsynth.PROGRAM) is None:
        pytest.skip("needs fluidsynth")
    return fluidsynth.find_synthesiser()
