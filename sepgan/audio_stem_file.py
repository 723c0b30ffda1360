"""`.stem.mp4` files: a mixture and its four stems in one MP4, as Native Instruments' Stems format has it.

The streams are the mixture, which ordinary players play, and the stems, which they leave alone. A box of JSON tells
players the names and colours of the stems (Native Instruments, *Stem file format specification*, 2015: the box `stem`
within `moov/udta`; the same that the `stempeg` package and MUSDB18 use).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from sepgan.audio_formats import OutputPlan
from sepgan.audio_tags import Tags, write_tags
from sepgan.audio_writer import as_integers, create_temporary, output_errors, require_frames
from sepgan.errors import OutputError, UsageError

STEMS = 4
_ORDER = ("drums", "bass", "other", "vocals")  # of MUSDB18
_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # those of MUSDB18's files, which colour-blind people can tell
# What players need not do to a mixture that is whole already.
_MASTERING = {
    "compressor": {
        "enabled": False,
        **{"ratio": 3, "output_gain": 0.5, "release": 0.3, "attack": 0.003},
        **{"input_gain": 0.5, "threshold": 0, "hp_cutoff": 300, "dry_wet": 50},
    },
    "limiter": {"enabled": False, "release": 0.05, "threshold": 0, "ceiling": -0.35},
}


def stem_order(stems: tuple[str, ...]) -> tuple[str, ...]:
    """Give the order in which a file holds the stems: that of MUSDB18 where it has them.

    Raises:
        UsageError: there are not four, which is what the format is made for.

    >>> stem_order(("vocals", "drums", "other", "bass"))
    ('drums', 'bass', 'other', 'vocals')
    """
    if len(stems) != STEMS:
        raise UsageError(f".stem.mp4 files hold {STEMS} stems; {len(stems)} are wanted: choose all {STEMS}, or m4a")
    return _ORDER if set(stems) == set(_ORDER) else stems


class StemFileWriter:
    """Write a mixture and four stems, block by block, to a temporary file; as `AudioWriter` does for one stream."""

    def __init__(self, path: Path, plan: OutputPlan, stems: tuple[str, ...], tags: Tags | None = None) -> None:
        """Open the temporary file.

        Args:
            path: the target.
            plan: for the format "stem.mp4" or "stem.alac".
            stems: their names, in the order of `stem_order`.
            tags: of the song.

        Raises:
            OutputError: the file cannot be created.
        """
        self.path = path
        self._plan = plan
        self._stems = stems
        self._tags = tags or Tags()
        self._frames = 0
        with output_errors(path):
            self._temporary = create_temporary(path)
            try:
                self._encoder = plan.open(self._temporary, streams=1 + len(stems))
            except BaseException:
                self._temporary.unlink()
                raise

    def write(self, mixture: npt.NDArray[np.float32], stems: Sequence[npt.NDArray[np.float32]]) -> None:
        """Append samples of the mixture `[C, n]` and of each stem, `[C, n]` too."""
        self._append(mixture, stems)

    def write_steps(self, mixture: npt.NDArray[np.int32], stems: Sequence[npt.NDArray[np.int32]]) -> None:
        """Append samples that `quantise` has rounded already."""
        assert self._plan.bits is not None
        bits = self._plan.bits
        self._append(as_integers(mixture, bits), [as_integers(steps, bits) for steps in stems])

    def _append(self, mixture: npt.NDArray[np.generic], stems: Sequence[npt.NDArray[np.generic]]) -> None:
        with output_errors(self.path):
            for number, samples in enumerate((mixture, *stems)):
                self._encoder.write(samples, number)
        self._frames += mixture.shape[1]

    def commit(self) -> None:
        """Finish the file and give it its name.

        Raises:
            OutputError: the file could not be finished, or does not hold all samples.
        """
        with output_errors(self.path):
            self._encoder.close()
            require_frames(self._temporary, self.path, self._plan, self._frames)
            write_tags(self._temporary, self._tags, self._plan.format.name)
            with self._temporary.open("r+b") as file:
                _add_stem_box(file, self._stems)
            self._temporary.replace(self.path)

    def abort(self) -> None:
        """Remove what has been written; after `commit` nothing happens."""
        self._encoder.abort()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "StemFileWriter":
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or abort when an exception passes."""
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()


def read_stem_names(path: str | Path) -> tuple[str, ...]:
    """Read the names of the stems that a `.stem.mp4` file states; none where it has no such box."""
    with Path(path).open("rb") as file:
        begin, size = 0, file.seek(0, 2)
        for name in (b"moov", b"udta", b"stem"):
            found = _find(file, begin, begin + size, name)
            if found is None:
                return ()
            begin, size = found[0] + 8, found[1] - 8
        file.seek(begin)
        try:
            return tuple(str(stem["name"]) for stem in json.loads(file.read(size))["stems"])
        except (ValueError, KeyError, TypeError):
            return ()


def _add_stem_box(file: BinaryIO, stems: tuple[str, ...]) -> None:
    """Put the box into `moov/udta`. FFmpeg writes `moov` last, so that no offset of samples changes."""
    entries = [{"name": stem, "color": colour} for stem, colour in zip(stems, _COLOURS, strict=True)]
    content = json.dumps({"mastering_dsp": _MASTERING, "version": 1, "stems": entries}).encode()
    box = (len(content) + 8).to_bytes(4, "big") + b"stem" + content
    end = file.seek(0, 2)
    movie = _find(file, 0, end, b"moov")
    if movie is None or sum(movie) != end:
        raise OutputError(f"{file.name} cannot be finished: its index is not at the end")
    data = _find(file, movie[0] + 8, end, b"udta")
    if data is None:
        box = (len(box) + 8).to_bytes(4, "big") + b"udta" + box
        insert_at = end
    else:
        insert_at = sum(data)
        _set_size(file, data[0], data[1] + len(box))
    file.seek(insert_at)
    rest = file.read()
    file.seek(insert_at)
    file.write(box + rest)
    _set_size(file, movie[0], movie[1] + len(box))


def _find(file: BinaryIO, begin: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    """Find a box between two positions; gives where it begins and its size."""
    while begin + 8 <= end:
        file.seek(begin)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        size = int.from_bytes(file.read(8), "big") if size == 1 else size or end - begin
        if name == wanted:
            return begin, size
        if size < 8:
            return None
        begin += size
    return None


def _set_size(file: BinaryIO, begin: int, size: int) -> None:
    file.seek(begin)
    file.write(size.to_bytes(4, "big"))
