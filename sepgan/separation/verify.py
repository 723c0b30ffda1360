"""Doing a separation again, to see that its files are what its manifest says."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sepgan.errors import AudioError, CheckpointError, UsageError
from sepgan.separation.batch import SongSeparator, stoppable
from sepgan.separation.blocks import Model, engine_options, ready
from sepgan.separation.inputs import Song
from sepgan.separation.manifest import Manifest, file_sha256, model_records, read_manifest, run_record
from sepgan.separation.options import SeparationOptions
from sepgan.separation.song import Progress
from sepgan.separation.workers import in_worker
from sepgan.separator import Separator

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Verification:
    """What a repeated run has shown.

    Attributes:
        manifest: the file that was verified.
        differences: for each stem whose file is not what the run gives, how.
        elsewhere: how this run differs from the recorded one in what may change the last bits; "" where it does not.
    """

    manifest: Path
    differences: Mapping[str, str]
    elsewhere: str

    @property
    def ok(self) -> bool:
        """Whether all files are equal byte for byte."""
        return not self.differences


def verify(
    manifest_path: str | Path,
    model: Model | Separator,
    *,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Repeat a run in a temporary folder and compare all files byte by byte.

    Args:
        manifest_path: the manifest; the song and the stems are found from it.
        model: the model that it names.
        scratch: where the temporary folder is made; None for the system's place. It needs room for the stems.
        progress: called as the song advances.

    Raises:
        AudioError: the song is not where it was, or not what it was.
        CheckpointError: the model is another one.
        UsageError: the file is no manifest, or tells of a run that cannot be repeated.
    """
    path = Path(manifest_path)
    manifest = read_manifest(path)
    song = path.parent / manifest.input.path
    recorded = [record.sha256 for record in manifest.models]
    if manifest.input.sha256 is None or None in recorded:
        raise UsageError(f"{path} tells of a song from a pipe or a model from no file: that run cannot be repeated")
    if not song.is_file():
        raise AudioError(f"{path} tells of {song}, which is not there; put the song back")
    if file_sha256(song) != manifest.input.sha256:
        raise AudioError(f"{song} is not the song that {path} tells of: its sha256 has changed")
    model = ready(model)
    found = [record.sha256 for record in model_records(model, None)]
    if found != recorded:
        raise CheckpointError(
            f"{path} was made by model {_names(recorded)}, this is {_names(found)}; name that model with --model"
        )
    if engine_options(model) != manifest.options.get("engine"):
        raise UsageError(f"{path} tells of another engine ({manifest.options.get('engine')}); set it up like that")
    options = SeparationOptions.from_plain(
        {**manifest.options, "segment": manifest.engine.segment, "overlap": manifest.engine.overlap}
    )
    with tempfile.TemporaryDirectory(prefix="sepgan-verify-", dir=scratch) as folder:
        separator = SongSeparator(model, Path(folder), options)
        job = separator.job(Song(song))
        fresh = in_worker(lambda stop: separator.separate(job, stoppable(progress, stop)))
        differences = {
            stem: difference
            for stem, record in manifest.stems.items()
            if (difference := _difference(path.parent / record.file, record.sha256, fresh.paths.get(stem)))
        }
        if unexpected := set(fresh.paths) - set(manifest.stems):
            differences |= {stem: "the manifest does not name it" for stem in unexpected}
    return Verification(path, differences, _elsewhere(manifest))


def _names(sha256s: Sequence[str | None]) -> str:
    return " + ".join("from no file" if sha256 is None else f"{sha256[:12]}..." for sha256 in sha256s)


def _difference(written: Path, recorded_sha256: str, fresh: Path | None) -> str:
    """Say how a file differs from the repeated run; "" where it does not."""
    if fresh is None:
        return "the repeated run has no such stem"
    if not written.is_file():
        return f"{written} is missing"
    place = _first_difference(written, fresh)
    if place is None:
        return "" if file_sha256(written) == recorded_sha256 else "its sha256 in the manifest was changed"
    if file_sha256(fresh) == recorded_sha256:
        return f"{written} was changed since it was written, first at byte {place}"
    if file_sha256(written) == recorded_sha256:
        return f"{written} is as it was written, but this run gives other bytes, first at byte {place}"
    return f"{written} differs from this run, first at byte {place}"


def _first_difference(one: Path, other: Path) -> int | None:
    position = 0
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(_READ_BYTES), b.read(_READ_BYTES)
            if left != right:
                pairs = zip(left, right, strict=False)
                return position + next(
                    (index for index, (x, y) in enumerate(pairs) if x != y), min(len(left), len(right))
                )
            if not left:
                return None
            position += len(left)


def _elsewhere(manifest: Manifest) -> str:
    then, now = manifest.run, run_record(1.0, math.inf)
    changes = [
        f"{name} was {before}, is {after}"
        for name, before, after in (
            ("sepgan", then.sepgan, now.sepgan),
            ("torch", then.torch, now.torch),
            ("the machine", then.machine, now.machine),
            ("the number of threads", manifest.engine.threads, torch.get_num_threads()),
        )
        if before != after
    ]
    return "; ".join(changes)
