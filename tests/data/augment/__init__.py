"""Tests of sepgan.data.augment."""
