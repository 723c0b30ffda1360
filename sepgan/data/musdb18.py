"""MUSDB18 and MUSDB18-HQ (Rafii et al., 2017): 100 training and 50 test songs with four stems, for academic use.

MUSDB18 comes as Native Instruments `.stem.mp4` files (five AAC streams, nothing above 16 kHz), MUSDB18-HQ as WAV
folders. The previews of seven seconds that the `musdb` package downloads have the same layout as MUSDB18. Splits are
`train` (86 songs without the validation list), `valid` (the 14 songs below), `train+valid` and `test`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sepgan.data.folder import folder
from sepgan.data.track import AudioSource, Source, Track, require_root
from sepgan.errors import DatasetError

LICENCE = "academic use only; see https://sigsep.github.io/datasets/musdb.html"
STREAMS = ("mixture", "drums", "bass", "other", "vocals")  # the order of the audio streams in a .stem.mp4
# The list that the musdb package and every paper since Open-Unmix use.
VALIDATION = frozenset(
    {
        "Actions - One Minute Smile",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Johnny Lokke - Promises & Lies",
        "Patrick Talbot - A Reason To Leave",
        "Triviul - Angelsaint",
        "Alexander Ross - Goodbye Bolero",
        "Fergessen - Nos Palpitants",
        "Leaf - Summerghost",
        "Skelpolu - Human Mistakes",
        "Young Griffo - Pennies",
        "ANiMAL - Rockshow",
        "James May - On The Line",
        "Meaxic - Take A Step",
        "Traffic Experiment - Sirens",
    }
)
SPLITS = ("train", "valid", "train+valid", "test")
# Errata of the dataset's page (sigsep/website, pull requests 27 and 51, issue 37). No test song is dropped for them:
# scores would no longer compare with anybody's.
ERRATA: Mapping[str, str] = {
    "PR - Oh No": "the left channel of the stems does not sum to the mixture",
    "Hop Along - Sister Cities": "other instruments bleed into the vocals",
    "Chris Durban - Celebrate": "other instruments bleed into the vocals",
    "Leaf - Wicked": "guitar in drums and vocals at 2:20 and 3:02",
    "Detsky Sad - Walkie Talkie": "parts of other lie in the drums",
    "Al James - Schoolboy Facination": "parts of the vocals lie in other",  # misspelt so in the dataset
    "BKS - Bulldozer": "a cowbell lies in other at 1:12",
}


def musdb18(root: Path, split: str) -> list[Track]:
    """Songs of MUSDB18: `<train|test>/<song>.stem.mp4`.

    Raises:
        DatasetError: The folder is absent, the split unknown, or there is no song.
    """
    base = _base(root, split)
    tracks = []
    for file in sorted(base.glob("*.stem.mp4")):
        if not file.name.startswith("."):
            streams: dict[str, Source] = {stem: AudioSource(file, index) for index, stem in enumerate(STREAMS)}
            mixture = streams.pop("mixture")
            tracks.append(_song(file.name.removesuffix(".stem.mp4"), split, streams, mixture))
    return _select(tracks, split, f"no track in '{base}': expected <song>.stem.mp4 files")


def musdb18hq(root: Path, split: str) -> list[Track]:
    """Songs of MUSDB18-HQ: `<train|test>/<song>/{mixture,drums,bass,other,vocals}.wav`.

    Raises:
        DatasetError: The folder is absent, the split unknown, a song incomplete, or there is no song.
    """
    tracks = songs_hq(root, split)
    for track in tracks:
        missing = [stem for stem in STREAMS[1:] if stem not in track.stems]
        if missing:
            raise DatasetError(f"'{track.name}' lacks {', '.join(missing)}: MUSDB18-HQ songs have four stems")
    return tracks


def songs_hq(root: Path, split: str) -> list[Track]:
    """Songs of MUSDB18-HQ with those of the four stems that are there.

    Raises:
        DatasetError: The folder is absent, the split unknown, or there is no song.
    """
    base = _base(root, split)
    tracks = []
    for track in folder(base, ""):
        # Some copies hold further sums, such as an accompaniment; they would count twice in a mixture.
        stems = {stem: track.stems[stem] for stem in STREAMS[1:] if stem in track.stems}
        tracks.append(_song(track.name, split, stems, track.mixture))
    return _select(tracks, split, f"no track in '{base}': expected <song>/<stem>.wav")


def _song(name: str, split: str, stems: Mapping[str, Source], mixture: Source | None) -> Track:
    artist, dash, title = name.partition(" - ")
    labels = {"artist": artist, "title": title} if dash else {"title": name}
    labels["part"] = "test" if split == "test" else "valid" if name in VALIDATION else "train"
    warnings = (f"erratum: {ERRATA[name]}",) if name in ERRATA else ()
    return Track(name, split, stems, mixture, labels | {"licence": LICENCE}, warnings)


def _base(root: Path, split: str) -> Path:
    if split not in SPLITS:
        raise DatasetError(f"MUSDB18 has no split '{split}': choose one of {', '.join(SPLITS)}")
    base = root / ("test" if split == "test" else "train")
    if not base.is_dir():
        raise DatasetError(
            f"'{base}' does not exist: --data or --root must name the folder that holds train/ and test/"
        )
    require_root(base)
    return base


def _select(tracks: list[Track], split: str, empty: str) -> list[Track]:
    if split == "valid":
        tracks = [track for track in tracks if track.name in VALIDATION]
        empty = "none of the 14 validation songs of MUSDB18 is there: validate on another split or folder"
    elif split == "train":
        tracks = [track for track in tracks if track.name not in VALIDATION]
    if not tracks:
        raise DatasetError(empty)
    return tracks
