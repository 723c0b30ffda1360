"""What comes of a separation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sepgan.errors import SepganError
from sepgan.separation.manifest import Manifest


@dataclass(frozen=True)
class SeparationResult:
    """What was written for one song.

    Attributes:
        source: the input.
        folder: where the stems are.
        paths: the file of each stem.
        sample_rate: of input and stems, in Hz.
        frames: samples per channel of input and stems.
        wall_s: how long it took.
        gain: the one factor on all stems; below 1 only where a format would have clipped.
        peaks_dbfs: highest sample of each stem; -inf for silence.
        null_dbfs: highest sample of the stems' sum minus the input times the gain, as written; -inf where they are
            equal bit for bit, None where stems were left out or coded with loss.
        manifest: all that is known, as it was written.
    """

    source: Path
    folder: Path
    paths: Mapping[str, Path]
    sample_rate: int
    frames: int
    wall_s: float
    gain: float
    peaks_dbfs: Mapping[str, float]
    null_dbfs: float | None
    manifest: Manifest

    @property
    def track(self) -> str:
        """Name of the song's folder."""
        return self.folder.name

    @property
    def seconds(self) -> float:
        """Length of the song."""
        return self.frames / self.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of audio; 0.1 is ten times as fast as playing."""
        return self.wall_s / self.seconds


@dataclass(frozen=True)
class SeparationFailure:
    """A song that could not be separated, and why."""

    source: Path
    error: SepganError


@dataclass(frozen=True)
class SeparationSummary:
    """What became of several songs, each kind in the order they were given."""

    results: tuple[SeparationResult, ...]
    failures: tuple[SeparationFailure, ...] = ()
    skipped: tuple[Path, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where all went well, the error's own code for a single song, 1 where some of several failed."""
        if not self.failures:
            return 0
        alone = len(self.results) + len(self.failures) + len(self.skipped) == 1
        return self.failures[0].error.exit_code if alone else 1
