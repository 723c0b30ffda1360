"""Read and write the JSON files of museval, one a track, so that published scores need no audio to be compared.

museval stores, for every target and every window of a track, SDR, ISR, SIR and SAR of BSSEval v4. A folder of such
files, in any layout below it, is one system; a file's name is the track's.

Source: `musdb.schema.json` of museval; Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA
2018.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sepgan.errors import EvaluationError
from sepgan.evaluation.measures import Metric
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


def add_system(scores: Scores, name: str, tracks: Mapping[str, MusevalTrack], *, folder: str = "") -> Scores:
    """The scores with one more system, as museval scored it, on the tracks that are there.

    Tracks that the files lack, stems that they lack, and tracks that only they have are left out; a comparison uses
    what both systems have.

    Args:
        scores: To add to. Without tracks, those of the files are taken.
        name: Of the system.
        tracks: By track, as `read_folder` gives them.
        folder: Where they are from, for the report.

    Raises:
        EvaluationError: The windows are others, nothing is in common, or the name is taken.
    """
    if any(system.name == name for system in scores.systems):
        raise EvaluationError(f"two systems are named {name!r}; rename one of them: NAME=FOLDER")
    ours = {metric: [one.name for one in scores.metrics if one.name in names] for metric, names in NAMES.items()}
    if not any(ours.values()):
        names = ", ".join(name for names in NAMES.values() for name in names)
        raise EvaluationError(f"museval's files have no metric that was scored; score one of {names}")
    for setting, found in (("window_s", {t.window_s for t in tracks.values()}), ("hop_s", _hops(tracks))):
        expected = scores.settings.get(setting)
        if expected is not None and found - {expected}:
            raise EvaluationError(
                f"the files of {name!r} have {setting} {max(found):g} where this evaluation has {expected:g}; "
                "scores are comparable only with equal windows"
            )
    before = scores.tracks or tuple(_empty(track) for track in tracks.values())
    after = tuple(_extended(track, name, tracks.get(track.name), ours) for track in before)
    if all(one.values.keys() == other.values.keys() for one, other in zip(before, after, strict=True)):
        raise EvaluationError(
            f"the files of {name!r} share no track and stem with this evaluation; museval names a file "
            "<track>.json and a target as the stem"
        )
    versions = ", ".join(sorted({track.version or "unknown" for track in tracks.values()}))
    details = {"museval": versions, **({"folder": folder} if folder else {})}
    position = 1 + max(
        (i for i, system in enumerate(scores.systems) if system.kind in ("model", "estimates")), default=-1
    )
    system = System(name, "estimates", details)
    return replace(scores, systems=(*scores.systems[:position], system, *scores.systems[position:]), tracks=after)


def _extended(
    track: TrackScores, name: str, found: MusevalTrack | None, ours: Mapping[str, Sequence[str]]
) -> TrackScores:
    if found is None:
        return track
    values = dict(track.values)
    stems = track.stems or found.targets
    for (target, metric), frames in found.frames.items():
        if target in stems:
            values |= {(name, target, our): frames for our in ours[metric] if len(frames)}
    return replace(track, values=values, stems=stems)


def _empty(track: MusevalTrack) -> TrackScores:
    return TrackScores(track.name, UNKNOWN, UNKNOWN, UNKNOWN, track.targets, {})


def _hops(tracks: Mapping[str, MusevalTrack]) -> set[float]:
    """Distances of windows; a track of one window says nothing of them."""
    return {track.hop_s for track in tracks.values() if max(map(len, track.frames.values())) > 1}


def _name(metrics: Sequence[Metric], museval: str) -> str | None:
    scored = {metric.name for metric in metrics}
    return next((name for name in NAMES[museval] if name in scored), None)


def _number(value: Any) -> float:
    """A number of the file; museval writes NaN where it is undefined, SiSEC 2018 null or text."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


def _rounded(value: float) -> float:
    return round(float(value), 5) if math.isfinite(value) else math.nan
