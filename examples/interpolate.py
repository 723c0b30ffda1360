"""Go part of the way back from a fine-tuned model to the weights that it began with.

    python examples/interpolate.py runs/default/best.safetensors start.safetensors --share 0.3 \
        --keep branches.0 heads.0 --soften heads.1=0.8 --out default.safetensors

What a network learns from a few songs costs it some of what it knew of all others. Weights between the two often do
better than either, on the new music and on the old (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022), as long as the one grew out of the other.

A network is surer of songs that it has learnt than of others, so that its masks are harder than is best for those.
`--soften` makes the logits of a head smaller by a factor.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from sepgan import checkpoint
from sepgan.errors import CheckpointError, UsageError


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, interpolate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the fine-tuned model; its header is kept, with what the other heard")
    parser.add_argument("start", type=Path, help="what it began with")
    parser.add_argument("--share", type=float, default=0.3, help="of the start: 0 the model, 1 the start")
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="NAME", help="weights below these names stay the model's"
    )
    parser.add_argument(
        "--soften", nargs="*", default=[], metavar="NAME=FACTOR", help="heads whose weights become smaller"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        raise UsageError(f"--share must lie from 0 to 1, got {options.share}")
    factors = dict(_factor(text) for text in options.soften)
    (header, ours), (begun, theirs) = checkpoint.read(options.model), checkpoint.read(options.start)
    shapes, wanted = ({name: value.shape for name, value in one.items()} for one in (ours, theirs))
    if shapes != wanted:
        raise CheckpointError(f"'{options.model}' and '{options.start}' have weights of other names or shapes")
    between = {}
    for name, value in ours.items():
        kept = any(name.startswith(f"{prefix}.") for prefix in options.keep)
        mixed = value.float() if kept else torch.lerp(value.float(), theirs[name].float(), options.share)
        between[name] = (mixed * factors.get(name.rpartition(".")[0], 1.0)).to(value.dtype)
    unknown = set(factors) - {name.rpartition(".")[0] for name in ours}
    if unknown:
        raise UsageError(f"--soften {min(unknown)}: the model has no such layer; name a head, such as heads.1")
    heard = [entry for entry in begun.training_data if entry not in header.training_data]
    header = header.model_copy(update={"scores": {}, "training_data": (*heard, *header.training_data)})
    written = checkpoint.write(options.out, header, between)
    print(
        f"{options.out}: {options.share:g} of the way from {options.model} to {options.start}, sha256 {written.sha256}"
    )


def _factor(text: str) -> tuple[str, float]:
    name, equals, factor = text.partition("=")
    try:
        value = float(factor)
    except ValueError:
        value = 0.0
    if not equals or not 0 < value <= 1:
        raise UsageError(
            f"--soften {text}: expected NAME=FACTOR, such as heads.1=0.8, with a factor above 0, at most 1"
        )
    return name, value


if __name__ == "__main__":
    main()
