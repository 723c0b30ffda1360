"""Where each file of each song goes, and whether any two would be one.

All places are known and compared before anything is computed, as a file system would compare them that knows no
difference between upper and lower case and between ways to write an accent.
"""

import os
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepgan.errors import UsageError
from sepgan.separation.inputs import Song
from sepgan.separation.options import MANIFEST, TEMPLATE, SeparationOptions

FIELDS = {
    "track": "track", "filename": "track",
    "stem": "stem", "instrument": "stem", "instr": "stem",
    "ext": "ext", "codec": "ext", "format": "ext",
    "model": "model",
    "relpath": "relpath",
    "foldername": "foldername",
    "trackext": "trackext",
}  # fmt: skip
OFF = "off"

_LONGEST_NAME = 255  # bytes of a name on ext4, APFS and (as characters) NTFS


@dataclass(frozen=True)
class Job:
    """A song and its files.

    Attributes:
        song: what is separated.
        targets: the file of each output.
        manifest: the file that says how it was done; None for none.
    """

    song: Song
    targets: Mapping[str, Path]
    manifest: Path | None

    @property
    def folder(self) -> Path:
        """The folder that holds all files of the song, perhaps with those of others; the current one without files."""
        if not self.targets:
            return Path()
        return Path(os.path.commonpath([path.parent for path in self.targets.values()]))


def track_name(path: str | Path) -> str:
    """Name of a song, for its folder.

    >>> track_name("a/Falcon 69.stem.mp4")
    'Falcon 69'
    """
    name = Path(path).stem.removesuffix(".stem")
    return name if name.strip(". ") else Path(path).name.replace(".", "_")


def plan_job(
    song: Song,
    out: Path,
    outputs: Sequence[str],
    options: SeparationOptions,
    *,
    suffix: str,
    model: str,
    one_file: bool = False,
) -> Job:
    """Name the files of one song.

    Args:
        song: the song.
        out: the output folder.
        outputs: names of the stems.
        options: with the templates.
        suffix: of the files, such as ".wav".
        model: its name.
        one_file: all stems go into one file.

    Raises:
        UsageError: a template is wrong.
    """
    template = options.filename
    if one_file and template == TEMPLATE:
        template = "{track}.{ext}"
    _check_template(template, "--filename", FIELDS)
    base = out if "{relpath}" in template else out / song.folder
    values = {
        "track": track_name(song.path),
        "ext": suffix[1:],
        "model": model.replace("/", "_").replace("\\", "_"),
        "relpath": song.folder.as_posix(),
        "foldername": song.path.resolve().parent.name,
        "trackext": song.path.suffix[1:],
    }
    targets = {
        stem: base / _fill(template, "--filename", {**values, "stem": "stems" if one_file else stem})
        for stem in outputs
    }
    for path in targets.values():
        if not path.name.lower().endswith(suffix):
            raise UsageError(
                f"--filename '{template}' names '{path.name}', which must end in {suffix}; end it in .{{ext}}"
            )
        _require_short(path)
    if not one_file and len({_folded(path) for path in targets.values()}) < len(outputs):
        raise UsageError(f"--filename '{template}' gives two stems one name; put {{stem}} into it")
    return Job(song, targets, _plan_manifest(song, out, base, template, values, options))


def _plan_manifest(
    song: Song, out: Path, base: Path, template: str, values: Mapping[str, str], options: SeparationOptions
) -> Path | None:
    if options.manifest == OFF:
        return None
    name = options.manifest
    if name is None:
        folder = os.path.dirname(template)
        if any("{" + field + "}" in folder for field, meaning in FIELDS.items() if meaning == "stem"):
            folder = ""
        own = "{track}" in folder or "{filename}" in folder
        name = os.path.join(folder, MANIFEST if own else "{track}." + MANIFEST)
    _check_template(name, "--manifest", {field: meaning for field, meaning in FIELDS.items() if meaning != "stem"})
    manifest = (out if "{relpath}" in name else base) / _fill(name, "--manifest", values)
    _require_short(manifest)
    return manifest


def require_distinct(jobs: Sequence[Job]) -> None:
    """Refuse jobs that would write the same file twice, or over one of the songs.

    Raises:
        UsageError: it names the two songs.
    """
    owners: dict[str, Job] = {}
    songs = {_folded(job.song.path.resolve()): job.song.path for job in jobs}
    for job in jobs:
        for path in [*dict.fromkeys(job.targets.values()), *([] if job.manifest is None else [job.manifest])]:
            other = owners.setdefault(_folded(path), job)
            if other is not job:
                raise UsageError(
                    f"{other.song.path} and {job.song.path} would both be written to {path}; "
                    "rename one, separate them one by one, or tell them apart with --filename"
                )
            if (song := songs.get(_folded(path.resolve()))) is not None:
                what = "the song itself" if song == job.song.path else f"one of the songs, {song}"
                raise UsageError(f"{path} is {what}; choose another output folder")
        if job.manifest is not None and job.manifest in job.targets.values():
            raise UsageError(f"{job.manifest} would be a stem and the manifest; choose another --manifest")


def require_free(job: Job, options: SeparationOptions) -> None:
    """Refuse to replace files unasked.

    Raises:
        UsageError: it names the file.
    """
    for path in job.targets.values():
        if not path.exists():
            continue
        if not options.overwrite:
            hint = ", as the work of another song, model or option" if options.skip_existing else ""
            raise UsageError(f"{path} exists already{hint}; pass --overwrite to replace it")


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _check_template(template: str, option: str, fields: Mapping[str, str]) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"{option} '{template}' cannot be read ({error}); a brace is written {{{{ or }}}}") from error
    for _, field, form, conversion in parts:
        if field is not None and (field not in fields or form or conversion):
            raise UsageError(
                f"{option} '{template}': {{{field}}} is not one of {', '.join(f'{{{name}}}' for name in fields)}"
            )
    if not template.strip() or template.endswith(("/", "\\")):
        raise UsageError(f"{option} '{template}' names no file; for instance {{track}}/{{stem}}.{{ext}}")


def _fill(template: str, option: str, values: Mapping[str, str]) -> Path:
    path = Path(template.format(**{field: values[FIELDS[field]] for field in FIELDS if FIELDS[field] in values}))
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{option} '{template}' leads to {path}, out of the output folder; keep it below --out")
    return path


def _require_short(path: Path) -> None:
    if len(os.fsencode(path.name)) > _LONGEST_NAME or len(os.fsencode(path.parent.name)) > _LONGEST_NAME:
        raise UsageError(f"'{path.name}' is longer than the {_LONGEST_NAME} bytes of a file name; shorten --filename")
