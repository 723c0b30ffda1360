"""Other separators as whole processes: a song in, four 24-bit stems out, with random weights.

    python -m benchmarks.peers demucs song.flac stems/

Speed and memory do not depend on the values of weights. Each peer runs the way its own command line runs it by default:
the whole song is read, separated and held, then written.

- `spleeter`: four of its U-Nets in eager torch, in torch's usual order of memory, one excerpt of 512 frames at a time.
- `openunmix`: the networks of umxhq, with the one Wiener iteration that its command line does.
- `demucs`: HT-Demucs in excerpts of 7.8 s that overlap by a quarter, without the random shift of its command line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module, util
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

STEMS = ("drums", "bass", "other", "vocals")
NEEDS = {"spleeter": (), "openunmix": ("openunmix",), "demucs": ("demucs",)}
INSTALL = "pip install 'sepgan[peers]'"


def missing(system: str) -> list[str]:
    """Names of the packages that a system needs and that are not here."""
    return [package for package in NEEDS[system] if util.find_spec(package) is None]


def spleeter() -> Callable[[Tensor], Tensor]:
    """Spleeter's U-Nets as torch's ports of it run them."""
    models: Any = import_module("sepgan.models.spleeter")
    networks = [models.SpleeterUNet(2, (16, 32, 64, 128, 256, 512)).eval() for _ in STEMS]
    window, frames, bins = torch.hann_window(4096), 512, 1024

    def separate(mixture: Tensor) -> Tensor:
        spectrum = torch.stft(mixture, 4096, 1024, window=window, pad_mode="constant", return_complex=True)
        magnitudes = spectrum[:, :bins].abs()
        pieces = []
        for excerpt in torch.split(magnitudes, frames, dim=-1):
            padded = torch.nn.functional.pad(excerpt, (0, frames - excerpt.shape[-1]))[None]
            power = torch.stack([(network(padded) * padded).square() for network in networks], dim=1)
            masks = (power + 1e-10 / len(networks)) / (power.sum(1, keepdim=True) + 1e-10)
            pieces.append(masks[0, ..., : excerpt.shape[-1]])
        masks = torch.nn.functional.pad(torch.cat(pieces, dim=-1), (0, 0, 0, spectrum.shape[1] - bins))
        return torch.stack(
            [torch.istft(mask * spectrum, 4096, 1024, window=window, length=mixture.shape[-1]) for mask in masks]
        )

    return separate


def openunmix() -> Callable[[Tensor], Tensor]:
    """Open-Unmix as umxhq is built."""
    model: Any = import_module("openunmix.model")
    utils: Any = import_module("openunmix.utils")
    highest = utils.bandwidth_to_max_bin(rate=44100.0, n_fft=4096, bandwidth=16000)
    targets = {
        stem: model.OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=highest).eval() for stem in STEMS
    }
    separator = model.Separator(
        target_models=targets, niter=1, residual=False, n_fft=4096, n_hop=1024, nb_channels=2, sample_rate=44100.0
    ).eval()

    def separate(mixture: Tensor) -> Tensor:
        stems: Tensor = separator(mixture[None])[0]
        return stems

    return separate


def demucs() -> Callable[[Tensor], Tensor]:
    """HT-Demucs as its release is built: 42 million weights."""
    htdemucs: Any = import_module("demucs.htdemucs")
    apply: Any = import_module("demucs.apply")
    network = htdemucs.HTDemucs(list(STEMS), bottom_channels=512, dconv_mode=3, segment=Fraction(39, 5)).eval()

    def separate(mixture: Tensor) -> Tensor:
        stems: Tensor = apply.apply_model(network, mixture[None], shifts=0, split=True, overlap=0.25)[0]
        return stems

    return separate


SYSTEMS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "spleeter": spleeter,
    "openunmix": openunmix,
    "demucs": demucs,
}


def main(system: str, song: str, out: str) -> None:
    """Separate a stereo song at 44.1 kHz with random weights."""
    torch.manual_seed(0)
    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    separate = SYSTEMS[system]()
    with torch.inference_mode():
        stems = separate(torch.from_numpy(samples.T.copy()))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, waveform in zip(STEMS, stems, strict=True):
        soundfile.write(folder / f"{stem}.wav", waveform.clamp(-1, 1).T.numpy(), rate, subtype="PCM_24")


if __name__ == "__main__":
    main(*sys.argv[1:])
