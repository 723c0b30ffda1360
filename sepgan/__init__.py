"""Adversarial music source separation: split songs into stems, train the models that do so, measure both.

One axis order everywhere:

| letter | axis |
| --- | --- |
| B | batch |
| S | source (stem) |
| C | channel |
| F | frequency bin |
| N | frame |
| T | sample |

Waveforms are ``[B, C, T]``, stems ``[B, S, C, T]``, spectrograms ``[B, C, F, N]``, masks ``[B, S, C, F, N]``. The stem
order of MUSDB18 is drums, bass, other, vocals. A modifier always goes with the word SDR: framewise SDR (cSDR), global
SDR (uSDR), scale-invariant SDR (SI-SDR).

This module imports nothing heavy, so that ``sepgan --help`` is instant.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepgan.separation.api import Separator as Separator

try:
    __version__ = version("sepgan")
except PackageNotFoundError:  # a source tree that was never installed: say so instead of inventing a number
    __version__ = "0+unknown"

__all__ = ["Separator", "__version__"]


def __getattr__(name: str) -> Any:
    """Load `sepgan.Separator`, and torch with it, when it is asked for."""
    if name == "Separator":
        return import_module("sepgan.separation.api").Separator
    raise AttributeError(f"module 'sepgan' has no attribute '{name}'")
