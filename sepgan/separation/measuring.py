"""The part of the record that is measured: all figures of all stems of one run."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sepgan.audio import AudioInfo, Waveform
from sepgan.audio_loudness import LoudnessMeter
from sepgan.errors import OutputError
from sepgan.separation.manifest import StemRecord, decibels, file_sha256, finite
from sepgan.separation.meters import BandwidthMeter, PresenceMeter, SeamMeter
from sepgan.separation.naming import Job
from sepgan.separation.stems import StemPlan
from sepgan.stem_writer import StemWriter


class Measuring:
    """Watches the stems of a song as they pass.

    Args:
        info: of the song.
        plan: its stems.
        model_hz: rate of the model.
        hop: samples at the model's rate from segment to segment.
        fade: where in a segment the cross-fade from the one before begins and ends.
    """

    def __init__(self, info: AudioInfo, plan: StemPlan, model_hz: int, hop: int, fade: tuple[int, int]) -> None:
        self._plan = plan
        self._presence = PresenceMeter(len(plan.outputs), info.sample_rate, info.channels)
        self._bandwidth = BandwidthMeter(len(plan.outputs), info.sample_rate)
        self._loudness = [LoudnessMeter(info.sample_rate, info.channels, info.layout) for _ in plan.outputs]
        self.seams = SeamMeter(len(plan.others), model_hz, hop, fade)

    def push(self, mixture: Waveform, others: Waveform) -> None:
        """Take a block of the song `[C, n]` and of the outputs that the model gave `[K, C, n]`."""
        plan = self._plan
        outputs = np.stack(
            [
                mixture - others.sum(0) if name == plan.residual else others[plan.others.index(name)]
                for name in plan.outputs
            ]
        )
        self._presence.push(mixture, outputs)
        self._bandwidth.push(outputs)
        for meter, output in zip(self._loudness, outputs, strict=True):
            meter.push(output)

    def records(self, job: Job, writer: StemWriter) -> dict[str, StemRecord]:
        """Tell what the manifest says of each stem; the writer has finished its files."""
        presence, bandwidth = self._presence.scores(), self._bandwidth.hertz()
        seams = dict(zip(self._plan.others, self.seams.decibels(), strict=True))
        base = job.folder if job.manifest is None else job.manifest.parent
        gain_db = decibels(writer.gain)
        records: dict[str, StemRecord] = {}
        written = list(dict.fromkeys(writer.paths.values()))
        with ThreadPoolExecutor() as executor:
            digests = dict(zip(written, executor.map(_digest, written), strict=True))
        for index, stem in enumerate(self._plan.outputs):
            seam_db = seams.get(stem)
            size, sha256 = 0, ""
            if stem in writer.paths:
                size, sha256 = digests[writer.paths[stem]]
            records[stem] = StemRecord(
                file=relative(job.targets[stem], base) if stem in job.targets else "-",
                parts=self._plan.parts[stem],
                bytes=size,
                sha256=sha256,
                peak_dbfs=finite(decibels(writer.peaks[stem] * writer.gain)),
                loudness_lufs=finite(self._loudness[index].integrated_lufs() + gain_db),
                bandwidth_hz=bandwidth[index],
                seam_db=None if seam_db is None else round(seam_db, 2),
                presence=tuple(round(float(score), 2) for score in presence[index]),
            )
        return records


def relative(path: Path, base: Path) -> str:
    """Name a file as seen from a folder."""
    try:
        return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def peaks_dbfs(writer: StemWriter) -> Mapping[str, float]:
    """Highest sample of each stem as written."""
    return {stem: decibels(peak * writer.gain) for stem, peak in writer.peaks.items()}


def _digest(path: Path) -> tuple[int, str]:
    return _size(path), file_sha256(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error
