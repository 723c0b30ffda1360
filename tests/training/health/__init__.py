"""Tests of the health of a run."""
