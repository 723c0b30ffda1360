"""Which reference file belongs to which estimate file: paired by name, and refused where they cannot be compared.

A folder is either `<track>/<stem>.<ext>` or a single track, `<stem>.<ext>`. Suffixes may differ between the two sides.
A file named `mixture` is never a stem. Everything is checked before anything is computed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepgan import audio
from sepgan.data.track import ACCOMPANIMENT, audio_files
from sepgan.errors import EvaluationError

MIXTURE = "mixture"
VOCALS = "vocals"


@dataclass(frozen=True)
class Pair:
    """One track's files."""

    track: str
    references: Mapping[str, Path]
    estimates: Mapping[str, tuple[Path, ...]]  # the files whose sum estimates the reference of that stem
    mixture: Path | None


def pair_folders(
    references: Path, estimates: Path, *, stems: Sequence[str] | None = None, ignore_extra: bool = False
) -> list[Pair]:
    """Pair the files of two folders.

    A reference `accompaniment` without an estimate of that name is paired with all estimated stems but the vocals.

    Args:
        references: Folder of the true stems.
        estimates: Folder of the estimated stems.
        stems: Score only these.
        ignore_extra: Leave out estimates that have no reference, instead of refusing them.

    Raises:
        EvaluationError: A folder is absent or empty; a file is missing, extra, or differs in rate, channels or length.
        DatasetError: Two files are the same stem.
        AudioError: A file cannot be read.
    """
    true_tracks, estimated_tracks = find_stems(references), find_stems(estimates)
    if len(true_tracks) == len(estimated_tracks) == 1 and "" in {*true_tracks, *estimated_tracks}:
        # A single track needs no name to be recognised: one side may be flat and the other not.
        name = next((name for name in (*true_tracks, *estimated_tracks) if name), references.resolve().name)
        true_tracks, estimated_tracks = ({name: next(iter(side.values()))} for side in (true_tracks, estimated_tracks))
    missing = [track for track in true_tracks if track not in estimated_tracks]
    if missing:
        raise EvaluationError(
            f"'{estimates}' lacks the track {missing[0]!r} ({len(missing)} of {len(true_tracks)} missing); "
            f"expected a folder '{estimates / missing[0]}' with its stems"
        )
    extra = [track for track in estimated_tracks if track not in true_tracks]
    if extra and not ignore_extra:
        raise EvaluationError(
            f"'{estimates / extra[0]}' has no references in '{references}' ({len(extra)} extra); "
            "remove it or ignore extras"
        )
    pairs = [_pair(track, files, estimated_tracks[track], stems, ignore_extra) for track, files in true_tracks.items()]
    pairs = [pair for pair in pairs if pair.references]
    if not pairs:
        raise EvaluationError(
            f"no track of '{references}' has any of the stems {', '.join(stems or ())}; check the names"
        )
    return pairs


def find_stems(folder: Path) -> dict[str, dict[str, Path]]:
    """Audio files by track and stem; the track of a flat folder is "".

    Args:
        folder: `<track>/<stem>.<ext>` or `<stem>.<ext>`.

    Raises:
        EvaluationError: The folder is absent or holds no stems.
        DatasetError: Two files are the same stem.
    """
    if not folder.is_dir():
        raise EvaluationError(f"'{folder}' is not a folder; expected <track>/<stem>.wav inside it")
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    tracks = {path.name: audio_files(path) for path in folders}
    tracks = {track: files for track, files in tracks.items() if set(files) - {MIXTURE}}
    flat = audio_files(folder)
    if set(flat) - {MIXTURE}:
        if tracks:
            raise EvaluationError(
                f"'{folder}' holds both stems ('{next(iter(flat.values())).name}') and folders of stems "
                f"('{next(iter(tracks))}'); expected one of the two"
            )
        return {"": flat}
    if not tracks:
        raise EvaluationError(f"'{folder}' holds no stems; expected <track>/<stem>.wav inside it")
    return tracks


def match_stems(references: Iterable[str], estimates: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each reference stem the estimated stems whose sum estimates it; a stem that cannot be matched is left out.

    >>> match_stems(["vocals", "accompaniment"], ["drums", "bass", "vocals"])
    {'vocals': ('vocals',), 'accompaniment': ('drums', 'bass')}
    """
    available = tuple(estimates)
    matched: dict[str, tuple[str, ...]] = {}
    for stem in references:
        if stem in available:
            matched[stem] = (stem,)
        elif stem == ACCOMPANIMENT:
            rest = tuple(other for other in available if other != VOCALS)
            if rest and VOCALS in available:  # without vocals, nothing says that the rest is complete
                matched[stem] = rest
    return matched


def _pair(
    track: str,
    true_files: Mapping[str, Path],
    estimated_files: Mapping[str, Path],
    stems: Sequence[str] | None,
    ignore_extra: bool,
) -> Pair:
    references = {stem: path for stem, path in true_files.items() if stem != MIXTURE}
    available = {stem: path for stem, path in estimated_files.items() if stem != MIXTURE}
    wanted = [stem for stem in references if stems is None or stem in stems]
    matched = match_stems(wanted, available)
    for stem in wanted:
        if stem not in matched:
            folder = next(iter(estimated_files.values())).parent
            raise EvaluationError(f"'{folder}' lacks an estimate of '{references[stem]}'; expected '{stem}.wav' there")
    used = {name for names in matched.values() for name in names}
    extra = [name for name in available if name not in used and (stems is None or name in stems)]
    if extra and not ignore_extra:
        raise EvaluationError(
            f"'{available[extra[0]]}' has no reference: the track has {', '.join(references)}; "
            "remove it or ignore extras"
        )
    mixture = true_files.get(MIXTURE)
    first = next(iter(references.values()))
    for path in [*references.values(), *([mixture] if mixture else []), *(available[name] for name in sorted(used))]:
        check_comparable(first, path)
    estimates_of = {stem: tuple(available[name] for name in names) for stem, names in matched.items()}
    return Pair(track, references if wanted else {}, estimates_of, mixture)


def check_comparable(reference: Path, other: Path) -> None:
    """Refuse a file of another sample rate, channel count or length.

    Raises:
        EvaluationError: They differ.
        AudioError: A file cannot be read.
    """
    expected, found = audio.probe(reference), audio.probe(other)
    for what, unit in (("sample_rate", "Hz"), ("channels", "channels"), ("frames", "samples")):
        ours, theirs = getattr(expected, what), getattr(found, what)
        if None not in (ours, theirs) and ours != theirs:
            raise EvaluationError(f"'{other}' has {theirs} {unit} where '{reference}' has {ours}; they must be equal")
