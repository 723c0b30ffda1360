"""Files in, stems out: what `sepgan separate` does for each song.

The stems are written at the input's own rate, channels and length, and sum to the input: every stem but one comes from
the model, and the residual stem ("other" where there is one) is the input minus the others, at the input's own rate.
The model's stems sum to what it was given, so this is its own estimate plus the band that it cannot see.

Nothing here grows with the length of a song but files.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from sepgan.audio import probe
from sepgan.audio_writer import CONTAINERS, SUBTYPES
from sepgan.errors import OutOfMemoryError, SepganError, UsageError
from sepgan.separation.results import (
    DEFAULTS,
    SeparationFailure,
    SeparationOptions,
    SeparationResult,
    SeparationSummary,
)
from sepgan.separation.song import MANIFEST, Progress, SongRun
from sepgan.separator import Separator

__all__ = [
    "DEFAULTS",
    "MANIFEST",
    "Progress",
    "SeparationFailure",
    "SeparationOptions",
    "SeparationResult",
    "SeparationSummary",
    "separate_file",
    "separate_files",
    "stem_paths",
    "track_name",
]

_log = logging.getLogger(__name__)

_SEGMENT_HALVINGS = 4  # how often the segment is halved when memory runs out: 10 s become 0.6 s


def track_name(path: str | Path) -> str:
    """Name of the folder for a song's stems.

    >>> track_name("a/Falcon 69.stem.mp4")
    'Falcon 69'
    """
    name = Path(path).stem.removesuffix(".stem")
    return name if name.strip(". ") else Path(path).name.replace(".", "_")


def stem_paths(
    separator: Separator, path: str | Path, out_dir: str | Path, options: SeparationOptions = DEFAULTS
) -> dict[str, Path]:
    """Tell which files `separate_file` would write, in the model's order of stems.

    Raises:
        UsageError: a stem is wanted that the model does not have, or an option is unknown.
    """
    wanted = separator.stems if options.stems is None else options.stems
    if unknown := [stem for stem in wanted if stem not in separator.stems]:
        raise UsageError(f"the model has no stem {unknown[0]!r}; it has {', '.join(separator.stems)}")
    if not wanted:
        raise UsageError(f"no stems are wanted; the model has {', '.join(separator.stems)}")
    if options.file_format not in CONTAINERS:
        raise UsageError(f"file format {options.file_format!r} is not one of {', '.join(CONTAINERS)}")
    if options.subtype not in SUBTYPES:
        raise UsageError(f"subtype {options.subtype!r} is not one of {', '.join(SUBTYPES)}")
    if unsafe := [stem for stem in wanted if Path(stem).name != stem]:
        raise UsageError(f"the model's stem {unsafe[0]!r} cannot be the name of a file")
    folder = Path(out_dir) / track_name(path)
    return {stem: folder / f"{stem}.{options.file_format}" for stem in separator.stems if stem in wanted}


def separate_file(
    separator: Separator,
    path: str | Path,
    out_dir: str | Path,
    *,
    options: SeparationOptions = DEFAULTS,
    progress: Progress | None = None,
) -> SeparationResult:
    """Separate a song into `<out_dir>/<song>/<stem>.wav` and a `manifest.json`; all files appear, or none.

    Args:
        separator: the model, in evaluation mode, on the device that is to be used.
        path: the song; of a container with several streams, the first (the mixture of a `.stem.mp4`).
        out_dir: where the song's folder is made.
        options: how stems are written.
        progress: called as the song advances; an exception that it raises ends the work and removes what was written.

    Raises:
        AudioError: the song is missing, cannot be decoded, or holds NaN.
        UsageError: the options do not fit the model or the format, or files exist already.
        OutputError: the files cannot be written.
        OutOfMemoryError: not even a short segment fits the device's memory.
    """
    path = Path(path)
    paths = stem_paths(separator, path, out_dir, options)
    info = probe(path)
    _require_free(path, paths, options)
    segment = separator.segment if options.segment is None else options.segment
    overlap = min(separator.overlap, segment // 2) if options.overlap is None else options.overlap
    if segment < 1 or not 0 <= overlap <= segment // 2:
        raise UsageError(f"the overlap ({overlap} samples) must be at most half a segment ({segment} samples)")
    for halving in range(_SEGMENT_HALVINGS + 1):
        geometry = (segment >> halving, overlap >> halving)
        try:
            return SongRun(separator, path, info, paths, options, geometry).run(progress)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            _log.warning("%s: out of memory with segments of %d samples", path, geometry[0])
    raise OutOfMemoryError(f"{path}: out of memory even with segments of {segment >> _SEGMENT_HALVINGS} samples")


def separate_files(
    separator: Separator,
    paths: Sequence[str | Path],
    out_dir: str | Path,
    *,
    options: SeparationOptions = DEFAULTS,
    progress: Callable[[Path, float, float | None], None] | None = None,
    finished: Callable[[SeparationResult | SeparationFailure], None] | None = None,
) -> SeparationSummary:
    """Separate songs one after the other; one that fails does not stop the others.

    Args:
        separator: as for `separate_file`.
        paths: the songs.
        out_dir: where each song's folder is made.
        options: how stems are written.
        progress: called with the song, and as for `separate_file`.
        finished: called with the result or failure of each song.

    Raises:
        UsageError: before anything is computed, where two songs would be written to the same folder, files exist
            already, or the options do not fit the model.
    """
    songs = [Path(path) for path in paths]
    owners: dict[str, Path] = {}
    for song in songs:
        # Letters' case does not tell files apart everywhere.
        other = owners.setdefault(track_name(song).casefold(), song)
        if other is not song:
            raise UsageError(f"{other} and {song} would be written to the same folder; separate them one by one")
    wanted = {song: stem_paths(separator, song, out_dir, options) for song in songs}
    skipped = [song for song in songs if options.skip_existing and _is_complete(wanted[song])]
    todo = [song for song in songs if song not in skipped]
    for song in todo:
        _require_free(song, wanted[song], options)
    results: list[SeparationResult] = []
    failures: list[SeparationFailure] = []
    for song in todo:

        def advance(done_s: float, total_s: float | None, song: Path = song) -> None:
            if progress is not None:
                progress(song, done_s, total_s)

        outcome: SeparationResult | SeparationFailure
        try:
            outcome = separate_file(separator, song, out_dir, options=options, progress=advance)
            results.append(outcome)
        except SepganError as error:
            outcome = SeparationFailure(song, error)
            failures.append(outcome)
        if finished is not None:
            finished(outcome)
    return SeparationSummary(tuple(results), tuple(failures), tuple(skipped))


def _is_complete(paths: Mapping[str, Path]) -> bool:
    return all(path.is_file() for path in paths.values())


def _require_free(source: Path, paths: Mapping[str, Path], options: SeparationOptions) -> None:
    """Refuse to replace files unasked, and to replace the song itself at all."""
    for path in paths.values():
        if path.exists() and path.resolve() == source.resolve():
            raise UsageError(f"{path} is the song itself; choose another output folder")
        if path.exists() and not options.overwrite:
            raise UsageError(f"{path} exists already; pass --overwrite to replace it")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a CPU, torch raises a plain RuntimeError that tells only in its text."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
