"""Read and write the JSON files of museval, one a track, so that published scores need no audio to be compared.

museval stores, for every target and every window of a track, SDR, ISR, SIR and SAR of BSSEval v4. A folder of such
files, in any layout below it, is one system; a file's name is the track's.

Source: `musdb.schema.json` of museval; Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA
2018.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sepgan.errors import EvaluationError
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.scores import Scores, System, TrackScores

METRICS = ("SDR", "ISR", "SIR", "SAR")
NAMES = {  # museval's -> ours; the SDR of BSSEval v4 fits no filter, so that cSDR is the same number
    "SDR": ("bss_v4.sdr", "csdr"),
    "ISR": ("bss_v4.isr",),
    "SIR": ("bss_v4.sir",),
    "SAR": ("bss_v4.sar",),
}
UNKNOWN = 0  # sample rate, channels and length of a track that is known by its scores alone

Frames = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MusevalTrack:
    """One file: the frames of every target and metric; undefined frames are NaN."""

    name: str
    frames: Mapping[tuple[str, str], Frames]  # (target, one of METRICS) -> [frame], in dB
    window_s: float
    hop_s: float
    version: str  # of museval, "" where the file does not say

    @property
    def targets(self) -> tuple[str, ...]:
        """What was scored, in the order of the file."""
        return tuple(dict.fromkeys(target for target, _ in self.frames))


def read(path: Path) -> MusevalTrack:
    """Read one file of museval.

    Args:
        path: `<track>.json`.

    Raises:
        EvaluationError: It cannot be read or is no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise EvaluationError(f"'{path}' cannot be read: {reason}; expected a track's scores by museval") from error
    try:
        frames: dict[tuple[str, str], Frames] = {}
        windows, hops = set(), set()
        for target in document["targets"]:
            if (target["name"], "SDR") in frames:
                raise EvaluationError(f"'{path}' holds the target {target['name']!r} twice; expected it once")
            for metric in METRICS:
                found = [_number(frame["metrics"].get(metric)) for frame in target["frames"]]
                frames[target["name"], metric] = np.array(found, np.float64)
            windows |= {float(frame["duration"]) for frame in target["frames"]}
            times = [float(frame["time"]) for frame in target["frames"]]
            hops |= {round(after - before, 6) for before, after in itertools.pairwise(times)}
        version = str(document.get("museval_version", ""))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"'{path}' is no file of museval, near {error}; expected 'targets' with frames"
        ) from error
    if not frames:
        raise EvaluationError(f"'{path}' holds no targets; expected a track's scores by museval")
    # Where there is but one window, its length says how far the next would have been.
    window_s = max(windows, default=math.nan)
    return MusevalTrack(path.stem, frames, window_s, min(hops, default=window_s), version)


def read_folder(folder: Path) -> dict[str, MusevalTrack]:
    """Read a system's files, in any layout below a folder, such as museval's `<split>/<track>.json`.

    Args:
        folder: What museval was told to write to, or one method's folder of SiSEC 2018.

    Returns:
        By track.

    Raises:
        EvaluationError: The folder is absent or without files, a file cannot be read, or two are of the same track.
    """
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        what = "holds no .json files" if folder.is_dir() else "is no folder"
        raise EvaluationError(f"'{folder}' {what}; expected museval's <split>/<track>.json")
    tracks: dict[str, MusevalTrack] = {}
    of: dict[str, Path] = {}
    for path in paths:
        if path.stem in tracks:
            raise EvaluationError(
                f"'{of[path.stem]}' and '{path}' are of the same track; give the folder of one system and one split"
            )
        tracks[path.stem], of[path.stem] = read(path), path
    return tracks


def write(scores: Scores, system: str, folder: Path) -> list[Path]:
    """Write a system's frames as museval would, to be read by its tools: `<folder>/<track>.json`.

    As museval does, numbers are rounded to five digits, and a metric that was not scored is NaN.

    Args:
        scores: With the SDR of BSSEval v4 at least.
        system: Whose.
        folder: Made when needed; files of these tracks are replaced.

    Raises:
        EvaluationError: There is no SDR to write.
    """
    names = {metric: _name(scores.metrics, metric) for metric in METRICS}
    if names["SDR"] is None:
        raise EvaluationError("museval's files need the metric bss_v4.sdr or csdr; score one of them")
    folder.mkdir(parents=True, exist_ok=True)
    window_s, hop_s = float(scores.settings.get("window_s", 1.0)), float(scores.settings.get("hop_s", 1.0))
    written = []
    for track in scores.tracks:
        targets = []
        for stem in track.stems:
            of_metric = {metric: track.values.get((system, stem, name or "")) for metric, name in names.items()}
            count = max((len(values) for values in of_metric.values() if values is not None), default=0)
            frames = [
                {
                    "time": index * hop_s,
                    "duration": window_s,
                    "metrics": {
                        metric: math.nan if values is None else _rounded(values[index])
                        for metric, values in of_metric.items()
                    },
                }
                for index in range(count)
            ]
            targets += [{"name": stem, "frames": frames}] if frames else []
        if targets:
            path = folder / f"{track.name}.json"
            text = json.dumps({"targets": targets, "museval_version": "0.4.1"}, indent=2)  # whose schema this is
            path.write_text(text + "\n", encoding="utf-8")
            written.append(path)
    return written


