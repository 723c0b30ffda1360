"""Tests of sepgan.data."""
