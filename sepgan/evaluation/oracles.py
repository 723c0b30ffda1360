"""The ends of the scale: what doing nothing scores, and what a mask that knows the answer scores."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sepgan.data.track import ACCOMPANIMENT
from sepgan.evaluation.pairing import VOCALS

N_FFT = 4096  # 93 ms at 44.1 kHz, as in SiSEC 2018's oracles
HOP_LENGTH = 1024
_TINY = 1e-10  # magnitude below which a bin is silence and its mask does not matter


def count_parts(estimated_stems: Iterable[str]) -> int:
    """Into how many parts a mixture was separated; `accompaniment` beside its own parts is not one more.

    >>> count_parts(["drums", "bass", "other", "vocals", "accompaniment"]), count_parts(["vocals", "accompaniment"])
    (4, 2)
    """
    stems = set(estimated_stems)
    parts = stems - {ACCOMPANIMENT}
    return len(parts) + (1 if ACCOMPANIMENT in stems and parts <= {VOCALS} else 0)


def floors(mixture: Tensor, stems: Iterable[str], parts: int) -> dict[str, Tensor]:
    """What a system scores that does nothing: the mixture, an equal share of it, or silence as every estimate.

    The share of `accompaniment` is that of all parts but one, as in the `MIX` entry of SiSEC 2018.

    Args:
        mixture: [C, T].
        stems: The stems to estimate.
        parts: How many equal parts the mixture has.

    Returns:
        Name of the floor -> estimates [S, C, T].

    >>> list(floors(torch.ones(1, 4), ["vocals", "accompaniment"], 4))
    ['mixture', 'mixture/4', 'silence']
    """
    shares = [(parts - 1) / parts if stem == ACCOMPANIMENT else 1 / parts for stem in stems]
    whole = mixture.expand(len(shares), *mixture.shape)
    return {
        "mixture": whole,
        f"mixture/{parts}": whole * mixture.new_tensor(shares)[:, None, None],
        "silence": torch.zeros_like(mixture).expand_as(whole),
    }


def ideal_ratio_mask(references: Mapping[str, Tensor], mixture: Tensor) -> dict[str, Tensor]:
    """Estimates from the oracle magnitude ratio mask `|S_j| / sum_k |S_k|`, with the phase of the mixture.

    What no soft mask on this grid without phase can be expected to pass by much. `accompaniment` beside its own parts
    is their sum; a lone stem is weighed against the rest of the mixture.

    Args:
        references: Stem -> true source [C, T].
        mixture: [C, T].

    Returns:
        Stem -> estimate [C, T], for every stem of the references.

    Source: Liutkus et al., "The 2016 Signal Separation Evaluation Campaign", LVA/ICA 2017 (IRM1 in SiSEC 2018).
    """
    sources = {stem: source for stem, source in references.items() if stem != ACCOMPANIMENT}
    derived = ACCOMPANIMENT in references and not set(sources) <= {VOCALS}
    if not derived:
        sources = dict(references)
    if len(sources) == 1:
        sources[""] = mixture - next(iter(sources.values()))
    magnitudes = torch.stack([_stft(source).abs() for source in sources.values()])
    masks = magnitudes / (magnitudes.sum(0) + _TINY)
    spectrum = _stft(mixture)
    estimates = {stem: _istft(mask * spectrum, mixture.shape[-1]) for stem, mask in zip(sources, masks, strict=True)}
    if derived:
        estimates[ACCOMPANIMENT] = mixture - estimates[VOCALS] if VOCALS in estimates else mixture
    return {stem: estimates[stem] for stem in references}


def _stft(waveform: Tensor) -> Tensor:
    window = torch.hann_window(N_FFT, dtype=waveform.dtype, device=waveform.device)
    # Zeros at the edges rather than a reflection, which a signal shorter than half a window cannot give.
    return torch.stft(waveform, N_FFT, HOP_LENGTH, window=window, pad_mode="constant", return_complex=True)


def _istft(spectrum: Tensor, samples: int) -> Tensor:
    window = torch.hann_window(N_FFT, dtype=spectrum.real.dtype, device=spectrum.device)
    return torch.istft(spectrum, N_FFT, HOP_LENGTH, window=window, length=samples)