def check(
    system: str,
    files: Mapping[str, MusevalTrack],
    tracks: Iterable[str],
    metrics: Sequence[Metric],
    settings: Mapping[str, str | float],
) -> None:
    """Refuse files that could not be compared with an evaluation, before anything is computed.

    Args:
        system: Whose files, for the message.
        files: By track, as `read_folder` gives them.
        tracks: Names of what will be scored.
        metrics: By which.
        settings: How; windows must be those of the files.

    Raises:
        EvaluationError: The windows are others, or no track or metric is in common.
    """
    if not any(_known(metrics).values()):
        names = ", ".join(name for names in NAMES.values() for name in names)
        raise EvaluationError(f"museval's files have no metric that is scored; score one of {names}")
    hops = {track.hop_s for track in files.values() if max(map(len, track.frames.values())) > 1}
    for setting, found in (("window_s", {track.window_s for track in files.values()}), ("hop_s", hops)):
        expected = settings.get(setting)
        if expected is not None and found - {expected}:
            raise EvaluationError(
                f"the files of {system!r} have {setting} {max(found):g} where this evaluation has {expected}; "
                "scores are comparable only with equal windows"
            )
    ours = list(tracks)
    if not set(files) & set(ours):
        raise EvaluationError(
            f"no track of this evaluation, such as {next(iter(ours), '')!r}, is among the files of {system!r}, such as "
            f"{next(iter(files), '')!r}; a file is named <track>.json"
        )


def add_system(scores: Scores, system: System, files: Mapping[str, MusevalTrack]) -> Scores:
    """The scores with one more system, as museval scored it.

    Tracks and stems that the files lack, or that only they have, are left out: a comparison uses what both have.

    Args:
        scores: To add to.
        system: To add, behind the other systems that are neither floor nor oracle.
        files: By track, as `read_folder` gives them.
    """
    known = _known(scores.metrics)
    tracks = tuple(_extended(track, system.name, files.get(track.name), known) for track in scores.tracks)
    judged = [index for index, other in enumerate(scores.systems) if other.kind in ("model", "estimates")]
    place = max(judged, default=-1) + 1
    return replace(scores, systems=(*scores.systems[:place], system, *scores.systems[place:]), tracks=tracks)


def system_of(name: str, files: Mapping[str, MusevalTrack]) -> System:
    """What a report tells of a system whose scores museval computed."""
    versions = sorted({track.version or "unknown" for track in files.values()})
    return System(name, "estimates", {"scored by": f"museval {', '.join(versions)}", "files": str(len(files))})


def scores_of(systems: Mapping[str, Mapping[str, MusevalTrack]], metrics: Sequence[Metric]) -> Scores:
    """Scores of systems that are known by their files alone, on every track that one of them has.

    Args:
        systems: Name -> its files by track.
        metrics: By which to compare; those of BSSEval v4 among them.

    Raises:
        EvaluationError: The windows of two systems differ, or no metric is one of museval's.
    """
    files = [track for of_tracks in systems.values() for track in of_tracks.values()]
    settings: dict[str, str | float] = {"window_s": files[0].window_s, "hop_s": files[0].hop_s, "silence": "museval"}
    stems: dict[str, dict[str, None]] = {}
    for track in files:
        stems.setdefault(track.name, {}).update(dict.fromkeys(track.targets))
    known = tuple(metric for metric in metrics if any(metric.name in names for names in NAMES.values()))
    tracks = tuple(TrackScores(name, UNKNOWN, UNKNOWN, UNKNOWN, tuple(of), {}) for name, of in stems.items())
    scores = Scores((), known, tracks, settings)
    for name, of_tracks in systems.items():
        check(name, of_tracks, stems, known, settings)
        scores = add_system(scores, system_of(name, of_tracks), of_tracks)
    return scores


def _extended(
    track: TrackScores, name: str, found: MusevalTrack | None, ours: Mapping[str, Sequence[str]]
) -> TrackScores:
    if found is None:
        return track
    values = dict(track.values)
    for (target, metric), frames in found.frames.items():
        if target in track.stems:
            values |= {(name, target, our): frames for our in ours[metric] if len(frames)}
    return replace(track, values=values)


def _known(metrics: Sequence[Metric]) -> dict[str, list[str]]:
    """Of every metric of museval, our names among those that are scored."""
    scored = [metric.name for metric in metrics]
    return {metric: [name for name in names if name in scored] for metric, names in NAMES.items()}


def _name(metrics: Sequence[Metric], museval: str) -> str | None:
    return next(iter(_known(metrics)[museval]), None)


def _number(value: Any) -> float:
    """A number of the file; museval writes NaN where it is undefined, SiSEC 2018 null or text."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


def _rounded(value: float) -> float:
    return round(float(value), 5) if math.isfinite(value) else math.nan
