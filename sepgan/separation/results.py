"""What can be asked of a separation, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sepgan.errors import SepganError


@dataclass(frozen=True)
class SeparationOptions:
    """How stems are written.

    Attributes:
        stems: which to write; None for all that the model has.
        subtype: "int24", "int16" (dithered with a fixed seed) or "float32".
        file_format: "wav", "flac", "ogg" or "mp3"; the last two code with loss and choose their own depth.
        overwrite: replace files that exist.
        skip_existing: leave out songs whose files all exist.
        segment: samples separated at once, at the model's rate; None for the model's own choice.
        overlap: samples that neighbouring segments share, at most half a segment; None for the model's own choice.
        seed: of the dither.
    """

    stems: tuple[str, ...] | None = None
    subtype: str = "int24"
    file_format: str = "wav"
    overwrite: bool = False
    skip_existing: bool = False
    segment: int | None = None
    overlap: int | None = None
    seed: int = 0


DEFAULTS = SeparationOptions()


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
        gain: the one factor on all stems; below 1 only where an integer format would have clipped.
        peaks_dbfs: highest sample of each stem; -inf for silence.
        null_dbfs: highest sample of the stems' sum minus the input times the gain, as written; -inf where they are
            equal bit for bit, None where stems were left out or coded with loss.
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
    """What became of several songs."""

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
