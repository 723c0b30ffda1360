"""Real stems panned over 5.1: no channel is worse off than in a stereo song."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sepgan import audio
from sepgan.evaluation.metrics import global_sdr
from sepgan.separation import api
from tests.separation.fake import STEMS

RATE_HZ = 44100
LOSS_DB = 1.0  # that a channel may cost against the stereo song
PANS = {  # FL FR FC LFE BL BR
    "drums": (0.7, 0.7, 0.3, 0.5, 0.3, 0.3),
    "bass": (0.5, 0.5, 0.2, 0.8, 0.1, 0.1),
    "other": (0.8, 0.4, 0.3, 0.0, 0.6, 0.8),
    "vocals": (0.5, 0.6, 0.9, 0.0, 0.4, 0.3),
}
PAIRS = ((0, 1), (2, 2), (4, 5))  # full-range channels as stereo songs of their own; the centre on both sides

Waveform = npt.NDArray[np.float32]


def margin_db(truth: Waveform, mixture: Waveform, found: Waveform) -> float:
    """How far a stem lies above its floor, the best of the mixture, a quarter of it, and silence."""
    true = torch.from_numpy(truth)[None]
    floors = [float(global_sdr(true, torch.from_numpy(mixture * share)[None])) for share in (1.0, 0.25, 0.0)]
    return float(global_sdr(true, torch.from_numpy(np.ascontiguousarray(found))[None])) - max(floors)


def test_every_full_range_channel_gains_what_stereo_does(shared_data: Path) -> None:
    folder = shared_data / "stems" / "valid" / "MDBDrums - Rock"
    mono = {stem: audio.read(folder / f"{stem}.flac")[0][:1, 6 * RATE_HZ : 12 * RATE_HZ] for stem in STEMS}
    stems = {stem: np.array(PANS[stem], np.float32)[:, None] * mono[stem] for stem in STEMS}
    mixture: Waveform = np.sum(list(stems.values()), axis=0, dtype=np.float32, initial=0)
    separator = api.Separator.load("default")
    found = separator.separate(mixture, RATE_HZ)
    margins, lost = [], []
    for pair in PAIRS:
        stereo = separator.separate(mixture[list(pair)], RATE_HZ)
        for side, channel in enumerate(pair):
            at = slice(channel, channel + 1)
            for stem in STEMS:
                margins.append(margin_db(stems[stem][at], mixture[at], stereo[stem][side : side + 1]))
                lost.append(margins[-1] - margin_db(stems[stem][at], mixture[at], found[stem][at]))
    assert np.mean(margins) > 0, "a stereo model that gains nothing would be easy to equal"
    assert max(lost) <= LOSS_DB
