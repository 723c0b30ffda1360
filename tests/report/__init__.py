"""Tests of sepgan.report."""
