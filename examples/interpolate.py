"""Go part of the way back from a fine-tuned model to the weights that it began with.

    python examples/interpolate.py runs/default/best.safetensors start.safetensors --share 0.4 \
        --shares branches.0=0 heads.0=0 --soften heads.1=0.8 --out default.safetensors

What a network learns from a few songs costs it some of what it knew of all others. Weights between the two often do
better than either, on the new music and on the old (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022), as long as the one grew out of the other. `--shares` sets parts of the network apart; a share below 0 goes on in
the direction of training.

A network is surer of songs that it has learnt than of others, so that its masks are harder than is best for those.
`--soften` makes the logits of a head smaller by a factor, and `--lower` by a number.
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
    parser.add_argument("--shares", nargs="*", default=[], metavar="NAME=SHARE", help="of the weights below a name")
    parser.add_argument(
        "--soften", nargs="*", default=[], metavar="NAME=FACTOR", help="heads whose logits become smaller"
    )
    parser.add_argument("--lower", nargs="*", default=[], metavar="NAME=LOGITS", help="heads whose bias becomes lower")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        raise UsageError(f"--share must lie from 0 to 1, got {options.share}")
    shares = dict(_named(text, "--shares", -1, 1) for text in options.shares)
    factors = dict(_named(text, "--soften", 0, 1) for text in options.soften)
    lowered = dict(_named(text, "--lower", -10, 10) for text in options.lower)
    (header, ours), (begun, theirs) = checkpoint.read(options.model), checkpoint.read(options.start)
    shapes, wanted = ({name: value.shape for name, value in one.items()} for one in (ours, theirs))
    if shapes != wanted:
        raise CheckpointError(f"'{options.model}' and '{options.start}' have weights of other names or shapes")
    for prefix in (*shares, *factors, *lowered):
        if not any(name.startswith(f"{prefix}.") for name in ours):
            raise UsageError(f"{prefix}: the model has no such part; name one such as encoder, branches.1 or heads.1")
    between = {}
    for name, value in ours.items():
        share = next((share for prefix, share in shares.items() if name.startswith(f"{prefix}.")), options.share)
        layer, _, kind = name.rpartition(".")
        mixed = torch.lerp(value.float(), theirs[name].float(), share) * factors.get(layer, 1.0)
        between[name] = (mixed - lowered.get(layer, 0.0) * (kind == "bias")).to(value.dtype)
    heard = [entry for entry in begun.training_data if entry not in header.training_data]
    header = header.model_copy(update={"scores": {}, "training_data": (*heard, *header.training_data)})
    written = checkpoint.write(options.out, header, between)
    print(
        f"{options.out}: {options.share:g} of the way from {options.model} to {options.start}, sha256 {written.sha256}"
    )


def _named(text: str, option: str, low: float, high: float) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not name or not low <= value <= high:
        raise UsageError(f"{option} {text}: expected NAME=NUMBER, the number from {low} to {high}")
    return name, value


if __name__ == "__main__":
    main()
