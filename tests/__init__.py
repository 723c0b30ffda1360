"""Tests of sepgan; they mirror the package."""
