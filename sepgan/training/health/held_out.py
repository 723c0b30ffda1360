"""Held-out material for the health of a run: batches from the validation songs, and one excerpt to listen to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepgan.atomic import replacing
from sepgan.data.excerpts import Batch, merge_covers
from sepgan.errors import OutputError
from sepgan.separator import Separator
from sepgan.training.validation import ValidationSong

MOST = 24  # excerpts looked at
AT_ONCE = 4  # of them in a batch
HEARD_S = 4.0  # of the excerpt that is kept
KEPT = 6  # steps of which the excerpt is kept: the first ones, the newest, and what lies evenly between


def batches(separator: Separator, songs: Sequence[ValidationSong], samples: int) -> Iterator[Batch]:
    """Excerpts spread over the songs, as training sees them but unmixed."""
    channels = separator.recipe.generator.channels
    each = max(1, MOST // max(1, len(songs)))
    items = [
        _item(song, start, samples, channels, len(separator.stems))
        for song in songs[:MOST]
        for start in _starts(song, samples, each)
    ]
    for first in range(0, len(items), AT_ONCE):
        yield Batch(*(torch.stack(parts) for parts in zip(*items[first : first + AT_ONCE], strict=True)))


def _starts(song: ValidationSong, samples: int, number: int) -> list[int]:
    room = max(0, next(iter(song.references.values())).shape[-1] - samples)
    return sorted({int(start) for start in np.linspace(0, room, number + 2)[1:-1]})


def _item(song: ValidationSong, start: int, samples: int, channels: int, stems: int) -> tuple[Tensor, ...]:
    covers = {stem: cover for stem, cover in song.covers.items() if stem in song.references}
    targets, groups = torch.zeros(stems, channels, samples), torch.zeros(stems, stems)
    for slot, members in enumerate(merge_covers(list(covers.values()), stems)):
        groups[slot, sorted(members)] = 1.0
        for stem, cover in covers.items():
            if cover <= members:
                piece = _fit(song.references[stem][:, start : start + samples], channels)
                targets[slot, :, : piece.shape[-1]] += piece
    return targets.sum(0), targets, groups, torch.tensor(float("inf")), torch.tensor(True)


def _fit(piece: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return piece.mean(0, keepdim=True)
    return piece.expand(channels, -1) if len(piece) == 1 else piece[:channels]


def keep_excerpt(separator: Separator, song: ValidationSong, step: int, folder: Path) -> None:
    """Separate the loudest moment of a song and keep it, in one channel, as `STEP.npz`; older ones are thinned out.

    Raises:
        OutputError: It cannot be written.
    """
    mixture = torch.stack(list(song.references.values())).sum(0)
    samples = min(mixture.shape[-1], round(HEARD_S * separator.sample_rate))
    power = mixture.square().mean(0)[None, None]
    loudest = int(torch.nn.functional.avg_pool1d(power, samples, max(1, samples // 4)).argmax()) * max(1, samples // 4)
    window = slice(loudest, loudest + samples)
    with torch.no_grad():
        stems = separator(mixture[None, :, window])[0].mean(1).cpu()
    waveforms = {f"estimate/{stem}": stems[index] for index, stem in enumerate(separator.stems)}
    waveforms |= {f"reference/{stem}": value[:, window].mean(0) for stem, value in song.references.items()}
    waveforms["mixture"] = mixture[:, window].mean(0)
    try:
        with (
            replacing(folder / f"{step:08d}.npz") as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, **{name: value.half().numpy() for name, value in waveforms.items()})
        kept = sorted(folder.glob("*.npz"))
        if len(kept) > KEPT:
            wanted = {round(index) for index in np.linspace(0, len(kept) - 1, KEPT)}
            for index, path in enumerate(kept):
                if index not in wanted:
                    path.unlink()
    except OSError as error:
        raise OutputError(f"excerpt of the run in '{folder}' cannot be written: {error}; free some space") from error
