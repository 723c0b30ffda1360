"""One song: blocks in, segments through the model, stems out at the song's own rate."""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sepgan.audio import AudioInfo, Resampler, Waveform, read_blocks
from sepgan.audio_writer import BITS, StagedFolder, output_errors
from sepgan.errors import CheckpointError
from sepgan.separation.results import SeparationOptions, SeparationResult
from sepgan.separator import Separator
from sepgan.stem_writer import StemWriter
from sepgan.streaming import separate_stream

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and the seconds there are, None where the file does not say."""

_BLOCK_FRAMES = 65536  # 1.5 s at 44.1 kHz


class SongRun:
    """The separation of one song with one size of segments."""

    def __init__(
        self,
        separator: Separator,
        path: Path,
        info: AudioInfo,
        paths: Mapping[str, Path],
        options: SeparationOptions,
        geometry: tuple[int, int],
    ) -> None:
        """Plan the work; the geometry is segment and overlap, in samples at the model's rate."""
        self.separator, self.path, self.info, self.paths, self.options = separator, path, info, paths, options
        self.segment, self.overlap = geometry
        self.residual = separator.residual_stem
        # What the model has to give: all other stems where the residual one is wanted, else only what is wanted.
        self.others = [
            stem for stem in separator.stems if stem != self.residual and (self.residual in paths or stem in paths)
        ]

    def run(self, progress: Progress | None) -> SeparationResult:
        """Separate, write, and give the files their names."""
        began = time.perf_counter()
        info, options, folder = self.info, self.options, next(iter(self.paths.values())).parent
        with (
            StagedFolder(folder, self._needed_bytes()) as staged,
            StemWriter(
                staged.path,
                list(self.paths),
                self.others,
                self.residual,
                info.sample_rate,
                info.channels,
                subtype=options.subtype,
                file_format=options.file_format,
                frames=info.frames,
                seed=options.seed,
            ) as writer,
        ):
            for mixture, others in self._parts():
                writer.write(mixture, others)
                done_s = writer.frames / info.sample_rate
                if not all(map(math.isfinite, writer.peaks.values())):
                    raise CheckpointError(f"the model gives NaN or infinity before {done_s:.1f} s of {self.path}")
                if progress is not None:
                    progress(done_s, info.duration_s)
            writer.finish()
            result = SeparationResult(
                source=self.path,
                folder=folder,
                paths=dict(self.paths),
                sample_rate=info.sample_rate,
                frames=writer.frames,
                wall_s=time.perf_counter() - began,
                gain=writer.gain,
                peaks_dbfs={stem: _decibels(peak * writer.gain) for stem, peak in writer.peaks.items()},
                null_dbfs=None if writer.null is None else _decibels(writer.null),
            )
            manifest = json.dumps(self._manifest(result), indent=2, ensure_ascii=False)
            with output_errors(folder):
                (staged.path / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
            staged.commit()
        return result

    def _parts(self) -> Iterator[tuple[Waveform, Waveform]]:
        """Give the mixture `[C, n]` and the other stems `[K, C, n]`, both at the song's own rate and equally long."""
        channels, native_hz, model_hz = self.info.channels, self.info.sample_rate, self.separator.sample_rate
        blocks = read_blocks(self.path, _BLOCK_FRAMES)
        if not self.others:  # a model of one stem
            yield from ((block, np.zeros((0, *block.shape), np.float32)) for block in blocks)
            return
        waiting = _Queue()
        picked = [self.separator.stems.index(stem) for stem in self.others]
        estimates = separate_stream(
            self._separate,
            _resampled(waiting.watch(blocks), native_hz, model_hz, channels),
            segment=self.segment,
            overlap=self.overlap,
        )
        # [S, C, n] -> [K * C, n]
        others = (stems[picked].flatten(0, 1).numpy() for stems in estimates)
        for block in _resampled(others, model_hz, native_hz, len(picked) * channels):
            # Rounded up twice, the stems may be a sample longer than the song.
            count = min(block.shape[1], waiting.count)
            if count:
                yield waiting.take(count), block[:, :count].reshape(len(picked), channels, count)

    def _separate(self, mixture: Tensor) -> Tensor:
        stems: Tensor = self.separator(mixture)
        return stems.cpu()

    def _needed_bytes(self) -> int:
        """Room for the stems and the samples that wait; a guess without a known length."""
        frames = self.info.frames or 0
        depth = (BITS.get(self.options.subtype) or 32) // 8
        return frames * self.info.channels * (depth * len(self.paths) + 4 * (1 + len(self.others)))

    def _manifest(self, result: SeparationResult) -> dict[str, Any]:
        """What `manifest.json` says; null stands for minus infinity dB, and for what is not known."""
        header, info, options = self.separator.header, self.info, self.options
        band_hz = min(info.sample_rate, self.separator.sample_rate) // 2
        above = f"; what lies above is in {self.residual}" if self.residual in self.paths else ""
        whole = band_hz == info.sample_rate // 2
        return {
            "schema_version": MANIFEST_VERSION,
            "sepgan_version": version("sepgan"),
            "input": {"file": self.path.name, **asdict(replace(info, frames=result.frames))},
            "model": header and {"name": header.name, "sha256": header.sha256, "licence": header.licence},
            "options": {**asdict(options), "segment": self.segment, "overlap": self.overlap},
            "stems": {
                stem: {"file": path.name, "peak_dbfs": _finite(result.peaks_dbfs[stem])}
                for stem, path in result.paths.items()
            },
            "residual_stem": self.residual,
            "gain": result.gain,
            "null_dbfs": None if result.null_dbfs is None else _finite(result.null_dbfs),
            "null_exact": result.null_dbfs == -math.inf,
            "bandwidth_hz": band_hz,
            "bandwidth": "the whole band is separated" if whole else f"separated up to {band_hz} Hz{above}",
            "audio_s": round(result.seconds, 3),
            "wall_s": round(result.wall_s, 3),
            "real_time_factor": round(result.real_time_factor, 4),
        }


class _Queue:
    """Samples that have been read and wait for their stems."""

    def __init__(self) -> None:
        self.count = 0
        self._blocks: deque[Waveform] = deque()

    def watch(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """Pass blocks on and keep them."""
        for block in blocks:
            self._blocks.append(block)
            self.count += block.shape[1]
            yield block

    def take(self, frames: int) -> Waveform:
        """Give the next `frames` samples, as many as wait at most."""
        taken = []
        self.count -= frames
        while frames:
            block = self._blocks.popleft()
            taken.append(block[:, :frames])
            if block.shape[1] > frames:
                self._blocks.appendleft(block[:, frames:])
            frames -= taken[-1].shape[1]
        return np.concatenate(taken, axis=1)


def _resampled(blocks: Iterable[Waveform], from_hz: int, to_hz: int, channels: int) -> Iterator[Waveform]:
    """Resample a stream; blocks pass as they are where the rates are equal."""
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = Resampler(from_hz, to_hz, channels)
    for block in blocks:
        if (resampled := resampler.push(block)).shape[1]:
            yield resampled
    if (rest := resampler.flush()).shape[1]:
        yield rest


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
