"""Tests of sepgan.models."""
