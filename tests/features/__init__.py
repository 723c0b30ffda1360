"""Tests of sepgan.features."""
