"""Published embeddings for the Fréchet distance, from a file that the user has: an ONNX model, run by onnxruntime.

ONNX, because it is data and not code, is what published encoders (VGGish, CLAP, MERT) can be exported to, and is read
by the same library year after year. Nothing is ever downloaded; without the file there is no such metric.

The model takes mono float32 audio [N, samples] at a rate that the user names, and gives [N, D], or [N, frames, D],
whose mean over frames is used. A fixed number of samples in its signature is the window; else windows are 1 s long.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sepgan import audio
from sepgan.errors import EvaluationError, UsageError
from sepgan.evaluation.catalogue import FRECHET
from sepgan.evaluation.frechet import WINDOWS_PER_DIMENSION, Matrix

DEFAULT_RATE = 16000  # Hz, of VGGish and most encoders of speech
_WINDOW_S = 1.0
_BATCH = 32


class OnnxEmbedding:
    """Points of an ONNX model; the distance over them is the metric `frechet.<name of the file>`.

    Args:
        path: The model.
        sample_rate: What it expects, in Hz.

    Raises:
        UsageError: onnxruntime is not installed, or the rate is not positive.
        EvaluationError: The file is absent, no ONNX model, or does not take one batch of waveforms.
    """

    def __init__(self, path: Path, sample_rate: int = DEFAULT_RATE) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                "an embedding from a file needs onnxruntime, which is not installed: pip install 'sepgan[embedding]', "
                "or leave out --embedding and score the metric frechet, which needs none"
            ) from error
        if sample_rate <= 0:
            raise UsageError(f"the embedding's sample rate is {sample_rate} Hz; expected a positive one, such as 16000")
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), _quiet(onnxruntime), providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise EvaluationError(f"embedding '{path}' cannot be read: {error.strerror}") from error
        except Exception as error:  # onnxruntime has a class of its own for every state, and no common one
            raise EvaluationError(f"embedding '{path}' is no ONNX model that onnxruntime can load") from error
        self._path, self._sample_rate = path, sample_rate
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2:
            shapes = ", ".join(str(one.shape) for one in inputs)
            raise EvaluationError(f"embedding '{path}' takes {shapes}; expected one input [N, samples]")
        self._input = inputs[0].name
        fixed = inputs[0].shape[1]
        self._window = fixed if isinstance(fixed, int) else round(_WINDOW_S * sample_rate)
        self.metric = replace(
            FRECHET,
            name=f"frechet.{path.stem}",
            title=f"FD {path.stem}",
            unit="",
            definition=f"Fréchet distance between estimates and references of a stem over the whole set, on embeddings "
            f"of windows of {self._window / sample_rate:g} s at {sample_rate} Hz by the model {path.name}; no value of "
            f"a single track; needs {WINDOWS_PER_DIMENSION} windows a dimension; lower is better.",
            source="Kilgour et al., Interspeech 2019",
        )

    def __call__(self, waveform: Tensor, sample_rate: int) -> Matrix:
        """Points [N, D] of the windows of a waveform [C, T]; a rest shorter than a window is padded with zeros.

        Raises:
            EvaluationError: The model fails, or gives something else.
        """
        mono = waveform.float().mean(0, keepdim=True).cpu().numpy()
        if sample_rate != self._sample_rate:
            mono = audio.resample(mono, sample_rate, self._sample_rate)
        padded = np.pad(mono[0], (0, -len(mono[0]) % self._window))
        windows = padded.reshape(-1, self._window).astype(np.float32)
        found = [self._run(windows[start : start + _BATCH]) for start in range(0, len(windows), _BATCH)]
        return np.concatenate(found)

    def _run(self, windows: "np.ndarray[Any, np.dtype[np.float32]]") -> Matrix:
        try:
            (points, *_) = self._session.run(None, {self._input: windows})
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise EvaluationError(f"embedding '{self._path}' fails on {windows.shape}: {reason}") from error
        found: Matrix = np.asarray(points, np.float64)
        if found.ndim == 3:
            found = np.asarray(found.mean(1))
        if found.ndim != 2 or len(found) != len(windows) or not np.isfinite(found).all():
            raise EvaluationError(
                f"embedding '{self._path}' gave {found.shape} for {len(windows)} windows; expected finite [N, D]"
            )
        return found


def _quiet(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and needs no second line on the terminal
    return options
