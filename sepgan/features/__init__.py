"""Frames, spectra and features of sound with any number of channels: for networks, datasets and reports."""

from sepgan.features.framing import Framing
from sepgan.features.matrix import FeatureMatrix, Features
from sepgan.features.measures import cepstrum, deltas, log_mel, mfcc, pre_emphasis, spectral_contrast

__all__ = [
    "FeatureMatrix",
    "Features",
    "Framing",
    "cepstrum",
    "deltas",
    "log_mel",
    "mfcc",
    "pre_emphasis",
    "spectral_contrast",
]
