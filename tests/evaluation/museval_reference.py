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


def museval_sources(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    """Museval's `bss_eval_sources`, `sdr, sir, sar`, each [S], of [S, C, T]."""
    museval_v4(references[..., :64], estimates[..., :64], 64, 64, filters_len=2)  # skips where it cannot be imported
    import museval.metrics

    scores = museval.metrics.bss_eval_sources(
        references.double().transpose(1, 2).numpy(),
        estimates.double().transpose(1, 2).numpy(),
        compute_permutation=False,
    )
    return {name: torch.from_numpy(value[:, 0]) for name, value in zip(("sdr", "sir", "sar"), scores, strict=False)}
