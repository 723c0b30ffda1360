"""museval, the reference implementation of BSSEval v4, behind tensors of our axis order."""

import shutil

import pytest
import torch
from torch import Tensor


def museval_v4(
    references: Tensor, estimates: Tensor, window: int, hop: int, *, filters_len: int = 512
) -> dict[str, Tensor]:
    """Museval's `sdr, isr, sir, sar`, each [S, K], of [S, C, T]; skips where museval cannot be imported."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("museval needs ffmpeg and ffprobe to be imported")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies use what newer versions deprecate
        metrics = pytest.importorskip("museval.metrics")
        scores = metrics.bss_eval(
            references.double().transpose(1, 2).numpy(),
            estimates.double().transpose(1, 2).numpy(),
            window=window,
            hop=hop,
            filters_len=filters_len,
        )
    return {name: torch.from_numpy(value) for name, value in zip(("sdr", "isr", "sir", "sar"), scores, strict=False)}
