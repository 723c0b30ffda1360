"""Tests of sepgan.evaluation."""
