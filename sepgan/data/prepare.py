"""Decode a whole dataset once, before training: in parallel, resumable, and safe where the disk fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from sepgan import audio
from sepgan.data.store import SampleStore, sources_of
from sepgan.data.track import Source, Sum, Track, files_of
from sepgan.errors import AudioError, DatasetError, OutputError

RESERVE_BYTES = 100_000_000  # left free beside what decoding needs

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Prepared:
    """What was done."""

    decoded: int  # tracks
    present: int  # tracks that were there already
    bytes_written: int
    failed: tuple[tuple[str, str], ...]  # track and reason


def prepare(
    tracks: Sequence[Track], store: SampleStore, *, jobs: int = 1, progress: Progress | None = None
) -> Prepared:
    """Decode what a store lacks of some tracks. Tracks that cannot be decoded are passed over and told of.

    Stopped or killed, it may be called again and goes on with what is missing. Two at once do no harm: a track that
    both decode is written twice, and is the same.

    Args:
        tracks: What to decode.
        store: Where to.
        jobs: Tracks decoded at once, by threads; decoders and resampler let go of Python's lock.
        progress: Called with tracks done, their number, and the name of the last one.

    Raises:
        OutputError: The disk has no room for what is missing, or fills on the way; what is decoded stays.
    """
    store.remove_abandoned()
    failed: list[tuple[str, str]] = []
    missing: list[Track] = []
    for track in tracks:
        try:
            if not store.holds(track):
                missing.append(track)
        except AudioError as error:
            failed.append((track.name, str(error)))
    _require_room(missing, store, failed)
    gone = {name for name, _ in failed}
    missing = [track for track in missing if track.name not in gone]
    done = len(tracks) - len(missing)
    present = done - len(failed)
    if progress:
        progress(done, len(tracks), "")
    written = 0
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[int], Track] = {}
        waiting = list(reversed(missing))
        try:
            while True:
                # A few at a time, so that an error or Ctrl-C ends the work soon.
                while waiting and len(running) < jobs:
                    track = waiting.pop()
                    running[pool.submit(store.fill, track)] = track
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    track = running.pop(future)
                    try:
                        written += future.result()
                    except (AudioError, DatasetError) as error:
                        failed.append((track.name, str(error)))
                    done += 1
                    if progress:
                        progress(done, len(tracks), track.name)
        finally:
            for future in running:
                future.cancel()
    decoded = len(tracks) - present - len(failed)
    return Prepared(decoded, present, written, tuple(failed))


def needed_bytes(track: Track, sample_rate: int) -> int:
    """Return how large a track becomes, by what its files declare.

    Raises:
        AudioError: A file is not there or no audio.
    """
    return sum(_needed(source, sample_rate) for source in sources_of(track).values())


def _needed(source: Source, sample_rate: int) -> int:
    found = [audio.probe(file.path, file.stream) for file in files_of(source)]
    seconds = max(info.duration_s or 0.0 for info in found)
    if isinstance(source, Sum):
        ends = [part.start_s + (info.duration_s or 0.0) for part, info in zip(source.parts, found, strict=True)]
        seconds = max(ends) if source.duration_s is None else source.duration_s
    return round(seconds * sample_rate) * max(info.channels for info in found) * 2


def _require_room(missing: Sequence[Track], store: SampleStore, failed: list[tuple[str, str]]) -> None:
    needed = 0
    for track in missing:
        try:
            needed += needed_bytes(track, store.sample_rate)
        except AudioError as error:
            failed.append((track.name, str(error)))
    free = store.free_bytes()
    if missing and needed + RESERVE_BYTES > free:
        raise OutputError(
            f"'{store.folder}' needs {needed / 1e9:.2f} GB more, and its disk has {free / 1e9:.2f} GB free: "
            "free some space, choose another folder, or prepare fewer splits"
        )
