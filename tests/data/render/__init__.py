"""Tests of sepgan.data.render."""
