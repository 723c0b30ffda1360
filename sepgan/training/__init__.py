"""The one training loop, its losses and the adversary."""
