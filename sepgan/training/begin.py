"""A first checkpoint for a recipe to fine-tune: a branched generator that begins as Spleeter's vocal network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sepgan import checkpoint
from sepgan.audio import probe, read_blocks, resample
from sepgan.checkpoint import CheckpointHeader
from sepgan.data.credits import Credit, for_header
from sepgan.errors import CheckpointError, UsageError
from sepgan.models.branched import BranchedUNet
from sepgan.models.branched_start import begin_as
from sepgan.models.spleeter import SpleeterUNets
from sepgan.recipe import Recipe, to_dict
from sepgan.separator import Separator

EXCERPT_S = 20.0  # of each song, from its middle


def begin(recipe: Recipe, origin: str, songs: Sequence[Path], out: Path, licence: str = "not stated") -> float:
    """Write a checkpoint whose generator does what a network of Spleeter does, as far as its size allows.

    Args:
        recipe: Of a separator with a generator of kind `branched` whose last stem is the origin's first.
        origin: Model with generators of kind `spleeter`, for instance `spleeter-2stems`.
        songs: Audio files that tell which features matter; some seconds from the middle of each are heard.
        out: File to write.
        licence: Of the songs, for the header.

    Returns:
        Share of the deepest level's effect that is kept, from 0 to 1.

    Raises:
        AudioError: A song cannot be read.
        CheckpointError: The origin or the recipe has another shape.
        UsageError: There are no songs.
    """
    if not songs:
        raise UsageError("no songs given: some are needed to tell which features matter")
    source = Separator.load(origin)
    target = Separator(recipe)
    if not isinstance(source.generator, SpleeterUNets) or not isinstance(target.generator, BranchedUNet):
        raise CheckpointError(
            f"'{origin}' is a generator of kind {source.recipe.generator.kind} and the recipe's of kind "
            f"{recipe.generator.kind}: expected spleeter and branched"
        )
    first = source.stems[0]
    if recipe.stems[-1] != first or recipe.frontend != source.recipe.frontend:
        raise CheckpointError(
            f"the recipe must have '{first}' as its last stem and the front-end of '{origin}' to begin as its network"
        )
    network = source.generator.networks[0]
    with torch.inference_mode():
        kept = begin_as(target.generator, network, _magnitudes(source, songs))  # type: ignore[arg-type]
    header = CheckpointHeader(
        name=f"{recipe.name}-start",
        stems=recipe.stems,
        sample_rate=target.sample_rate,
        recipe=to_dict(recipe),
        licence=source.header.licence if source.header else "not stated",
        training_data=tuple(_told(source, songs, licence)),
    )
    checkpoint.write(out, header, target.generator.state_dict())
    return kept


def _told(source: Separator, songs: Sequence[Path], licence: str) -> Iterator[dict[str, Any]]:
    """Whose weights these are, and which songs had a say in them."""
    if source.header:
        begins = {"begins_as": source.header.name, "weights": source.header.licence}
        yield from (begins | entry for entry in source.header.training_data)
    heard = [Credit(f"{song.parent.name}/{song.name}", "told which features matter", licence) for song in songs]
    title = "Heard by `sepgan models begin`"
    yield {"title": title, "licence": licence, "tracks": len(songs), "songs": for_header(heard)}


def _magnitudes(separator: Separator, songs: Sequence[Path]) -> Iterator[Tensor]:
    for song in songs:
        info = probe(song)
        wanted = round(EXCERPT_S * info.sample_rate)
        start = max(0, ((info.frames or wanted) - wanted) // 2)
        waveform = np.concatenate(list(read_blocks(song, info.sample_rate, start=start, frames=wanted)), axis=1)
        waveform = resample(waveform, info.sample_rate, separator.sample_rate)[:2]
        pair = torch.from_numpy(np.repeat(waveform, 2 // len(waveform), axis=0))
        yield separator.bands(separator.stft(pair.unsqueeze(0)).abs())
