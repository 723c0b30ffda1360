"""Go part of the way back from a fine-tuned model to the weights that it began with.

    python examples/interpolate.py runs/default/best.safetensors start.safetensors --share 0.3 \
        --keep branches.0 heads.0 --out default.safetensors

What a network learns from a few songs costs it some of what it knew of all others. Weights between the two often do
better than either, on the new music and on the old (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022), as long as the one grew out of the other.
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
    parser.add_argument("model", type=Path, help="the fine-tuned model; its header is kept")
    parser.add_argument("start", type=Path, help="what it began with")
    parser.add_argument("--share", type=float, default=0.3, help="of the start: 0 the model, 1 the start")
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="NAME", help="weights below these names stay the model's"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        raise UsageError(f"--share must lie from 0 to 1, got {options.share}")
    (header, ours), (_, theirs) = checkpoint.read(options.model), checkpoint.read(options.start)
    shapes, wanted = ({name: value.shape for name, value in one.items()} for one in (ours, theirs))
    if shapes != wanted:
        raise CheckpointError(f"'{options.model}' and '{options.start}' have weights of other names or shapes")
    between = {}
    for name, value in ours.items():
        kept = any(name.startswith(f"{prefix}.") for prefix in options.keep)
        mixed = value if kept else torch.lerp(value.float(), theirs[name].float(), options.share)
        between[name] = mixed.to(value.dtype)
    written = checkpoint.write(options.out, header.model_copy(update={"scores": {}}), between)
    print(
        f"{options.out}: {options.share:g} of the way from {options.model} to {options.start}, sha256 {written.sha256}"
    )


if __name__ == "__main__":
    main()
