"""Features of a sound as a picture under its player: one row for each column of the matrix, over time."""

import io

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from sepgan.features import Features
from sepgan.report.blocks import Spectrogram
from sepgan.report.page import MINUS

COLUMNS = 420  # of the picture, in pixels
LIMIT = 2.5  # standard deviations at which the colours end
_ROW = 4  # pixels for each feature


def feature_picture(title: str, features: Features) -> Spectrogram:
    """Draw a feature matrix; each row is centred and scaled by itself, as their units differ.

    Args:
        title: Of the picture.
        features: Values `[C, N, K]`, averaged over channels.

    Returns:
        A picture for `player_group`, the first feature at the bottom, marked where each kind of feature begins.
    """
    rows = features.values.detach().double().mean(0).T.numpy()  # [K, N]
    rows = _to_columns(rows)
    spread = rows.std(1, keepdims=True)
    scaled = (rows - rows.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    file = io.BytesIO()
    imsave(file, scaled.repeat(_ROW, 0), cmap="RdBu_r", vmin=-LIMIT, vmax=LIMIT, origin="lower", format="png")
    kinds = [name.rpartition("_")[0] for name in features.names]
    ticks = tuple((kind, round(kinds.index(kind) / len(kinds), 3)) for kind in dict.fromkeys(kinds))
    scale = (f"{MINUS}{LIMIT} sd", "mean", f"+{LIMIT} sd")
    return Spectrogram(title, file.getvalue(), ticks, scale)


def _to_columns(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Average neighbouring frames down to the width of a picture."""
    if rows.shape[1] <= COLUMNS:
        return rows
    edges = np.linspace(0, rows.shape[1], COLUMNS + 1).astype(int)
    sums = np.add.reduceat(rows, edges[:-1], axis=1)
    means: npt.NDArray[np.float64] = sums / np.diff(edges)
    return means
