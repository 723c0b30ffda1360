"""Tests of sepgan.separation."""
