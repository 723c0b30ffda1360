"""Tensors so large that most of the time to fill them goes into asking the system for their pages.

NumPy asks Linux for pages of 2 MB where an array is large, PyTorch does not: to fill 73 MB for the first time and give
them back took 41 ms, with NumPy's memory 12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEAST_BYTES = 16 << 20  # below, freed memory is kept and used again (`sepgan.separation.freed_memory`)


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor of any content, of the type and on the device of another."""
    return torch.from_numpy(np.empty(shape, np.float32)) if _is_large(shape, like) else like.new_empty(shape)


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor of zeros, of the type and on the device of another."""
    return torch.from_numpy(np.zeros(shape, np.float32)) if _is_large(shape, like) else like.new_zeros(shape)


def _is_large(shape: Sequence[int], like: Tensor) -> bool:
    here = like.device.type == "cpu" and like.dtype == torch.float32
    return here and math.prod(shape) * like.element_size() >= LEAST_BYTES
