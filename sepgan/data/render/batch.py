"""A whole set of songs: which are to be rendered, and rendering them side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path

from sepgan.data.render import midi
from sepgan.data.render.fluidsynth import Synthesiser
from sepgan.data.render.song import Job, RenderSettings, is_done, render_song
from sepgan.errors import DatasetError, SepganError


@dataclass(frozen=True)
class Choice:
    """What is to be done, and why the rest is not.

    Attributes:
        todo: Songs to render.
        kept: How many are there already.
        left_out: A line for each file that is too short or a copy of another.
        unreadable: A line for each file that is no MIDI file.
    """

    todo: tuple[Job, ...]
    kept: int
    left_out: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of the songs: how many were rendered, their length, and a line for each that failed."""

    rendered: int
    seconds: float
    failures: tuple[str, ...]


def choose(planned: Sequence[Job], out: Path, settings: RenderSettings, shortest_s: float, overwrite: bool) -> Choice:
    """Leave out what is there, unreadable, too short or a copy.

    Args:
        planned: All songs.
        out: Folder of the set.
        settings: Of the set.
        shortest_s: Songs below this length in seconds are left out.
        overwrite: Render again what is there.

    Raises:
        UsageError: A song is there, but made from something else, and `overwrite` is not given.
    """
    scores: dict[Path, midi.Score] = {}
    left_out, unreadable = [], []
    first: dict[str, Path] = {}  # of those with the same notes
    for path in dict.fromkeys(job.path for job in planned):
        try:
            score = midi.read(path)
        except DatasetError as error:
            unreadable.append(str(error))
            continue
        original = first.setdefault(score.digest, path)
        if original != path:
            left_out.append(f"{path.name} has the notes of {original.name}")
        elif score.duration_s < shortest_s:
            left_out.append(f"{path.name} lasts {score.duration_s:.1f} s, less than {shortest_s:g} s")
        else:
            scores[path] = score
    wanted = [job for job in planned if job.path in scores]
    todo = [job for job in wanted if overwrite or not is_done(job, out, settings)]
    return Choice(tuple(todo), len(wanted) - len(todo), tuple(left_out), tuple(unreadable))


def render_all(
    todo: Sequence[Job],
    out: Path,
    settings: RenderSettings,
    synthesiser: Synthesiser,
    executor: Executor,
    report: Callable[[int, int, float], None],
    *,
    pictures: bool = False,
) -> Outcome:
    """Render songs side by side; a file that cannot be played does not stop the others.

    Args:
        todo: The songs.
        out: Folder of the set.
        settings: Of the set.
        synthesiser: Plays them.
        executor: Runs them; threads are enough, as fluidsynth is a process of its own. It is shut down at the end.
        report: Called after each song with how many are done, how many there are, and the seconds of music made.
        pictures: Add a picture of each stem.

    Raises:
        OutputError: The folder cannot be written; songs that are finished are kept.
    """
    rendered, seconds, failures = 0, 0.0, []
    try:
        running: dict[Future[float], Job] = {
            executor.submit(render_song, job, out, settings, synthesiser, pictures=pictures): job for job in todo
        }
        for done, future in enumerate(as_completed(running), 1):
            try:
                seconds += future.result()
                rendered += 1
            except DatasetError as error:
                failures.append(str(error))
            report(done, len(todo), seconds)
    except (SepganError, KeyboardInterrupt):
        executor.shutdown(wait=True, cancel_futures=True)  # songs that are being played are finished
        raise
    executor.shutdown(wait=True)
    return Outcome(rendered, seconds, tuple(failures))
