"""Tests of sepgan.training."""
