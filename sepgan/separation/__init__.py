"""Files in, stems out: what `sepgan separate` does for each song.

The stems are written at the input's own rate, channels and length, and sum to the input: every stem but one comes from
the model, and the residual stem ("other" where there is one) is the input minus the others, at the input's own rate.
The model's stems sum to what it was given, so this is its own estimate plus the band that it cannot see.

Nothing here grows with the length of a song but files, and one number a second and stem.
"""

from sepgan.separation.batch import SongSeparator, separate_file, separate_files
from sepgan.separation.inputs import Song, find_songs
from sepgan.separation.manifest import Manifest, read_manifest
from sepgan.separation.naming import track_name
from sepgan.separation.options import DEFAULTS, MANIFEST, SeparationOptions
from sepgan.separation.results import SeparationFailure, SeparationResult, SeparationSummary
from sepgan.separation.song import Progress

__all__ = [
    "DEFAULTS",
    "MANIFEST",
    "Manifest",
    "Progress",
    "SeparationFailure",
    "SeparationOptions",
    "SeparationResult",
    "SeparationSummary",
    "Song",
    "SongSeparator",
    "find_songs",
    "read_manifest",
    "separate_file",
    "separate_files",
    "track_name",
]
