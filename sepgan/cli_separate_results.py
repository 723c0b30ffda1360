"""What `sepgan separate` has done or would do, in lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sepgan.separation import SeparationResult
    from sepgan.separation.forecast import Forecast


def describe_result(result: SeparationResult) -> str:
    """What was done, in a line."""
    speed = result.seconds / result.wall_s
    exact = result.null_dbfs is not None and result.null_dbfs == -math.inf
    null = "" if result.null_dbfs is None else ", null exact" if exact else f", null {result.null_dbfs:.0f} dBFS"
    gain = "" if result.gain == 1.0 else f", shared gain {result.gain:.3f}"
    paths = list(dict.fromkeys(result.paths.values()))
    if not paths:
        files = f"standard output ({next(iter(result.manifest.stems))})"
    elif len({(path.parent, path.suffix) for path in paths}) == 1 and len(paths) > 1:
        files = f"{paths[0].parent}/{{{','.join(path.stem for path in paths)}}}{paths[0].suffix}"
    else:
        files = ", ".join(map(str, paths))
    error_db = result.manifest.engine.precision_error_db
    precision = "" if error_db is None else f", error of the lower precision {error_db:.0f} dB"
    absent = [stem for stem, record in result.manifest.stems.items() if max(record.presence, default=0) < 0.5]
    quiet = f", hardly anything in {', '.join(absent)}" if absent else ""
    return (
        f"{files}: {result.seconds:.1f} s of audio in {result.wall_s:.1f} s ({speed:.1f} x real time)"
        f"{null}{gain}{precision}{quiet}"
    )


def describe_forecast(item: Forecast) -> str:
    """What would be done with one song, in a line."""
    song = item.job.song.path
    if item.refusal is not None:
        return f"{song}: would fail: {item.refusal}"
    if item.is_done:
        return f"{song}: done already, would be skipped"
    files = ", ".join(map(str, item.paths))
    if item.seconds is None or item.bytes is None or item.wall_s is None:
        return f"{song} (unknown length) -> {files}"
    return f"{song} ({item.seconds:.1f} s) -> {files}: about {item.bytes / 1e6:.1f} MB in {item.wall_s:.0f} s"
