"""The lower end of the scale: what doing nothing scores."""

from collections.abc import Iterable

import torch
from torch import Tensor

from sepgan.data.track import ACCOMPANIMENT
from sepgan.evaluation.pairing import VOCALS


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
