"""Collect music without singing from Debian packages, for `{kind: singles, stem: accompaniment}`, with its licences.

    python examples/collect_instrumental.py --out MUSIC                        # from packages that are installed
    python examples/collect_instrumental.py --root UNPACKED --out MUSIC        # from packages unpacked by `dpkg-deb -x`
    python examples/collect_instrumental.py --out FREE --licence MIT --licence "public domain"

`instrumental_music.csv` beside this file names the packages, their files, and the licences as read in their copyright
files. Songs are linked into `OUT/train`, or unpacked where they lie in an archive (`archive.pk3!member`), and
`OUT/licences.csv` says of each where it comes from and what its licence is. Packages that are not there are named at
the end.

A song is taken if it is long enough and if a model with a `vocals` stem, by default `spleeter-2stems` (`sepgan models
add spleeter-2stems`), finds little in three excerpts of it. What it hears as singing, such as choirs and some leads, is
left out, so that a separator is not taught to call it accompaniment.
"""

from __future__ import annotations

import argparse
import csv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch

from sepgan.atomic import replacing
from sepgan.audio import probe, read_blocks, resample
from sepgan.data.credits import outside, write_credits
from sepgan.errors import AudioError
from sepgan.separator import Separator

PACKAGES = Path(__file__).with_name("instrumental_music.csv")
SUFFIXES = {".flac", ".mp3", ".ogg", ".opus", ".wav"}
EXCERPT_S = 8.0
PLACES = (0.2, 0.5, 0.8)  # of the length


@dataclass(frozen=True)
class Find:
    """A song of a package; of an archive's member the archive is the file."""

    package: str
    file: Path
    member: str | None
    licence: str
    root: Path

    @property
    def name(self) -> str:
        """Name of the link: package, folder and file, as several packages and folders have a `menu.ogg`."""
        inner = Path(self.member) if self.member else self.file
        return f"{self.package}__{inner.parent.name}__{inner.name}".replace(" ", "_")

    @property
    def source(self) -> str:
        """Where it comes from."""
        inside = f"!{self.member}" if self.member else ""
        return f"Debian package {self.package}: {self.file.relative_to(self.root)}{inside}"


def finds(root: Path, packages: Path) -> Iterator[Find | str]:
    """Yield the songs that lie below a root, each once, and at the end the names of packages without any."""
    with packages.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    known: set[tuple[Path, str | None]] = set()
    there_is: set[str] = set()
    for row in rows:
        pattern, _, inside = row["files"].partition("!")
        there = sorted(path for path in root.glob(pattern) if path.is_file())
        for file in there:
            members: Sequence[str | None] = [None]
            if inside:
                with zipfile.ZipFile(file) as archive:
                    members = [name for name in sorted(archive.namelist()) if fnmatch(name, inside)]
            for member in members:
                if Path(member or file.name).suffix.lower() in SUFFIXES and (file, member) not in known:
                    known.add((file, member))
                    yield Find(row["package"], file, member, row["licence"], root)
                    there_is.add(row["package"])
    yield from dict.fromkeys(row["package"] for row in rows if row["package"] not in there_is)


def take(song: Find, link: Path) -> None:
    """Link a file, or unpack a member of an archive."""
    if song.member is None:
        link.symlink_to(song.file.resolve())
        return
    with zipfile.ZipFile(song.file) as archive, replacing(link) as temporary:
        temporary.write_bytes(archive.read(song.member))


def vocals_db(separator: Separator, path: Path) -> float:
    """Largest share of the energy that goes to `vocals` in any of the excerpts, in dB of the song's.

    Raises:
        AudioError: The file cannot be read.
    """
    info = probe(path)
    loudest = -np.inf
    for place in PLACES:
        start = round(place * (info.frames or 0))
        blocks = list(read_blocks(path, info.sample_rate, start=start, frames=round(EXCERPT_S * info.sample_rate)))
        excerpt = resample(np.concatenate(blocks, axis=1), info.sample_rate, separator.sample_rate)[:2]
        mixture = torch.from_numpy(np.repeat(excerpt, 2 // len(excerpt), axis=0)).unsqueeze(0)
        with torch.inference_mode():
            vocals = separator(mixture)[:, separator.stems.index("vocals")]
        share = float(vocals.square().sum()) / (float(mixture.square().sum()) + 1e-9)
        loudest = max(loudest, 10 * np.log10(share + 1e-9))
    return float(loudest)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, look, link, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the packages lie")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", type=Path, default=PACKAGES, help="another list: package, files, licence")
    parser.add_argument("--licence", action="append", default=[], help="take songs under this one; several times")
    parser.add_argument("--model", default="spleeter-2stems")
    parser.add_argument("--at-most-db", type=float, default=-11.0, help="of the song's energy may be vocals")
    parser.add_argument("--at-least-s", type=float, default=45.0, help="shorter files are sounds rather than songs")
    options = parser.parse_args(arguments)
    separator = Separator.load(options.model)
    folder = options.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Find] = []
    absent: list[str] = []
    minutes = 0.0
    for song in finds(options.root, options.packages):
        if isinstance(song, str):
            absent.append(song)
            continue
        if options.licence and outside(song.licence, options.licence):
            continue
        link = folder / song.name
        known = link.exists()
        try:
            if not known:
                take(song, link)
            info = probe(link)
            length_s = (info.frames or 0) / info.sample_rate
            if length_s < options.at_least_s or not (known or vocals_db(separator, link) <= options.at_most_db):
                link.unlink()
                continue
        except AudioError as error:
            print(f"left out: {error}")
            link.unlink()
            continue
        taken.append(song)
        minutes += length_s / 60
        print(f"{minutes:7.1f} minutes  {song.name}", flush=True)
    write_credits(options.out, [(Path(song.name).stem, song.source, song.licence) for song in taken])
    print(f"{len(taken)} songs, {minutes:.0f} minutes in {folder}")
    if absent:
        print(f"not there: {', '.join(absent)}; `apt-get install` them, or unpack them and give --root")


if __name__ == "__main__":
    main()
