"""Toys: the adversary without music, trained by the same loop."""

from sepgan.training.toys.task import ToyTask

__all__ = ["ToyTask"]
